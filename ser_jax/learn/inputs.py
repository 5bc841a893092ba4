"""Model inputs and targets from raw windows, in the compiled step.

Windows are cut, augmented and normalized; labels and texts are added.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ser_jax.audio import augment
from ser_jax.audio.mel import frame_mask
from ser_jax.contract import FrontEnd, Inputs, Layout, Targets
from ser_jax.learn.arrays import Batch, CorpusData, MemberData


class Derived(NamedTuple):
    """Front end of features that were derived from stored ones: read as they are."""

    layout: Layout
    name: str = 'derived'
    rate_hz: int = 0

    def stored(self, samples):
        """Raise: derived features are computed by a model, see `data.derived`."""
        raise NotImplementedError

    def traced(self, samples, length):
        """Return the features as they are."""
        return samples, length


class Preprocessing(NamedTuple):
    """Preprocessing of a run's windows.

    Attributes:
      augment: the config's section `augment`.
      source: front end of the stored windows.
      input: front end of the model, computed here if the windows are samples.
      per_window: normalize by the statistics of each window instead of the member's.
      frames: length of a training window after augmentation.
    """

    augment: Any
    source: FrontEnd
    input: FrontEnd
    per_window: bool
    frames: int

    @property
    def from_samples(self) -> bool:
        """True if windows are int16 samples [B T]."""
        return not self.source.layout.bands

    @property
    def span(self) -> int:
        """Length of raw training windows in frames or samples, enough for the fastest speed."""
        frames = self.frames + int(self.frames * self.augment.speed)
        frames += 2 if self.augment.speed else 0
        hop = round(self.input.layout.hop_s * self.input.rate_hz)
        return (frames - 1) * hop if self.from_samples else frames

    def train(
        self, corpus: CorpusData, member: MemberData, batch: Batch, key
    ) -> tuple[Inputs, Targets]:
        """Return the augmented inputs and the targets of random windows.

        Empty slots have length 0, so that no statistic counts them.
        """
        a, keys = self.augment, jax.random.split(key, 8)
        values, length = self._cut(corpus, batch, self.span)
        if self.from_samples:
            values, length = self._features(self._distorted(keys, values, length), length)
        frames, length = augment.speed(keys[2], values, length, self.frames, a.speed)
        if a.gain_db:
            frames = augment.gain(keys[3], frames, a.gain_db)
        if a.band_shift:
            frames = augment.band_shift(keys[4], frames, a.band_shift)
        frames = self._normalize(member, frames, length)
        if a.band_masks:
            frames = augment.mask(keys[5], frames, a.band_masks, a.band_mask, axis=2)
        if a.time_masks:
            width = round(a.time_mask_s / self.input.layout.hop_s)
            frames = augment.mask(keys[6], frames, a.time_masks, width, axis=1)
        full = batch.weight > 0
        length = jnp.where(full, length, 0)
        inputs = self._inputs(corpus, member, batch, _where(full, frames, 0), length)
        targets = self._targets(corpus, member, batch)
        return self._mix(keys[7], inputs, targets) if a.mixup else (inputs, targets)

    def windows(self, corpus: CorpusData, batch: Batch, span: int) -> tuple[Any, Any]:
        """Return the unnormalized features of windows of up to `span`, and their lengths."""
        values, length = self._cut(corpus, batch, span)
        return self._features(values, length) if self.from_samples else (values, length)

    def described(
        self, corpus: CorpusData, member: MemberData, batch: Batch, values, length, shift: int = 0
    ) -> Inputs:
        """Return the inputs for unnormalized features of windows, without augmentation.

        Only the bands are shifted, by `shift`.
        """
        if shift:
            values = augment.shifted(values, jnp.full((values.shape[0], 1), shift))
        normal = self._normalize(member, values, length)
        return self._inputs(corpus, member, batch, normal, length)

    def features(self, raw, length):
        """Return the unnormalized features of the model and their lengths for raw windows.

        Args:
          raw: [B span ...] as stored.
          length: [B], values of `raw` that are not padding.
        """
        values = raw.astype(jnp.float32) / (32768 if self.from_samples else 1)
        values = _where(frame_mask(length, values.shape[1]), values, 0)
        return self._features(values, length) if self.from_samples else (values, length)

    def _cut(self, corpus, batch, span):
        length = jnp.minimum(corpus.length[batch.utterance] - batch.start, span)
        raw = batch.raw
        if raw is None:
            begin = corpus.offset[batch.utterance] + batch.start
            raw = jax.vmap(lambda at: jax.lax.dynamic_slice_in_dim(corpus.flat, at, span))(begin)
        raw = raw.astype(jnp.float32) / (32768 if self.from_samples else 1)
        return _where(frame_mask(length, span), raw, 0), length

    def _distorted(self, keys, samples, length):
        a = self.augment
        if a.reverb_s:
            rate_hz, share = self.source.rate_hz, a.reverb_probability
            samples = augment.reverb(keys[0], samples, length, a.reverb_s, share, rate_hz)
        if a.noise_snr_db:
            samples = augment.noise(keys[1], samples, length, a.noise_snr_db, a.noise_probability)
        return samples

    def _features(self, samples, length):
        return self.input.traced(samples, length)

    def _normalize(self, member, frames, length):
        mask = frame_mask(length, frames.shape[1])
        if self.per_window:
            count = jnp.maximum(length, 1)[:, None, None]
            mean = _where(mask, frames, 0).sum(1, keepdims=True) / count
            var = _where(mask, (frames - mean) ** 2, 0).sum(1, keepdims=True) / count
            normal = (frames - mean) / jnp.sqrt(var + 1.0)  # 1 dB^2: silence is not amplified
        else:
            normal = (frames - member.mean) / member.std
        return _where(mask, normal, 0)

    def _inputs(self, corpus, member, batch, frames, length) -> Inputs:
        at = batch.utterance
        return Inputs(frames, length, member.tokens[at], corpus.supported[corpus.corpus[at]])

    def _targets(self, corpus, member, batch) -> Targets:
        emotion = corpus.emotion[batch.utterance]
        hot = jax.nn.one_hot(emotion, corpus.supported.shape[-1])
        return Targets(hot, batch.weight * member.class_weight[emotion])

    def _mix(self, key, inputs: Inputs, targets: Targets) -> tuple[Inputs, Targets]:
        """Mix features and label of each utterance with its neighbor's in the batch (mixup).

        Empty slots are not mixed in.
        """
        share = augment.mixup_share(key, inputs.length.shape[0], self.augment.mixup)
        beside = jax.tree.map(lambda x: jnp.roll(x, 1, axis=0), (inputs, targets))
        share = jnp.where(beside[1].weight > 0, share, 1.0)
        full = targets.weight > 0

        def blend(a, b):
            s = share.reshape(-1, *[1] * (a.ndim - 1))
            return s * a + (1 - s) * b

        features = blend(inputs.features, beside[0].features)
        length = jnp.maximum(inputs.length, beside[0].length)
        inputs = inputs._replace(
            features=_where(full, features, 0),
            length=jnp.where(full, length, 0),
            supported=inputs.supported | beside[0].supported,
        )
        emotion = blend(targets.emotion, beside[1].emotion)
        weight = jnp.where(full, blend(targets.weight, beside[1].weight), 0)
        return inputs, Targets(emotion, weight)


def _where(mask, values, other):
    """Return `values` where `mask`, over the leading axes of the mask, is True, else `other`."""
    return jnp.where(mask.reshape(*mask.shape, *[1] * (values.ndim - mask.ndim)), values, other)
