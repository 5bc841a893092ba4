"""Utterances of an experiment: corpora opened, relabeled and selected as its config asks."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict

from ser_jax.contract import InputError
from ser_jax.data import label_pairing, protocols
from ser_jax.data.utterances import Utterances, open_corpora
from ser_jax.emotions import ordered


def open_for(
    config: ConfigDict, corpora: Sequence[str] = (), opened: dict | None = None
) -> Utterances:
    """Open built corpora with the features of a config: its own corpora, or others.

    Args:
      config: names directory, features, memory limit and variants.
      corpora: other corpora, which are opened without variants.
      opened: cache of opened corpora, shared by calls for several configs.
    """
    data, features = config.data, config.features
    names = tuple(corpora or data.corpora)
    versions = () if corpora else tuple(data.variants)
    place = names, data.dir, features.source, data.resident_gb
    key = (*place, features.trim_db, versions, features.input)
    cache = {} if opened is None else opened
    if key not in cache:
        cache[key] = open_corpora(*key)
    return cache[key]


def open_utterances(config: ConfigDict) -> tuple[Utterances, tuple[str, ...]]:
    """Open a config's corpora with its channels and emotions only; return them and the emotions."""
    names = tuple(config.data.corpora)
    if not names:
        raise InputError(
            'data.corpora is empty; name at least one built corpus, e.g. '
            '--config.data.corpora=ravdess,'
        )
    opened = labeled(config, open_for(config))
    used = np.isin(opened.channel, [*config.data.channels, *config.data.train_only_channels])
    asked = tuple(config.data.emotions)
    present = ordered(opened.emotion[used].tolist())
    if protocols.named(config.members.protocol).published:  # `coverage` reports its other classes
        asked = tuple(e for e in asked if e in present)
    missing = [e for e in asked if e not in present and e not in config.data.unsupported]
    if missing:
        raise InputError(
            f'data.emotions names {", ".join(missing)}, of which {", ".join(names)} have no '
            f'example; they have {", ".join(present)}'
        )
    # By default, a class without examples (in a partial corpus) is not presented as detectable.
    emotions = asked or present
    if len(emotions) < 2:
        raise InputError(
            f'at least 2 emotions are needed, {", ".join(names)} have {len(emotions)} here; change '
            'data.emotions, data.channels or data.merge'
        )
    # Emotions of data.unsupported have no examples here, even if a corpus is documented with them.
    facts = []
    for corpus in opened.facts:
        shown = tuple(e for e in corpus.emotions if e in present)
        facts.append(dataclasses.replace(corpus, emotions=shown))
    opened = dataclasses.replace(opened, facts=tuple(facts))
    return opened.select(used & np.isin(opened.emotion, emotions)), emotions


def labeled(config: ConfigDict, opened: Utterances) -> Utterances:
    """Relabel opened corpora for an experiment; pair them with texts if its protocol does."""
    opened = opened.relabel(config.data.labels, config.data.merge)
    leaky = config.members.protocol == label_pairing.PROTOCOL
    if leaky != bool(config.data.texts):
        raise InputError(
            f'data.texts={config.data.texts!r} with members.protocol={config.members.protocol!r}: '
            'texts paired by label carry the answer; set both data.texts and '
            f'members.protocol={label_pairing.PROTOCOL!r}, or neither'
        )
    if not leaky:
        return opened
    if config.data.emotions:
        opened = opened.select(np.isin(opened.emotion, config.data.emotions))
    texts = open_corpora((config.data.texts,), config.data.dir, 'text')
    return label_pairing.by_label(opened, texts)
