"""The decoder process: damaged files neither crash nor hang it, its memory and time are bounded."""

import asyncio
import collections
import io
import random
import time

import numpy as np
import pytest
import soundfile

from ser_jax.serving import decoder
from ser_jax.serving.decoding import Decoders, display_name
from ser_jax.serving.failures import Failure
from ser_jax.serving.limits import Limits
from tests.audio import sound_files
from tests.serving import mutated
from tests.serving.server import resident_mb, wav


@pytest.fixture
def decoders():
    """One decoder with small limits."""
    made = Decoders(Limits(decoders=1, max_seconds=60, decode_s=20, decoder_mb=600))
    yield made
    made.close()


def decoded(decoders: Decoders, content: bytes):
    """The samples of a file, or the failure."""
    try:
        return asyncio.run(decoders.decode(io.BytesIO(content), 'x', 16000))
    except Failure as e:
        return e


@pytest.mark.parametrize('name', sound_files.ALL)
def test_the_length_of_a_file_is_known_before_it_is_decoded(name):
    content = sound_files.sound(name)
    samples, rate_hz = soundfile_or_media(content)
    seconds = len(samples) / rate_hz
    assert decoder.is_sound(content)
    assert decoder.least_seconds(content) == pytest.approx(seconds, abs=0.12)
    with pytest.raises(decoder.wav.SoundError, match='lasts') as refused:
        decoder.decode(content, 16000, 0.2, 'x')
    assert refused.value.kind == 'too long'


def soundfile_or_media(content: bytes):
    return decoder.wav.read(io.BytesIO(content))


@pytest.mark.slow
def test_ten_thousand_damaged_headers_neither_crash_nor_hang_nor_fill_the_memory(decoders):
    choose, found = random.Random(2026), collections.Counter()
    began, longest = time.monotonic(), 0.0
    decoders.start()
    (process,) = decoders._processes
    for number in range(10_000):
        name = mutated.FORMATS[number % len(mutated.FORMATS)]
        content = mutated.file(sound_files.sound(name), choose)
        at = time.monotonic()
        result = decoded(decoders, content)
        longest = max(longest, time.monotonic() - at)
        found[getattr(result, 'status_code', 200)] += 1
        if isinstance(result, Failure):
            assert result.message and result.remedy
        else:
            assert np.isfinite(result.samples).all() and result.samples.size
    resident = resident_mb(process.start().pid)
    print(
        dict(found), f'longest {longest:.2f} s, {resident:.0f} MB, {time.monotonic() - began:.0f} s'
    )
    assert set(found) <= {200, 413, 415, 422} and decoders.restarts == 0
    assert resident < 600 and longest < 20


def test_no_damaged_header_meets_an_unexpected_error():
    """The function of the process, where an error that no check expects is visible."""
    choose = random.Random(7)
    for number in range(400):
        name = mutated.FORMATS[number % len(mutated.FORMATS)]
        content = mutated.file(sound_files.sound(name), choose)
        about, samples = decoder.reply(content, 16000, 60.0, 'x')
        assert 'bug' not in about, (name, about)
        assert ('message' in about) == (samples.size == 0)


def endless() -> bytes:
    """Ten hours of silence whose header has no length."""
    file = io.BytesIO()
    with soundfile.SoundFile(file, 'w', 4000, 1, format='FLAC') as sound:
        for _ in range(600):
            sound.write(np.zeros(60 * 4000, np.int16))
    content = bytearray(file.getvalue())
    content[21] &= 0xF0
    content[22:42] = bytes(20)  # number of samples and checksum
    return bytes(content)


@pytest.mark.parametrize(('decode_s', 'status'), [(0.3, 422), (240, 413)])
def test_a_file_that_takes_too_much_time_or_memory_ends_with_words(decode_s, status):
    made = Decoders(Limits(decoders=1, max_seconds=60, decode_s=decode_s, decoder_mb=400))
    try:
        made.start()
        restarts, result = made.restarts, decoded(made, endless())
        assert isinstance(result, Failure) and result.status_code == status, result
        assert made.restarts == restarts + (status == 422)
        (process,) = made._processes
        assert resident_mb(process.start().pid) < 600
        if status == 413:
            assert decoded(made, wav()).seconds == 1.0
    finally:
        made.close()


@pytest.mark.parametrize(
    ('name', 'shown'),
    [
        ('a.WAV', 'the recording (.wav)'),
        ('../../etc/passwd', 'the recording'),
        ('a.<b>', 'the recording'),
        (None, 'the recording'),
        ('a.' + 'x' * 99, 'the recording'),
    ],
)
def test_names_of_uploads_are_not_repeated(name, shown):
    assert display_name(name) == shown


def test_a_header_cannot_promise_less_than_the_frames_of_an_mp3():
    content = wav(1.0, 16000, 'MP3')
    assert decoder.least_seconds(content * 100) > 90
