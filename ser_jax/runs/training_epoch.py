"""One epoch of a group of members: train, validate, mark the best state, write the records."""

from typing import Any

import numpy as np

from ser_jax import assemble
from ser_jax.contract import InputError
from ser_jax.learn import optim
from ser_jax.learn.members import Group
from ser_jax.learn.prediction import Prediction, answering
from ser_jax.learn.state import State, Variables
from ser_jax.runs.checkpoint import Checkpoints
from ser_jax.runs.logbook import Logbook, Progress
from ser_jax.scoring import metrics


def train_epoch(
    run: assemble.Run,
    group: Group,
    state: State,
    epoch: int,
    book: Logbook,
    progress: Progress,
    checkpoints: Checkpoints,
) -> State:
    """Run an epoch (0-based) of one group and return the state after it.

    Raises:
      InputError: the loss of a member is not finite.
    """
    names = [m.name for m in group.members]
    label = names[0] if len(names) == 1 else f'{len(names)} members'
    for steps, state in zip(group.dispatches, group.train_epoch(state, epoch), strict=True):
        utterances = steps * group.batch_size * len(names)
        words = f'{label} · epoch {epoch + 1}/{run.config.train.epochs}'
        progress.advance(steps, utterances, words)
    host = _on_host(run, group, state, epoch)
    _check_finite(run, names, host['bad'], checkpoints)
    scores = _validate(run, group, group.learner.candidate(state))
    uar, loss = (np.array(x) for x in zip(*scores, strict=True))
    merit = _merit(run, uar, loss, epoch, host['recent'])
    # Of equal scores the later epoch is kept, because the learning rate has fallen since.
    state = group.keep(state, merit >= host['best'], merit, epoch + 1)
    train_loss = host['sum'] / np.maximum(host['weight'], 1e-9)
    measured = {'train_loss': train_loss, 'valid_loss': loss, 'valid_uar': uar}
    _write(run, book, names, epoch, measured, np.broadcast_to(host['rate'], len(names)))
    progress.note = f' · loss {train_loss.mean():.3f}'
    if not np.isnan(uar).any():
        progress.note += f' · validation UAR {uar.mean():.3f}'
    return state


def _on_host(run: assemble.Run, group: Group, state: State, epoch: int) -> dict[str, np.ndarray]:
    """Return the values of the state [K] that decide about an epoch, and its learning rate."""
    last = run.steps * run.config.train.epochs
    step = (epoch + 1) * run.steps
    return group.host(
        {
            'bad': state.bad_step,
            'sum': state.loss_sum,
            'weight': state.loss_weight,
            'best': state.best_score,
            'recent': state.recent,
            'rate': optim.used_rate(run.config.optim, last, step, state.optimizer),
        }
    )


def _check_finite(
    run: assemble.Run, names: list[str], bad_steps: np.ndarray, checkpoints: Checkpoints
) -> None:
    for name, bad in zip(names, bad_steps, strict=True):
        if bad >= 0:
            raise InputError(
                f'the loss of {name} is not finite since step {bad} (epoch '
                f'{bad // run.steps + 1}); '
                f'{checkpoints.newest()}; lower optim.learning_rate, or set optim.clip, and use a '
                'new --workdir'
            )


def _merit(
    run: assemble.Run, uar: np.ndarray, loss: np.ndarray, epoch: int, recent: np.ndarray
) -> np.ndarray:
    """Return the score [K] by which epochs are compared, in the state's dtype: ties are equal."""
    by_name = {'uar': uar, 'loss': -loss, 'last': np.full(len(uar), float(epoch))}
    merit = by_name[run.config.train.select].astype(np.float32)
    if run.config.train.select == 'last':
        return merit
    # Scores of a few speakers vary between epochs.
    before = np.where(np.isnan(recent), merit, recent)
    return before + (merit - before) / np.float32(run.config.train.select_over)


def _write(
    run: assemble.Run,
    book: Logbook,
    names: list[str],
    epoch: int,
    measured: dict[str, np.ndarray],
    rate: np.ndarray,
) -> None:
    """Write a record per member of its values in `measured`, [K] each, and its learning rate."""
    step = (epoch + 1) * run.steps
    for k, name in enumerate(names):
        record: dict[str, Any] = {'kind': 'epoch', 'member': name, 'epoch': epoch + 1, 'step': step}
        record |= {key: rounded(values[k]) for key, values in measured.items()}
        book.write({**record, 'learning_rate': float(rate[k])})


def rounded(value: float) -> float | None:
    """Return a score as records hold it: six decimals, None for nan."""
    return None if np.isnan(value) else round(float(value), 6)


def _validate(run: assemble.Run, group: Group, variables: Variables) -> list[tuple[float, float]]:
    """Return (UAR, loss) of each member on its validation speakers; nan where it has none."""
    if not len(group.members[0].valid):
        return [(float('nan'), float('nan'))] * len(group.members)
    span = assemble.scored_span(run.config, run.utterances.layout)
    predictions = group.predict(variables, [m.valid for m in group.members], span)
    return [score(run, prediction) for prediction in predictions]


def score(run: assemble.Run, prediction: Prediction) -> tuple[float, float]:
    """Return (UAR, mean negative log-likelihood) of a member's predictions."""
    probabilities = prediction.probabilities[answering(prediction.probabilities)]
    truth = np.array([run.emotions.index(e) for e in run.utterances.emotion[prediction.utterance]])
    confusion = metrics.confusion(truth, probabilities.argmax(1), len(run.emotions))
    likelihood = np.maximum(probabilities[np.arange(len(truth)), truth], 1e-9)
    return float(metrics.scores(confusion)['uar']), float(-np.log(likelihood).mean())
