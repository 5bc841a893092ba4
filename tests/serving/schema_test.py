"""The server against its own description: Schemathesis finds nothing."""

import pytest
from hypothesis import strategies as st

from tests.audio import sound_files

schemathesis = pytest.importorskip('schemathesis')
checks = pytest.importorskip('schemathesis.checks')
RECORDINGS = [sound_files.sound(name) for name in ('wav', 'flac', 'ogg', 'mp3')]

# A description cannot define a recording, so that most generated files are refused rightly.
schemathesis.openapi.media_type('application/octet-stream', st.sampled_from(RECORDINGS))
schemathesis.openapi.format('binary', st.sampled_from(RECORDINGS) | st.binary(max_size=99))


@pytest.fixture(scope='session')
def described(server):
    """The description of the running server."""
    found = schemathesis.openapi.from_url(f'{server.url}/openapi.json')
    found.config.generation.update(max_examples=20)
    return found


schema = schemathesis.pytest.from_fixture('described')


@pytest.mark.slow
@schema.parametrize()
def test_no_generated_request_contradicts_the_description(case):
    refused = [checks.CHECKS.get_one('positive_data_acceptance')]
    response = case.call_and_validate(excluded_checks=refused)
    if response.status_code >= 400:
        body = response.json()
        assert set(body['error']) == {'code', 'message', 'remedy'}
