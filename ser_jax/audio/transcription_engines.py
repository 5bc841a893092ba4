"""Engines of speech to text: faster-whisper, vosk and pocketsphinx; each an optional package."""

import hashlib
import importlib.util
import json
import math
import os
import pathlib
import re

import numpy as np

from ser_jax.audio import wav
from ser_jax.audio.transcription import RATE_HZ, EngineOutput, Segment, Transcriber
from ser_jax.contract import InputError

INSTALL = "pip install -e '.[asr]'"
_WINDOW_S = 30  # of Whisper
_REPEATED = 2.4  # compression ratio above which faster-whisper, too, calls a text a failure
VOSK_MODELS = 'https://alphacephei.com/vosk/models'


class Whisper:
    """Whisper by faster-whisper: 99 languages, the best of the engines.

    Args:
      folder: `model.bin` of CTranslate2 and the files beside it.

    Raises:
      InputError: the package or a file is missing, or a file is damaged.
    """

    name = 'faster-whisper'
    least = 0.3679  # mean log-probability of a token -1, faster-whisper's own limit

    def __init__(self, folder: pathlib.Path):
        _check_package('faster_whisper', 'faster-whisper', INSTALL)
        files = [folder / name for name in ('model.bin', 'config.json', 'tokenizer.json')]
        if missing := [p.name for p in files if not p.is_file()]:
            raise InputError(
                f'{folder} lacks {missing[0]}, which faster-whisper needs; get the files with: '
                'python -m ser_jax.weights whisper_base'
            )
        import faster_whisper

        try:
            json.loads(files[2].read_bytes())  # the tokenizers package raises bare Exceptions
            # int8 on any processor; local_files_only: never ask the hub.
            self._model = faster_whisper.WhisperModel(
                str(folder),
                device='cpu',
                compute_type='int8',
                cpu_threads=os.cpu_count() or 1,
                local_files_only=True,
            )
        except (RuntimeError, ValueError) as e:
            raise InputError(f'{folder} cannot be loaded ({e}); get its files again') from e
        self.identity = f'faster-whisper 1 int8 beam 5 {_digest(files[0])}'

    def segments(self, samples: np.ndarray, language: str) -> EngineOutput:
        """Return the segments of samples [T]; see the protocol."""
        try:
            # One temperature: no sampling, so that equal samples give equal texts.
            found, info = self._model.transcribe(
                samples,
                language=language or None,
                beam_size=5,
                temperature=0.0,
                condition_on_previous_text=False,
                # Texts of short recordings are better without times.
                without_timestamps=len(samples) <= _WINDOW_S * RATE_HZ,
            )
        except ValueError as e:
            raise InputError(f'language {language!r} is not one of Whisper: {e}') from e
        segments = [Segment(s.start, s.end, s.text, _confidence(s)) for s in found]
        certainty = 1.0 if language else float(info.language_probability)
        return EngineOutput(segments, info.language, certainty)


def _confidence(segment) -> float:
    """Return the mean probability of a token; 0 for a text that repeats itself, as for screams."""
    return 0.0 if segment.compression_ratio > _REPEATED else float(np.exp(segment.avg_logprob))


class Vosk:
    """Vosk with a model folder: one language, light, streaming.

    Args:
      folder: an unpacked model.

    Raises:
      InputError: the package is missing, or the folder is no model.
    """

    name = 'vosk'
    least = 0.5

    def __init__(self, folder: pathlib.Path):
        _check_package('vosk', 'vosk', "pip install 'vosk>=0.3.45'")
        if not (folder / 'am').is_dir() and not (folder / 'final.mdl').is_file():
            raise InputError(
                f'{folder} is no model of vosk; unpack one of {VOSK_MODELS} and name its folder'
            )
        import vosk

        vosk.SetLogLevel(-1)
        try:
            self._model = vosk.Model(str(folder))
        except Exception as e:  # vosk raises the bare class, and only for a model it cannot read
            raise InputError(f'{folder} cannot be loaded by vosk ({e}); unpack it again') from e
        self.language = ''.join(re.findall(r'-([a-z]{2})(?=-)', folder.name)[:1])
        self.identity = f'vosk 1 {folder.name}'

    def segments(self, samples: np.ndarray, language: str) -> EngineOutput:
        """Return the segments of samples [T]; see the protocol."""
        import vosk

        recognizer = vosk.KaldiRecognizer(self._model, RATE_HZ)
        recognizer.SetWords(True)
        results, content, size = [], wav.int16(samples).tobytes(), 2 * RATE_HZ
        for start in range(0, len(content), size):
            if recognizer.AcceptWaveform(content[start : start + size]):
                results.append(recognizer.Result())
        results.append(recognizer.FinalResult())
        return EngineOutput(vosk_segments(results), self.language or language)


def vosk_segments(results: list[str]) -> list[Segment]:
    """Return the segments of vosk's results: JSON with words, their times and confidence."""
    segments = []
    for result in map(json.loads, results):
        if words := result.get('result'):
            confidence = float(np.mean([w['conf'] for w in words]))
            times = words[0]['start'], words[-1]['end']
            segments.append(Segment(*times, result['text'], confidence))
    return segments


class PocketSphinx:
    """PocketSphinx with the English model in its wheel: small, and poor beside the others.

    Raises:
      InputError: the package is missing.
    """

    name = 'pocketsphinx'
    least = 0.0

    def __init__(self):
        _check_package('pocketsphinx', 'pocketsphinx', INSTALL)
        import pocketsphinx

        self._decoder = pocketsphinx.Decoder(samprate=RATE_HZ, loglevel='FATAL')
        self.identity = f'pocketsphinx 1 {pocketsphinx.__name__} en-us'

    def segments(self, samples: np.ndarray, language: str) -> EngineOutput:
        """Return the segments of samples [T]; see the protocol.

        Raises:
          InputError: a language other than English is asked for.
        """
        if language not in ('', 'en'):
            raise InputError(
                f'pocketsphinx transcribes English only, got {language!r}; use --asr=whisper'
            )
        decoder = self._decoder
        decoder.start_utt()
        decoder.process_raw(wav.int16(samples).tobytes(), full_utt=True)
        decoder.end_utt()
        found = decoder.hyp()
        if found is None:
            return EngineOutput([], 'en')
        # Its probability is 1 for wrong words too; the gate alone refuses here.
        segment = Segment(0.0, len(samples) / RATE_HZ, found.hypstr, math.nan)
        return EngineOutput([segment], 'en')


def open_transcriber(
    engine: str = 'auto', model: str | os.PathLike = '', whisper: pathlib.Path | None = None
) -> Transcriber:
    """Return an engine.

    Args:
      engine: one of `transcription.ENGINES`; 'auto' = Whisper if its package and weights are here,
        else vosk if a model is given, else pocketsphinx.
      model: folder of a model of vosk or Whisper; '' = the weights at `whisper`.
      whisper: file of Whisper's weights, None if there are none.

    Raises:
      InputError: the engine's package or model is missing.
    """
    folder = pathlib.Path(model).expanduser() if model else None
    is_vosk = folder is not None and not (folder / 'model.bin').is_file()
    if engine == 'whisper' or (engine == 'auto' and not is_vosk and _usable(folder, whisper)):
        place = folder or (whisper.parent if whisper else None)
        if place is None:
            raise InputError(
                'the weights of whisper_base are missing; get them with: '
                'python -m ser_jax.weights whisper_base'
            )
        return Whisper(place)
    if engine == 'vosk' or (engine == 'auto' and folder):
        if folder is None:
            raise InputError(
                f'vosk needs a model; unpack one of {VOSK_MODELS} and give --asr_model=FOLDER'
            )
        return Vosk(folder)
    if engine == 'pocketsphinx' or importlib.util.find_spec('pocketsphinx'):
        return PocketSphinx()
    raise InputError(
        f'no engine of speech to text is usable; {INSTALL}, then python -m ser_jax.weights '
        'whisper_base'
    )


def _usable(folder: pathlib.Path | None, whisper: pathlib.Path | None) -> bool:
    """Return True if Whisper's package and files are here."""
    found = folder is not None or (whisper is not None and whisper.name == 'model.bin')
    return found and importlib.util.find_spec('faster_whisper') is not None


def _check_package(module: str, package: str, command: str) -> None:
    """Raise InputError if a package is not installed."""
    if importlib.util.find_spec(module) is None:
        raise InputError(f'{package} is not installed; {command}')


def _digest(path: pathlib.Path) -> str:
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()[:16]
