"""AAC, AMR, Opus in webm and other sounds of phones and browsers, decoded by FFmpeg through PyAV (`ser_jax[media]`)."""

import io
import logging

import numpy as np

from ser_jax.audio import boxes
from ser_jax.audio.streams import Fault, damaged, truncated

_GAP_S = 0.05  # browsers' time stamps jitter by less
_SCALE = {'u8': 2**7, 's16': 2**15, 's32': 2**31}


def decode(content: bytes, container: str, name: str) -> tuple[np.ndarray, int]:
    """Samples, float32 [T] or [T, channels], and rate of the audio stream of a media file.

    Of several audio streams the one that FFmpeg ranks best is decoded, and a warning names the others.

    Raises:
      Fault: PyAV is not installed, the file has no audio stream, is cut or damaged.
    """
    try:
        import av
    except ImportError as e:
        raise Fault(
            'undecodable', f"is {container}, which PyAV decodes; install it with: pip install 'ser_jax[media]'"
        ) from e
    try:
        # Tags in other encodings are no reason to refuse a sound.
        with av.open(io.BytesIO(content), metadata_errors='ignore') as opened:
            stream = opened.streams.best('audio')
            if stream is None:
                raise boxes.unsupported(f'{container} without an audio stream')
            if (streams := len(opened.streams.audio)) > 1:
                which = opened.streams.audio.index(stream) + 1
                logging.getLogger(__name__).warning('%s: audio stream %d of %d is read', name, which, streams)
            return _frames(opened, stream)
    except (av.error.FFmpegError, EOFError) as e:
        raise damaged(f'FFmpeg: {e.strerror or e}') from e


def _frames(opened, stream) -> tuple[np.ndarray, int]:
    blocks, rate_hz, channels, heard = [], 0, 0, 0
    expected = None
    for frame in opened.decode(stream):
        values = _values(frame)
        if blocks and (frame.sample_rate, values.shape[1]) != (rate_hz, channels):
            raise boxes.unsupported('rate or channels change within the file')
        rate_hz, channels = frame.sample_rate, values.shape[1]
        if frame.pts is not None:
            now = float(frame.pts * frame.time_base)
            if expected is not None and now - expected > _GAP_S:
                raise truncated(f'{now - expected:.2f} s are missing after {heard / rate_hz:.2f} s')
            expected = now + len(values) / rate_hz
        heard += len(values)
        blocks.append(values)
    if not blocks:
        raise truncated('it has an audio stream without samples')
    announced = float(stream.duration * stream.time_base) if stream.duration else 0.0
    if announced - heard / rate_hz > _GAP_S + _priming_s(stream):
        raise truncated(f'{heard / rate_hz:.2f} of {announced:.2f} s are there')
    samples = np.concatenate(blocks)
    return (samples[:, 0] if channels == 1 else samples), rate_hz


def _priming_s(stream) -> float:
    """Seconds that an encoder puts before and after the sound, which decoding removes: at most three frames."""
    return 3 * (stream.codec_context.frame_size or 1024) / stream.codec_context.sample_rate


def _values(frame) -> np.ndarray:
    """The samples of a decoded frame, float32 [T, channels] in [-1, 1]."""
    values, form = frame.to_ndarray(), frame.format.name
    channels = frame.layout.nb_channels
    values = values.T if form.endswith('p') else values.reshape(-1, channels)
    form = form.removesuffix('p')
    if form == 'u8':
        values = values.astype(np.float32) - 128
    return values.astype(np.float32) / np.float32(_SCALE.get(form, 1))
