"""The tour runs from its first cell to its last, and shows a sound and two pictures."""

import json
import os
import pathlib

import pytest

TOUR = pathlib.Path(__file__).parents[1] / 'examples' / 'tour.ipynb'


def kinds(cell) -> set[str]:
    return {kind for output in cell['outputs'] for kind in output.get('data', {})}


def test_the_tour_has_ten_cells_without_stored_outputs():
    cells = json.loads(TOUR.read_text())['cells']
    code = [c for c in cells if c['cell_type'] == 'code']
    assert len(code) == 10 and not any(c['outputs'] for c in code)


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.filterwarnings('default')  # of Jupyter's own packages
def test_every_cell_runs(tmp_path):
    nbclient, nbformat = pytest.importorskip('nbclient'), pytest.importorskip('nbformat')
    for package in ('ipykernel', 'espeakng_loader', 'onnxruntime', 'onnx'):
        pytest.importorskip(package)
    notebook = nbformat.read(TOUR, as_version=4)
    place = {'metadata': {'path': str(tmp_path)}}
    os.environ.setdefault('OPENBLAS_NUM_THREADS', '1')
    nbclient.NotebookClient(notebook, timeout=1800, resources=place).execute()
    code = [c for c in notebook.cells if c.cell_type == 'code']
    assert 'audio' in str(code[3].outputs[-1]['data']['text/html'])
    assert 'image/png' in kinds(code[5]) and 'image/png' in kinds(code[7])
    assert 'UAR 0.' in code[8].outputs[-1]['text']
    assert (tmp_path / 'tour' / 'exported' / 'model.onnx').exists()
