"""Decoder of AAC, AMR, Opus in webm (phones, browsers), by PyAV (`ser_jax[media]`)."""

import io
import logging
from typing import Any

import numpy as np

from ser_jax.audio.containers import boxes
from ser_jax.audio.containers.streams import Fault, damaged, truncated

_GAP_S = 0.05  # time stamps of browsers jitter by less
_SCALE = {'u8': 2**7, 's16': 2**15, 's32': 2**31}


def decode(content: bytes, container: str, name: str) -> tuple[np.ndarray, int]:
    """Return samples, float32 [T] or [T, channels], and rate of a media file's audio stream.

    If there are several audio streams, the one that FFmpeg ranks best is decoded and a warning logs
    its number and theirs.

    Raises:
      Fault: PyAV is not installed, or the file has no audio stream, is truncated or damaged.
    """
    try:
        import av
    except ImportError as e:
        raise Fault(
            'undecodable',
            f"is {container}, which PyAV decodes; install it with: pip install 'ser_jax[media]'",
        ) from e
    try:
        with av.open(io.BytesIO(content), mode='r', **_lenient(av.__version__)) as opened:
            stream = opened.streams.best('audio')
            if stream is None:
                raise boxes.unsupported(f'{container} without an audio stream')
            if (streams := len(opened.streams.audio)) > 1:
                number = opened.streams.audio.index(stream) + 1
                logging.getLogger(__name__).warning(
                    '%s: audio stream %d of %d is read', name, number, streams
                )
            return _whole(*_frames(opened, stream), _announced_s(opened, stream, container), stream)
    except (av.error.FFmpegError, EOFError) as e:
        raise damaged(f'FFmpeg: {getattr(e, "strerror", None) or e}') from e


def _lenient(version: str) -> dict[str, Any]:
    """Return arguments to open files with tags that are not UTF-8; PyAV 19 needs and takes none."""
    return {} if int(version.split('.')[0]) >= 19 else {'metadata_errors': 'ignore'}


def _announced_s(opened, stream, container: str) -> float:
    """Return the seconds announced in the header; 0 if there are none or FFmpeg estimates them."""
    if container == 'mp4':
        return float(stream.duration * stream.time_base) if stream.duration else 0.0
    # With several streams it may be the duration of a longer video.
    if container in ('webm', 'wma') and len(opened.streams) == 1:
        return (opened.duration or 0) / 1e6
    return 0.0


def _whole(samples: np.ndarray, rate_hz: int, announced_s: float, stream) -> tuple[np.ndarray, int]:
    """Return samples without the encoder's padding at the end; raise if samples are missing."""
    if announced_s:
        length = round(announced_s * rate_hz)
        # Encoder padding, before and after the audio.
        padding = 3 * max(stream.codec_context.frame_size or 0, 1024)
        if len(samples) < length - padding:
            raise truncated(f'{len(samples) / rate_hz:.2f} of {announced_s:.2f} s are present')
        samples = samples[:length] if len(samples) < length + padding else samples
    return (samples[:, 0] if samples.shape[1] == 1 else samples), rate_hz


def _frames(opened, stream) -> tuple[np.ndarray, int]:
    """Return all samples of a stream, [T, channels], and their rate."""
    blocks: list[np.ndarray] = []
    rate_hz, count, expected_s = 0, 0, None
    for frame in opened.decode(stream):
        values = _values(frame)
        if blocks and (frame.sample_rate, values.shape[1]) != (rate_hz, blocks[0].shape[1]):
            raise boxes.unsupported('rate or channels change within the file')
        rate_hz = frame.sample_rate
        if frame.pts is not None:
            now_s = float(frame.pts * frame.time_base)
            if expected_s is not None and now_s - expected_s > _GAP_S:
                raise truncated(
                    f'{now_s - expected_s:.2f} s are missing after {count / rate_hz:.2f} s'
                )
            expected_s = now_s + len(values) / rate_hz
        count += len(values)
        blocks.append(values)
    if not blocks:
        raise truncated('its audio stream has no samples')
    return np.concatenate(blocks), rate_hz


def _values(frame) -> np.ndarray:
    """Return the samples of a decoded frame, float32 [T, channels] in [-1, 1]."""
    values, form = frame.to_ndarray(), frame.format.name
    channels = frame.layout.nb_channels
    values = values.T if form.endswith('p') else values.reshape(-1, channels)
    form = form.removesuffix('p')
    if form == 'u8':
        values = values.astype(np.float32) - 128
    return values.astype(np.float32) / np.float32(_SCALE.get(form, 1))
