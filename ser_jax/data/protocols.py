"""Protocols: split utterances by speaker into training, validation (epoch selection) and test.

A protocol is a function (utterances, scored, members config) -> list of Fold. `check` refuses folds
with one speaker on two sides, except under protocols whose name begins with `leaky`; that name is
printed with every score.
"""

import collections
import dataclasses
import json
import sys
from collections.abc import Sequence

import numpy as np

from ser_jax.audio.variants import source_of, variant_of
from ser_jax.contract import InputError
from ser_jax.corpora import file_names


@dataclasses.dataclass(frozen=True)
class Fold:
    """Training, validation and test utterances of a member: indices into the opened corpora."""

    name: str
    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray


def make_folds(
    utterances, members, train_only_channels: Sequence[str] = (), variants: Sequence[str] = ()
) -> list[Fold]:
    """Return the checked folds of `members.protocol`.

    Args:
      utterances: `ser_jax.data.utterances.Utterances`; needs `id`, `speaker`, `sex`, `corpus`,
        `channel`, `emotion`, `source_sha256`.
      members: the `members` section of the config.
      train_only_channels: channels used for training only, and only for training speakers.
      variants: names of the variants that `utterances` holds beside their sources.

    Raises:
      InputError: an unknown protocol, too few speakers, or a fold that would leak.
    """
    protocols = {
        n: f for n, f in vars(sys.modules[__name__]).items() if getattr(f, 'is_protocol', False)
    }
    if members.protocol not in protocols:
        raise InputError(
            f'members.protocol={members.protocol!r} is not known; known are {", ".join(sorted(protocols))}'
        )
    chosen = protocols[members.protocol]
    varied = np.array([variant_of(i) in variants for i in utterances.id], bool)
    scored = ~np.isin(utterances.channel, train_only_channels) & ~(
        varied & (not splits_variants(members.protocol))
    )
    if not scored.any():
        raise InputError(
            f'no utterance is left to score: all are of data.train_only_channels {tuple(train_only_channels)}'
        )
    folds = chosen(utterances, np.flatnonzero(scored), members)
    folds = [_with_extra(f, np.flatnonzero(~scored & ~varied), utterances) for f in folds]
    folds = [_with_variants(f, np.flatnonzero(~scored & varied), utterances) for f in folds]
    untrained = getattr(chosen, 'untrained_classes', False)
    for fold in folds:
        check(fold, utterances, is_leaky(members.protocol), untrained)
    return folds


def is_leaky(protocol: str) -> bool:
    """Return True if a protocol may put one speaker on both sides, which inflates its scores."""
    return protocol.startswith('leaky')


def splits_variants(protocol: str) -> bool:
    """Return True if a protocol splits variants like independent recordings."""
    return hasattr(globals().get(protocol), 'splits_variants')


def check(fold: Fold, utterances, leaky: bool = False, untrained: bool = False) -> None:
    """Raise InputError if a fold has an empty side, untrained test classes, or a leak.

    A leak is one speaker (by label or by published file name) or recording on two sides. `leaky`
    permits leaks, `untrained` permits test classes without training examples.
    """
    for side in ('train', 'test'):
        if not len(getattr(fold, side)):
            raise InputError(
                f'{fold.name} has no utterance to {side}; use fewer folds or validation speakers, or more speakers'
            )
    learnt = set(utterances.emotion[fold.train])
    missing = sorted(set(utterances.emotion[fold.test]) - learnt)
    if missing and not untrained:
        raise InputError(
            f'{fold.name} tests {", ".join(missing)} but trains on no example of it; '
            'leave the class out with data.emotions or change the folds'
        )
    if leaky:
        return
    sides = {'training': fold.train, 'validation': fold.valid, 'test': fold.test}
    voices = file_names.voices(utterances.id, utterances.speaker)
    identities = {
        'speaker': utterances.speaker,
        'voice (by file names)': voices,
        'recording': utterances.source_sha256,
    }
    for what, of in identities.items():
        seen: dict[str, str] = {}
        for side, indices in sides.items():
            for value in sorted(set(of[indices])):
                if seen.setdefault(value, side) != side:
                    raise InputError(
                        f'{fold.name} would leak: {what} {value[:40]} is in {seen[value]} and {side}; '
                        "separate them, or ask for the leak by name with members.protocol='leaky_random'"
                    )


def protocol(function):
    """Mark a function as a protocol that configs can name."""
    function.is_protocol = True
    return function


@protocol
def speakers_k(utterances, scored: np.ndarray, members) -> list[Fold]:
    """Return K folds by speaker, balanced by sex; sorted speakers are dealt to folds in turn."""
    speakers = _several_speakers(utterances, scored)
    k = members.folds
    if not 2 <= k <= len(speakers):
        raise InputError(
            f'members.folds={k} with {len(speakers)} speakers; expected 2 to {len(speakers)}'
        )
    # Sorting by sex before dealing keeps fold sizes and sexes balanced to within one speaker.
    order = sorted(speakers, key=lambda s: (speakers[s], s))
    fold_of = {s: i % k for i, s in enumerate(order)}
    tests = [[s for s in order if fold_of[s] == i] for i in range(k)]
    return [_fold(f'fold{i}', utterances, scored, test, i, members) for i, test in enumerate(tests)]


@protocol
def leave_one_speaker_out(utterances, scored: np.ndarray, members) -> list[Fold]:
    """Return one fold per speaker."""
    speakers = sorted(_several_speakers(utterances, scored))
    return [_fold(f'fold{i}', utterances, scored, [s], i, members) for i, s in enumerate(speakers)]


@protocol
def from_file(utterances, scored: np.ndarray, members) -> list[Fold]:
    """Return the folds of a JSON file: {"test": [[speaker, ...], ...], "valid": (the same)}."""
    try:
        with open(members.folds_file) as f:
            lists = json.load(f)
        tests, valids = lists['test'], lists.get('valid')
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        raise InputError(
            f'members.folds_file={members.folds_file!r} cannot be read ({type(e).__name__}: {e}); '
            'expected JSON {"test": [[speaker, ...], ...], "valid": [[speaker, ...], ...]}'
        ) from e
    if valids is not None and len(valids) != len(tests):
        raise InputError(
            f'{members.folds_file} has {len(tests)} test lists and {len(valids)} valid lists; expected as many'
        )
    known = _speakers(utterances, scored)
    unknown = sorted({str(s) for group in [*tests, *(valids or [])] for s in group} - set(known))
    if unknown:
        raise InputError(
            f'{members.folds_file} names unknown speakers {", ".join(unknown[:5])}; known are {", ".join(sorted(known)[:5])} ...'
        )
    return [
        _fold(
            f'fold{i}', utterances, scored, test, i, members, None if valids is None else valids[i]
        )
        for i, test in enumerate(tests)
    ]


@protocol
def leaky_random(utterances, scored: np.ndarray, members) -> list[Fold]:
    """Return K folds by utterance, as most published scores use: speakers on both sides. Inflated."""
    if not 2 <= members.folds <= len(scored):
        raise InputError(
            f'members.folds={members.folds} with {len(scored)} utterances; expected 2 to {len(scored)}'
        )
    shuffled = np.random.default_rng(0).permutation(scored)
    parts = np.array_split(shuffled, members.folds)
    folds = []
    for i, test in enumerate(parts):
        rest = np.concatenate([p for j, p in enumerate(parts) if j != i])
        cut = max(1, len(rest) // 10)
        folds.append(Fold(f'fold{i}', np.sort(rest[cut:]), np.sort(rest[:cut]), np.sort(test)))
    return folds


@protocol
def leaky_holdout(utterances, scored: np.ndarray, members) -> list[Fold]:
    """Return one random split by utterance, as most published systems use. Inflated."""
    shuffled = np.random.default_rng(0).permutation(scored)
    test, valid = (
        round(len(scored) * share) for share in (members.test_share, members.valid_share)
    )
    if not (test and test + valid < len(scored)):
        raise InputError(
            f'members.test_share={members.test_share} and valid_share={members.valid_share} of {len(scored)} utterances '
            'leave nothing to test or to train; expected shares above 0 that sum to less than 1'
        )
    return [
        Fold(
            'fold0',
            *(
                np.sort(p)
                for p in (shuffled[test + valid :], shuffled[test : test + valid], shuffled[:test])
            ),
        )
    ]


@protocol
def leaky_augmented(utterances, scored: np.ndarray, members) -> list[Fold]:
    """Split as `leaky_holdout`, variants too: most tests have a sibling in training. Inflated."""
    return leaky_holdout(utterances, scored, members)


leaky_augmented.splits_variants = True


@protocol
def leaky_label_pairing(utterances, scored: np.ndarray, members) -> list[Fold]:
    """Split as `leaky_holdout`, texts paired by label: the text gives the answer away. Inflated."""
    return leaky_holdout(utterances, scored, members)


@protocol
def leaky_position(utterances, scored: np.ndarray, members) -> list[Fold]:
    """Split each speaker's utterances by id: the first 70 % train, the next 15 % test.

    A published RAVDESS data set splits its folders so. The names sort by emotion: disgust and
    surprise are never trained on, nearly all test utterances are disgust, and every speaker is on
    all sides. The score is meaningless.
    """
    train, valid, test = [], [], []
    for speaker in sorted(_speakers(utterances, scored)):
        at = scored[utterances.speaker[scored] == speaker]
        at = at[np.argsort(utterances.id[at])]
        first, second = round(0.7 * len(at)), round(0.85 * len(at))
        train, test, valid = (
            [*train, *at[:first]],
            [*test, *at[first:second]],
            [*valid, *at[second:]],
        )
    return [Fold('fold0', *(np.array(side, int) for side in (train, valid, test)))]


leaky_position.untrained_classes = True


def _speakers(utterances, scored) -> dict[str, str]:
    """Return speaker -> sex of the scored utterances."""
    return dict(zip(utterances.speaker[scored], utterances.sex[scored], strict=True))


def _several_speakers(utterances, scored) -> dict[str, str]:
    """Return `_speakers`; raise InputError if there is only one."""
    speakers = _speakers(utterances, scored)
    if len(speakers) < 2:
        raise InputError(
            f'{next(iter(speakers))} is the only speaker, and {len(scored)} utterances of one speaker cannot be split by '
            "speaker; build more speakers, or ask for the leak by name with members.protocol='leaky_random'"
        )
    return speakers


def _fold(name, utterances, scored, test, turn, members, valid=None) -> Fold:
    """Return the fold that tests `test`; `valid` defaults to other speakers, sexes in turn."""
    speakers = _speakers(utterances, scored)
    tested = set(test)
    rest = [s for s in sorted(speakers) if s not in tested]
    if valid is None:
        if len(rest) - members.valid_speakers < 1:
            raise InputError(
                f'members.valid_speakers={members.valid_speakers} leaves {name} nobody to train on: '
                f'{len(rest)} of {len(speakers)} speakers are not tested; set members.valid_speakers='
                + (
                    str(len(rest) - 1)
                    if len(rest) > 1
                    else "0 and train.select='last', or build more speakers"
                )
            )
        corpus = dict(zip(utterances.speaker, utterances.corpus, strict=True))
        sexes = sorted({speakers[s] for s in rest})
        by_sex = [
            _in_turn([s for s in rest if speakers[s] == sex], corpus, i)
            for i, sex in enumerate(sexes)
        ]
        # Rotate by fold, so that no single speaker selects the epoch of every member.
        queues = [group[turn % len(group) :] + group[: turn % len(group)] for group in by_sex]
        if turn % 2:
            queues.reverse()
        valid = []
        while len(valid) < members.valid_speakers:
            queues = [q for q in queues if q]
            valid.extend(q.pop(0) for q in queues[: members.valid_speakers - len(valid)])
    # np.isin is quadratic on strings.
    side = lambda names: scored[[s in names for s in utterances.speaker[scored]]]
    return Fold(name, side(set(rest) - set(valid)), side(set(valid)), side(tested))


def _in_turn(speakers: list[str], corpus: dict[str, int], first: int) -> list[str]:
    """Return the speakers interleaved by corpus, from `first` on, so that no corpus dominates."""
    number = max(corpus.values()) + 1
    of_corpus, nth = collections.Counter(), {}
    for s in speakers:
        nth[s] = of_corpus[corpus[s]]
        of_corpus[corpus[s]] += 1
    return sorted(speakers, key=lambda s: (nth[s], (corpus[s] - first) % number))


def _with_extra(fold: Fold, extra: np.ndarray, utterances) -> Fold:
    """Add the train-only utterances of training speakers, except speakers of validation or test.

    If that leaves no speaker (leaky protocols), add those of all training speakers; never scored.
    """
    held_out = set(utterances.speaker[fold.valid]) | set(utterances.speaker[fold.test])
    allowed = set(utterances.speaker[fold.train]) - held_out or set(utterances.speaker[fold.train])
    keep = extra[np.isin(utterances.speaker[extra], list(allowed))]
    return dataclasses.replace(fold, train=np.concatenate([fold.train, keep]))


def _with_variants(fold: Fold, varied: np.ndarray, utterances) -> Fold:
    """Add the variants of the training utterances only."""
    name = lambda i: (utterances.corpus[i], source_of(utterances.id[i]))
    trained = {name(i) for i in fold.train}
    keep = np.array([i for i in varied if name(i) in trained], int)
    return dataclasses.replace(fold, train=np.concatenate([fold.train, keep]))
