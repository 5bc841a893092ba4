"""A run's directory that was damaged: refused in one line, or opened as what it was."""

import json
import pathlib

import hypothesis
import pytest
from hypothesis import strategies as st

from ser_jax import assemble
from ser_jax.contract import InputError
from ser_jax.runs import workdir
from ser_jax.runs.run_files import FILES
from ser_jax.runs.trained import open_begun
from tests.conftest import small_config

ODD = (None, True, 3, -1, 0, 2.5, 1e300, 'x', '', [], {}, [1], ['a'], {'a': 1}, [[1, 2]], [None])


@pytest.fixture(scope='module')
def begun(data_dir, tmp_path_factory) -> pathlib.Path:
    """The directory of a run that was laid out and not trained."""
    directory = tmp_path_factory.mktemp('begun') / 'run'
    run = assemble.open_run(small_config(data_dir))
    workdir.write(workdir.describe(run, directory), directory)
    return directory


def places(value, path=()) -> list[tuple]:
    """The paths of everything below a JSON value; of lists the first three."""
    keys = (
        list(value)
        if isinstance(value, dict)
        else range(min(3, len(value)))
        if isinstance(value, list)
        else ()
    )
    return [place for k in keys for place in ((*path, k), *places(value[k], (*path, k)))]


@pytest.mark.parametrize('name', FILES)
@hypothesis.settings(max_examples=25, derandomize=True)
@hypothesis.given(data=st.data())
def test_odd_values_in_the_files_of_an_earlier_version_are_opened_or_refused_in_one_line(
    begun, name, data
):
    (begun / 'checksums.json').unlink(missing_ok=True)
    path = begun / f'{name}.json'
    before = path.read_bytes()
    content = json.loads(before)
    *above, last = data.draw(st.sampled_from(places(content)))
    at = content
    for key in above:
        at = at[key]
    if data.draw(st.booleans()) and isinstance(at, dict):
        del at[last]
    else:
        at[last] = data.draw(st.sampled_from(ODD))
    path.write_text(json.dumps(content))
    try:
        open_begun(begun)
    except InputError as e:
        assert '\n' not in str(e)
    finally:
        path.write_bytes(before)
