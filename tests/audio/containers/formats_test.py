"""Announced lengths are never believed: files are decoded to their end, or the fault is named."""

import builtins
import io
import logging
import re
import struct

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_jax.audio import wav
from ser_jax.audio.containers import boxes, media, mpeg, ogg
from ser_jax.audio.containers.streams import Fault
from tests.audio.sound_files import ALL, CHECKED, MEDIA, NO_LENGTH, PCM, muxed, sound, tone, written

HERE = [n for n in ALL if n not in MEDIA]


def read(content: bytes) -> np.ndarray:
    return wav.read(io.BytesIO(content), 'x')[0]


def kind(content: bytes) -> str:
    with pytest.raises(wav.SoundError) as e:
        read(content)
    assert '\n' not in str(e.value)
    return e.value.kind


@pytest.mark.parametrize('name', HERE)
def test_whole_files_decode_as_by_libsndfile_alone(name):
    content = sound(name)
    with soundfile.SoundFile(io.BytesIO(content)) as file:
        frames = file.frames if file.seekable() else 4080
        expected = file.read(frames, dtype='float32')
    np.testing.assert_array_equal(read(content)[: len(expected)], expected)
    assert len(read(content)) >= len(tone(8000 if 'gsm' in name else 16000)) - 40


@pytest.mark.parametrize('name', [n for n in MEDIA if n != 'amr'])
def test_media_files_have_the_length_and_the_tone_that_went_in(name):
    pytest.importorskip('av')
    samples, rate_hz = wav.read(io.BytesIO(sound(name)), name)
    assert samples.dtype == np.float32 and samples.ndim == 1
    assert abs(len(samples) / rate_hz - 0.5) < 0.06  # encoders pad
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    assert abs(spectrum.argmax() * rate_hz / len(samples) - 440) < 4


def check_cut(name: str, cut: int) -> None:
    """A file cut there is named, or nothing of the sound is missing."""
    content = sound(name)
    try:
        samples = read(content[:cut])
    except wav.SoundError as e:
        assert e.kind in ('truncated', 'undecodable', 'empty'), e
        return
    share = len(samples) / len(read(content))
    assert share == 1 or (name in NO_LENGTH and share > cut / len(content) - 0.15), (
        name,
        cut,
        share,
    )


def check_flip(name: str, at: int, bit: int) -> None:
    """A file with a changed bit is named, or the change is harmless in length."""
    content = bytearray(sound(name))
    content[at] ^= 1 << bit
    try:
        samples = read(bytes(content))
    except wav.SoundError:
        return
    whole = read(sound(name))
    if name in CHECKED:
        np.testing.assert_array_equal(samples, whole)
    elif name in PCM and at >= len(content) - len(whole) * PCM[name][2]:
        assert samples.shape == whole.shape, (name, at, bit)


@pytest.mark.parametrize('name', ALL)
@given(st.data())
@settings(max_examples=15)
def test_cut_and_changed_files_are_whole_or_named(name, data):
    length = len(sound(name))
    check_cut(name, data.draw(st.integers(0, length - 1)))
    check_flip(name, data.draw(st.integers(0, length - 1)), data.draw(st.integers(0, 7)))


@pytest.mark.slow
@pytest.mark.parametrize('name', ALL)
def test_a_thousand_cuts_and_changes_of_each_container(name):
    random, length = np.random.default_rng(0), len(sound(name))
    for i in range(1000):
        near = i % 2  # headers and ends hold most of what can go wrong
        check_cut(
            name, int(length - random.integers(1, 100) if near else random.integers(0, length))
        )
        check_flip(
            name,
            int(random.integers(0, min(300, length) if near else length)),
            int(random.integers(8)),
        )


@pytest.mark.parametrize('name', [n for n in ALL if n != 'nist'])
def test_joined_files_are_read_to_the_end(name):
    content = sound(name)
    once = read(content)
    twice = read(content + content)
    if name == 'aac':  # frames follow frames, nothing marks the seam
        assert len(twice) >= 2 * len(once) - 1024
    else:
        np.testing.assert_array_equal(twice, np.concatenate([once, once]))


def test_joined_files_of_different_rates_are_refused():
    other = written('WAV', 'PCM_16', tone(8000), 8000)
    with pytest.raises(wav.SoundError, match='2 joined sounds of different rates'):
        read(sound('wav') + other)


@pytest.mark.parametrize('name', [n for n in HERE if n not in ('nist', 'caf_alac')])
@pytest.mark.parametrize(
    'tail', [b'TAG' + bytes(125), bytes(5000), b'ID3\4\0\0\0\0\0\x14' + b'x' * 20]
)
def test_tags_and_padding_after_the_sound_are_no_sound(name, tail):
    np.testing.assert_array_equal(read(sound(name) + tail), read(sound(name)))


def rewritten(content: bytes, *fields: tuple[int, str, int]) -> bytes:
    changed = bytearray(content)
    for at, layout, value in fields:
        struct.pack_into(layout, changed, at, value)
    return bytes(changed)


def test_headers_that_were_never_updated_hide_nothing():
    """Sizes of a first flush, of nothing, of a wrap at 4 GB, or unknown: all samples are read."""
    chunks = {
        'wav': (4, '<I'),
        'aiff': (4, '>I'),
        'au': (8, '>I'),
        'w64': (16, '<Q'),
        'caf': (0, ''),
    }
    for name, (outer, layout) in chunks.items():
        content = sound(name)
        whole = read(content)
        start = len(content) - 2 * len(whole)
        inner = {'wav': (start - 4, '<I', 0), 'aiff': (start - 12, '>I', 8), 'au': (8, '>I', 0),
                 'w64': (start - 8, '<Q', 24), 'caf': (start - 12, '>q', 4)}[name]  # fmt: skip
        for size in (1000, 4002):
            fields = [(inner[0], inner[1], size + inner[2])]
            if layout and name != 'au':
                fields.append((outer, layout, start + size - (0 if name == 'w64' else 8)))
            if name == 'aiff':
                fields.append((content.index(b'COMM') + 10, '>I', size // 2))
            np.testing.assert_array_equal(read(rewritten(content, *fields)), whole, err_msg=name)
    content = sound('caf')
    at = len(content) - 2 * len(read(content)) - 12
    np.testing.assert_array_equal(read(rewritten(content, (at, '>q', -1))), read(content))
    content = sound('au')
    np.testing.assert_array_equal(read(rewritten(content, (8, '>I', 0xFFFFFFFF))), read(content))


@pytest.mark.parametrize('sizes', [(0, 0, 0), (0xFFFFFFFFFFFFFFFF,) * 3, (1000, 900, 450)])
def test_rf64_with_wrong_sizes_is_whole(sizes):
    content = sound('rf64')
    at = content.index(b'ds64') + 8
    data = content.index(b'data') + 4
    fields = [(at + 8 * i, '<Q', size) for i, size in enumerate(sizes)]
    np.testing.assert_array_equal(
        read(rewritten(content, *fields, (data, '<I', 0xFFFFFFFF))), read(content)
    )


def test_flac_of_unknown_or_stale_length_is_whole():
    content = sound('flac')
    for total in (0, 3000):
        changed = bytearray(content)
        changed[21], changed[22:26] = changed[21] & 0xF0, total.to_bytes(4, 'big')
        changed[26:42] = bytes(16)  # streams carry no checksum either
        np.testing.assert_array_equal(read(bytes(changed)), read(content))
        assert kind(bytes(changed[:-7])) == 'truncated'


def test_flac_whose_samples_do_not_match_its_checksum_is_named():
    changed = bytearray(sound('flac24'))
    changed[30] ^= 1
    with pytest.raises(wav.SoundError, match='do not match its checksum'):
        read(bytes(changed))


def without_tag(content: bytes) -> bytes:
    run = mpeg._runs(content)[0]
    assert run.info
    return content[run.start + len(run.info) : run.end]


@pytest.mark.parametrize('rate_hz', [8000, 16000, 44100])
@pytest.mark.parametrize('channels', [1, 2])
def test_variable_mp3_without_a_tag_is_read_to_its_last_frame(rate_hz, channels):
    samples = np.stack([tone(rate_hz, 3)] * channels, 1) * np.linspace(0, 1, 3 * rate_hz)[:, None]
    content = without_tag(written('MP3', 'MPEG_LAYER_III', samples, rate_hz))
    found = read(content)
    assert len(found) >= 3 * rate_hz
    with soundfile.SoundFile(io.BytesIO(content)) as file:
        part = file.read(dtype='float32')
    assert len(part) < len(found), 'the test needs a file whose length is estimated too short'
    np.testing.assert_array_equal(found[: len(part)], part)
    power = np.square(found).reshape(len(found), -1).mean(1)
    assert power[-rate_hz // 2 :].mean() > power[:rate_hz].mean()  # it grows to its end


def test_mp3_frames_that_are_missing_are_named():
    content = sound('mp3')
    run = mpeg._runs(content)[0]
    size = mpeg.frame(content[run.start + len(run.info) :][:4])[1]
    assert kind(content[: len(content) // 2]) == 'truncated'
    ends = [m.start() for m in re.finditer(rb'\xff\xf3', content)]
    assert kind(content[: ends[-1]]) == 'truncated'  # between two frames: only the tag tells
    middle = run.start + len(run.info) + size
    assert kind(content[:middle] + content[middle + 7 :]) in ('undecodable', 'truncated')


def pages(content: bytes) -> list[ogg._Page]:
    return list(ogg._pages(content))


def test_ogg_pages_lost_changed_or_without_an_end_are_named():
    content = written('OGG', 'VORBIS', tone(16000, 4))
    found = pages(content)
    assert len(found) >= 4
    third, last = found[2], found[-1]
    assert kind(content[: third.position] + content[third.end :]) in ('undecodable', 'truncated')
    assert kind(content[: last.position]) == 'truncated'
    with pytest.raises(Fault, match='no last page'):
        ogg.links(content[: last.position])


def test_chained_streams_of_different_serials_are_both_read():
    one, two = sound('ogg'), written('OGG', 'VORBIS', tone(16000, 0.3))
    assert len(read(one + two)) == len(read(one)) + len(read(two))


@pytest.mark.parametrize('name', ['m4a', 'webm', 'aac'])
def test_without_pyav_the_extra_is_named(name, monkeypatch):
    content = sound(name)
    original = builtins.__import__

    def absent(module, *args, **kwargs):
        if module == 'av':
            raise ImportError(module)
        return original(module, *args, **kwargs)

    monkeypatch.setattr(builtins, '__import__', absent)
    with pytest.raises(wav.SoundError, match=r"pip install 'ser_jax\[media\]'"):
        read(content)


def test_of_several_audio_streams_one_is_read_and_logged(caplog):
    pytest.importorskip('av')
    content = muxed([tone(44100), tone(44100, 0.5, 880)], 44100, 'aac', 'matroska')
    with caplog.at_level(logging.WARNING):
        samples = read(content)
    assert 'audio stream 1 of 2' in caplog.text
    assert abs(len(samples) / 44100 - 0.5) < 0.06


@pytest.mark.parametrize('name', ['m4a', 'mka'])
def test_tags_that_are_not_utf8_change_nothing(name):
    pytest.importorskip('av')
    changed = sound(name).replace(b'Lavf', b'\xe9\xffvf')
    assert changed != sound(name)
    np.testing.assert_array_equal(read(changed), read(sound(name)))


def test_arguments_that_pyav_dropped_are_not_passed_to_it():
    assert media._lenient('19.0.2') == {} and media._lenient('18.1.0') == {
        'metadata_errors': 'ignore'
    }


def test_media_without_sound_is_named():
    pytest.importorskip('av')
    empty = struct.pack('>I4s', 16, b'ftyp') + b'isom' + bytes(4)
    assert kind(empty) == 'truncated'
    assert boxes.kind(empty) == 'mp4'
