"""The audio loader: every container, width and rate gives the written samples or an error."""

import io
import struct

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_jax.audio import wav
from ser_jax.contract import InputError


def noise(count: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Return 16-bit values as floats, [count] or [count, channels]."""
    values = (
        np.random.default_rng(seed).integers(-20000, 20000, (count, channels)).astype(np.float32)
        / 32768
    )
    return values[:, 0] if channels == 1 else values


def encoded(
    samples: np.ndarray, rate: int = 16000, kind: str = 'WAV', subtype: str = 'PCM_16'
) -> io.BytesIO:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file


def riff(
    *chunks: tuple[bytes, bytes], size: int | None = None, data_size: int | None = None
) -> bytes:
    """A RIFF wave file of the given chunks, its headers right or, on demand, wrong."""
    body = b'WAVE'
    for kind, content in chunks:
        length = len(content) if data_size is None or kind != b'data' else data_size
        body += kind + struct.pack('<I', length) + content + b'\0' * (len(content) % 2)
    return b'RIFF' + struct.pack('<I', len(body) if size is None else size) + body


def pcm(rate: int = 16000, channels: int = 1, bits: int = 16) -> tuple[bytes, bytes]:
    step = channels * bits // 8
    return b'fmt ', struct.pack('<HHIIHH', 1, channels, rate, rate * step, step, bits)


@given(
    count=st.integers(1, 2000),
    channels=st.integers(1, 4),
    rate=st.sampled_from([8000, 11025, 16000, 24414, 44100, 48000, 96000]),
    container=st.sampled_from(
        [('WAV', 'PCM_16'), ('WAV', 'PCM_24'), ('WAV', 'PCM_32'), ('WAV', 'FLOAT'), ('WAV',
         'DOUBLE'),
         ('WAVEX', 'PCM_16'), ('RF64', 'PCM_16'), ('W64', 'PCM_16'), ('AU', 'PCM_16'), ('AIFF',
         'PCM_16'),
         ('FLAC', 'PCM_16'), ('FLAC', 'PCM_24')]
    ),
)  # fmt: skip
def test_containers_without_loss_give_the_same_samples(count, channels, rate, container):
    samples = noise(count, channels, seed=count)
    found, found_rate = wav.read(encoded(samples, rate, *container))
    assert found_rate == rate
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, samples)


@pytest.mark.parametrize(
    'kind, subtype', [('OGG', 'VORBIS'), ('OGG', 'OPUS'), ('MP3', 'MPEG_LAYER_III')]
)
def test_lossy_containers_sound_alike(kind, subtype):
    seconds = np.arange(48000) / 48000
    samples = (0.3 * np.sin(2 * np.pi * 440 * seconds)).astype(np.float32)
    found, rate = wav.read(encoded(samples, 48000, kind, subtype))
    assert rate == 48000
    assert abs(len(found) - 48000) < 3000  # codecs pad
    spectrum = np.abs(np.fft.rfft(found[:48000] * np.hanning(min(len(found), 48000))))
    assert abs(int(spectrum.argmax()) - 440) <= 1


def test_eight_bits():
    samples = np.arange(-128, 128).astype(np.float32) / 128
    found, _ = wav.read(encoded(samples, subtype='PCM_U8'))
    np.testing.assert_array_equal(found, samples)


@given(
    st.lists(st.sampled_from(['FLLR', 'LIST', 'bext', '_PMX', 'junk']), max_size=3),
    st.integers(0, 5000),
    st.booleans(),
)
def test_chunks_before_and_after_the_samples_change_nothing(kinds, length, before):
    samples = noise(500)
    data = (b'data', (samples * 32768).astype('<i2').tobytes())
    others = [(kind.encode(), bytes(length)) for kind in kinds]
    chunks = [*others, data] if before else [data, *others]
    found, rate = wav.read(io.BytesIO(riff(pcm(), *chunks)))
    assert rate == 16000
    np.testing.assert_array_equal(found, samples)


def test_an_empty_list_chunk_at_the_end():
    samples = noise(501)  # odd bytes are not possible here, an empty chunk is
    found, _ = wav.read(
        io.BytesIO(
            riff(pcm(), (b'data', (samples * 32768).astype('<i2').tobytes()), (b'LIST', b''))
        )
    )
    np.testing.assert_array_equal(found, samples)


@pytest.mark.parametrize('unknown', [0, 0x7FFFF000, 0xFFFFFFFF])
def test_a_stream_that_never_learnt_its_length_is_whole(unknown):
    samples = noise(3000)
    content = riff(
        pcm(), (b'data', (samples * 32768).astype('<i2').tobytes()), size=unknown, data_size=unknown
    )
    np.testing.assert_array_equal(wav.read(io.BytesIO(content))[0], samples)


@given(st.integers(100, 1999))
def test_a_wav_cut_anywhere_in_its_samples_is_truncated(kept):
    whole = riff(
        pcm(), (b'FLLR', bytes(64)), (b'data', (noise(2000) * 32768).astype('<i2').tobytes())
    )
    start = whole.index(b'data') + 8
    with pytest.raises(
        wav.SoundError, match=r'^some\.wav: truncated, \d+ bytes of sound are missing'
    ) as e:
        wav.read(io.BytesIO(whole[: start + 2 * kept - 100]), 'some.wav')
    assert e.value.kind == 'truncated'


@given(st.floats(0.2, 0.95))
@settings(max_examples=20)
def test_a_cut_flac_is_refused(share):
    whole = encoded(noise(40000), kind='FLAC').getvalue()
    with pytest.raises(wav.SoundError, match=r'^cut\.flac: ') as e:
        wav.read(io.BytesIO(whole[: int(len(whole) * share)]), 'cut.flac')
    assert e.value.kind in ('truncated', 'undecodable')


def test_equal_channels_become_that_channel():
    samples = noise(700)
    np.testing.assert_array_equal(wav.mono(np.stack([samples, samples], 1)), samples)
    np.testing.assert_array_equal(
        wav.prepare(np.stack([samples, samples], 1), 16000), wav.prepare(samples, 16000)
    )


@given(st.sampled_from([8000, 11025, 22050, 24414, 44100, 48000, 96000]), st.floats(100, 3000))
@settings(max_examples=25)
def test_resampling_keeps_a_tone_and_its_length(rate, hz):
    def tone(samples):
        return (0.5 * np.sin(2 * np.pi * hz * np.arange(samples) / samples)).astype(np.float32)

    found = wav.resample(tone(rate), rate, 16000)
    assert abs(len(found) - 16000) <= 1
    inner = slice(800, 15000)  # the filter rings at both ends
    np.testing.assert_allclose(found[inner], tone(16000)[inner], atol=2e-3)


def test_resampling_removes_what_the_lower_rate_cannot_hold():
    seconds = np.arange(48000) / 48000
    hiss = (0.5 * np.sin(2 * np.pi * 10000 * seconds)).astype(np.float32)
    assert np.abs(wav.resample(hiss, 48000, 16000)[800:-800]).max() < 1e-3


def test_an_offset_is_removed_and_a_tiny_one_is_not_touched(tmp_path):
    samples = noise(16000) * 0.1
    samples -= samples.mean()
    soundfile.write(tmp_path / 'a.wav', samples + 0.045, 16000, subtype='FLOAT')
    found = wav.prepare(*wav.read(tmp_path / 'a.wav'))
    np.testing.assert_allclose(found, samples, atol=1e-6)
    soundfile.write(tmp_path / 'b.wav', samples + 0.0005, 16000, subtype='FLOAT')
    np.testing.assert_array_equal(
        wav.prepare(*wav.read(tmp_path / 'b.wav')), samples + np.float32(0.0005)
    )


def test_preparing_does_everything_at_once(tmp_path):
    seconds = np.arange(22050) / 44100
    left = 0.4 * np.sin(2 * np.pi * 300 * seconds) + 0.02
    soundfile.write(tmp_path / 'a.flac', np.stack([left, np.zeros_like(left)], 1), 44100)
    found = wav.prepare(*wav.read(tmp_path / 'a.flac'), 16000)
    assert found.shape == (8000,) and found.dtype == np.float32
    expected = 0.2 * np.sin(2 * np.pi * 300 * np.arange(8000) / 16000)
    np.testing.assert_allclose(found[500:-500], expected[500:-500], atol=1e-3)


@pytest.mark.parametrize(
    'samples, expected',
    [
        (np.zeros(0), 'empty'),
        (np.zeros((0, 2)), 'empty'),
        (np.zeros(1000), 'silent'),
        (np.full(1000, 0.25), 'silent'),
        (np.tile([0.0, 1 / 32768], 500), 'silent'),
        (np.array([0.1, np.nan, 0.2]), 'not finite'),
        (np.array([0.1, np.inf, 0.2]), 'not finite'),
        (np.tile([0.0, 10 / 32768], 500), None),
        (np.stack([np.zeros(9), np.arange(9) / 10], 1), None),
    ],
)
def test_defects_are_named(samples, expected):
    assert wav.defect(samples.astype(np.float32)) == expected


def test_int16_is_exact_and_clips():
    samples = noise(1000)
    np.testing.assert_array_equal(wav.int16(samples) / np.float32(32768), samples)
    np.testing.assert_array_equal(
        wav.int16(np.array([-1.2, -1, 1, 1.2])), [-32768, -32768, 32767, 32767]
    )


@pytest.mark.parametrize(
    'content, reason',
    [
        (b'', r'is empty \(0 bytes\)'),
        (b'not sound at all\n' * 9, 'cannot be decoded'),
        (b'RIFF', 'cannot be'),
    ],
)
def test_what_is_no_sound_is_named_in_one_line(tmp_path, content, reason):
    path = tmp_path / 'x.wav'
    path.write_bytes(content)
    with pytest.raises(InputError, match=f'^{path}: .*{reason}') as e:
        wav.read(path)
    assert '\n' not in str(e.value)


@pytest.mark.parametrize(('place', 'layout', 'value'), [(0, '>h', -3), (6, '>h', -16)])
def test_an_aiff_of_negative_channels_or_bits_is_refused(place, layout, value):
    """In a file of unknown length, whose number of frames would be computed from them."""
    content = bytearray(encoded(noise(999), kind='AIFF').getvalue())
    struct.pack_into(layout, content, content.index(b'COMM') + 8 + place, value)
    struct.pack_into('>I', content, content.index(b'SSND') + 4, 0)
    with pytest.raises(wav.SoundError):
        wav.read(io.BytesIO(content), 'x')


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(InputError, match=r'nowhere\.wav: no such file'):
        wav.read(tmp_path / 'nowhere.wav')
    with pytest.raises(InputError, match='is a folder'):
        wav.read(tmp_path)


def test_a_wav_without_samples_is_empty_whatever_follows():
    for after in ([], [(b'LIST', b'INFO')]):
        assert wav.defect(wav.read(io.BytesIO(riff(pcm(), (b'data', b''), *after)))[0]) == 'empty'


@pytest.mark.parametrize('kind', sorted(set(soundfile.available_formats()) - {'RAW'}))
def test_half_a_file_is_named_in_every_format_that_can_be_written(kind, tmp_path):
    """A format in which a cut leaves no trace is refused whole too."""
    path, samples = tmp_path / 'x', (0.3 * np.sin(np.arange(16000) / 9)).astype(np.float32)
    subtype = {'MPC2K': 'PCM_16', 'XI': 'DPCM_16', 'WVE': 'ALAW'}.get(kind)
    rate_hz = {'WVE': 8000, 'MPC2K': 44100}.get(kind, 16000)
    soundfile.write(path, samples, rate_hz, subtype=subtype, format=kind)
    content = path.read_bytes()
    with pytest.raises(wav.SoundError) as e:
        wav.read(io.BytesIO(content[: len(content) // 2]), 'half')
    assert e.value.kind in ('truncated', 'undecodable')
