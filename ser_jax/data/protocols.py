"""Protocols: named, versioned rules that split utterances into training, validation and test.

`PROTOCOLS` has those of publications, whose lists are JSON in `fold_lists`, and general ones, which
are functions (utterances, scored, members config) -> list of Fold. `folds.check` refuses folds with
one speaker, recording or session on two sides, except under protocols that are declared leaky; that
is printed with every score.
"""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ser_jax.audio.variants import variant_of
from ser_jax.contract import InputError
from ser_jax.data import folds, leaky_protocols, listed_splits, speaker_splits
from ser_jax.data.folds import Fold
from ser_jax.data.listed_splits import Lists

FOLDER = pathlib.Path(__file__).parent / 'fold_lists'
CORPORA = 'corpora'  # the file of published speakers and counts, no protocol


@dataclasses.dataclass(frozen=True)
class Protocol:
    """A rule by which scores are made.

    Attributes:
      name: of `members.protocol`; published ones are `corpus/name`.
      title: one line for lists.
      split: function that returns the folds, before checks.
      version: raised whenever the same utterances would get other folds or classes.
      source: publication that defines it.
      leaky: speakers, recordings or sessions may be on two sides, which inflates scores.
      corpora: the corpora it splits; () = any.
      channels, classes, merge, supported: fixed values of these knobs of `data` (classes:
        data.emotions); all empty = the config's.
      lists: the fixed sides of each fold; () = computed by `split`.
      splits_variants: variants are split like independent recordings.
      untrained: classes without training examples may be tested.
    """

    name: str
    title: str
    split: Callable[..., list[Fold]]
    version: int = 1
    source: str = ''
    leaky: bool = False
    corpora: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    merge: tuple[str, ...] = ()
    supported: str = ''
    lists: tuple[Lists, ...] = ()
    splits_variants: bool = False
    untrained: bool = False

    @property
    def published(self) -> bool:
        """True if channels, classes, merges and supported classes are the protocol's."""
        return bool(self.classes)


def make_folds(
    utterances, members, train_only_channels: Sequence[str] = (), variants: Sequence[str] = ()
) -> list[Fold]:
    """Return the checked folds of `members.protocol`, see `lay_out`."""
    return lay_out(utterances, members, train_only_channels, variants)[0]


def lay_out(
    utterances, members, train_only_channels: Sequence[str] = (), variants: Sequence[str] = ()
) -> tuple[list[Fold], dict[str, str]]:
    """Return the checked folds of `members.protocol`, and the reasons of those left out, by name.

    Folds of a published list are left out if nothing of their test or training side is built, or if
    they test a class without a training example.

    Args:
      utterances: `ser_jax.data.utterances.Utterances`; needs `id`, `speaker`, `sex`, `corpus`,
        `channel`, `emotion`, `source_sha256`, and `names` for lists.
      members: the `members` section of the config.
      train_only_channels: channels used for training only, and only for training speakers.
      variants: names of the variants that `utterances` holds beside their sources.

    Raises:
      InputError: an unknown protocol, too few speakers, or a fold that would leak.
    """
    protocol = named(members.protocol)
    varied = np.array([variant_of(i) in variants for i in utterances.id], bool)
    scored = ~np.isin(utterances.channel, train_only_channels)
    if not protocol.splits_variants:
        scored &= ~varied
    if not scored.any():
        raise InputError(
            'no utterance is left to score: all are of data.train_only_channels '
            f'{tuple(train_only_channels)}'
        )
    train_only, variants_only = (np.flatnonzero(~scored & x) for x in (~varied, varied))
    made, left_out = [], {}
    for fold in protocol.split(utterances, np.flatnonzero(scored), members):
        fold = folds.with_train_only(fold, train_only, utterances)
        fold = folds.with_variants(fold, variants_only, utterances)
        if protocol.lists and (reason := folds.impossible(fold, utterances)):
            left_out[fold.name] = reason[0]
            continue
        folds.check(fold, utterances, protocol.leaky, protocol.untrained)
        made.append(fold)
    if not made:
        raise InputError(
            f'no fold of members.protocol={protocol.name!r} can be run on the built part of '
            f'{", ".join(protocol.corpora)} (e.g. {next(iter(left_out.values()))}); build more'
        )
    return made, left_out


def named(name: str) -> Protocol:
    """Return the protocol of a name.

    Raises:
      InputError: there is none.
    """
    if name not in PROTOCOLS:
        known = ', '.join(sorted(PROTOCOLS, key=lambda n: ('/' in n, n)))
        raise InputError(f"members.protocol must be one of {known} ('?' lists them), got {name!r}")
    return PROTOCOLS[name]


def is_leaky(name: str) -> bool:
    """Return True if a protocol may put one speaker on both sides, which inflates its scores.

    Names of other versions of this package count as leaky if they begin with `leaky`.
    """
    return PROTOCOLS[name].leaky if name in PROTOCOLS else name.startswith('leaky')


def splits_variants(name: str) -> bool:
    """Return True if a protocol splits variants like independent recordings."""
    return name in PROTOCOLS and PROTOCOLS[name].splits_variants


@functools.cache
def published_corpora() -> dict[str, dict[str, Any]]:
    """Return the speakers and the utterances per channel and emotion of published corpora."""
    return json.loads((FOLDER / f'{CORPORA}.json').read_text(encoding='utf-8'))


def _read(path: pathlib.Path) -> Protocol:
    """Return the protocol of a JSON file: the attributes of `Protocol`, with folds for lists."""
    fields = json.loads(path.read_text(encoding='utf-8'))
    lists = listed_splits.parsed(fields.pop('folds'))
    for name in ('corpora', 'channels', 'classes', 'merge'):
        fields[name] = tuple(fields[name])
    split = functools.partial(listed_splits.of_lists, lists)
    return Protocol(**fields, lists=lists, split=split)


def _general() -> list[Protocol]:
    """Return the protocols that are functions."""
    speakers, leaky = speaker_splits, leaky_protocols
    across = 'each corpus tested by a model trained on the others'
    return [
        Protocol('speakers_k', 'K folds by speaker, balanced by sex', speakers.speakers_k),
        Protocol('leave_one_speaker_out', 'one fold per speaker', speakers.leave_one_speaker_out),
        Protocol('leave_one_corpus_out', across, speakers.leave_one_corpus_out),
        Protocol(
            'cross_corpus/leave_one_corpus_out',
            f'{across}, in the six classes that acted corpora share',
            speakers.leave_one_corpus_out,
            source='defined by this project',
            channels=('speech',),
            classes=('neutral', 'happy', 'sad', 'angry', 'fearful', 'disgust'),
            merge=('calm:neutral',),
            supported='run',
        ),
        Protocol('from_file', 'the lists of members.folds_file', listed_splits.from_file),
        _leaky(leaky.leaky_random, 'K folds by utterance'),
        _leaky(leaky.leaky_holdout, 'one random split by utterance'),
        dataclasses.replace(
            _leaky(leaky.leaky_augmented, 'the same with variants split too'), splits_variants=True
        ),
        _leaky(leaky.leaky_label_pairing, 'the same with texts paired by label'),
        dataclasses.replace(
            _leaky(leaky.leaky_position, "by position in each speaker's files"), untrained=True
        ),
    ]


def _leaky(split: Callable[..., list[Fold]], title: str) -> Protocol:
    return Protocol(split.__name__, title, split, leaky=True)


def _published() -> list[Protocol]:
    """Return the protocols with lists, by name."""
    return [_read(path) for path in sorted(FOLDER.glob('*.json')) if path.stem != CORPORA]


PROTOCOLS = {protocol.name: protocol for protocol in (*_published(), *_general())}
