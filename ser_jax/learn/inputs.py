"""Batches from raw windows in the compiled step: cut, augment, normalize, add labels and text."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ser_jax.audio import augment
from ser_jax.audio.features import LOG_MEL, LogMel
from ser_jax.audio.mel import frame_count, frame_mask
from ser_jax.contract import Batch


class CorpusData(NamedTuple):
    """Data shared by all members of a run, stored once on the devices; N utterances."""

    # [sum of lengths (, M)], all utterances end to end, then a window of zeros; None when streamed
    flat: Any
    offset: Any  # [N] int32
    length: Any  # [N] int32
    emotion: Any  # [N] int32
    speaker: Any  # [N] int32
    sex: Any  # [N] int32
    intensity: Any  # [N] int32
    corpus: Any  # [N] int32
    supported: Any  # [corpora C] bool


class MemberData(NamedTuple):
    """Data of one member, computed from its training utterances."""

    key: Any  # PRNG key
    mean: Any  # [M]
    std: Any  # [M]
    class_weight: Any  # [C]
    tokens: Any  # [N W] int32


class Window(NamedTuple):
    """Windows of one step; `raw` is set if they are streamed, not cut from `CorpusData.flat`."""

    utterance: Any  # [B] int32
    start: Any  # [B] int32
    weight: Any  # [B] float32
    raw: Any = None  # [B span (, M)]


class Inputs(NamedTuple):
    """Preprocessing of a run's windows into batches.

    Attributes:
      augment: the config's section `augment`.
      waveform: True if windows are int16 samples, from which log-mel is computed here.
      per_window: normalize by the statistics of each window instead of the member's.
      frames: length of a training window after augmentation.
      hop_s: time between two frames.
      extractor: front end that computes log-mel from samples.
    """

    augment: Any
    waveform: bool
    per_window: bool
    frames: int
    hop_s: float = LOG_MEL.hop_s
    extractor: LogMel = LOG_MEL

    @property
    def span(self) -> int:
        """Length of raw training windows in frames or samples, enough for the fastest speed."""
        frames = (
            self.frames + int(self.frames * self.augment.speed) + (2 if self.augment.speed else 0)
        )
        return (frames - 1) * self.extractor.hop if self.waveform else frames

    def train(self, shared: CorpusData, own: MemberData, row: Window, key) -> Batch:
        """Return an augmented batch of random windows.

        Empty slots have length 0, so that no statistic counts them.
        """
        a, keys = self.augment, jax.random.split(key, 8)
        frames, length = self._cut(shared, row, self.span)
        if self.waveform:
            if a.reverb_s:
                frames = augment.reverb(
                    keys[0],
                    frames,
                    length,
                    a.reverb_s,
                    a.reverb_probability,
                    self.extractor.rate_hz,
                )
            if a.noise_snr_db:
                frames = augment.noise(keys[1], frames, length, a.noise_snr_db, a.noise_probability)
            frames, length = self._log_mel(frames, length)
        frames, length = augment.speed(keys[2], frames, length, self.frames, a.speed)
        if a.gain_db:
            frames = augment.gain(keys[3], frames, a.gain_db)
        if a.band_shift:
            frames = augment.band_shift(keys[4], frames, a.band_shift)
        frames = self._normalize(own, frames, length)
        if a.band_masks:
            frames = augment.mask(keys[5], frames, a.band_masks, a.band_mask, axis=2)
        if a.time_masks:
            frames = augment.mask(
                keys[6], frames, a.time_masks, round(a.time_mask_s / self.hop_s), axis=1
            )
        full = row.weight > 0
        batch = self._batch(
            shared, own, row, jnp.where(full[:, None, None], frames, 0), jnp.where(full, length, 0)
        )
        return self._mix(keys[7], batch) if a.mixup else batch

    def evaluate(
        self, shared: CorpusData, own: MemberData, row: Window, span: int, shift: int = 0
    ) -> Batch:
        """Return a batch of windows of up to `span` frames (or samples), without augmentation.

        Only the bands are shifted, by `shift`.
        """
        frames, length = self._cut(shared, row, span)
        if self.waveform:
            frames, length = self._log_mel(frames, length)
        if shift:
            frames = augment.shifted(frames, jnp.full((frames.shape[0], 1), shift))
        return self._batch(shared, own, row, self._normalize(own, frames, length), length)

    def _cut(self, shared, row, span):
        length = jnp.minimum(shared.length[row.utterance] - row.start, span)
        raw = row.raw
        if raw is None:
            begin = shared.offset[row.utterance] + row.start
            raw = jax.vmap(lambda at: jax.lax.dynamic_slice_in_dim(shared.flat, at, span))(begin)
        raw = raw.astype(jnp.float32) / (32768 if self.waveform else 1)
        mask = frame_mask(length, span)
        return jnp.where(mask if self.waveform else mask[..., None], raw, 0), length

    def _log_mel(self, samples, length):
        return self.extractor(samples), frame_count(length, self.extractor.hop)

    def _normalize(self, own, frames, length):
        mask = frame_mask(length, frames.shape[1])[..., None]
        if self.per_window:
            count = jnp.maximum(length, 1)[:, None, None]
            mean = jnp.where(mask, frames, 0).sum(1, keepdims=True) / count
            var = jnp.where(mask, (frames - mean) ** 2, 0).sum(1, keepdims=True) / count
            normal = (frames - mean) / jnp.sqrt(var + 1.0)  # 1 dB^2: silence is not amplified
        else:
            normal = (frames - own.mean) / own.std
        return jnp.where(mask, normal, 0)

    def _batch(self, shared, own, row, frames, length):
        at = row.utterance
        supported = shared.supported[shared.corpus[at]]
        emotion = jax.nn.one_hot(shared.emotion[at], supported.shape[-1])
        weight = row.weight * own.class_weight[shared.emotion[at]]
        return Batch(
            frames,
            length,
            own.tokens[at],
            emotion,
            shared.speaker[at],
            shared.sex[at],
            shared.intensity[at],
            shared.corpus[at],
            supported,
            weight,
        )

    def _mix(self, key, batch: Batch) -> Batch:
        """Mix features and label of each utterance with its neighbor's in the batch (mixup).

        Empty slots are not mixed in.
        """
        share = augment.mixup_share(key, batch.length.shape[0], self.augment.mixup)
        neighbor = jax.tree.map(lambda x: jnp.roll(x, 1, axis=0), batch)
        share = jnp.where(neighbor.weight > 0, share, 1.0)
        blend = lambda a, b: (
            share.reshape(-1, *[1] * (a.ndim - 1)) * a
            + (1 - share).reshape(-1, *[1] * (a.ndim - 1)) * b
        )
        return batch._replace(
            features=jnp.where(
                (batch.weight > 0)[:, None, None], blend(batch.features, neighbor.features), 0
            ),
            length=jnp.where(batch.weight > 0, jnp.maximum(batch.length, neighbor.length), 0),
            emotion=blend(batch.emotion, neighbor.emotion),
            supported=batch.supported | neighbor.supported,
            weight=jnp.where(batch.weight > 0, blend(batch.weight, neighbor.weight), 0),
        )
