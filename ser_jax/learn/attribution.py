"""Attribution of an answer to the model's input: integrated gradients and occlusion.

Explained is the log-probability of one class for one utterance, as it is scored: with band shifts,
averaged over windows. The input is the unnormalized features; the gradient passes through frozen
encoders too. The baseline, in place of what is taken away, is the utterance's own mean per band.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ser_jax.audio import augment
from ser_jax.audio.mel import frame_mask
from ser_jax.data import batches
from ser_jax.learn import losses, prediction
from ser_jax.learn.arrays import Batch, CorpusData, MemberData
from ser_jax.learn.learner import Learner
from ser_jax.learn.patches import Patch
from ser_jax.learn.state import Variables

_ROWS = 16  # versions of an utterance that are computed together
_VALUES = 1 << 19  # maximum number of their input values; activations take many times their memory


class Network(NamedTuple):
    """One member's network with its normalization [M] and its frozen variables by path."""

    variables: Variables
    mean: Any
    std: Any
    frozen: dict


class Example(NamedTuple):
    """One utterance as the W windows in which it is scored."""

    values: Any  # [W F M] unnormalized features, or samples [W T]
    length: Any  # int32 [W], frames that are not padding
    first: Any  # int32 [W], the utterance's frame at which a window begins
    share: Any  # float32 [W], weight of a window in the answer; sum 1
    tokens: Any  # int32 [L]
    supported: Any  # bool [C]
    speaker: Any = ()  # see `arrays.CorpusData`

    @property
    def frames(self) -> int:
        """Number of frames of the utterance."""
        return int((self.first + self.length).max())

    @property
    def mean(self) -> np.ndarray:
        """Mean per band over the frames that are not padding: float32 [M], or [] of samples."""
        real = np.asarray(frame_mask(self.length, self.values.shape[1]))
        return np.asarray(self.values, np.float64)[real].mean(0).astype(np.float32)

    def merged(self, windows: np.ndarray) -> np.ndarray:
        """Return the sum of values by window [W F ...] as values of the utterance [frames ...]."""
        whole = np.zeros((self.frames, *windows.shape[2:]), windows.dtype)
        for values, first, length in zip(windows, self.first, self.length, strict=True):
            whole[first : first + length] += values[:length]
        return whole


class Attribution:
    """Explanations of the answers of one network architecture, compiled once per shape.

    Args:
      learner: of a run, on its stored features (not `on_derived`).
      modality: name of the explained output.
    """

    def __init__(self, learner: Learner, modality: str = 'audio'):
        self.learner, self.modality = learner, modality
        self._most_shift = learner.preprocessing.augment.scored_shifts
        self._features = jax.jit(learner.preprocessing.features)
        self._scores = jax.jit(self._log_probability)
        self._path_gradient = jax.jit(self._gradient_along_path)
        self._without = jax.jit(self._without_parts)

    def example(
        self,
        stored: np.ndarray,
        most: int,
        aligned: bool,
        tokens: np.ndarray,
        supported: np.ndarray,
        speaker: Any = (),
    ) -> Example:
        """Return an utterance in its windows.

        Args:
          stored: its values as in the shards, [T ...].
          most: maximum length of a window.
          aligned: see `batches.windows`.
          tokens: [L].
          supported: bool [C].
          speaker: mean of its speaker's derived features [A], of a run with speaker statistics.
        """
        cut = batches.windows(np.array([0]), np.array([len(stored)]), most, aligned)
        span = prediction.padded_span(int(cut.length.max()), most)
        raw = np.zeros((len(cut.start), span, *stored.shape[1:]), stored.dtype)
        for row, start, size in zip(raw, cut.start, cut.length, strict=True):
            row[:size] = stored[start : start + size]
        values, length = (np.asarray(x) for x in self._features(raw, cut.length))
        front, hop = self.learner.preprocessing.input, 1.0
        if self.learner.preprocessing.from_samples and front.layout.bands:
            hop = front.layout.hop_s * front.rate_hz
        first = np.round(cut.start / hop).astype(np.int32)
        share = (cut.length / cut.length.sum()).astype(np.float32)
        return Example(values, length.astype(np.int32), first, share, tokens, supported, speaker)

    def log_probability(self, network: Network, example: Example, emotion: int) -> float:
        """Return the log-probability of the class number `emotion`."""
        values, tokens = jnp.asarray(example.values)[None], jnp.asarray(example.tokens)[None]
        return float(self._scores(network, example, values, tokens, emotion)[0])

    def integrated_gradients(
        self, network: Network, example: Example, emotion: int, steps: int = 64
    ) -> np.ndarray:
        """Return the attribution of each input value, float32 [frames, M] (Sundararajan 2017).

        They sum to `change`, up to the error of the midpoint rule with `steps` points.
        """
        return example.merged(self.gradients_by_window(network, example, emotion, steps))

    def gradients_by_window(
        self, network: Network, example: Example, emotion: int, steps: int
    ) -> np.ndarray:
        """Return the integrated gradients of each window [W F M]; those of padding are 0."""
        rows = min(self._rows(example), steps)
        point = (np.arange(steps) + 0.5) / steps
        total = np.zeros(example.values.shape)
        for at in range(0, steps, rows):
            alpha, weight = np.zeros((2, rows), np.float32)
            alpha[: len(point[at : at + rows])] = point[at : at + rows]
            weight[: len(point[at : at + rows])] = 1 / steps
            gradient = self._path_gradient(network, example, example.mean, alpha, weight, emotion)
            total += np.asarray(gradient, np.float64)
        return ((example.values - example.mean) * total).astype(np.float32)

    def change(self, network: Network, example: Example, emotion: int) -> float:
        """Return the log-probability minus that of the baseline in all frames."""
        empty = example._replace(values=np.broadcast_to(example.mean, example.values.shape))
        whole, without = (self.log_probability(network, e, emotion) for e in (example, empty))
        return whole - without

    def occlusion(
        self, network: Network, example: Example, emotion: int, patches: Sequence[Patch]
    ) -> np.ndarray:
        """Return the log-probability minus that without each patch, float32 [patches].

        A patch is taken away by the baseline in its place.
        """
        rows, drops = min(self._rows(example), len(patches)), []
        whole = self.log_probability(network, example, emotion)
        for at in range(0, len(patches), rows):
            some = patches[at : at + rows]
            masks = np.zeros((rows, *example.values.shape), bool)
            for mask, patch in zip(masks, some, strict=False):
                for window, first in zip(mask, example.first, strict=True):
                    begin, end = max(0, patch.first - first), max(0, patch.end - first)
                    window[(slice(begin, end), slice(patch.low, patch.high))[: window.ndim]] = True
            scores = self._without(network, example, example.mean, masks, emotion)
            drops.append(whole - np.asarray(scores)[: len(some)])
        return np.concatenate(drops).astype(np.float32)

    def words(self, network: Network, example: Example, emotion: int) -> np.ndarray:
        """Return the log-probability minus that without each word of the text, float32 [words]."""
        tokens = np.asarray(example.tokens)
        count = int((tokens > 0).sum())
        if not count:
            return np.zeros(0, np.float32)
        without = np.stack([np.append(np.delete(tokens, i), 0) for i in range(count)])
        whole, rows = self.log_probability(network, example, emotion), self._rows(example)
        drops = []
        for some in _padded(without, rows):
            values = jnp.broadcast_to(jnp.asarray(example.values), (rows, *example.values.shape))
            drops.append(whole - np.asarray(self._scores(network, example, values, some, emotion)))
        return np.concatenate(drops)[:count].astype(np.float32)

    def _rows(self, example: Example) -> int:
        shifts = 2 * self._most_shift + 1
        return max(1, min(_ROWS, _VALUES // example.values.size) // shifts)

    def _log_probability(self, network: Network, example: Example, values, tokens, emotion):
        """Return the log-probabilities [R] of a class for versions [R W F M] of an example."""
        shifts = np.arange(-self._most_shift, self._most_shift + 1)
        rows, windows = values.shape[:2]
        of_row = np.tile(np.repeat(np.arange(rows), windows), len(shifts))
        flat = jnp.tile(
            values.reshape(rows * windows, *values.shape[2:]),
            (len(shifts), *[1] * (values.ndim - 2)),
        )
        if self._most_shift:
            flat = augment.shifted(flat, jnp.repeat(shifts, rows * windows)[:, None])
        length = jnp.tile(example.length, rows * len(shifts))
        zeros = jnp.zeros_like(length)
        supported = jnp.asarray(example.supported)[None]
        shared = (supported, network.frozen or (), example.speaker)
        corpus = CorpusData(None, zeros, length, zeros, zeros, *shared)
        member = MemberData(None, network.mean, network.std, None, tokens)
        batch = Batch(of_row, zeros, jnp.ones(len(length)))
        inputs = self.learner.preprocessing.described(corpus, member, batch, flat, length)
        output = self.learner.output(network.variables, inputs, corpus)
        logits = output.modalities[self.modality].astype(jnp.float32)
        log_p = jax.nn.log_softmax(losses.mask_unsupported(logits, inputs.supported))
        log_p = jax.nn.log_softmax(log_p.reshape(len(shifts), rows, windows, -1).mean(0))
        return jax.nn.logsumexp(log_p[..., emotion] + jnp.log(example.share), axis=1)

    def _gradient_along_path(self, network, example, mean, alpha, weight, emotion):
        """Return the weighted sum of gradients [W F M] at points `alpha` [R] of the path."""
        change = jnp.asarray(example.values) - mean
        tokens = jnp.broadcast_to(jnp.asarray(example.tokens), (len(alpha), len(example.tokens)))

        def score(path):
            return weight @ self._log_probability(network, example, path, tokens, emotion)

        path = mean + alpha.reshape(-1, *[1] * change.ndim) * change
        return jax.grad(score)(path).sum(0)

    def _without_parts(self, network, example, mean, masks, emotion):
        """Return the log-probabilities [R] with the baseline where `masks` [R W F M]."""
        tokens = jnp.broadcast_to(jnp.asarray(example.tokens), (len(masks), len(example.tokens)))
        values = jnp.where(masks, mean, example.values)
        return self._log_probability(network, example, values, tokens, emotion)


def random_network(learner: Learner, network: Network, seed: int) -> Network:
    """Return the same network with random weights, for the sanity check of Adebayo et al. (2018).

    Weights are drawn as at the start of a training. Arrays that start constant (biases, statistics,
    fitted variables, files' weights) get their trained values in random order.
    """
    random = np.random.default_rng(seed)
    variables, frozen = jax.jit(learner.drawn)(jax.random.key(seed))

    def fresh(drawn, trained):
        drawn, trained = np.asarray(drawn), np.asarray(trained)
        if drawn.size and (drawn != drawn.flat[0]).any():
            return drawn
        return random.permutation(trained.reshape(-1)).reshape(trained.shape)

    used = {name: frozen[name] for name in network.frozen}
    return network._replace(
        variables=jax.tree.map(fresh, variables, network.variables),
        frozen=jax.tree.map(fresh, used, network.frozen),
    )


def _padded(rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Yield rows in batches of one size; the last repeats its last row."""
    for at in range(0, len(rows), size):
        yield rows[np.minimum(np.arange(at, at + size), len(rows) - 1)]
