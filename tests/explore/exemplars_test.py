"""Examples are recordings of the corpus at five quantiles; augmentations match their titles."""

import shutil

import numpy as np
import pytest

from ser_jax.audio import features
from ser_jax.contract import InputError
from ser_jax.data.utterances import open_corpora
from ser_jax.explore import augmented, exemplars
from tests.conftest import EMOTIONS, ToneBuilder, tone


@pytest.fixture(scope='module')
def corpus(data_dir):
    return open_corpora(['synthetic'], str(data_dir))


@pytest.fixture(scope='module')
def found(corpus, data_dir):
    return exemplars.examples(corpus, exemplars.Sounds('synthetic', str(data_dir)))


def test_examples_are_at_five_quantiles_of_every_emotion(corpus, found):
    assert [e.emotion for e in found] == [e for e in EMOTIONS for _ in range(5)]
    for emotion in EMOTIONS:
        lengths = np.sort(corpus.seconds[corpus.emotion == emotion])
        picked = [e for e in found if e.emotion == emotion]
        assert [e.quantile for e in picked] == [0.1, 0.3, 0.5, 0.7, 0.9]
        assert [e.seconds for e in picked] == [
            lengths[round(q * 23)] for q in (0.1, 0.3, 0.5, 0.7, 0.9)
        ]


def test_examples_sound_as_recorded(found):
    for e in found[::7]:
        s, emotion, take = e.id.split('_')
        expected = tone(int(s[1:]), EMOTIONS.index(emotion), int(take))
        np.testing.assert_allclose(e.samples, expected, atol=1 / 32768)
        np.testing.assert_allclose(e.mel, features.extract([expected])[0], atol=0.05)
        assert e.rate_hz == 16000 and len(e.spectrogram) == len(e.mel)
        hz = np.median(e.spectrogram.argmax(1)) * 8000 / (e.spectrogram.shape[1] - 1)
        pitch = (200, 500, 1100, 2300)[EMOTIONS.index(e.emotion)] * (1 + 0.02 * int(s[1:]))
        assert hz == pytest.approx(pitch, rel=0.08, abs=32)  # tones warble by 5 %


def test_few_recordings_are_shown_once_each(corpus):
    few = corpus.select(
        (corpus.emotion == 'sad') & (corpus.speaker == 'synthetic_0') & (corpus.channel == 'speech')
    )
    ids = [e.id for e in exemplars.examples(few)]
    assert len(ids) == len(set(ids)) == len(few) == 3
    assert all(e.samples is None and e.spectrogram is None for e in exemplars.examples(few))


def test_sounds_are_found_by_id_wherever_they_lie(corpus, data_dir):
    sounds = exemplars.Sounds('synthetic', str(data_dir))
    assert sounds.config == 'waveform'
    right, _ = sounds(20, corpus.id[20])
    for wrong_place in (0, 95, 10_000):
        np.testing.assert_array_equal(sounds(wrong_place, corpus.id[20])[0], right)
    assert sounds(0, 'nobody') is None and sounds(0, 'zzz') is None


def test_without_samples_the_error_names_the_command(data_dir, tmp_path):
    shutil.copytree(data_dir / 'synthetic' / 'log_mel', tmp_path / 'synthetic' / 'log_mel')
    assert exemplars.built('synthetic', str(tmp_path)) == ('log_mel',)
    with pytest.raises(InputError, match='--config=waveform'):
        exemplars.Sounds('synthetic', str(tmp_path))


def test_log_mel_changes_match_their_titles(corpus):
    frames, mean = corpus.read(0).astype(np.float32), np.full(64, -55.0, np.float32)
    same, slower, faster, softer, louder, down, up, time, bands = augmented.changed_mel(
        frames, mean
    )
    np.testing.assert_array_equal(same.mel, frames)
    assert len(slower.mel) > len(frames) > len(faster.mel)
    for c in (slower, faster):
        assert float(c.title.split()[2].rstrip(':')) == pytest.approx(
            (len(frames) - 1) / (len(c.mel) - 1), abs=0.006
        )
    for c in (softer, louder):
        by = float(c.title.split()[1].replace('−', '-'))
        np.testing.assert_allclose(c.mel - frames, by, atol=0.06)
    for c, sign in ((down, 1), (up, -1)):
        n = sign * int(c.title.split()[0])
        np.testing.assert_allclose(c.mel[:, 20:40], frames[:, 20 + n : 40 + n], atol=1e-4)
    for c, axis in ((time, 1), (bands, 0)):
        hidden = (c.mel == mean).all(axis)
        assert 0 < hidden.sum() < c.mel.shape[1 - axis]
        np.testing.assert_array_equal(
            np.delete(c.mel, np.flatnonzero(hidden), 1 - axis),
            np.delete(frames, np.flatnonzero(hidden), 1 - axis),
        )


def test_waveform_changes_match_their_titles():
    samples = np.concatenate([tone(0, 1, 0), np.zeros(8000, np.float32)])
    same, soft, loud, small, large = augmented.changed_samples(samples)
    np.testing.assert_array_equal(same.samples, samples)
    for c in (soft, loud):
        noise = c.samples - samples
        snr_db = 10 * np.log10((samples**2).mean() / (noise**2).mean())
        assert snr_db == pytest.approx(float(c.title.split()[1]), abs=0.1)
    tail = [float((c.samples[-6000:] ** 2).mean()) for c in (same, small, large)]
    assert tail[0] == 0 < tail[1] < tail[2]
    assert all(len(c.mel) == 1 + len(samples) // 160 for c in (same, soft, loud, small, large))


def test_samples_that_are_not_what_was_built_are_refused(data_dir, tmp_path):
    shutil.copytree(data_dir / 'synthetic' / 'waveform', tmp_path / 'synthetic' / 'waveform')
    path = next(tmp_path.rglob('fingerprint.json'))
    path.write_text(path.read_text().replace('"fingerprint": "', '"fingerprint": "0'))
    with pytest.raises(
        InputError, match=r"corpus 'synthetic' in .*waveform.* is not what was built .* stored 0"
    ):
        exemplars.Sounds('synthetic', str(tmp_path))


def test_other_samples_than_those_of_the_log_mel_are_refused(corpus, data_dir, tmp_path):
    class Other(ToneBuilder, skip_registration=True):
        name, FIRST = ToneBuilder.name, 7

    Other(config='waveform', data_dir=tmp_path).download_and_prepare()
    with pytest.raises(
        InputError,
        match=r'synthetic/\w+ has other samples in the waveform build than in the other one',
    ):
        exemplars.examples(corpus, exemplars.Sounds('synthetic', str(tmp_path)))
