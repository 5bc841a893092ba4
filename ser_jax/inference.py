"""From samples to answers: the one way of `predict` and of whatever serves a trained run."""

import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ser_jax import assemble
from ser_jax.audio import front_ends
from ser_jax.audio.clips import Clip, check_window
from ser_jax.audio.mel import frame_mask
from ser_jax.audio.voice_activity import VoiceGate
from ser_jax.contract import Answer, InputError, Window
from ser_jax.data import speaker_statistics
from ser_jax.emotions import supported
from ser_jax.learn import personal_head, prediction
from ser_jax.learn.arrays import Batch, CorpusData
from ser_jax.learn.state import Predicted
from ser_jax.runs import calibration, parent
from ser_jax.runs.trained import Trained, open_trained

_BATCH = 16


class Predictor:
    """A trained run with its variables on the device, callable on recordings.

    Args:
      trained: the run.
      members: names of finished members; () = all, whose mean is the answer.
      window_s: maximum window in seconds; 0 = as the run was scored.
      calibrated: scale probabilities by the temperatures that `evaluate` fitted, if there are any.
      general: of a personalized run, leave the speaker aside: the model that it was made from.
      gate: judge of recordings, for `Answer.voice`; an answer is not changed by it.
      trim_voice: remove the time before and after speech instead of silence by level.

    Attributes:
      emotions: the C classes.
      rate_hz: rate of the samples that the front end takes; `predict` resamples to it.
      span: padded length (longest, most) of windows predicted together; few lengths, few programs.
      window_s: length of the longest window.

    Raises:
      InputError: the run has no such finished member, or the window is out of range.
    """

    def __init__(
        self,
        trained: Trained,
        members: Sequence[str] = (),
        window_s: float = 0.0,
        calibrated: bool = True,
        general: bool = False,
        gate: VoiceGate | None = None,
        trim_voice: bool = False,
    ):
        check_window(window_s)
        self.trained, self.emotions, self.gate = trained, trained.emotions, gate
        self.members = trained.chosen(members)
        config = trained.config
        self.reads_text = assemble.reads_text(config)
        self.source = front_ends.by_name(config.features.source)
        self.rate_hz = self.source.rate_hz
        self._trim_db = 0.0 if trim_voice else config.features.trim_db
        self._trimmer = (gate or VoiceGate.open()).trimmed if trim_voice else None
        self._most = assemble.scored_span(config, self.source.layout, window_s)
        self.window_s = self._most * self.source.layout.hop_s
        self.span: Callable[[int, int], int] = prediction.padded_span
        # Transferred to the device once, for all recordings.
        stored = trained.variables(self.members), trained.member_data(self.members, [''])
        frozen = trained.frozen_variables()
        self._stored: tuple[Any, Any, Any] = (jax.device_put((*stored, frozen)), (), ())
        self._speaker_norm = config.features.speaker_norm
        self._temperatures: dict[str, float] = {}
        if calibrated:
            self._temperatures = calibration.temperatures(trained.directory, len(self.members))
        # Classes that no training corpus holds are masked: the model cannot have learned them.
        of_corpora = supported([f.emotions for f in trained.corpora], self.emotions)
        self._supported = jnp.asarray(of_corpora.any(0, keepdims=True))
        self._apply = jax.jit(self._each_member)
        if not general and (personal := parent.read(trained.directory)):
            self.personalize(personal.speaker, personal.of(self.members))

    @classmethod
    def open(
        cls,
        run: str | os.PathLike | Trained,
        members: Sequence[str] = (),
        window_s: float = 0.0,
        **options: Any,
    ) -> 'Predictor':
        """Return the predictor of a run, given as its directory or opened; see the class."""
        trained = run if isinstance(run, Trained) else open_trained(pathlib.Path(run))
        return cls(trained, members, window_s, **options)

    @property
    def longest_s(self) -> float:
        """Length of a window in seconds; longer recordings are cut into several."""
        return self._most * self.source.layout.hop_s

    @property
    def calibrated(self) -> bool:
        """True if probabilities are scaled by the temperatures that `evaluate` fitted."""
        return bool(self._temperatures)

    def predict(self, clips: Sequence[Clip]) -> list[Answer]:
        """Return the answers for recordings of any rate, channel count and length.

        Long recordings are cut into windows, as in evaluation. An answer does not depend on the
        other recordings.

        Raises:
          InputError: samples are unusable (empty, silent, not finite, out of range, too long), or
            an answer is not finite; the message begins with the `source` of the clip.
        """
        if not clips:
            return []
        starts, windows, each, mean = self.by_member(clips)
        answers = [
            self._answer(i, clip, starts[i], windows, each, mean) for i, clip in enumerate(clips)
        ]
        return self.gate.mark(answers, clips) if self.gate else answers

    def by_member(self, clips: Sequence[Clip]) -> tuple:
        """Return clips' starts and windows, and uncalibrated values of both by member [N K X]."""
        self._check_enrolled()
        tokens = self.trained.tokens(self.members, [clip.text for clip in clips])

        def apply(utterance, raw, size) -> dict[str, jax.Array]:
            predicted = self._apply(self._stored, tokens[:, utterance], raw, size)
            by_name = {**predicted.probabilities, 'embedding': predicted.embedding}
            # [K B X] -> [B K X], as rows of one pass.
            return {name: jnp.swapaxes(v, 0, 1) for name, v in by_name.items()}

        starts, *found = self._by_window(clips, apply)
        return starts, *found, prediction.average(*found)[1]

    def personalize(
        self, speaker: np.ndarray | None = None, head: personal_head.Head | None = None
    ) -> None:
        """Predict from now on for a speaker: with its statistics and the members' heads, if any."""
        mean = () if speaker is None else jnp.asarray(speaker)
        self._stored = self._stored[0], mean, () if head is None else jax.device_put(head)

    def enroll(self, clips: Sequence[Clip]) -> np.ndarray:
        """Predict from now on relative to a speaker, given unlabeled recordings; return the mean.

        Eight recordings of about four seconds are enough; a few more are better.

        Raises:
          InputError: the run uses no speaker statistics, or no or an unusable recording is given.
        """
        if self._speaker_norm == speaker_statistics.NONE:
            raise InputError(
                f'{self.trained.directory} uses no speaker statistics '
                "(features.speaker_norm='none'); leave the enrollment out"
            )
        if not clips:
            raise InputError('no recording to enroll; give a few of the speaker')
        derive = self.trained.learner.deriver()

        def apply(utterance, raw, size) -> dict[str, jax.Array]:
            features, length = derive(raw, size)
            real = frame_mask(length, features.shape[1])[..., None]
            return {'mean': jnp.where(real, features, 0).sum(1) / length[:, None]}

        _, mean = prediction.average(*self._by_window(clips, apply)[1:])
        knobs = self.trained.config.features
        share = speaker_statistics.share_of_mean(knobs.speaker_norm, knobs.speaker_prior)
        # Without a head, which was taught relative to another mean.
        self.personalize(speaker := np.float32(share) * mean['mean'].mean(0))
        return speaker

    def _check_enrolled(self) -> None:
        """Raise InputError if the run needs the statistics of a speaker and has none."""
        if self._speaker_norm != speaker_statistics.NONE and isinstance(self._stored[1], tuple):
            raise InputError(
                f'{self.trained.directory} was trained relative to speakers '
                f'(features.speaker_norm={self._speaker_norm!r}); enroll this voice first: predict '
                '--enroll=FOLDER with a few of its recordings, Predictor.enroll in Python'
            )

    def _by_window(self, clips: Sequence[Clip], function: Callable) -> tuple:
        """Return the starts of clips and the results of `prediction.of_arrays` for them."""
        trimming, aligned = (self._trim_db, self._trimmer), self.source.layout.steps is not None
        stored = [front_ends.of_clip(self.source, clip, *trimming) for clip in clips]
        values, starts = zip(*stored, strict=True)
        sizes = self._most, aligned, _BATCH, self.span
        return starts, *prediction.of_arrays(values, *sizes, function)

    def _answer(self, index: int, clip: Clip, offset: int, windows, each, mean) -> Answer:
        """Return the answer for one clip from the values of its windows and their means [N K X]."""
        has_text = self.reads_text and bool(clip.text.strip())
        names = [n for n in each if n != 'embedding' and (has_text or n == 'audio')]
        headline = prediction.answering(names)
        modalities = {name: self._scaled(name, mean[name][index].mean(0)) for name in names}
        hop_s, found = self.source.layout.hop_s, np.flatnonzero(windows.utterance == index)
        cut = []
        for at in found[np.argsort(windows.start[found], kind='stable')]:
            start = offset + int(windows.start[at])
            end = start + int(windows.length[at])
            probabilities = self._scaled(headline, each[headline][at].mean(0))
            cut.append(Window(start * hop_s, end * hop_s, probabilities))
        if not all(np.isfinite(w.probabilities).all() for w in cut):
            raise InputError(
                f'{clip.source}: the answer is not finite; a stored model may be damaged: train it '
                'again'
            )
        embedding = mean['embedding'][index].mean(0)
        spread = self._scaled(headline, mean[headline][index]).std(0)
        return Answer(self.emotions, modalities[headline], modalities, cut, embedding, spread)

    def _scaled(self, modality: str, probabilities):
        """Return probabilities [... C] scaled by the temperature of their modality, if any."""
        return prediction.scaled(probabilities, self._temperatures.get(modality, 1.0))

    def _each_member(self, stored, tokens, raw, length) -> Predicted:
        """Return the predictions of each member [K B X] for windows.

        Args:
          stored: variables and data of the members, stacked [K ...], and shared ones; the
            statistics of the speaker, and the heads of the members.
          tokens: [K B W].
          raw: windows [B span ...], of which the first `length` [B] values are not padding.
          length: [B].
        """
        zeros = jnp.zeros_like(length)
        (variables, data, frozen), speaker, head = stored
        shared = (self._supported, frozen, speaker)
        corpus = CorpusData(None, zeros, length, zeros, zeros, *shared)
        batch = Batch(jnp.arange(raw.shape[0]), zeros, jnp.ones(raw.shape[0]), raw)

        def member(variables, data, tokens):
            data = data._replace(tokens=tokens)
            return self.trained.learner.predict(variables, data, corpus, batch, raw.shape[1])

        predicted = jax.vmap(member)(variables, data, tokens)
        return personal_head.corrected(head, predicted) if head else predicted

    def warm_up(self, seconds: Sequence[float] = (), rows: Sequence[int] = (1,)) -> None:
        """Compile the network for recordings of some lengths, so that the first answer is fast.

        Args:
          seconds: lengths of recordings; () = one full window.
          rows: numbers of windows that are predicted together; powers of two up to 16.
        """
        tone = 0.1 * np.sin(np.arange(self.rate_hz) * 0.1, dtype=np.float32)
        for length_s in seconds or (self.window_s,):
            # A front end gives one frame more than hops: a full window is one sample shorter.
            size = max(1, round(min(length_s, self.window_s) * self.rate_hz))
            size -= length_s >= self.window_s
            clip = Clip(np.resize(tone, size), self.rate_hz)
            for n in rows:
                self.predict([clip] * n)

    def function(self) -> Callable[[jax.Array, jax.Array], Predicted]:
        """Return a pure function of samples, for export: the mean over members, in one window.

        The function maps samples float32 [B T] in [-1, 1] at `rate_hz`, zero from `length` [B]
        on, to probabilities by modality [B C] and embeddings [B D]. It is traceable by JAX; texts
        are empty. Of front ends with windows of their own, windows are averaged.

        Raises:
          InputError: the front end cannot be traced, or no speaker is enrolled that the run needs.
        """
        self._check_enrolled()
        if self._trimmer:
            raise InputError('trim_voice is no part of a pure function; open the run without it')
        tokens = self.trained.tokens(self.members, [''])
        source, steps = self.source, self.source.layout.steps
        dtype = source.stored(np.zeros(self.rate_hz, np.float32)).dtype

        def apply(samples, length) -> Predicted:
            values, count = front_ends.stored_and_trimmed(
                source, dtype, samples, length, self._trim_db
            )
            windows = 1
            if steps:
                windows = values.shape[1] // steps
                values = values.reshape(-1, steps, values.shape[2])
                count = jnp.clip(count[:, None] - steps * jnp.arange(windows), 0, steps).reshape(-1)
            all_tokens = jnp.repeat(tokens, count.shape[0], 1)
            each = self._each_member(self._stored, all_tokens, values, count)
            count = count.reshape(-1, windows)
            weight = count[:, :, None] / count.sum(1)[:, None, None]

            def average(x):
                return (x.mean(0).reshape(-1, windows, x.shape[-1]) * weight).sum(1)

            whole = jax.tree.map(average, each)
            scaled = {n: self._scaled(n, p) for n, p in whole.probabilities.items()}
            return whole._replace(probabilities=scaled)

        return apply
