"""Limits of a server: the largest request, the longest recording, work at the same time."""

import dataclasses
import math

from ser_jax.contract import InputError

MEGABYTE = 1 << 20
LARGEST_BATCH = 16  # windows that `Predictor.predict` passes to the network together


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds of the work, memory and time that requests can take.

    Attributes:
      max_mb: largest body of a request.
      max_seconds: longest recording; longer ones are refused before they are decoded.
      max_files: recordings in one batch request.
      max_concurrent: requests in work; others get 503 with Retry-After.
      max_streams: open WebSockets.
      max_stream_s: longest signal of a WebSocket.
      timeout_s: time for a request, from its headers to its answer, and for a message of a stream.
      max_batch: windows of several requests predicted together: 1, 2, 4, 8 or 16.
      decoders: processes that decode recordings.
      decode_s: time for decoding one recording.
      decoder_mb: memory of a decoder beyond its libraries.
    """

    max_mb: float = 64.0
    max_seconds: float = 600.0
    max_files: int = 64
    max_concurrent: int = 32
    max_streams: int = 8
    max_stream_s: float = 3600.0
    timeout_s: float = 60.0
    max_batch: int = LARGEST_BATCH
    decoders: int = 2
    decode_s: float = 20.0
    decoder_mb: float = 2048.0

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value > 0):
                raise InputError(f'--{field.name} must be more than 0, got {value:g}')
        if self.max_batch not in (1, 2, 4, 8, LARGEST_BATCH):
            raise InputError(f'--max_batch must be 1, 2, 4, 8 or 16, got {self.max_batch}')

    @property
    def max_bytes(self) -> int:
        """Largest body of a request in bytes."""
        return int(self.max_mb * MEGABYTE)
