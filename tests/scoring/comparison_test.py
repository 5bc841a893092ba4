"""Comparisons: planted differences are found, absent ones are not, intervals cover the truth."""

import itertools

import numpy as np
import pyarrow as pa
import pytest
import scipy.stats

from ser_jax.contract import InputError
from ser_jax.scoring import comparison, intervals, rankings, scores
from ser_jax.scoring.candidates import Candidate, candidates, objection
from ser_jax.scoring.metrics import Predictions

EMOTIONS = ('angry', 'happy', 'neutral', 'sad')
EACH = 6  # utterances of each emotion and speaker


def table(
    skill=0.6, seed=0, speakers=12, seeds=1, run='runs/a', protocol='speakers_k', corpus='ravdess',
    emotions=EMOTIONS, own=0.0,
):  # fmt: skip
    """Predictions of a system that is right with probability `skill`, `own` its sd by speaker."""
    g, result = np.random.default_rng(seed), []
    bonus = own * g.standard_normal(speakers)
    for k, s, e, n in np.ndindex(seeds, speakers, len(emotions), EACH):
        right = g.random() < skill + bonus[s]
        answer = emotions[e] if right else emotions[(e + 1 + n) % len(emotions)]
        result.append(
            {
                'run': run, 'config': 'm', 'protocol': protocol, 'member': f'fold{s % 2}_seed{k}',
                'fold': s % 2, 'seed': k, 'modality': 'audio', 'corpus': corpus,
                'id': f'{s}-{e}-{n}', 'speaker': f'{corpus}_{s}', 'sex': ('male', 'female')[s % 2],
                'emotion': emotions[e], 'predicted': answer,
                **{f'p_{c}': 0.7 if c == answer else 0.1 for c in emotions},
            }
        )  # fmt: skip
    return pa.Table.from_pylist(result)


def candidate(name='a', **options) -> Candidate:
    (only,) = candidates(table(run=f'runs/{name}', **options), name)
    return only


def study(g, speakers: int, gap: float) -> tuple[Predictions, Predictions]:
    """Two systems whose UARs differ by about `gap` for each speaker, more for some than others."""
    truth = np.tile(np.repeat(np.arange(4), EACH), speakers)
    speaker = np.repeat(np.arange(speakers), 4 * EACH)
    hard, ids = g.uniform(size=len(truth)), np.arange(len(truth))
    common = 0.1 * g.standard_normal(speakers)[speaker]
    result = []
    for side in (-0.5, 0.5):
        chance = 0.55 + side * gap + common + 0.08 * g.standard_normal(speakers)[speaker]
        right = 0.6 * hard + 0.4 * g.uniform(size=len(truth)) < chance
        answer = np.where(right, truth, (truth + g.integers(1, 4, len(truth))) % 4)
        result.append(Predictions(truth, answer, speaker, None, ids))
    return result[0], result[1]


@pytest.mark.parametrize('speakers', [3, 5, 20])
def test_intervals_cover_the_true_difference(speakers):
    """In 95 % of simulated studies, within 3 standard errors; not so wide that all intervals do."""
    g, studies = np.random.default_rng(speakers), 200
    large = study(np.random.default_rng(1), 4000, 0.1)
    truth = np.mean(large[1].truth == large[1].predicted)
    truth -= np.mean(large[0].truth == large[0].predicted)  # balanced, so UAR is accuracy
    covered, false = 0, 0
    for i in range(studies):
        a, b = study(g, speakers, 0.1)
        d, _ = intervals.paired_difference(b, a, 4, 200, i)
        covered += d.low <= truth <= d.high
        a, b = study(g, speakers, 0.0)
        false += intervals.paired_difference(b, a, 4, 200, i)[0].excludes_zero
    assert 0.95 - 3 * (0.95 * 0.05 / studies) ** 0.5 <= covered / studies < 1
    assert 0 < false / studies <= 0.05 + 3 * (0.95 * 0.05 / studies) ** 0.5


def test_a_planted_difference_is_shown_and_named():
    a, b = candidate('a', skill=0.5), candidate('b', skill=0.7, seed=1)
    c = comparison.compare(a, b)
    assert c.shown and c.uar.low > 0 and c.mcnemar < 0.05
    assert c.uar.value == pytest.approx(b.score.uar.value - a.score.uar.value)
    assert str(c).startswith('b is better than a by ') and str(c).endswith(': shown')
    reverse = comparison.compare(b, a)
    assert str(reverse) == str(c)  # the better one comes first, whatever the order


def test_an_absent_difference_is_not_shown():
    c = comparison.compare(candidate('a', seed=2), candidate('b', seed=3))
    assert not c.shown and c.uar.low < 0 < c.uar.high and str(c).endswith(': not shown')


def test_a_difference_in_one_class_or_speaker_is_found_there():
    a = table(skill=0.6)
    columns = [a[c].to_pylist() for c in ('emotion', 'speaker', 'predicted')]
    right = [
        ((e == 'sad' or s == 'ravdess_3') and e) or p for e, s, p in zip(*columns, strict=True)
    ]
    b = a.set_column(a.column_names.index('predicted'), 'predicted', pa.array(right))
    for e in EMOTIONS:
        p = pa.array(np.where(np.array(right) == e, 0.7, 0.1))
        b = b.set_column(b.column_names.index(f'p_{e}'), f'p_{e}', p)
    (left,), (other,) = candidates(a, 'a'), candidates(b, 'b')
    c = comparison.compare(left, other)
    assert [e for e, d in c.recall.items() if d.excludes_zero] == ['sad']
    best = max(c.speakers, key=lambda s: c.speakers[s].value)
    assert best == 'ravdess_3' and c.speakers[best].excludes_zero
    assert c.speakers[best].by == 'utterance' and c.speakers[best].units == 4 * EACH
    assert c.only_a == 0 and c.only_b > 0


@pytest.mark.parametrize('seeds', [(1, 1), (2, 1), (2, 3)])
def test_swapped_sides_change_the_sign_alone(seeds):
    a, b = candidate('a', seeds=seeds[0]), candidate('b', seed=1, seeds=seeds[1])
    c, reverse = comparison.compare(a, b), comparison.compare(b, a).swapped()
    for name in ('uar', 'recall', 'speakers', 'only_a', 'only_b', 'mcnemar', 'utterances'):
        assert getattr(c, name) == getattr(reverse, name), name


def test_a_run_against_itself_differs_by_exactly_nothing():
    a = candidate(seeds=2)
    c = comparison.compare(a, a)
    for d in (c.uar, *c.recall.values(), *c.speakers.values()):
        assert d[:4] == (0, 0, 0, 1)
    assert c.mcnemar == 1 and not c.shown and 'differ by 0.0 points' in str(c)


def test_rows_in_any_order_give_the_same_comparison():
    a, b = table(seeds=2), table(seeds=2, seed=1, run='runs/b')
    order = pa.array(np.random.default_rng(5).permutation(a.num_rows))
    first, second = (
        comparison.compare(*candidates(x, 'a'), *candidates(y, 'b'))
        for x, y in ((a, b), (a.take(order), b.take(order[::-1])))
    )
    assert (first.uar, first.recall, first.speakers) == (
        second.uar,
        second.recall,
        second.speakers,
    )
    assert (first.only_a, first.only_b) == (second.only_a, second.only_b)


def test_a_comparison_agrees_with_the_paired_interval_of_scores():
    a, b = table(seeds=2), table(seed=1, run='runs/b')
    c = comparison.compare(*candidates(a, 'a'), *candidates(b, 'b'))
    assert c.uar.value == pytest.approx(scores.paired_interval(b, a).value, abs=1e-12)
    for name, d in c.recall.items():
        sides = [scores.scores_by(t)[0].recall[name].value for t in (b, a)]
        assert d.value == pytest.approx(sides[0] - sides[1], abs=1e-12)


@pytest.mark.parametrize('only_a, only_b', [(0, 0), (0, 6), (3, 9), (9, 3), (5, 5), (40, 61)])
def test_mcnemar_is_the_exact_binomial_test(only_a, only_b):
    n = only_a + only_b
    tail = scipy.stats.binom.cdf(min(only_a, only_b), n, 0.5) if n else 1
    assert comparison.mcnemar(only_a, only_b) == pytest.approx(min(1, 2 * tail))


def test_mcnemar_counts_the_answers_of_the_mean_of_members():
    a = table(seeds=3, skill=0.5)
    c = comparison.compare(*candidates(a, 'a'), candidate('b', seed=1))
    votes: dict = {}
    for row in a.to_pylist():
        votes.setdefault(row['id'], []).append([row[f'p_{e}'] for e in EMOTIONS])
    truth = {row['id']: row['emotion'] for row in a.to_pylist()}
    right_a = {i: EMOTIONS[int(np.mean(v, 0).argmax())] == truth[i] for i, v in votes.items()}
    right_b = {
        r['id']: r['emotion'] == r['predicted'] for r in table(seed=1, run='runs/b').to_pylist()
    }
    assert c.only_a == sum(right_a[i] and not right_b[i] for i in truth)
    assert c.only_b == sum(right_b[i] and not right_a[i] for i in truth)


def test_holm_corrects_in_order_of_the_p_values():
    assert comparison.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert comparison.holm([0.6, 0.5]) == [1, 1] and comparison.holm([]) == []
    g = np.random.default_rng(0)
    p = g.random(9).tolist()
    corrected = comparison.holm(p)
    assert all(x >= y for x, y in zip(corrected, p, strict=True))
    assert np.argsort(p).tolist() == np.argsort(corrected, kind='stable').tolist() or 1 in corrected


def test_only_the_common_part_is_compared_and_counted():
    whole, part = candidate('a'), candidate('b', speakers=5, seed=1)
    c = comparison.compare(whole, part)
    assert (c.utterances, c.speaker_count) == (5 * 4 * EACH, 5)
    assert c.share == (pytest.approx(5 / 12), 1)
    assert any('120 of 288 and 120' in m for m in c.marks)
    (same,) = candidates(table().filter(pa.compute.is_in(
        table()['speaker'], pa.array([f'ravdess_{s}' for s in range(5)]))), 'a')  # fmt: skip
    assert c.uar == comparison.compare(same, part).uar


def test_comparisons_without_meaning_are_refused_in_words():
    a = candidate('a')
    renamed = table(run='runs/b')
    words = [e if e != 'sad' else 'neutral' for e in renamed['emotion'].to_pylist()]
    merged = renamed.set_column(renamed.column_names.index('emotion'), 'emotion', pa.array(words))
    other = [s.replace('_3', '_33') for s in renamed['speaker'].to_pylist()]
    moved = renamed.set_column(renamed.column_names.index('speaker'), 'speaker', pa.array(other))
    cases = {
        'tested on ravdess and on tess': candidate('b', corpus='tess'),
        'leaky_random has its test speakers in training': candidate('b', protocol='leaky_random'),
        'labels differ: only b has boredom': candidate('b', emotions=(*EMOTIONS, 'boredom')),
        'labels differ: 0-3-0 is (ravdess_0, sad) and': candidates(merged, 'b')[0],
        'labels differ: 3-0-0 is (ravdess_3, angry) and (ravdess_33': candidates(moved, 'b')[0],
    }
    for reason, b in cases.items():
        assert reason in objection(a, b), reason
        with pytest.raises(InputError, match='a and b cannot be compared'):
            comparison.compare(a, b)
        assert objection(a, b) and objection(b, a)
    halves = [table(run=r).slice(*at) for r, at in (('runs/a', (0, 96)), ('runs/b', (96, 96)))]
    (a,), (b,) = candidates(halves[0], 'a'), candidates(halves[1], 'b')
    assert objection(a, b) == 'no test utterance in common'


def test_other_folds_and_transductive_scores_are_compared_and_marked():
    a = candidate('a')
    for protocol, mark in (
        ('speakers_k, transductive all', 'transductive against inductive'),
        ('leave_one_speaker_out', 'protocols differ: speakers_k and leave_one_speaker_out'),
    ):
        c = comparison.compare(a, candidate('b', protocol=protocol))
        assert mark in c.marks
    leaky = [candidate(n, protocol='leaky_random') for n in 'ab']
    assert 'inflated' in comparison.compare(*leaky).marks


def test_a_class_that_only_one_run_answers_is_marked_and_not_ranked_together():
    more = table(run='runs/b', seed=1).append_column('p_boredom', pa.array([0.01] * 288))
    a, (b,) = candidate('a'), candidates(more, 'b')
    assert 'only b answers boredom' in comparison.compare(a, b).marks
    assert len(rankings.boards([a, b])) == 2


def test_a_ranking_has_groups_and_neighbors():
    skills = {'a': 0.3, 'b': 0.62, 'c': 0.6, 'd': 0.9}
    made = [candidate(n, skill=s, seed=i) for i, (n, s) in enumerate(skills.items())]
    result = rankings.study(made)
    (ranking,) = result.rankings
    assert [p.rank for p in ranking] == [1, 2, 3, 4]
    assert [p.candidate.name for p in ranking][0::3] == ['d', 'a']
    assert [p.groups for p in ranking] == ['a', 'b', 'b', 'c']
    assert [p.above and p.above.shown for p in ranking] == [None, True, False, True]
    assert len(result.compared) == 6 and all(c.pairs == 6 for c in result.compared)
    for c in result.compared:
        assert c.holm >= c.uar.p and (not c.shown or c.uar.excludes_zero)
        if c.shown != c.uar.excludes_zero:
            assert 'among 6 pairs' in str(c)
    uar = [p.candidate.score.uar.value for p in ranking]
    assert uar == sorted(uar, reverse=True)


def test_groups_are_the_longest_stretches_without_a_shown_difference():
    """A steady decline: neighbors are not shown to differ, the ends are."""
    made = [candidate(n, skill=0.45 + 0.07 * i, seed=0, own=0.05) for i, n in enumerate('abcdefg')]
    result = rankings.study(made, details=0)
    (ranking,) = result.rankings
    shown = {frozenset((c.a.name, c.b.name)): c.shown for c in result.compared}
    for i, j in itertools.combinations(range(7), 2):
        between = ranking[i : j + 1]
        letters = set(between[0].groups) & set(between[-1].groups)
        pairs = itertools.combinations([p.candidate.name for p in between], 2)
        assert bool(letters) == (not any(shown[frozenset(p)] for p in pairs))


def test_scores_of_different_tests_are_never_in_one_ranking():
    others = {
        'protocol': candidate('b', protocol='leave_one_speaker_out'),
        'corpus': candidate('b', corpus='tess'),
        'classes': candidate('b', emotions=(*EMOTIONS, 'boredom')),
        'test utterances': candidate('b', speakers=5),
    }
    for name, other in others.items():
        with pytest.raises(InputError, match=f'different {name}.* not ranked together'):
            rankings.ranking([candidate('a'), other], [])
        assert len(rankings.boards([candidate('a'), other])) == 2
    leader = rankings.study([candidate('a'), *others.values()], across=False)
    assert len(leader.rankings) == 5 and not leader.compared and not leader.refused


def test_few_units_that_agree_exactly_have_no_interval():
    """Two speakers with one difference: chance in half of all studies."""
    truth, speaker = np.tile([0, 1], 4), np.repeat([0, 1], 4)
    a = Predictions(truth, np.zeros(8, int), speaker, None, np.arange(8))
    b = a._replace(predicted=truth)
    d, _ = intervals.paired_difference(b, a, 2, 100)
    assert d.value == 0.5 and np.isnan(d.low) and d.p == 1 and not d.excludes_zero
    many = a._replace(
        truth=np.tile(truth, 4), predicted=np.zeros(32, int), speaker=np.repeat(np.arange(8), 4),
        utterance=np.arange(32),
    )  # fmt: skip
    d, _ = intervals.paired_difference(many._replace(predicted=many.truth), many, 2, 100)
    assert d[:3] == (0.5, 0.5, 0.5) and d.p < 0.05 and d.units == 8


def test_answers_conditions_and_modalities_are_chosen():
    clean, noisy = table(), table(skill=0.3, seed=1)
    both = pa.concat_tables(
        [
            t.append_column('condition', pa.array([c] * t.num_rows))
            for t, c in ((clean, 'clean'), (noisy, 'white_0db'))
        ]
    )
    (plain,), (only,) = candidates(clean, 'a'), candidates(both, 'a')
    assert plain.score.uar == only.score.uar
    (disturbed,) = candidates(both, 'a', condition='white_0db')
    assert disturbed.score.uar.value < only.score.uar.value - 0.1
    for options in ({'condition': 'pink_0db'}, {'modality': 'text'}):
        with pytest.raises(InputError, match='has no predictions of modality'):
            candidates(both, 'a', **options)
    many = table(seeds=3, skill=0.5)
    (member,), (mean,) = (candidates(many, 'a', answer=x) for x in ('member', 'mean'))
    assert mean.score.seeds == 3 and mean.score.note == ''
    assert len(mean.predictions.truth) * 3 == len(member.predictions.truth)
    assert mean.score.uar.value == pytest.approx(np.mean(
        [np.mean([mean.right[i] for i, f in mean.facts.items() if f[1] == e]) for e in EMOTIONS]
    ))  # fmt: skip
