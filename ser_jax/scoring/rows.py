"""Rows of a table of predictions: their side and condition, and the mean of members.

The columns `side` and `condition` are optional: without them all rows are of the test side, clean.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

TEST, VALIDATION = 'test', 'valid'
CLEAN = 'clean'
MEAN = 'mean'  # in the column `member`
_DEFAULTS = {'side': TEST, 'condition': CLEAN}


def selected(table: pa.Table, side: str = TEST, condition: str = CLEAN) -> pa.Table:
    """Return the rows of one side and condition."""
    for name, value in (('side', side), ('condition', condition)):
        if name in table.column_names:
            table = table.filter(pc.equal(pc.fill_null(table[name], _DEFAULTS[name]), value))
        elif value != _DEFAULTS[name]:
            table = table.slice(0, 0)
    return table


def conditions(table: pa.Table) -> list[str]:
    """Return the conditions of a table but 'clean', in order of appearance."""
    if 'condition' not in table.column_names:
        return []
    return [c for c in dict.fromkeys(table['condition'].to_pylist()) if c not in (None, CLEAN)]


def classes(table: pa.Table) -> list[str]:
    """Return the classes with probabilities; those of other runs in the table are all null."""
    names = [c for c in table.column_names if c.startswith('p_')]
    return [c.removeprefix('p_') for c in names if table[c].null_count < table.num_rows]


def probabilities(table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities [N C] of `classes`, 0 where null, and the true classes [N], -1 = none.

    C is at least 1.
    """
    words = classes(table)
    p = np.zeros((table.num_rows, max(1, len(words))))
    for i, word in enumerate(words):
        p[:, i] = np.nan_to_num(table[f'p_{word}'].to_numpy().astype(float))
    place = {word: i for i, word in enumerate(words)}
    truth = np.array([place.get(e, -1) for e in table['emotion'].to_pylist()], np.int64)
    return p, truth


def mean_of_members(table: pa.Table) -> pa.Table:
    """Return a row per utterance with the mean probabilities of the members that scored it.

    On the test side these are the members that never trained on its speaker (all, for a corpus of
    no fold); on the validation side, the seeds of one fold. Rows of other runs, corpora, protocols,
    modalities, sides and conditions stay apart. `member` is 'mean', `seed` 0; rows without
    probabilities are left out.
    """
    names = [f'p_{word}' for word in classes(table)]
    if not names:
        return table.slice(0, 0)
    for name, value in _DEFAULTS.items():
        if name not in table.column_names:
            table = table.append_column(name, pa.array([value] * table.num_rows))
    validated = pc.equal(table['side'], VALIDATION)
    turn = pc.if_else(validated, table['fold'], pa.scalar(0, table['fold'].type))
    keys = ['run', 'corpus', 'protocol', 'modality', 'side', 'condition', 'id']
    numbered = table.select([*keys, *names]).append_column('_turn', turn)
    numbered = numbered.append_column('_row', pa.array(np.arange(table.num_rows)))
    asked = [('_row', 'min'), *((c, 'mean') for c in names)]
    grouped = numbered.group_by([*keys, '_turn'], use_threads=False).aggregate(asked)
    grouped = grouped.sort_by('_row_min')
    mean = table.take(grouped['_row_min'])
    for c in names:
        values = grouped[f'{c}_mean'].cast(table[c].type)
        mean = mean.set_column(mean.column_names.index(c), c, values)
    p = np.stack([np.nan_to_num(mean[c].to_numpy().astype(float), nan=-1.0) for c in names], 1)
    mean = mean.filter(pa.array(p.max(1) >= 0))
    words = np.array([c.removeprefix('p_') for c in names], object)
    answered = words[p[p.max(1) >= 0].argmax(1)] if mean.num_rows else words[:0]
    same = {
        'predicted': pa.array(answered, pa.string()),
        'member': pa.array([MEAN] * mean.num_rows, pa.string()),
        'seed': pa.array(np.zeros(mean.num_rows), mean['seed'].type),
    }
    for name, values in same.items():
        mean = mean.set_column(mean.column_names.index(name), name, values)
    return mean
