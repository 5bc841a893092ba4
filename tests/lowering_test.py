"""Steps of every config lower for CPU, CUDA and TPU, on a machine that may have none of the latter.

Arguments are shapes, so no corpus is built, no file of weights is read, and nothing large is
allocated.
"""

import importlib.util
import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from ser_jax import assemble
from ser_jax.audio import front_ends
from ser_jax.contract import CorpusInfo, InputError
from ser_jax.data.batches import Member
from ser_jax.inference import Predictor
from ser_jax.learn import losses
from ser_jax.learn.arrays import Batch, CorpusData, MemberData
from ser_jax.learn.devices import device_mesh
from ser_jax.learn.learner import Learner
from ser_jax.learn.members import Group
from ser_jax.learn.state import State, Variables
from ser_jax.runs.trained import Trained

ROOT = pathlib.Path(__file__).parents[1]
CONFIGS = sorted([*ROOT.glob('configs/*.py'), *ROOT.glob('configs/seeds/*.py')])
PLATFORMS = ['cpu', 'cuda', 'tpu']
EMOTIONS = tuple('abcdefgh')
MEMBERS = ['first', 'second']  # K
VOCABULARY = ['yes', 'no']
N, B, UNTRACED = 5, 2, ('stats162',)


def experiments() -> list:
    """Every config, and the head that is trained by gradients of the one fitted in closed form."""
    found = []
    for path in CONFIGS:  # those of published systems take most of the time
        marks = pytest.mark.slow if path.parent.name == 'seeds' else ()
        found.append(pytest.param(path, '', id=path.stem, marks=marks))
    whisper = ROOT / 'configs' / 'whisper.py'
    return [*found, pytest.param(whisper, 'bilstm', id='whisper-bilstm')]


class Shapes(NamedTuple):
    """A config's learner, and the arguments of its steps as shapes."""

    config: ConfigDict
    whole: Learner  # from samples to answers
    trained: Learner  # the rest of the network if the outputs of its frozen part are cached
    state: State  # [K ...]
    frozen: dict
    raw: jax.ShapeDtypeStruct  # stored windows [B span ...]


def shape(dimensions, dtype) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(tuple(dimensions), dtype)


def stacked(tree):
    """The shapes of K members from those of one."""
    return jax.tree.map(lambda x: shape((len(MEMBERS), *x.shape), x.dtype), tree)


def load(path: pathlib.Path, head: str = '') -> ConfigDict:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config()
    if head:
        config.model.head = head
    return config


def shapes_of(config: ConfigDict, monkeypatch) -> Shapes:
    """Build a learner whose file of pretrained weights is not read, and the shapes it works on."""
    model = assemble.model_class(config)
    if hasattr(model, 'pretrained'):
        monkeypatch.setattr(model, 'pretrained', lambda self: None)
        monkeypatch.setattr(model, 'begins_with', lambda self: '')
    words = len(VOCABULARY) if assemble.reads_text(config) else 0
    whole = trained = assemble.build_learner(config, len(EMOTIONS), words, 10)
    source = front_ends.by_name(config.features.source)
    second = source.stored(0.1 * np.sin(np.arange(source.rate_hz), dtype=np.float32))
    span = min(whole.preprocessing.span, assemble.scored_span(config, source.layout))
    raw = shape((B, span, *second.shape[1:]), second.dtype)
    if whole.derives:
        derived, _ = jax.eval_shape(frozen_part(whole), raw, shape((B,), np.int32))
        layout = whole.derived_layout._replace(bands=derived.shape[2])
        trained = whole.on_derived(layout, assemble.train_span(config, layout))
    state = stacked(jax.eval_shape(trained.init, jax.random.key(0)))
    frozen = jax.eval_shape(whole.frozen_variables)
    return Shapes(config, whole, trained, state, frozen, raw)


def frozen_part(learner: Learner):
    """The computation of derived features, with weights drawn instead of read."""
    return lambda raw, length: learner.deriver()(raw, length)


def member_data(shapes: Shapes) -> MemberData:
    bands = 1 if shapes.trained.derived else shapes.trained.preprocessing.input.layout.bands
    width = shapes.config.features.max_words if assemble.reads_text(shapes.config) else 1
    return stacked(
        MemberData(
            key=jax.eval_shape(jax.random.key, 0),
            mean=shape((bands,), np.float32),
            std=shape((bands,), np.float32),
            class_weight=shape((len(EMOTIONS),), np.float32),
            tokens=shape((N, width), np.int32),
        )
    )


def corpus_data(shapes: Shapes) -> CorpusData:
    of_each, learner = shape((N,), np.int32), shapes.trained
    width = [learner.preprocessing.input.layout.bands] if learner.derived else shapes.raw.shape[2:]
    dtype = np.float16 if learner.derived else shapes.raw.dtype
    return CorpusData(
        flat=shape((3 * learner.preprocessing.span, *width), dtype),
        offset=of_each,
        length=of_each,
        emotion=of_each,
        corpus=of_each,
        supported=shape((1, len(EMOTIONS)), bool),
        frozen=shapes.frozen if learner.reads_frozen else (),
    )


def batch(*leading: int) -> Batch:
    dimensions = (*leading, B)
    return Batch(*(shape(dimensions, t) for t in (np.int32, np.int32, np.float32)))


def group(shapes: Shapes) -> Group:
    """A group of K members without data: its compiled functions take theirs as arguments."""
    nothing, keys = np.zeros(0, int), np.zeros((len(MEMBERS), 2), np.uint32)
    return Group(
        shapes.trained,
        [Member(name, 0, 0, nothing, nothing, nothing) for name in MEMBERS],
        MemberData(keys, *[None] * 4),
        CorpusData(*[None] * 6),
        None,
        device_mesh(len(MEMBERS), B, jax.devices()[:1]),
        batch_size=B,
        steps=2,
    )


class Empty(Trained):
    """A run without files, whose members have no variables yet."""

    finished = MEMBERS

    def check_weights(self) -> None:
        pass

    def variables(self, members) -> Variables:
        return Variables({}, {})


def predictor(shapes: Shapes, monkeypatch) -> Predictor:
    """The predictor of a run without variables; the steps below put traced ones into it."""
    monkeypatch.setattr(shapes.whole, 'frozen_variables', dict)
    bands = shapes.whole.preprocessing.input.layout.bands
    bands = 1 if shapes.whole.derives else bands
    normal = np.zeros(bands, np.float32), np.ones(bands, np.float32)
    return Predictor(
        Empty(
            directory=ROOT,
            config=shapes.config,
            protocol='speakers_k',
            emotions=EMOTIONS,
            folds={name: {} for name in MEMBERS},
            normalization=dict.fromkeys(MEMBERS, normal),
            words=dict.fromkeys(MEMBERS, VOCABULARY),
            corpora=[CorpusInfo('x', 'x', 'x', False, EMOTIONS)],
            environment={},
            learner=shapes.whole,
        )
    )


def lowered(function, *arguments) -> None:
    """Lower a jitted function for all platforms; raise for an operation that one of them lacks."""
    exported = jax.export.export(function, platforms=PLATFORMS)(*arguments)
    assert exported.platforms == tuple(PLATFORMS)


def lower_training(shapes: Shapes, steps: int) -> None:
    arguments = shapes.state, member_data(shapes), corpus_data(shapes), batch(steps, len(MEMBERS))
    lowered(group(shapes)._update, *arguments)


def test_the_configs_were_found():
    assert {'conv_bilstm', 'fusion', 'whisper', 'vsr', 'stsam'} <= {p.stem for p in CONFIGS}


@pytest.mark.parametrize('path, head', experiments())
def test_the_training_step_lowers(path, head, monkeypatch):
    """One step, as a CPU dispatches them, and several in a loop, as accelerators do."""
    shapes = shapes_of(load(path, head), monkeypatch)
    if shapes.whole.derives:
        lowered(jax.jit(frozen_part(shapes.whole)), shapes.raw, shape((B,), np.int32))
    if shapes.trained.closed_form:
        return  # fitted on the host: there is no step
    lower_training(shapes, 1)
    lower_training(shapes, 2)


@pytest.mark.parametrize('path, head', experiments())
def test_the_scoring_step_lowers(path, head, monkeypatch):
    shapes = shapes_of(load(path, head), monkeypatch)
    variables = shapes.trained.candidate(shapes.state)
    span, scored = shapes.trained.preprocessing.span, group(shapes)
    data = member_data(shapes), corpus_data(shapes), batch(len(MEMBERS))
    lowered(scored._predict, variables, *data, span)


@pytest.mark.parametrize('path, head', experiments())
def test_prediction_lowers(path, head, monkeypatch):
    """From samples to answers, or from stored features where they cannot be computed inside."""
    shapes = shapes_of(load(path, head), monkeypatch)
    opened, length = predictor(shapes, monkeypatch), shape((B,), np.int32)
    (_, data, _), *rest = opened._stored
    variables, source = shapes.whole.candidate(shapes.state), opened.source
    tokens = jnp.repeat(opened.trained.tokens(MEMBERS, ['']), B, 1)

    def from_samples(variables, frozen, samples, length):
        opened._stored = (variables, data, frozen), *rest
        return function(samples, length)

    def from_stored(variables, frozen, raw, length):
        return opened._each_member(((variables, data, frozen), *rest), tokens, raw, length)

    samples = shape((B, 4 * source.rate_hz), np.float32)
    function = opened.function()
    if source.name in UNTRACED:
        with pytest.raises(InputError, match='cannot be computed inside the step'):
            jax.eval_shape(from_samples, variables, shapes.frozen, samples, length)
        lowered(jax.jit(from_stored), variables, shapes.frozen, shapes.raw, length)
    else:
        lowered(jax.jit(from_samples), variables, shapes.frozen, samples, length)


def called_back(x):
    """A call of Python from inside the program."""
    return jax.pure_callback(lambda y: y, shape(x.shape, x.dtype), x, vmap_method='sequential')


def on_the_host(x):
    """NumPy on a traced value."""
    return jnp.asarray(np.exp(x))


def without_tpu(x):
    """An operation that XLA has for CPUs only: eigenvalues of a general matrix."""
    return x + 0 * jnp.linalg.eigvals(jnp.ones((2, 2), x.dtype)).real.sum()


@pytest.mark.parametrize(
    'operation, error',
    [
        (called_back, NotImplementedError),
        (on_the_host, jax.errors.TracerArrayConversionError),
        (without_tpu, NotImplementedError),
    ],
)
def test_a_host_only_operation_in_the_loss_is_noticed(operation, error, monkeypatch):
    """The step of a small config, which lowers without that operation."""
    shapes = shapes_of(load(ROOT / 'configs' / 'seeds' / 'burnwal.py'), monkeypatch)
    original = losses.cross_entropy
    unchanged = jax.lax.stop_gradient

    def replaced(logits, *rest):
        return original(logits, *rest) + unchanged(operation(unchanged(logits))).sum()

    monkeypatch.setattr(losses, 'cross_entropy', replaced)
    with pytest.raises(error):
        lower_training(shapes, 1)
