"""Normalization of users' labels and speaker names; their mapping by emotions.json."""

import dataclasses
import difflib
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from ser_jax import emotions
from ser_jax.contract import InputError
from ser_jax.corpora import tables
from ser_jax.corpora.inspection import Skipped

NAME = 'emotions.json'
_EXAMPLE = 'expected e.g. {"Wut": "angry", "noise": null}'
_INVISIBLE = re.compile('[\u200b\u200c\u200d\u2060\ufeff\u00ad]')
_SIDES = (
    'train|training|test|testing|val|valid|validate|validation|dev|devel|development|eval|evaluate|'
    'evaluation|holdout|fold|folds|split|splits|set|sets|subset|part|parts|partition|cv|kfold|'
    'session|sessions|batch|chunk|labeled|unlabeled'
)
_CONTAINERS = (
    'audio|audios|wav|wavs|wave|waves|waveform|waveforms|mp3|mp3s|flac|flacs|ogg|opus|m4a|'
    'sound|sounds|data|dataset|datasets|corpus|clip|clips|recording|recordings|file|files|sample|samples|raw|'
    'original|originals|processed|clean|noisy|speech|utterance|utterances|segment|segments|all|'
    'misc|other|others|new|old|tmp|mono|stereo|augmented|'
    r'normalized|trimmed|\d+k|\d+ ?k?hz|\d+ ?bit|\d+ ?kbps'
)
_SEXES = 'female|male|females|males|women|men|woman|man|girls|boys'
_NO_LABEL = re.compile(rf'[\W\d_]*(?:(?:{_SIDES}|{_CONTAINERS})[\W\d_]*)+', re.IGNORECASE)
_NO_SPEAKER = re.compile(
    rf'[\W\d_]*(?:(?:{_SIDES}|{_CONTAINERS}|{_SEXES})[\W\d_]*)+', re.IGNORECASE
)
_NOT_GIVEN = {'', 'nan', 'n/a', '#n/a', 'null'}
_NOBODY = _NOT_GIVEN | {'unknown', 'none', 'na', 'n.a.', 'anonymous', '<na>'}


@dataclasses.dataclass(frozen=True)
class Labels:
    """Mapping of emotions.json from label to emotion, by `key`; None = utterances are left out."""

    path: Path
    meaning: Mapping[str, str | None] = dataclasses.field(default_factory=dict)

    def __contains__(self, label: str) -> bool:
        return key(label) in self.meaning

    def emotion(self, label: str) -> str | None:
        """Return the emotion that a label means, None if it is left out."""
        return self.meaning.get(key(label), emotions.word(normal(label)))

    def unused(self, labels: Iterable[str]) -> Iterator[Skipped]:
        """Yield a Skipped for each key of the mapping that is not in `labels`.

        Raises:
          InputError: such a key probably misspells a label that has no key.
        """
        present = set(map(key, labels))
        unmapped = sorted(present - self.meaning.keys())
        for name in self.meaning.keys() - present:
            if near := difflib.get_close_matches(name, unmapped, 1, 0.8):
                raise InputError(
                    f'{self.path} names {name!r}, which is no label; did you mean {near[0]!r}?'
                )
            yield Skipped(
                str(self.path), 'ignored', f'{name!r} in {self.path.name}, which is no label'
            )


def load(folder: Path) -> Labels:
    """Load the mapping in the emotions.json of a folder; the case of its name is ignored.

    Raises:
      InputError: the file cannot be read, or does not map each label to one word or null.
    """
    paths = (
        sorted(p for p in folder.iterdir() if p.name.lower() == NAME and p.is_file())
        if folder.is_dir()
        else []
    )
    if not paths:
        return Labels(folder / NAME)
    if len(paths) > 1:
        raise InputError(f'{folder} holds {paths[0].name} and {paths[1].name}; keep one')
    path, meaning = paths[0], dict[str, str | None]()
    try:
        pairs = json.loads(tables.decode(path.read_bytes(), str(path)), object_pairs_hook=list)
        if not isinstance(pairs, list) or not all(isinstance(p, tuple) for p in pairs):
            raise ValueError('not a JSON object')
        for name, value in pairs:
            meant = None if value is None else _word(name, value)
            if not (plain := key(name)):
                raise ValueError(f'{name!r} is no label')
            if plain in meaning:
                raise ValueError(f'{name!r} occurs twice')
            meaning[plain] = meant
    except (OSError, ValueError, RecursionError) as e:
        raise InputError(f'{path} cannot be read ({e}); {_EXAMPLE}') from e
    return Labels(path, meaning)


def _word(name: str, value: object) -> str:
    if not isinstance(value, str) or not given(value):
        raise ValueError(f'{name!r} means {str(value)[:40]!r}, which is no word')
    return emotions.word(normal(value))


def normal(text: str) -> str:
    """Return a name in NFC without invisible characters: names that look equal are equal."""
    return _INVISIBLE.sub('', unicodedata.normalize('NFC', text)).strip()


def key(label: str) -> str:
    """Return the key of a label: case, Unicode form, and `_` or `-` for a space are ignored."""
    return ' '.join(normal(label).replace('_', ' ').replace('-', ' ').lower().split())


def given(label: str) -> bool:
    """Return True if a label is neither empty nor a missing value of spreadsheets or pandas."""
    return bool(key(label)) and normal(label).lower() not in _NOT_GIVEN


def no_emotion(folder: str) -> bool:
    """Return True if a folder's name is a side of a split or a container: train/, fold_2/, wav/."""
    return _NO_LABEL.fullmatch(normal(folder)) is not None


def no_speaker(name: str) -> bool:
    """Return True if a name is no speaker but a side of a split, a container or a sex."""
    return _NO_SPEAKER.fullmatch(normal(name)) is not None


def speaker(name: str) -> str:
    """Return a speaker's name as in ids: lower case letters, marks, digits, `_`; '' if unknown."""
    plain = normal(name).lower()
    if plain in _NOBODY:
        return ''
    kept = ''.join(
        c if c.isalnum() or c == '_' or unicodedata.category(c)[0] == 'M' else ' ' for c in plain
    )
    return '_'.join(kept.split()).strip('_')


def utf8(name: str) -> bool:
    """Return True if a name can be encoded as UTF-8: it has no surrogates."""
    return not any('\ud800' <= c <= '\udfff' for c in name)


def printable(name: str) -> str:
    r"""Return a name for messages: bytes that are not UTF-8 are escaped as \udcff."""
    return name.encode('utf-8', 'backslashreplace').decode()
