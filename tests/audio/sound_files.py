"""Short sounds in every container that libsndfile or PyAV writes, as bytes."""

import functools
import io

import numpy as np
import pytest
import soundfile

PCM = {
    'wav': ('WAV', 'PCM_16', 2), 'wav24': ('WAV', 'PCM_24', 3), 'wav_float': ('WAV', 'FLOAT', 4),
    'wav_u8': ('WAV', 'PCM_U8', 1), 'wav_ulaw': ('WAV', 'ULAW', 1), 'wavex': ('WAVEX', 'PCM_16', 2),
    'aiff': ('AIFF', 'PCM_16', 2), 'aiff_float': ('AIFF', 'FLOAT', 4), 'au': ('AU', 'PCM_16', 2),
    'au_ulaw': ('AU', 'ULAW', 1), 'w64': ('W64', 'PCM_16', 2), 'rf64': ('RF64', 'PCM_16', 2),
    'caf': ('CAF', 'PCM_16', 2), 'nist': ('NIST', 'PCM_16', 2),
}  # fmt: skip
PACKED = {
    'wav_gsm': ('WAV', 'GSM610'), 'wav_ima': ('WAV', 'IMA_ADPCM'), 'wav_ms': ('WAV', 'MS_ADPCM'),
    'wav_g721': ('WAV', 'G721_32'), 'wav_nms': ('WAV', 'NMS_ADPCM_16'),
    'au_g721': ('AU', 'G721_32'),
    'au_g723': ('AU', 'G723_24'), 'aiff_ima': ('AIFF', 'IMA_ADPCM'), 'aiff_gsm': ('AIFF', 'GSM610'),
    'w64_gsm': ('W64', 'GSM610'), 'caf_alac': ('CAF', 'ALAC_16'), 'mp3': ('MP3', 'MPEG_LAYER_III'),
}  # fmt: skip
CHECKED = {  # by checksums
    'flac': ('FLAC', 'PCM_16'), 'flac24': ('FLAC', 'PCM_24'), 'ogg': ('OGG', 'VORBIS'),
    'opus': ('OGG', 'OPUS'),
}  # fmt: skip
MEDIA = {  # codec, container, rate, options
    'm4a': ('aac', 'ipod', 44100, {}), 'mov': ('aac', 'mov', 44100, {}),
    '3gp': ('aac', '3gp', 44100, {}),
    'mp4_fragments': ('aac', 'mp4', 44100, {'movflags': 'frag_keyframe+empty_moov'}),
    'webm': ('libopus', 'webm', 48000, {}), 'webm_live': ('libopus', 'webm', 48000, {'live': '1'}),
    'mka': ('aac', 'matroska', 44100, {}), 'aac': ('aac', 'adts', 44100, {}),
    'wma': ('wmav2', 'asf', 44100, {}),
    'amr': ('libopencore_amrnb', 'amr', 8000, {}),
}  # fmt: skip
NO_LENGTH = (
    'aac',
    'amr',
    'webm_live',
    'mp4_fragments',
)  # streams: what is cut between two frames is whole
ALL = (*PCM, *PACKED, *CHECKED, *MEDIA)


def tone(rate_hz: int, seconds: float = 0.5, hz: float = 440) -> np.ndarray:
    """A tone with a little noise, float32 [T]."""
    t = np.arange(round(rate_hz * seconds)) / rate_hz
    noise = np.random.default_rng(1).standard_normal(len(t))
    return (0.3 * np.sin(2 * np.pi * hz * t) + 0.02 * noise).astype(np.float32)


def written(kind: str, subtype: str, samples: np.ndarray, rate_hz: int = 16000) -> bytes:
    """A file as libsndfile writes it."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format=kind, subtype=subtype)
    return file.getvalue()


@functools.cache
def sound(name: str) -> bytes:
    """Half a second in the container of that name."""
    if name in MEDIA:
        codec, container, rate_hz, options = MEDIA[name]
        return muxed([tone(rate_hz)], rate_hz, codec, container, options)
    kind, subtype = (PCM | PACKED | CHECKED)[name][:2]
    rate_hz = 8000 if subtype == 'GSM610' else 16000
    return written(kind, subtype, tone(rate_hz), rate_hz)


def muxed(
    tracks: list[np.ndarray], rate_hz: int, codec: str, container: str, options=None
) -> bytes:
    """A media file with an audio stream a track, as FFmpeg writes it."""
    import av

    try:
        av.Codec(codec, 'w')
    except av.codec.codec.UnknownCodecError:
        pytest.skip(f'this FFmpeg writes no {codec}')
    file = io.BytesIO()
    with av.open(file, 'w', format=container, options=options or {}) as opened:
        streams = [opened.add_stream(codec, rate=rate_hz) for _ in tracks]
        for stream in streams:
            stream.layout, stream.bit_rate = 'mono', 12200 if 'amr' in codec else 64000
            formats = [f.name for f in stream.codec_context.codec.audio_formats]
            stream.format = form = next(f for f in ('s16', 'fltp') if f in formats)
        for stream, samples in zip(streams, tracks, strict=True):
            values = (
                samples[None] if form == 'fltp' else np.rint(samples * 32767).astype(np.int16)[None]
            )
            for at in range(0, len(samples), 1024):
                piece = np.ascontiguousarray(values[:, at : at + 1024])
                frame = av.AudioFrame.from_ndarray(piece, format=form, layout='mono')
                frame.sample_rate, frame.pts = rate_hz, at
                opened.mux(stream.encode(frame))
            opened.mux(stream.encode(None))
    return file.getvalue()
