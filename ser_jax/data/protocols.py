"""Protocols: split utterances by speaker into training, validation (epoch selection) and test.

A protocol is a function (utterances, scored, members config) -> list of Fold, listed in
`PROTOCOLS`. `folds.check` refuses folds with one speaker on two sides, except under protocols whose
name begins with `leaky`; that name is printed with every score.
"""

import collections
import itertools
import json
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from ser_jax.audio.variants import variant_of
from ser_jax.contract import InputError
from ser_jax.data import folds
from ser_jax.data.folds import Fold
from ser_jax.data.leaky_protocols import (
    leaky_augmented,
    leaky_holdout,
    leaky_label_pairing,
    leaky_position,
    leaky_random,
)


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
    name = members.protocol
    if name not in PROTOCOLS:
        known = ', '.join(sorted(PROTOCOLS))
        raise InputError(f'members.protocol must be one of {known}, got {name!r}')
    varied = np.array([variant_of(i) in variants for i in utterances.id], bool)
    scored = ~np.isin(utterances.channel, train_only_channels)
    if not splits_variants(name):
        scored &= ~varied
    if not scored.any():
        raise InputError(
            'no utterance is left to score: all are of data.train_only_channels '
            f'{tuple(train_only_channels)}'
        )
    train_only, variants_only = (np.flatnonzero(~scored & x) for x in (~varied, varied))
    made = []
    for fold in PROTOCOLS[name](utterances, np.flatnonzero(scored), members):
        fold = folds.with_train_only(fold, train_only, utterances)
        fold = folds.with_variants(fold, variants_only, utterances)
        folds.check(fold, utterances, is_leaky(name), name in _UNTRAINED_CLASSES)
        made.append(fold)
    return made


def is_leaky(protocol: str) -> bool:
    """Return True if a protocol may put one speaker on both sides, which inflates its scores."""
    return protocol.startswith('leaky')


def splits_variants(protocol: str) -> bool:
    """Return True if a protocol splits variants like independent recordings."""
    return protocol in _SPLITS_VARIANTS


def speakers_k(utterances, scored: np.ndarray, members) -> list[Fold]:
    """Return K folds by speaker, balanced by sex; sorted speakers are dealt to folds in turn."""
    speakers = _several_speakers(utterances, scored)
    k = members.folds
    if not 2 <= k <= len(speakers):
        raise InputError(
            f'members.folds must be 2 to {len(speakers)} with {len(speakers)} speakers, got {k}'
        )
    # Sorting by sex before dealing keeps fold sizes and sexes balanced to within one speaker.
    order = sorted(speakers, key=lambda s: (speakers[s], s))
    tests = [order[i::k] for i in range(k)]
    return [_fold(f'fold{i}', utterances, scored, test, i, members) for i, test in enumerate(tests)]


def leave_one_speaker_out(utterances, scored: np.ndarray, members) -> list[Fold]:
    """Return one fold per speaker."""
    speakers = sorted(_several_speakers(utterances, scored))
    return [_fold(f'fold{i}', utterances, scored, [s], i, members) for i, s in enumerate(speakers)]


def leave_one_corpus_out(utterances, scored: np.ndarray, members) -> list[Fold]:
    """Return one fold per corpus, in the order of `data.corpora`: what a stranger meets."""
    corpora = sorted(set(utterances.corpus[scored].tolist()))
    if len(corpora) < 2:
        raise InputError(
            "members.protocol='leave_one_corpus_out' needs at least 2 corpora, got "
            f'{len(corpora)}; name more in data.corpora'
        )
    corpus = dict(zip(utterances.speaker[scored], utterances.corpus[scored], strict=True))
    made = []
    for i, number in enumerate(corpora):
        test = sorted(s for s in corpus if corpus[s] == number)
        made.append(_fold(f'fold{i}', utterances, scored, test, i, members))
    return made


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
            f'{members.folds_file} has {len(tests)} test lists and {len(valids)} valid lists; '
            'expected as many'
        )
    known = _speakers(utterances, scored)
    listed = itertools.chain.from_iterable([*tests, *(valids or [])])
    unknown = sorted({str(s) for s in listed} - set(known))
    if unknown:
        raise InputError(
            f'{members.folds_file} names unknown speakers {", ".join(unknown[:5])}; known are '
            f'{", ".join(sorted(known)[:5])} ...'
        )
    return [
        _fold(f'fold{i}', utterances, scored, test, i, members, valid)
        for i, (test, valid) in enumerate(zip(tests, valids or [None] * len(tests), strict=True))
    ]


def _speakers(utterances, scored) -> dict[str, str]:
    """Return speaker -> sex of the scored utterances."""
    return dict(zip(utterances.speaker[scored], utterances.sex[scored], strict=True))


def _several_speakers(utterances, scored) -> dict[str, str]:
    """Return `_speakers`; raise InputError if there is only one."""
    speakers = _speakers(utterances, scored)
    if len(speakers) < 2:
        raise InputError(
            f'{next(iter(speakers))} is the only speaker, and {len(scored)} utterances of one '
            'speaker cannot be split by speaker; build more speakers, or ask for the leak by name '
            "with members.protocol='leaky_random'"
        )
    return speakers


def _fold(
    name: str,
    utterances,
    scored: np.ndarray,
    test: Sequence[str],
    turn: int,
    members,
    valid: Sequence[str] | None = None,
) -> Fold:
    """Return the fold that tests `test`; `valid` defaults to other speakers, sexes in turn."""
    speakers = _speakers(utterances, scored)
    tested = set(test)
    rest = [s for s in sorted(speakers) if s not in tested]
    if valid is None:
        if len(rest) - members.valid_speakers < 1:
            most = str(len(rest) - 1)
            if len(rest) <= 1:
                most = "0 and train.select='last', or build more speakers"
            raise InputError(
                f'members.valid_speakers={members.valid_speakers} leaves {name} no speaker to '
                f'train on: {len(rest)} of {len(speakers)} speakers are not tested; set '
                f'members.valid_speakers={most}'
            )
        corpus = dict(zip(utterances.speaker, utterances.corpus, strict=True))
        sexes = {s: speakers[s] for s in rest}
        valid = _validation_speakers(sexes, corpus, members.valid_speakers, turn)
    sides = set(rest) - set(valid), set(valid), tested
    return Fold(name, *(_of_speakers(side, utterances, scored) for side in sides))


def _of_speakers(speakers: Collection[str], utterances, scored: np.ndarray) -> np.ndarray:
    """Return the scored utterances of some speakers; np.isin is quadratic on strings."""
    return scored[[s in speakers for s in utterances.speaker[scored]]]


def _validation_speakers(
    sexes: Mapping[str, str], corpus: Mapping[str, int], count: int, turn: int
) -> list[str]:
    """Return `count` of the speakers in `sexes` (speaker -> sex), sexes in turn.

    Speakers rotate by fold (`turn`), so that no single one selects the epoch of every member.
    """
    queues = []
    for i, sex in enumerate(sorted(set(sexes.values()))):
        group = _in_turn([s for s in sexes if sexes[s] == sex], corpus, i)
        queues.append(group[turn % len(group) :] + group[: turn % len(group)])
    if turn % 2:
        queues.reverse()
    valid: list[str] = []
    while len(valid) < count:
        queues = [q for q in queues if q]
        valid.extend(q.pop(0) for q in queues[: count - len(valid)])
    return valid


def _in_turn(speakers: list[str], corpus: Mapping[str, int], first: int) -> list[str]:
    """Return the speakers interleaved by corpus, from `first` on, so that no corpus dominates."""
    number = max(corpus.values()) + 1
    counts: collections.Counter[int] = collections.Counter()
    nth = {}
    for s in speakers:
        nth[s] = counts[corpus[s]]
        counts[corpus[s]] += 1
    return sorted(speakers, key=lambda s: (nth[s], (corpus[s] - first) % number))


PROTOCOLS: dict[str, Callable[..., list[Fold]]] = {
    f.__name__: f
    for f in (
        speakers_k,
        leave_one_speaker_out,
        leave_one_corpus_out,
        from_file,
        leaky_random,
        leaky_holdout,
        leaky_augmented,
        leaky_label_pairing,
        leaky_position,
    )
}
_SPLITS_VARIANTS = ('leaky_augmented',)
_UNTRAINED_CLASSES = ('leaky_position',)  # may test classes without training examples
