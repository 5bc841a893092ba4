"""Coverage: the part of a protocol that the built corpora have, and the record that a run keeps."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from ser_jax.audio.variants import variant_of
from ser_jax.contract import InputError
from ser_jax.data import protocols
from ser_jax.data.listed_splits import Index
from ser_jax.data.protocols import Protocol

# A corpus that lacks at most this share of its utterances is whole: builds leave out the few
# recordings that are silent or damaged.
NEGLIGIBLE = 0.01


class Coverage(NamedTuple):
    """The parts of a published protocol that are not built; everything is empty if it is whole.

    Attributes:
      utterances: corpus -> [built, published] numbers of utterances.
      folds: fold -> reason why it is left out.
      validation: folds whose validation list has no built utterance, so that the rule chose.
    """

    corpora: tuple[str, ...] = ()
    speakers: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    utterances: Mapping[str, list[int]] = {}
    folds: Mapping[str, str] = {}
    validation: tuple[str, ...] = ()

    @property
    def partial(self) -> bool:
        """True if anything is missing."""
        return any(self)

    def lines(self, name: str) -> Iterator[str]:
        """Yield a line for each kind of missing part of the protocol `name`."""
        kinds = {'corpora': self.corpora, 'speakers': self.speakers, 'classes': self.classes}
        for kind, missing in kinds.items():
            if missing:
                yield f'{name}: {len(missing)} {kind} not built: {", ".join(missing)}'
        for corpus, (built, published) in self.utterances.items():
            yield f'{name}: {built:,} of {published:,} utterances of {corpus} are built'
        for reason in self.folds.values():
            yield f'{name}: {reason}; left out'
        if self.validation:
            yield (
                f'{name}: no validation speaker of {", ".join(self.validation)} is built; '
                'members.valid_speakers chose others'
            )
        if self.partial:
            yield f'{name}: its scores are marked partial; do not compare them with published ones'


def covered(utterances, config: ConfigDict, left_out: Mapping[str, str] | None = None) -> Coverage:
    """Return the missing parts of a config's protocol; nothing unless the protocol is published.

    Args:
      utterances: opened, with the channels and classes of the protocol alone.
      left_out: fold -> reason, of `protocols.lay_out`.

    Raises:
      InputError: an utterance belongs to a speaker that the protocol does not have.
    """
    protocol = protocols.named(config.members.protocol)
    if not protocol.published:
        return Coverage()
    names = [name.partition('/')[0] for name in utterances.names]
    present, known = set(utterances.speaker), []
    for corpus in protocol.corpora or names:
        known += protocols.published_corpora().get(corpus, {}).get('speakers', [])
    if protocol.lists and known and (foreign := sorted(present - set(known))):
        raise InputError(
            f'{", ".join(names)} has {len(foreign)} speakers that members.protocol='
            f'{protocol.name!r} does not have, e.g. {foreign[0]}; use a protocol of any speakers, '
            "e.g. members.protocol='speakers_k'"
        )
    emotions = set(utterances.emotion)
    return Coverage(
        corpora=tuple(c for c in protocol.corpora if c not in names),
        speakers=tuple(s for s in known if s not in present),
        classes=tuple(c for c in protocol.classes if c not in emotions),
        utterances=dict(_too_few(protocol, utterances, names)),
        folds=dict(left_out or {}),
        validation=tuple(_without_validation(protocol, utterances, left_out or {})),
    )


def _too_few(
    protocol: Protocol, utterances, names: Sequence[str]
) -> Iterator[tuple[str, list[int]]]:
    """Yield corpus -> [built, published] for corpora that lack more than a negligible share."""
    merged = dict(text.split(':') for text in protocol.merge)
    original = np.array([not variant_of(i) for i in utterances.id], bool)
    for number, name in enumerate(names):
        counts = protocols.published_corpora().get(name, {}).get('utterances', {})
        published = 0
        for channel in protocol.channels:
            for emotion, count in counts.get(channel, {}).items():
                published += count * (merged.get(emotion, emotion) in protocol.classes)
        built = int(((utterances.corpus == number) & original).sum())
        if built < (1 - NEGLIGIBLE) * published:
            yield name, [built, published]


def _without_validation(
    protocol: Protocol, utterances, left_out: Mapping[str, str]
) -> Iterator[str]:
    """Yield the folds that are run and whose validation list has no built utterance."""
    index = Index(utterances, np.arange(len(utterances.id))) if protocol.lists else None
    for number, sides in enumerate(protocol.lists):
        name = f'fold{number}'
        if index and sides.valid and name not in left_out and not len(index.find(sides.valid)):
            yield name


def definition(coverage: Coverage, config: ConfigDict, emotions: Sequence[str]) -> dict[str, Any]:
    """Return the protocol of a run, whole, as JSON for its folds.json."""
    protocol, data = protocols.named(config.members.protocol), config.data
    return {
        'name': protocol.name,
        'version': protocol.version,
        'title': protocol.title,
        'source': protocol.source,
        'leaky': protocol.leaky,
        'transductive': config.features.speaker_norm != 'none',
        'corpora': list(protocol.corpora or data.corpora),
        'channels': list(protocol.channels or data.channels),
        'classes': list(protocol.classes or emotions),
        'merge': list(data.merge),
        'supported': data.supported,
        'folds': [sides.written() for sides in protocol.lists],
        'missing': coverage._asdict(),
        'partial': coverage.partial,
    }
