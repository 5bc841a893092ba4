"""State of a training member, its variables, and its predictions."""

from typing import Any, NamedTuple


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
