"""Rows of a table of predictions: sides, conditions, and the mean of members."""

import numpy as np
import pyarrow as pa

from ser_jax.scoring import rows, scores
from tests.scoring.scores_test import EMOTIONS, predictions

P = [f'p_{e}' for e in EMOTIONS]


def drawn(table: pa.Table, seed: int = 0) -> pa.Table:
    """The table with random probabilities and their top class as the answer."""
    p = np.random.default_rng(seed).dirichlet(np.ones(3), table.num_rows)
    for name, values in zip(P, p.T, strict=True):
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
    answers = pa.array(np.array(EMOTIONS, object)[p.argmax(1)])
    return table.set_column(table.column_names.index('predicted'), 'predicted', answers)


def with_columns(table: pa.Table, **columns) -> pa.Table:
    for name, value in columns.items():
        table = table.append_column(name, pa.array([value] * table.num_rows))
    return table


def test_tables_without_side_and_condition_are_clean_and_of_the_test_side():
    table = predictions()
    assert rows.selected(table).equals(table) and rows.conditions(table) == []
    assert rows.selected(table, 'valid').num_rows == 0
    assert rows.selected(table, condition='white_0db').num_rows == 0


def test_sides_and_conditions_are_told_apart():
    table = pa.concat_tables(
        [
            with_columns(predictions(), side='test', condition='clean'),
            with_columns(predictions(), side='valid', condition='clean'),
            with_columns(predictions(), side='test', condition='white_0db'),
        ]
    )
    n = predictions().num_rows
    assert rows.selected(table).num_rows == n
    assert rows.selected(table, 'valid').num_rows == n
    assert rows.selected(table, condition='white_0db').num_rows == n
    assert rows.conditions(table) == ['white_0db']
    old = pa.concat_tables([predictions(), table], promote_options='default')
    assert rows.selected(old).num_rows == 2 * n  # rows of an old table have no side


def test_the_mean_is_over_the_members_that_scored_an_utterance():
    table = drawn(predictions(seeds=3))
    mean = rows.mean_of_members(table)
    assert mean.num_rows == 72 and set(mean['member'].to_pylist()) == {'mean'}
    of_id: dict = {}
    for row in table.to_pylist():
        of_id.setdefault(row['id'], []).append([row[name] for name in P])
    for row in mean.to_pylist():
        expected = np.mean(of_id[row['id']], 0)
        np.testing.assert_allclose([row[name] for name in P], expected, atol=1e-12)
        assert row['predicted'] == EMOTIONS[expected.argmax()]


def test_the_mean_of_one_member_is_that_member_and_row_order_changes_nothing():
    table = drawn(predictions(seeds=1))
    mean = rows.mean_of_members(table)
    assert mean['predicted'].to_pylist() == table['predicted'].to_pylist()
    order = np.random.default_rng(1).permutation(table.num_rows)
    other = rows.mean_of_members(table.take(pa.array(order)))
    keep = ['id', 'predicted', *P]
    assert other.select(keep).sort_by('id').equals(mean.select(keep).sort_by('id'))


def test_runs_corpora_modalities_and_conditions_are_averaged_apart():
    parts = [
        drawn(predictions(run='runs/b'), 1),
        drawn(predictions(modalities=('audio', 'fused')), 2),
        drawn(predictions(corpus='tess'), 3),
    ]
    together = rows.mean_of_members(pa.concat_tables(parts))
    apart = pa.concat_tables([rows.mean_of_members(p) for p in parts])
    key = [('run', 'ascending'), ('corpus', 'ascending'), ('modality', 'ascending')]
    order = [*key, ('id', 'ascending')]
    assert together.sort_by(order).equals(apart.sort_by(order))


def test_validation_rows_are_averaged_within_their_fold():
    table = with_columns(drawn(predictions()), side='valid', condition='clean')
    both = pa.concat_tables([table, table.set_column(4, 'fold', pa.array([7] * table.num_rows))])
    assert rows.mean_of_members(both).num_rows == 2 * rows.mean_of_members(table).num_rows


def test_a_table_without_probabilities_has_no_mean():
    table = predictions().drop_columns([*P, 'p_boredom'])
    assert rows.mean_of_members(table).num_rows == 0


def test_the_mean_of_good_members_is_a_score_of_its_own():
    table = drawn(predictions(seeds=3))
    single, mean = scores.with_means(table)
    assert (single.answer, mean.answer) == ('member', 'mean')
    assert mean.utterances == single.utterances and mean.members == single.members
    assert not mean.incomplete and 'mean of members' in str(mean)
    (only,) = scores.with_means(drawn(predictions(seeds=1)))  # both are the same
    assert only.answer == 'member'
