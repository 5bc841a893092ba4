"""Automatic transcripts of a corpus's recordings without text; cached by content, resumable."""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Callable, Iterable, Iterator

from ser_jax import lock
from ser_jax.audio import wav
from ser_jax.audio.transcription import Transcriber, Transcript, transcribe
from ser_jax.audio.voice_activity import VoiceGate
from ser_jax.contract import Recording, writing
from ser_jax.corpora import inspection, threads
from ser_jax.corpora.inspection import Skipped

FOLDER = '~/.cache/ser_jax/transcripts'


class Filler:
    """Function that gives recordings without text an automatic one, marked by `text_origin`.

    Args:
      open_engine: opens the engine, when the first text is missing.
      gate: leaves non-speech without text; None = off.
      language: ISO 639-1 code of the corpus; '' = detect it for each recording.
      folder: of the cache.
    """

    def __init__(
        self,
        open_engine: Callable[[], Transcriber],
        gate: VoiceGate | None = None,
        language: str = '',
        folder: str | pathlib.Path = FOLDER,
    ):
        self._open, self._gate, self._language = open_engine, gate, language
        self._folder = pathlib.Path(folder).expanduser()

    def __call__(self, found: Iterable[Recording | Skipped]) -> list[Recording | Skipped]:
        """Return all items in order, recordings without text replaced by ones with a text.

        A recording that cannot be decoded, or has no sure text, stays without; the inspection
        reports the former. Its language becomes that of the text.

        Raises:
          InputError: the engine cannot be opened, or the cache cannot be written.
        """
        found = list(found)
        missing = {i: f for i, f in enumerate(found) if isinstance(f, Recording) and _lacks_text(f)}
        if not missing:
            return found
        engine = self._open()
        gated = 'gated' if self._gate else 'not gated'
        key = f'{engine.identity}\n{self._language}\n{gated}'
        name = f'{engine.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.jsonl'
        path = self._folder / name
        with writing(path):
            self._folder.mkdir(parents=True, exist_ok=True)
        with lock.held(path, 'transcribing', wait=True), threads.progress_bar() as progress:
            task = progress.add_task('transcribing', total=len(missing))
            cache = Cache(path)
            for i, recording in missing.items():
                found[i] = self._filled(recording, engine, cache)
                progress.advance(task)
        return found

    def _filled(self, recording: Recording, engine: Transcriber, cache: 'Cache') -> Recording:
        try:
            samples, rate_hz = recording.read()  # type: ignore[misc]
        except wav.SoundError:
            return recording
        key = f'{inspection.sha256(samples)} {rate_hz}'
        transcript = cache.get(key)
        if transcript is None:
            transcript = transcribe(engine, samples, rate_hz, self._gate, self._language)
            cache.add(key, transcript)
        if not transcript.text:
            origin = f'none: {transcript.reason}'
            return dataclasses.replace(recording, text_origin=origin)
        return dataclasses.replace(
            recording,
            text=transcript.text,
            language=transcript.language or recording.language,
            text_origin=f'automatic: {transcript.engine}, {transcript.confidence:.2f}',
        )


class Cache:
    """Transcripts by key in a file of JSON lines, each written as soon as it is made.

    A line that a killed process left unfinished is dropped.
    """

    def __init__(self, path: pathlib.Path):
        self._path = path
        self._found: dict[str, Transcript] = {}
        with writing(path):
            content = path.read_bytes() if path.exists() else b''
            for line in _lines(content):
                key = line.pop('key')
                self._found[key] = Transcript(**line)
            whole = content[: content.rfind(b'\n') + 1]
            if whole != content:
                path.write_bytes(whole)

    def get(self, key: str) -> Transcript | None:
        """Return the transcript of a key, None if it is not there."""
        return self._found.get(key)

    def add(self, key: str, transcript: Transcript) -> None:
        """Append a transcript.

        Raises:
          InputError: the file cannot be written.
        """
        self._found[key] = transcript
        line = json.dumps({'key': key, **transcript._asdict()})
        with writing(self._path), self._path.open('a', encoding='utf-8') as file:
            file.write(line + '\n')


def _lacks_text(recording: Recording) -> bool:
    return recording.read is not None and not recording.text.strip()


def _lines(content: bytes) -> Iterator[dict]:
    """Iterate over the whole lines that are transcripts; damaged ones are passed over."""
    for line in content.splitlines(keepends=True):
        try:
            values = json.loads(line)
        except ValueError:
            continue
        if isinstance(values, dict) and set(values) == {'key', *Transcript._fields}:
            yield values
