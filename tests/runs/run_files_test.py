"""Any byte of a run's JSON files that is lost or changed is noticed, or changes nothing."""

import json
import pathlib
import re

import hypothesis
import pytest
from hypothesis import strategies as st

from ser_jax.contract import InputError
from ser_jax.runs import run_files
from tests.conftest import small_config

MEMBERS = ('fold0_seed0', 'fold1_seed0')
COLUMNS = ('utterance', 'speaker', 'emotion', 'text_sha256', 'source_sha256')


def content() -> dict:
    """The files of a run of two members."""
    return {
        'config': json.loads(small_config('somewhere').to_json()),
        'environment': {
            'python': '3.11',
            'fingerprints': {'synthetic': 'ab' * 32},
            'begins_with': '',
        },
        'folds': {
            'protocol': 'speakers_k',
            'emotions': ['happy', 'sad'],
            'members': {
                m: {'train': ['synthetic/a'], 'valid': [], 'test': [f'synthetic/{m}']}
                for m in MEMBERS
            },
        },
        'normalization': {m: {'mean': [-40.25, -41.5], 'std': [9.5, 8.25]} for m in MEMBERS},
        'vocabulary': {m: ['the', 'tears'] for m in MEMBERS},
        'corpora': [
            {
                'name': 'synthetic',
                'title': 't',
                'licence': 'l',
                'research_only': False,
                'emotions': ['happy', 'sad'],
            }
        ],
        'utterances': {column: ['x'] for column in COLUMNS},
    }


@pytest.fixture(scope='module')
def run(tmp_path_factory) -> pathlib.Path:
    directory = tmp_path_factory.mktemp('run')
    run_files.write(directory, content())
    return directory


@pytest.fixture(params=sorted([*content(), 'checksums']))
def spoilt(run, request):
    """A function that has a file of the run hold other bytes; undone afterwards."""
    path = run / f'{request.param}.json'
    before = path.read_bytes()
    yield path, before
    path.write_bytes(before)


def opened(directory: pathlib.Path) -> tuple[dict, dict | None]:
    return run_files.read(directory), run_files.read_inventory(directory)


def test_what_was_written_is_read_again(run):
    files, inventory = opened(run)
    assert {**files, 'utterances': inventory} == content()
    assert not run_files.changed(run)


def one_line(path: pathlib.Path, spoil) -> bool:
    """Return True if a damaged run is refused in one line, False if it is read unchanged."""
    try:
        files, inventory = opened(path.parent)
    except InputError as e:
        assert path.parent.name in str(e) and '\n' not in str(e) and len(str(e)) < 500
        return True
    assert {**files, 'utterances': inventory} == content(), spoil
    return False


fuzzed = hypothesis.settings(
    max_examples=60,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)


@fuzzed
@hypothesis.given(share=st.floats(0, 1, exclude_max=True))
def test_a_cut_is_noticed(spoilt, share):
    path, before = spoilt
    path.write_bytes(before[: int(share * len(before))])
    assert one_line(path, share)


@fuzzed
@hypothesis.given(share=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_noticed_or_harmless(spoilt, share, bit):
    path, before = spoilt
    at = int(share * len(before))
    path.write_bytes(before[:at] + bytes([before[at] ^ (1 << bit)]) + before[at + 1 :])
    one_line(path, (at, bit))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@pytest.mark.parametrize('name', sorted(content()))
@fuzzed
@hypothesis.given(data=st.data())
def test_a_run_of_an_earlier_version_is_refused_where_its_files_have_another_form(
    tmp_path, name, data
):
    """Without checksums: anything anywhere in a file is read as a run, or refused in one line."""
    files = content()
    at, keys = files, [name]
    while data.draw(st.booleans()) and isinstance(at[keys[-1]], dict | list) and at[keys[-1]]:
        at = at[keys[-1]]
        keys.append(
            data.draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
        )
    at[keys[-1]] = data.draw(JSON)
    run_files.write(tmp_path, files)
    (tmp_path / 'checksums.json').unlink()
    try:
        opened(tmp_path)
    except InputError as e:
        assert '\n' not in str(e) and re.search(r'/\w+\.json is damaged', str(e)), e


@pytest.mark.parametrize(
    'name, value, reason',
    [
        ('folds', [], 'its content is a list, expected an object'),
        ('folds', {'protocol': 'x', 'emotions': ['a', 'b']}, "its content lacks 'members'"),
        (
            'folds',
            {
                'protocol': 'x',
                'emotions': ['a', 'b'],
                'members': {'one': {'train': [], 'valid': [], 'test': []}},
            },
            "'one' is not the name of a member",
        ),
        (
            'normalization',
            {m: {'mean': [float('nan')], 'std': [1.0]} for m in MEMBERS},
            'nan, expected a finite number',
        ),
        (
            'normalization',
            {m: {'mean': [0.0], 'std': [1.0, 2.0]} for m in MEMBERS},
            'means and deviations differ in length',
        ),
        (
            'normalization',
            {MEMBERS[0]: {'mean': [0.0], 'std': [1.0]}},
            'its members differ from those of folds.json: fold1_seed0',
        ),
        ('vocabulary', {m: 'words' for m in MEMBERS}, 'fold0_seed0 is text, expected a list'),
        ('corpora', [{'name': 'x'}], "lacks 'title'"),
        ('environment', {'python': '3.11'}, "lacks 'fingerprints'"),
        (
            'config',
            {**content()['config'], 'train': {'epochs': '3'}},
            "train.epochs is '3', expected a finite number",
        ),
        (
            'config',
            {**content()['config'], 'train': {'epochs': 2.5}},
            'train.epochs is 2.5, expected a whole number',
        ),
        ('config', {**content()['config'], 'optim': 3}, 'optim is a number, expected an object'),
    ],
)
def test_what_is_of_another_form_is_named(tmp_path, name, value, reason):
    run_files.write(tmp_path, {**content(), name: value})
    with pytest.raises(InputError, match=rf'{name}\.json is damaged \(.*{reason}'):
        run_files.read(tmp_path)


def test_a_missing_file_and_a_missing_checksum_are_named(run, tmp_path):
    run_files.write(tmp_path, content())
    (tmp_path / 'vocabulary.json').unlink()
    with pytest.raises(
        InputError, match=r'is not a complete run: vocabulary\.json is missing; restore it'
    ):
        run_files.read(tmp_path)
    run_files.write(tmp_path, content())
    (tmp_path / 'checksums.json').write_text('{}')
    with pytest.raises(
        InputError, match=r"checksums\.json is damaged \(checksums.json lacks 'config\.json'"
    ):
        run_files.read(tmp_path)


def test_a_file_that_was_edited_is_named_and_may_still_be_looked_at(tmp_path):
    run_files.write(tmp_path, content())
    words = {**content()['vocabulary'], MEMBERS[0]: ['other']}
    (tmp_path / 'vocabulary.json').write_text(json.dumps(words))
    with pytest.raises(InputError, match=r'vocabulary\.json was changed since training wrote it'):
        run_files.read(tmp_path)
    assert run_files.read(tmp_path, checked=False)['vocabulary'] == words
    assert run_files.changed(tmp_path) == ['vocabulary.json']


def test_damaged_lines_of_the_history_are_counted(tmp_path):
    good = {
        'kind': 'epoch',
        'member': MEMBERS[0],
        'epoch': 1,
        'train_loss': 0.5,
        'valid_loss': None,
        'valid_uar': 0.3,
    }
    bad = [{**good, 'epoch': 'one'}, {**good, 'valid_uar': 'high'}, {'epoch': 2}, [1], 3]
    written = [*map(json.dumps, [good, *bad, good]), '{"kind": "ep']
    (tmp_path / 'metrics.jsonl').write_text('\n'.join(written))
    lines = []
    assert run_files.history(tmp_path, lines.append) == [good, good]
    assert lines == [
        f'{tmp_path / "metrics.jsonl"}: 5 of 8 lines are damaged; they are left out of the '
        'learning curves'
    ]
    (tmp_path / 'metrics.jsonl').write_bytes(b'\xff\xfe')
    assert run_files.history(tmp_path, lines.append) == [] and 'cannot be read' in lines[1]
