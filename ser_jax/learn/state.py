"""State of a training member, its variables, and its predictions."""

from typing import Any, NamedTuple

import jax
from flax import nnx

from ser_jax.models.pretrained import Frozen


class Variables(NamedTuple):
    """Parameters and batch statistics of a model: flat dicts by path."""

    params: dict
    stats: dict


class Predicted(NamedTuple):
    """Predictions of one member for windows."""

    probabilities: dict[str, Any]  # modality -> [B C]
    embedding: Any  # [B D]


class State(NamedTuple):
    """Complete training state of one member: training resumes bitwise from a checkpoint of it."""

    step: Any  # int32
    variables: Variables
    optimizer: Any
    average: Any  # Variables averaged over steps (EMA); () when off
    best: Variables  # those of the best epoch so far
    best_score: Any  # float32
    best_epoch: Any  # int32, 1-based; 0 = none yet
    # float32, the score by which epochs are compared, averaged over the last ones; nan = none yet
    recent: Any
    loss_sum: Any  # float32, over the epoch so far
    loss_weight: Any  # float32
    bad_step: Any  # int32, the first step whose loss was not finite; -1 = none


def split(model) -> tuple[nnx.GraphDef, list[nnx.State], nnx.State]:
    """Return a model's graph, its parameters and batch statistics, and its frozen variables."""
    graph, *states = nnx.split(model, nnx.Param, nnx.BatchStat, Frozen)
    return graph, list(states[:2]), states[2]


def paths(state) -> list[str]:
    """Return the paths, e.g. 'trunk/blocks/0/conv/kernel', in the order of `jax.tree.leaves`."""
    names = []
    for path, _ in jax.tree_util.tree_flatten_with_path(state)[0]:
        keys = [str(getattr(k, 'key', getattr(k, 'name', k))) for k in path]
        names.append('/'.join(keys).removesuffix('/value'))
    return names
