"""Assembly of a run from its config; the only module that wires data, folds, model and learner."""

import importlib
import inspect
import itertools
import json
import pkgutil
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from ser_jax.audio import augment, front_ends
from ser_jax.config import base, check_ranges
from ser_jax.contract import FrontEnd, InputError, Layout
from ser_jax.data import (
    coverage,
    derived,
    folds,
    protocol_knobs,
    protocols,
    selection,
    speaker_statistics,
    text,
    utterances,
)
from ser_jax.data.batches import Member, steps_per_epoch
from ser_jax.emotions import answerable
from ser_jax.learn import arrays, optim
from ser_jax.learn.arrays import CorpusData, MemberData
from ser_jax.learn.inputs import Preprocessing
from ser_jax.learn.learner import Learner

# Arguments of a network that follow from the data; the others are knobs.
_MODELS = 'ser_jax.models.'
_GIVEN = {'self', 'classes', 'bands', 'words', 'dtype', 'rngs'}


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
    coverage: coverage.Coverage  # of the protocol

    def corpus_data(self, span: int) -> CorpusData:
        """Return the arrays that all members share (numpy), padded for windows of up to `span`."""
        facts = self.utterances.facts
        supported = answerable(self.config.data.supported, facts, self.emotions)
        frozen = self.learner.frozen_variables()
        return arrays.corpus_data(self.utterances, self.emotions, supported, span, frozen)

    def member_data(self, selected: Sequence[int]) -> MemberData:
        """Return the arrays of the members with the indices `selected`, stacked (numpy)."""
        config, members = self.config, [self.members[k] for k in selected]
        weights = np.ones((len(members), len(self.emotions)), np.float32)
        if config.loss.class_weights:
            labels = [self.utterances.emotion[m.train] for m in members]
            weights = np.stack([arrays.class_weights(e, self.emotions) for e in labels])
        mean, std = self.normalization
        words, width = [self.words[k] for k in selected], config.features.max_words
        tokens = arrays.tokens(self.utterances.text, words, width, reads_text(config))
        return arrays.member_data(members, (mean[selected], std[selected]), weights, tokens)


def open_run(config: ConfigDict) -> Run:
    """Open the corpora that a config names and lay out its members.

    Raises:
      InputError: the config asks for something that does not exist or is not possible.
    """
    config = settled(config)
    check_ranges(config)
    front = model_input(config)
    augment.check(config.augment, front.layout, config.train.window_s)
    opened, emotions = selection.open_utterances(config)
    members, part = _members(config, opened)
    steps = steps_per_epoch(members, config.train.batch_size)
    reads = reads_text(config)
    words = [text.vocabulary(opened.text[m.train]) if reads else [] for m in members]
    learner = build_learner(config, len(emotions), max(len(w) for w in words), steps)
    learner.begins_with()  # raise for a missing file of weights before anything is written
    if learner.derives:
        opened = derived_for(config, opened, learner)
        learner = learner.on_derived(opened.layout, train_span(config, opened.layout))
    if learner.reads_frozen and speaker_statistics.enrolled_count(config.features.speaker_norm):
        raise InputError(
            f'features.speaker_norm={config.features.speaker_norm!r} needs a frozen encoder; set '
            f"it to 'none', or model.adapted, now {config.model.get('adapted', 0)}, to 0"
        )
    opened, enrolled = speaker_statistics.relative(opened, config.features, config.data.channels)
    members = [_unenrolled(m, enrolled) for m in members]
    bands = 1 if learner.derived else front.layout.bands or 1
    normalization = [_normalization(config, opened, m, bands) for m in members]
    mean, std = (np.stack(x) for x in zip(*normalization, strict=True))
    return Run(config, opened, emotions, members, words, (mean, std), learner, steps, part)


def settled(config: ConfigDict) -> ConfigDict:
    """Return the config with the knobs that its protocol fixes, see `protocol_knobs.settled`."""
    return protocol_knobs.settled(config, base())


def model_input(config: ConfigDict) -> FrontEnd:
    """Return the front end whose features the model of a config reads."""
    return front_ends.model_input(config.features.source, config.features.input)


def _members(
    config: ConfigDict, opened: utterances.Utterances
) -> tuple[list[Member], coverage.Coverage]:
    """Return the members of a config, one per seed and fold, and the coverage of its protocol.

    Raises:
      InputError: there is none, or some or all lack the validation speakers that they need.
    """
    variants, train_only = tuple(config.data.variants), tuple(config.data.train_only_channels)
    made, left_out = protocols.lay_out(opened, config.members, train_only, variants)
    members = []
    for seed, fold in itertools.product(config.members.seeds, made):
        number, sides = int(fold.name.removeprefix('fold')), _sides(config, opened, fold)
        members.append(Member(f'{fold.name}_seed{seed}', number, int(seed), *sides))
    if not members:
        raise InputError(
            'members.seeds is empty; give at least one seed, e.g. --config.members.seeds=0,'
        )
    if config.train.select != 'last' and not all(len(m.valid) for m in members):
        raise InputError(
            f'train.select={config.train.select!r} needs validation speakers; '
            "set members.valid_speakers or train.select='last'"
        )
    if len({len(m.valid) > 0 for m in members}) > 1:
        without = next(m.name for m in members if not len(m.valid))
        raise InputError(
            f'{without} has no validation speakers, but other members have; give them to all '
            'members or to none'
        )
    return members, coverage.covered(opened, config, left_out)


def _normalization(config: ConfigDict, opened: utterances.Utterances, member: Member, bands: int):
    """Return the mean and deviation [M] of a member's training side; 0 and 1 if it is off."""
    if config.features.normalize == 'none':
        return np.zeros(bands, np.float32), np.ones(bands, np.float32)
    return utterances.normalization(opened, member.train)


def title(config: ConfigDict) -> str:
    """Return the network's name for tables: the trunk's, if any, marked if not as published."""
    arguments = _arguments(config)
    if 'trunk' not in arguments:
        return arguments['name']
    width = f'_x{arguments["width"]:g}' if arguments['width'] != 1 else ''
    return arguments['trunk'] + width + '_random' * (arguments['weights'] == 'random')


def _arguments(config: ConfigDict) -> dict:
    """Return the network's arguments: the config's, else the defaults of the constructor."""
    parameters = inspect.signature(model_class(config).__init__).parameters.items()
    return {
        **{k: p.default for k, p in parameters if k not in ('self', 'rngs', 'dtype')},
        **config.model,
    }


def derived_for(
    config: ConfigDict, opened: utterances.Utterances, learner: Learner
) -> utterances.Utterances:
    """Replace features by the outputs of the model's frozen part, cached.

    Raises:
      InputError: the config asks for normalization or augmentation, or the file of the weights is
        missing.
    """
    knobs = config.augment
    names = 'speed gain_db band_shift scored_shifts band_masks time_masks noise_snr_db reverb_s'
    if config.features.normalize != 'none' or any(knobs[name] for name in names.split()):
        raise InputError(
            f'model {config.model.name} reads the outputs of its frozen layers, which can be '
            "neither normalized nor augmented; set features.normalize='none' and the augment knobs "
            'but mixup to 0'
        )
    depends_on = learner.derivation or _arguments(config)
    identity = [depends_on, config.train.bfloat16, learner.begins_with(), config.features.input]
    name = json.dumps(identity, sort_keys=True, default=str)  # a stored config has lists for tuples
    most = scored_span(config, front_ends.by_name(config.features.source).layout)
    limit_gb = config.data.resident_gb
    return derived.derived_features(
        opened, name, learner.deriver, most, learner.derived_layout, limit_gb
    )


def _unenrolled(member: Member, enrolled: np.ndarray) -> Member:
    """Return a member whose enrolled recordings are neither validated nor tested on."""
    valid, test = (side[~enrolled[side]] for side in (member.valid, member.test))
    return member._replace(valid=valid, test=test)


def _sides(config: ConfigDict, opened: utterances.Utterances, fold: folds.Fold) -> tuple:
    """Return a fold's sides and its versions: None, or rows [R 1+V] of which an epoch draws one."""
    if not config.data.variants or config.data.variants_heard == 'all':
        return fold.train, fold.valid, fold.test, None
    if protocols.splits_variants(config.members.protocol):
        raise InputError(
            f"data.variants_heard='one' with members.protocol={config.members.protocol!r}, which "
            "splits variants as independent utterances; set it to 'all'"
        )
    # In opened corpora, variants directly follow their source.
    versions = np.sort(fold.train).reshape(-1, 1 + len(config.data.variants))
    return fold.train, fold.valid, fold.test, versions


def model_class(config: ConfigDict):
    """Return the network class of `config.model.name`: `Model` of ser_jax/models/<name>.py."""
    name = config.model.get('name', '')
    try:
        return importlib.import_module(_MODELS + name).Model
    except (ImportError, AttributeError) as e:
        raise InputError(
            f'model.name must be one of {", ".join(_model_names())}, got {name!r}'
        ) from e


def _model_names() -> list[str]:
    """Return the names of the files of ser_jax/models that have a `Model`."""
    folder = importlib.import_module('ser_jax.models').__path__
    modules = (importlib.import_module(m.name) for m in pkgutil.iter_modules(folder, _MODELS))
    return [m.__name__.removeprefix(_MODELS) for m in modules if hasattr(m, 'Model')]


def reads_text(config: ConfigDict) -> bool:
    """Return True if the model has a text input."""
    return getattr(model_class(config), 'reads_text', False)


def build_learner(config: ConfigDict, classes: int, words: int, steps: int) -> Learner:
    """Build the learner for `classes` emotions, a vocabulary of `words` and epochs of `steps`."""
    model, arguments = model_class(config), {k: v for k, v in config.model.items() if k != 'name'}
    knobs = set(inspect.signature(model.__init__).parameters) - _GIVEN
    if unknown := sorted(set(arguments) - knobs):
        raise InputError(
            f'model {config.model.name} has no knob {", ".join(unknown)}; it has '
            f'{", ".join(sorted(knobs))}'
        )
    if config.augment.mixup and reads_text(config):
        raise InputError(
            'augment.mixup mixes features but not texts; set it to 0 for a model that reads text'
        )
    source, front = front_ends.by_name(config.features.source), model_input(config)
    if source.layout.bands and (config.augment.noise_snr_db or config.augment.reverb_s):
        raise InputError(
            "augment.noise_snr_db and reverb_s need samples; set features.source='waveform'"
        )
    dtype = jnp.bfloat16 if config.train.bfloat16 else jnp.float32
    sizes = {'classes': classes, 'bands': front.layout.bands, 'words': words + 2}
    frames = train_span(config, front.layout)
    per_window = config.features.normalize == 'window'
    learner = Learner(
        lambda rngs: model(**sizes, **arguments, dtype=dtype, rngs=rngs),
        optim.build(config.optim, steps * config.train.epochs, steps),
        Preprocessing(config.augment, source, front, per_window, frames),
        config.loss.label_smoothing,
        config.loss.modalities,
        config.optim.ema,
    )
    if learner.front_end not in ('', front.name):
        raise InputError(
            f'model.encoder={_arguments(config)["encoder"]!r} reads {learner.front_end}, got '
            f"{front.name}; set features.input={learner.front_end!r} and features.source='waveform'"
        )
    if learner.closed_form and config.train.epochs != 1:
        raise InputError(
            f'train.epochs must be 1 for a model that is fitted in closed form, got '
            f'{config.train.epochs}'
        )
    return learner


def train_span(config: ConfigDict, layout: Layout) -> int:
    """Return the length of a training window in frames of a layout."""
    return layout.steps or round(config.train.window_s / layout.hop_s) + 1


def scored_span(config: ConfigDict, layout: Layout, window_s: float = 0.0) -> int:
    """Return the longest scored window in units of a layout: frames, samples or rows.

    Args:
      config: `train.eval_window_s` is the default length.
      layout: of the stored or derived features; those with windows of their own have that length.
      window_s: length in seconds; 0 = the default.
    """
    return layout.steps or max(1, round((window_s or config.train.eval_window_s) / layout.hop_s))
