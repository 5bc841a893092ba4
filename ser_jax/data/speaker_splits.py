"""Splits by speaker, computed from the utterances; speakers of one session stay on one side.

Each is a function (utterances, scored, members config) -> list of Fold; `scored` [N] are the
indices of the utterances that may be tested.
"""

import collections
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ser_jax.contract import InputError
from ser_jax.corpora import file_names
from ser_jax.data.folds import Fold


class Cast(NamedTuple):
    """The speakers of the scored utterances.

    Attributes:
      sex, corpus: of each speaker; `corpus` also has speakers that are not scored.
      unit: speaker -> first of the speakers that share sessions with it, directly or through
        others; a speaker without sessions is its own unit.
    """

    sex: dict[str, str]
    corpus: dict[str, int]
    unit: dict[str, str]

    def partners(self, speakers: Collection[str]) -> set[str]:
        """Return these speakers and all that share sessions with them."""
        units = {self.unit[s] for s in speakers}
        return {s for s in self.unit if self.unit[s] in units}


def cast(utterances, scored: np.ndarray) -> Cast:
    """Return the speakers of the scored utterances."""
    speakers = utterances.speaker[scored]
    sessions = file_names.sessions(utterances.id[scored])
    return Cast(
        dict(zip(speakers, utterances.sex[scored], strict=True)),
        dict(zip(utterances.speaker, utterances.corpus, strict=True)),
        _units(speakers, sessions),
    )


def _units(speakers: np.ndarray, sessions: np.ndarray) -> dict[str, str]:
    """Return speaker -> the first speaker of its unit, see `Cast`."""
    unit = {s: s for s in speakers}

    def root(s: str) -> str:
        while unit[s] != s:
            s = unit[s]
        return s

    first: dict[str, str] = {}
    for speaker, session in sorted({*zip(speakers, sessions, strict=True)}):
        if session:
            a, b = root(first.setdefault(session, speaker)), root(speaker)
            unit[max(a, b)] = min(a, b)
    return {s: root(s) for s in unit}


def speakers_k(utterances, scored: np.ndarray, members) -> list[Fold]:
    """Return K folds by speaker, balanced by sex; sorted speakers are dealt to folds in turn."""
    known = _several(utterances, scored)
    sexes = collections.defaultdict(set)
    for speaker, unit in known.unit.items():
        sexes[unit].add(known.sex[speaker])
    k, title = members.folds, 'speakers'
    if len(sexes) < len(known.unit):
        title = 'groups of speakers that share sessions'
    if not 2 <= k <= len(sexes):
        raise InputError(
            f'members.folds must be 2 to {len(sexes)} with {len(sexes)} {title}, got {k}'
        )
    # Sorting by sex before dealing keeps fold sizes and sexes balanced to within one speaker.
    order = sorted(sexes, key=lambda unit: (sorted(sexes[unit]), unit))
    tests = [sorted(known.partners(order[i::k])) for i in range(k)]
    return [fold(f'fold{i}', utterances, scored, test, i, members) for i, test in enumerate(tests)]


def leave_one_speaker_out(utterances, scored: np.ndarray, members) -> list[Fold]:
    """Return one fold per speaker; those that share its sessions are left out of training."""
    known = _several(utterances, scored)
    made = []
    for i, speaker in enumerate(sorted(known.sex)):
        partners = known.partners([speaker]) - {speaker}
        rest = scored[[s not in partners for s in utterances.speaker[scored]]]
        made.append(fold(f'fold{i}', utterances, rest, [speaker], i, members))
    return made


def leave_one_corpus_out(utterances, scored: np.ndarray, members) -> list[Fold]:
    """Return one fold per corpus, in the order of `data.corpora`: what a stranger meets."""
    corpora = sorted(set(utterances.corpus[scored].tolist()))
    if len(corpora) < 2:
        raise InputError(
            f'members.protocol={members.protocol!r} needs at least 2 corpora, got '
            f'{len(corpora)}; name more in data.corpora'
        )
    corpus = dict(zip(utterances.speaker[scored], utterances.corpus[scored], strict=True))
    made = []
    for i, number in enumerate(corpora):
        test = sorted(s for s in corpus if corpus[s] == number)
        made.append(fold(f'fold{i}', utterances, scored, test, i, members))
    return made


def _several(utterances, scored) -> Cast:
    """Return the speakers; raise InputError if they cannot be separated."""
    known = cast(utterances, scored)
    remedy = "members.protocol='leaky_random'"
    if len(known.sex) < 2:
        raise InputError(
            f'{next(iter(known.sex))} is the only speaker, and {len(scored)} utterances of one '
            'speaker cannot be split by speaker; build more speakers, or ask for the leak by name '
            f'with {remedy}'
        )
    if len(set(known.unit.values())) < 2:
        raise InputError(
            f'all {len(known.sex)} speakers share sessions or dialogs, directly or through others, '
            'so that no split by speaker separates them; build more sessions, or ask for the leak '
            f"by name with {remedy} or, for MELD, members.protocol='meld/official'"
        )
    return known


def fold(
    name: str,
    utterances,
    scored: np.ndarray,
    test: Sequence[str],
    turn: int,
    members,
    valid: Sequence[str] | None = None,
) -> Fold:
    """Return the fold that tests `test`; `valid` defaults to other speakers, sexes in turn."""
    known, tested = cast(utterances, scored), set(test)
    rest = [s for s in sorted(known.sex) if s not in tested]
    if valid is None:
        valid = validation_speakers(name, known, rest, members.valid_speakers, turn)
    sides = set(rest) - set(valid), set(valid), tested
    return Fold(name, *(_of_speakers(side, utterances, scored) for side in sides))


def _of_speakers(speakers: Collection[str], utterances, scored: np.ndarray) -> np.ndarray:
    """Return the scored utterances of some speakers; np.isin is quadratic on strings."""
    return scored[[s in speakers for s in utterances.speaker[scored]]]


def validation_speakers(
    name: str, known: Cast, rest: Sequence[str], count: int, turn: int
) -> list[str]:
    """Return `count` of the speakers `rest` of fold `name`, more if they share sessions.

    Speakers rotate by fold (`turn`), so that no single one selects the epoch of every member.

    Raises:
      InputError: no speaker would be left to train on.
    """
    valid: list[str] = []
    if len(rest) > count:
        for speaker in _in_turns({s: known.sex[s] for s in rest}, known.corpus, turn):
            if len(valid) >= count:
                break
            if speaker not in valid:
                valid += sorted(known.partners([speaker]).intersection(rest))
    if len(rest) <= count or len(valid) >= len(rest):
        most = str(len(rest) - 1)
        if len(rest) <= 1 or len(rest) > count:
            most = "0 and train.select='last', or build more speakers"
        raise InputError(
            f'members.valid_speakers={count} leaves {name} no speaker to train on: {len(rest)} of '
            f'{len(known.sex)} speakers are not tested; set members.valid_speakers={most}'
        )
    return valid


def _in_turns(sexes: Mapping[str, str], corpus: Mapping[str, int], turn: int) -> Iterator[str]:
    """Yield the speakers in `sexes` (speaker -> sex), sexes in turn, those of `turn` first."""
    queues = []
    for i, sex in enumerate(sorted(set(sexes.values()))):
        group = _interleaved([s for s in sexes if sexes[s] == sex], corpus, i)
        queues.append(group[turn % len(group) :] + group[: turn % len(group)])
    if turn % 2:
        queues.reverse()
    while queues:
        yield from [queue.pop(0) for queue in queues]
        queues = [queue for queue in queues if queue]


def _interleaved(speakers: list[str], corpus: Mapping[str, int], first: int) -> list[str]:
    """Return the speakers interleaved by corpus, from `first` on, so that no corpus dominates."""
    number = max(corpus.values()) + 1
    counts: collections.Counter[int] = collections.Counter()
    nth = {}
    for s in speakers:
        nth[s] = counts[corpus[s]]
        counts[corpus[s]] += 1
    return sorted(speakers, key=lambda s: (nth[s], (corpus[s] - first) % number))
