"""Bodies: withheld answers, transcripts, remedies of errors, packages that are missing."""

import dataclasses
import types

import numpy as np
import pytest

from ser_jax import serve
from ser_jax.contract import Answer, InputError, Window
from ser_jax.serving import failures, schemas
from ser_jax.serving.limits import Limits


@dataclasses.dataclass(frozen=True)
class Judged(Answer):
    """Answer of a predictor with a voice gate."""

    voice: str = ''


def judged(voice: str) -> schemas.Prediction:
    p = np.array([0.75, 0.25], np.float32)
    windows = [Window(0.0, 1.0, p), Window(1.0, 2.0, p * np.nan, 'silent')]
    answer = Judged(('sad', 'happy'), p, {'audio': p}, windows, p, p * 0, voice)
    return schemas.prediction(answer, run='x', duration_s=2.0, calibrated=False)


@pytest.mark.parametrize('voice', ['', 'voice', 'uncertain'])
def test_answers_for_voices_are_given(voice):
    body = judged(voice)
    assert body.voice == (voice or None) and body.emotion == 'sad' and body.probability == 0.75
    assert body.windows[1].probabilities is None and body.windows[1].problem == 'silent'


def test_answers_without_a_human_voice_are_withheld():
    body = judged('unknown')
    assert body.voice == 'unknown' and body.emotion is None and body.probabilities is None
    assert body.top == [] and body.modalities == {} and len(body.windows) == 2
    body.model_dump_json()


def test_transcripts_without_a_confidence_have_none():
    facts = {'text': 'hello', 'engine': 'x', 'language': 'en', 'reason': ''}
    for confidence, shown in ((float('nan'), None), (0.5, 0.5)):
        found = types.SimpleNamespace(**facts, confidence=confidence)
        assert schemas.transcript(found).confidence == shown


def test_the_last_clause_of_an_error_is_its_remedy():
    found = failures.of_input(InputError('x: silent, all of it; speak up'))
    assert (found.message, found.remedy) == ('x: silent, all of it', 'speak up')
    found = failures.of_input(InputError('x: silent'))
    assert found.message == 'x: silent' and found.remedy


@pytest.mark.parametrize('name', [f.name for f in dataclasses.fields(Limits)])
def test_limits_out_of_range_are_refused(name):
    for value in (0, -1, float('nan'), float('inf')):
        with pytest.raises(InputError, match=f'--{name}'):
            Limits(**{name: value})


def test_a_missing_package_is_named_with_its_command(monkeypatch):
    monkeypatch.setattr(serve, '_MODULES', ('numpy', 'no_such_package'))
    with pytest.raises(InputError, match=r"no_such_package .* pip install 'ser_jax\[serve\]'"):
        serve.check_installed()
