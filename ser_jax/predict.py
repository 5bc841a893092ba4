"""Prediction: `python -m ser_jax.predict --run=runs/x FILES|FOLDERS`.

Print the top three emotions of every recording.
"""

import collections
import functools
import os
import pathlib
import sys
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from ser_jax import assemble, cli
from ser_jax.audio import features, front_ends, wav
from ser_jax.contract import InputError
from ser_jax.corpora import audio_files, soundness
from ser_jax.data import batches
from ser_jax.emotions import supported
from ser_jax.learn.inputs import CorpusData, Window
from ser_jax.report.answers import Answer, printable, ranked, write
from ser_jax.runs.trained import Trained, open_trained

WINDOWS_S = (0.1, 3600.0)  # range of --window_s
_BATCH = 16


class Predictor:
    """A trained run with its variables on the device, callable on recordings.

    Args:
      trained: the run.
      member: name of a finished member; '' = the mean of all finished members.
      window_s: maximum window in seconds; 0 = as the run was scored.

    Raises:
      InputError: the run has no such finished member, or the window is out of range.
    """

    def __init__(self, trained: Trained, member: str = '', window_s: float = 0.0):
        check_window(window_s)
        if member and member not in trained.finished:
            raise InputError(
                f'{trained.directory} has no finished member {member!r}; it has {", ".join(trained.finished)}'
            )
        self.trained, self.emotions = trained, trained.emotions
        self.members = [member] if member else trained.finished
        # Transferred to the device once, for all recordings.
        self._known = jax.device_put(
            (trained.variables(self.members), trained.own(self.members, ['']))
        )
        # Classes that no training corpus holds are masked: the model cannot have learned them.
        of_corpora = supported([f.emotions for f in trained.corpora], self.emotions)
        self._supported = jnp.asarray(of_corpora.any(0, keepdims=True))
        self._waveform = trained.config.features.source == 'waveform'
        source = trained.config.features.source
        front = front_ends.layout(source)
        self.source, self.rate_hz = source, front_ends.by_name(source).rate_hz
        self._per_second = self.rate_hz if self._waveform else 1 / front.hop_s
        self._aligned = front.steps is not None
        self._most = front.steps or max(
            1, round((window_s or trained.config.train.eval_window_s) * self._per_second)
        )
        self._predict = jax.jit(self._predict_all)

    def __call__(self, samples: np.ndarray, text: str = '') -> Answer:
        """Return the answer for mono samples, float32 [T] at `rate_hz`.

        Models that read text also use `text` if it is given.
        """
        values, scale = (wav.int16(samples), features.LOG_MEL.hop) if self._waveform else (None, 1)
        frames = front_ends.frames(
            self.source, samples if values is None else values
        )  # as in the shards
        first, last = features.heard_span(frames, self.trained.config.features.trim_db)
        values = (frames if values is None else values)[first * scale : last * scale]
        cut = batches.windows(
            np.zeros(1, np.int32), np.array([len(values)]), self._most, self._aligned
        )
        order = np.argsort(cut.start, kind='stable')
        starts, lengths = cut.start[order], cut.length[order]
        said = np.concatenate(
            [
                self._batch(values, starts[i : i + _BATCH], lengths[i : i + _BATCH], text)
                for i in range(0, len(starts), _BATCH)
            ]
        )
        mean = (said * lengths[:, None]).sum(0) / lengths.sum()
        starts = starts + first * scale
        times = [
            (s / self._per_second, (s + n) / self._per_second)
            for s, n in zip(starts, lengths, strict=True)
        ]
        return Answer(mean, [(*t, p) for t, p in zip(times, said, strict=True)])

    def _batch(self, values, starts, lengths, text: str) -> np.ndarray:
        """Return probabilities [n C] of windows of `values`.

        Few shapes compile: rows are padded to 1 or a full batch, lengths to sixteenths of a window.
        """
        rows, step = 1 if len(starts) == 1 else _BATCH, max(1, self._most // 16)
        span = min(self._most, -(-int(lengths.max()) // step) * step)
        raw = np.zeros((rows, span, *values.shape[1:]), values.dtype)
        length = np.ones(rows, np.int32)
        for row, (start, n) in enumerate(zip(starts, lengths, strict=True)):
            raw[row, :n], length[row] = values[start : start + n], n
        said = self._predict(
            self._known, self.trained.tokens(self.members, [text] * rows), raw, length
        )
        return np.asarray(said[assemble.headline(said, bool(text.strip()))])[: len(starts)]

    def _predict_all(self, known, tokens, raw, length) -> dict[str, jax.Array]:
        """Return the mean over members by modality, [B C] each.

        `raw` holds windows [B span ...], of which the first `length` [B] frames are not padding.
        """
        zeros = jnp.zeros_like(length)
        shared = CorpusData(None, zeros, length, zeros, zeros, zeros, zeros, zeros, self._supported)
        row = Window(jnp.arange(len(length)), zeros, jnp.ones(len(length)), raw)
        one = lambda v, own, t: self.trained.learner.predict(
            v, own._replace(tokens=t), shared, row, raw.shape[1]
        )
        return {name: p.mean(0) for name, p in jax.vmap(one)(*known, tokens).items()}


def check_window(window_s: float) -> None:
    """Raise InputError unless the maximum window is 0 (as the run was scored) or in WINDOWS_S."""
    low, high = WINDOWS_S
    if window_s and not low <= window_s <= high:  # also refuses NaN
        raise InputError(
            f'--window_s={window_s:g} came; expected 0 (as the run was scored) '
            f'or {low:g} to {high:g} seconds'
        )


def sound_files(given: Sequence[str]) -> list[audio_files.Audio]:
    """Return the given recordings, and those in folders and zips by the builders' rules, sorted.

    Print the number of non-audio files of each folder or zip on stderr.

    Raises:
      InputError: nothing is given, a path does not exist, or a folder holds no recording.
    """
    if not given:
        raise InputError('nothing to listen to; name files or folders after the flags')
    files: dict[str, audio_files.Audio] = {}
    for path in map(pathlib.Path, given):
        if not os.path.exists(path):
            raise InputError(f'{path} does not exist; give a recording or a folder of recordings')
        found = (
            _inside(path) if path.is_dir() or path.suffix.lower() == '.zip' else [sound_file(path)]
        )
        files |= {audio.source: audio for audio in found}
    return list(files.values())


def sound_file(path: pathlib.Path) -> audio_files.Audio:
    """Return the recording at a path with any suffix."""
    return audio_files.Audio(path.stem, str(path), functools.partial(wav.read, path))


def _inside(folder: pathlib.Path) -> list[audio_files.Audio]:
    found = audio_files.audio_files(folder)
    if not found:
        seen = audio_files.file_kinds(folder)
        raise InputError(
            f'{folder} holds no recording (found {seen}); '
            f'expected files ending in {" ".join(wav.SUFFIXES)}'
        )
    others = audio_files.other_files(folder)
    kinds = collections.Counter(
        pathlib.PurePath(name).suffix.lower() or 'without suffix' for name in others
    )
    if others:
        what = ', '.join(f'{n} {kind}' for kind, n in kinds.most_common())
        print(printable(f'{folder}: {len(others)} files passed over: {what}'), file=sys.stderr)
    return found


def predict_file(
    listener: Predictor, sound: pathlib.Path | audio_files.Audio, text: str = ''
) -> Answer:
    """Return the answer for a file of any format, rate, channel count and length.

    Raises:
      InputError: the file is not decodable or holds no signal, or a probability is not finite.
    """
    sound = sound if isinstance(sound, audio_files.Audio) else sound_file(sound)
    samples, rate_hz = sound.read()
    samples = soundness.checked(samples, rate_hz, listener.rate_hz, sound.source)
    heard = listener(samples, text)
    if not all(
        np.isfinite(p).all() for p in (heard.probabilities, *(p for _, _, p in heard.windows))
    ):
        raise InputError(
            f'{sound.source}: the answer is not finite; is a kept model damaged? train it again'
        )
    return heard


def check_output(path: pathlib.Path) -> None:
    """Raise InputError unless `path` is a writable .json or .csv file."""
    if path.suffix not in ('.json', '.csv') or not os.path.isdir(path.absolute().parent):
        raise InputError(
            f'--output={path} must end in .json or .csv and lie in a folder that exists'
        )
    existed = os.path.lexists(path)
    try:
        path.open('ab').close()
    except OSError as e:
        raise InputError(
            f'--output={path} cannot be written ({e.strerror}); give another place'
        ) from e
    if not existed:
        path.unlink()


def main(argv: list[str]) -> None:
    """Print the answers for all recordings; report those that failed and then exit with code 1."""
    given = flags.FLAGS
    if not given.run:
        raise InputError('no --run given; e.g. --run=runs/fusion')
    check_window(given.window_s)
    output = pathlib.Path(given.output) if given.output else None
    if output:
        check_output(output)
    files = sound_files(argv[1:])
    cli.prepare_jax()
    listener = Predictor(open_trained(given.run), given.member, given.window_s)
    if given.text and not assemble.reads_text(listener.trained.config):
        raise InputError(
            f'--text is given and {given.run} only listens; leave it out, or use a model that reads'
        )
    if given.text and len(files) > 1:
        raise InputError(
            f'--text is what one recording says and {len(files)} are given; give them one at a time'
        )
    answers, failed = {}, 0
    for sound in files:
        try:
            heard = predict_file(listener, sound, given.text)
        except InputError as e:
            failed += 1
            print(printable(f'error: {e}'), file=sys.stderr)
            continue
        answers[sound.source] = heard
        _print(sound.source, heard, listener.emotions)
    if output:
        write(output, answers, listener.emotions)
    if failed:
        print(f'error: {failed} of {len(files)} recordings could not be heard', file=sys.stderr)
        sys.exit(1)


def _print(source: str, heard: Answer, emotions: Sequence[str]) -> None:
    print(printable(f'{source}: {ranked(heard.probabilities, emotions)}'), flush=True)
    if len(heard.windows) > 1:
        for start, end, p in heard.windows:
            print(f'  {start:7.1f} – {end:5.1f} s  {ranked(p, emotions)}')


def define_flags() -> None:
    """Define the flags of this verb; only at its start, so that verbs can be imported together."""
    flags.DEFINE_string('run', None, 'The directory of a trained run.')
    flags.DEFINE_string('member', '', "One of its members, e.g. fold0_seed0; '' = the mean of all.")
    flags.DEFINE_string(
        'text', '', 'What was said, for models that read it; without it they only listen.'
    )
    flags.DEFINE_float(
        'window_s',
        0.0,
        'Longest stretch heard at once, s; 0 = as the run was scored.',
        lower_bound=0,
    )
    flags.DEFINE_string('output', '', 'Also write the answers to this .json or .csv file.')


if __name__ == '__main__':
    define_flags()
    cli.run(main)
