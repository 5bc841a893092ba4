"""Assembly of a run from its config; the only module that wires data, folds, model and learner."""

import dataclasses
import importlib
import inspect
import json
from collections.abc import Collection, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from ser_jax import emotions as vocabulary_of_emotions
from ser_jax.audio import augment, front_ends
from ser_jax.config import check_ranges
from ser_jax.contract import INTENSITIES, SEXES, CorpusInfo, InputError
from ser_jax.data import derived, label_pairing, protocols, text, utterances
from ser_jax.data.batches import Member, steps_per_epoch
from ser_jax.learn import optim
from ser_jax.learn.inputs import CorpusData, Inputs, MemberData
from ser_jax.learn.learner import Learner


class Run(NamedTuple):
    """A training or an evaluation, assembled from its config."""

    config: ConfigDict
    utterances: utterances.Utterances
    emotions: tuple[str, ...]
    members: list[Member]
    words: list[list[str]]  # vocabulary of each member; [] each without text input
    normalization: tuple[np.ndarray, np.ndarray]  # mean, std [K M]
    learner: Learner
    steps: int  # per epoch


def open_run(config: ConfigDict) -> Run:
    """Open the corpora that a config names and lay out its members.

    Raises:
      InputError: the config asks for something that does not exist or is not possible.
    """
    check_ranges(config)
    augment.check(config.augment, front_ends.layout(config.features.source), config.train.window_s)
    opened, emotions = open_utterances(config)
    dealt = protocols.make_folds(
        opened, config.members, tuple(config.data.train_only_channels), tuple(config.data.variants)
    )
    members = [
        Member(f'{fold.name}_seed{seed}', index, int(seed), *_sides(config, opened, fold))
        for seed in config.members.seeds
        for index, fold in enumerate(dealt)
    ]
    if not members:
        raise InputError(
            'members.seeds=() trains nothing; give at least one seed, e.g. --config.members.seeds=0,'
        )
    if config.train.select != 'last' and not all(len(m.valid) for m in members):
        raise InputError(
            f'train.select={config.train.select!r} needs validation speakers; '
            "set members.valid_speakers or train.select='last'"
        )
    if len({len(m.valid) > 0 for m in members}) > 1:
        without = next(m.name for m in members if not len(m.valid))
        raise InputError(
            f'{without} has no validation speakers and others have; give them to all members or to none'
        )
    steps = steps_per_epoch(members, config.train.batch_size)
    reads = reads_text(config)
    words = [text.vocabulary(opened.text[m.train]) if reads else [] for m in members]
    learner = build_learner(config, len(emotions), max(len(w) for w in words), steps)
    learner.begins_with()  # raise for a missing file of weights before anything is written
    if learner.frozen_units:
        opened = through_frozen(config, opened, learner)
    bands = (
        1 if opened.source == derived.SOURCE else front_ends.layout(config.features.source).bands
    )
    plain = np.zeros(bands, np.float32)
    known = lambda m: (
        utterances.normalization(opened, m.train)
        if config.features.normalize != 'none'
        else (plain, plain + 1)
    )
    mean, std = zip(*(known(m) for m in members), strict=True)
    return Run(
        config, opened, emotions, members, words, (np.stack(mean), np.stack(std)), learner, steps
    )


def title(config: ConfigDict) -> str:
    """Return the network's name for tables: the trunk's, if any, marked if not as published."""
    m = _arguments(config)
    if 'trunk' not in m:
        return m['name']
    return (
        m['trunk']
        + (f'_x{m["width"]:g}' if m['width'] != 1 else '')
        + '_random' * (m['weights'] == 'random')
    )


def _arguments(config: ConfigDict) -> dict:
    """Return the network's arguments: the config's, else the defaults of the constructor."""
    parameters = inspect.signature(model_class(config).__init__).parameters.items()
    return {
        **{k: p.default for k, p in parameters if k not in ('self', 'rngs', 'dtype')},
        **config.model,
    }


def through_frozen(
    config: ConfigDict, opened: utterances.Utterances, learner: Learner
) -> utterances.Utterances:
    """Replace features by the outputs of the frozen layers."""
    a = config.augment
    if config.features.normalize != 'none' or any(
        (a.speed, a.gain_db, a.band_shift, a.scored_shifts, a.time_masks, a.band_masks, a.mixup)
    ):
        raise InputError(
            f'model {config.model.name} hears what its frozen layers give, which can be neither normalized nor augmented; '
            "set features.normalize='none' and the augment knobs to 0"
        )
    decisive = [_arguments(config), config.train.bfloat16, learner.begins_with()]
    name = json.dumps(decisive, sort_keys=True, default=str)  # a stored config has lists for tuples
    steps = front_ends.layout(config.features.source).steps
    return derived.frozen_activations(opened, steps, name, learner.frozen, config.data.resident_gb)


def _sides(config: ConfigDict, opened: utterances.Utterances, fold: protocols.Fold) -> tuple:
    """Return a fold's sides and its versions: None, or rows [R 1+V] of which an epoch draws one."""
    if not config.data.variants or config.data.variants_heard == 'all':
        return fold.train, fold.valid, fold.test, None
    if protocols.splits_variants(config.members.protocol):
        raise InputError(
            f"data.variants_heard='one' with members.protocol={config.members.protocol!r}, which splits variants as "
            "utterances of their own; set it to 'all'"
        )
    # In opened corpora, variants directly follow their source.
    versions = np.sort(fold.train).reshape(-1, 1 + len(config.data.variants))
    return fold.train, fold.valid, fold.test, versions


def open_utterances(config: ConfigDict) -> tuple[utterances.Utterances, tuple[str, ...]]:
    """Open a config's corpora with its channels and emotions only; return them and the emotions."""
    names = tuple(config.data.corpora)
    if not names:
        raise InputError(
            'data.corpora is empty; name at least one built corpus, e.g. --config.data.corpora=ravdess,'
        )
    opened = utterances.open_corpora(
        names,
        config.data.dir,
        config.features.source,
        config.data.resident_gb,
        config.features.trim_db,
        config.data.variants,
    )
    opened = labeled(config, opened)
    heard = np.isin(opened.channel, [*config.data.channels, *config.data.train_only_channels])
    asked = tuple(config.data.emotions)
    there = vocabulary_of_emotions.ordered(opened.emotion[heard])
    missing = [e for e in asked if e not in there and e not in config.data.unsupported]
    if missing:
        raise InputError(
            f'data.emotions names {", ".join(missing)}, of which {", ".join(names)} hold no example; '
            f'they hold {", ".join(there)}'
        )
    # By default, a class without examples (in a partial corpus) is not presented as detectable.
    emotions = asked or there
    if len(emotions) < 2:
        raise InputError(
            f'{", ".join(names)} leave {len(emotions)} emotion to tell apart; expected at least 2'
        )
    # Emotions of data.unsupported have no examples here, even if a corpus is documented with them.
    shown = [tuple(e for e in f.emotions if e in there) for f in opened.facts]
    facts = tuple(
        dataclasses.replace(f, emotions=e) for f, e in zip(opened.facts, shown, strict=True)
    )
    opened = dataclasses.replace(opened, facts=facts)
    return opened.select(heard & np.isin(opened.emotion, emotions)), emotions


def labeled(config: ConfigDict, opened: utterances.Utterances) -> utterances.Utterances:
    """Relabel opened corpora for an experiment; pair them with texts if its protocol does."""
    opened = opened.relabel(config.data.labels, config.data.merge)
    leaky = config.members.protocol == label_pairing.PROTOCOL
    if leaky != bool(config.data.texts):
        raise InputError(
            f'data.texts={config.data.texts!r} with members.protocol={config.members.protocol!r}: texts paired by label '
            f'carry the answer; ask for both, members.protocol={label_pairing.PROTOCOL!r} and data.texts, or for neither'
        )
    if not leaky:
        return opened
    opened = (
        opened.select(np.isin(opened.emotion, config.data.emotions))
        if config.data.emotions
        else opened
    )
    return label_pairing.by_label(
        opened, utterances.open_corpora((config.data.texts,), config.data.dir, 'text')
    )


def model_class(config: ConfigDict):
    """Return the network class of `config.model.name`: `Model` of ser_jax/models/<name>.py."""
    name = config.model.get('name', '')
    try:
        return importlib.import_module(f'ser_jax.models.{name}').Model
    except (ImportError, AttributeError) as e:
        raise InputError(
            f'model.name={name!r} is no file of ser_jax/models with a Model ({e})'
        ) from e


def reads_text(config: ConfigDict) -> bool:
    """Return True if the model has a text input."""
    return getattr(model_class(config), 'reads_text', False)


def headline(modalities: Collection[str], text: bool = True) -> str:
    """Return the modality of the model's answers: fused if there is a `text`, else audio."""
    return 'fused' if text and 'fused' in modalities else 'audio'


def build_learner(config: ConfigDict, classes: int, words: int, steps: int) -> Learner:
    """Build the learner for `classes` emotions, a vocabulary of `words` and epochs of `steps`."""
    model, arguments = model_class(config), {k: v for k, v in config.model.items() if k != 'name'}
    knobs = set(inspect.signature(model.__init__).parameters) - {
        'self',
        'classes',
        'bands',
        'words',
        'dtype',
        'rngs',
    }
    if unknown := sorted(set(arguments) - knobs):
        raise InputError(
            f'model {config.model.name} has no knob {", ".join(unknown)}; it has {", ".join(sorted(knobs))}'
        )
    if config.augment.mixup and reads_text(config):
        raise InputError(
            'augment.mixup mixes sounds but cannot mix texts; set it to 0 for a model that reads text'
        )
    waveform = config.features.source == 'waveform'
    if not waveform and (config.augment.noise_snr_db or config.augment.reverb_s):
        raise InputError(
            "augment.noise_snr_db and reverb_s need samples; set features.source='waveform'"
        )
    front = front_ends.layout(config.features.source)
    dtype = jnp.bfloat16 if config.train.bfloat16 else jnp.float32
    sizes = {'classes': classes, 'bands': front.bands, 'words': words + 2}
    frames = front.steps or round(config.train.window_s / front.hop_s) + 1
    learner = Learner(
        lambda rngs: model(**sizes, **arguments, dtype=dtype, rngs=rngs),
        optim.build(config.optim, steps * config.train.epochs, steps),
        Inputs(
            config.augment, waveform, config.features.normalize == 'window', frames, front.hop_s
        ),
        config.loss.label_smoothing,
        config.loss.modalities,
        config.optim.ema,
    )
    if learner.frozen_units:  # its input is one row of activations per window
        learner.inputs = learner.inputs._replace(frames=1)
    return learner


def eval_span(config: ConfigDict, opened: utterances.Utterances) -> int:
    """Return the longest scored window in units of the opened source: frames, samples or rows."""
    if opened.source == derived.SOURCE:
        return 1
    front = front_ends.layout(config.features.source)
    if config.features.source == 'waveform':
        return round(config.train.eval_window_s * front_ends.by_name('waveform').rate_hz)
    return front.steps or round(config.train.eval_window_s / front.hop_s)


def shared_arrays(
    config: ConfigDict,
    opened: utterances.Utterances,
    emotions: tuple[str, ...],
    span: int,
    trained_on: Sequence[CorpusInfo] | None = None,
) -> CorpusData:
    """Return the arrays that all members share (numpy); zeros at the end allow any slice of `span`.

    `trained_on`: the corpora of the run, if `opened` are others.
    """
    index = lambda values, of: np.array([of.index(v) for v in values], np.int32)
    supported = vocabulary_of_emotions.answerable(
        config.data.supported, opened.facts, emotions, trained_on
    )
    flat = opened.flat
    if flat is not None:
        flat = np.concatenate([flat, np.zeros((span, *flat.shape[1:]), flat.dtype)])
        if len(flat) >= 2**31:
            raise InputError(
                f'{len(flat):,} resident frames or samples are more than an index holds; lower data.resident_gb'
            )
    return CorpusData(
        flat=flat,
        offset=opened.offset.astype(np.int32)
        if flat is not None
        else np.zeros(len(opened), np.int32),
        length=opened.length.astype(np.int32),
        emotion=index(opened.emotion, emotions),
        speaker=np.unique(opened.speaker, return_inverse=True)[1].astype(np.int32),
        sex=index(opened.sex, SEXES),
        intensity=index(opened.intensity, INTENSITIES),
        corpus=opened.corpus.astype(np.int32),
        supported=supported,
    )


def own_arrays(run: Run, which: list[int]) -> MemberData:
    """Return the per-member arrays of the members `which`, stacked (numpy)."""
    config, width = run.config, run.config.features.max_words
    members = [run.members[k] for k in which]
    keys = [
        jax.random.key_data(jax.random.fold_in(jax.random.key(m.seed), 1_000_003 + m.fold))
        for m in members
    ]
    if reads_text(config):
        tokens = [text.encode(run.utterances.text, run.words[k], width) for k in which]
    else:
        tokens = [np.zeros((len(run.utterances), 1), np.int32) for _ in which]
    return MemberData(
        key=np.stack([np.asarray(k) for k in keys]),
        mean=run.normalization[0][which],
        std=run.normalization[1][which],
        class_weight=np.stack([_class_weight(run, m) for m in members]),
        tokens=np.stack(tokens),
    )


def _class_weight(run: Run, member: Member) -> np.ndarray:
    """Return float32 [C]: 1 / training frequency, mean 1 over utterances; ones when off."""
    emotion = run.utterances.emotion[member.train]
    counts = np.array([(emotion == e).sum() for e in run.emotions])
    if not run.config.loss.class_weights:
        return np.ones(len(counts), np.float32)
    present = counts > 0
    weight = np.where(present, counts.sum() / (np.maximum(counts, 1) * present.sum()), 0)
    return weight.astype(np.float32)
