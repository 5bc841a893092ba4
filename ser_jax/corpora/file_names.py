"""File names of published corpora, parsed to speaker, emotion and text without reading the file.

Builders parse their corpus with these functions, and an audit uses them to find files under wrong
labels: sorting files into folders does not change their names.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import PurePath
from typing import NamedTuple

import numpy as np

from ser_jax.audio import variants
from ser_jax.contract import Recording
from ser_jax.corpora.audio_files import Audio
from ser_jax.corpora.inspection import Skipped


class FileName(NamedTuple):
    """Fields of a parsed file name.

    `speaker` is '' if the name alone does not contain it; `label` is the corpus's own code.
    """

    corpus: str
    speaker: str
    sex: str
    emotion: str
    label: str
    text: str = ''
    intensity: str = 'unknown'
    channel: str = 'speech'
    language: str = 'en'


# 03-01-06-01-02-01-12: modality (03 audio only), channel, emotion, intensity, statement,
# repetition, actor. Songs have neither disgust nor surprise, and neutral is never strong.
RAVDESS = re.compile(
    r'03-(?!02-0[78])(?!0[12]-01-02)(?P<channel>0[12])-(?P<emotion>0[1-8])-(?P<intensity>0[12])-'
    r'(?P<statement>0[12])-0[12]-(?P<actor>0[1-9]|1[0-9]|2[0-4])'
)
RAVDESS_EMOTIONS = ('neutral', 'calm', 'happy', 'sad', 'angry', 'fearful', 'disgust', 'surprised')
_STATEMENTS = {'01': 'Kids are talking by the door', '02': 'Dogs are sitting by the door'}

CREMAD_EMOTIONS = {
    'NEU': 'neutral',
    'HAP': 'happy',
    'SAD': 'sad',
    'ANG': 'angry',
    'FEA': 'fearful',
    'DIS': 'disgust',
}
CREMAD_SENTENCES = {
    'IEO': "It's eleven o'clock",
    'TIE': 'That is exactly what happened',
    'IOM': "I'm on my way to the meeting",
    'IWW': 'I wonder what this is about',
    'TAI': 'The airplane is almost full',
    'MTI': 'Maybe tomorrow it will be cold',
    'IWL': 'I would like a new alarm clock',
    'ITH': "I think I have a doctor's appointment",
    'DFA': "Don't forget a jacket",
    'ITS': "I think I've seen this before",
    'TSI': 'The surface is slick',
    'WSI': "We'll stop in a couple of minutes",
}
# 1001_DFA_ANG_XX: actor, sentence, emotion, level.
CREMAD = re.compile(
    rf'(?P<actor>10(?:0[1-9]|[1-8][0-9]|9[01]))_(?P<sentence>{"|".join(CREMAD_SENTENCES)})_'
    r'(?P<emotion>ANG|DIS|FEA|HAP|NEU|SAD)_(?P<level>LO|MD|HI|X|XX)'
)
# Among the 91 actors, 1001 to 1091, by the corpus's VideoDemographics.csv.
CREMAD_WOMEN = frozenset(1000 + n for n in (
    2, 3, 4, 6, 7, 8, 9, 10, 12, 13, 18, 20, 21, 24, 25, 28, 29, 30, 37, 43, 46, 47, 49, 52, 53,
    54, 55, 56, 58, 60, 61, 63, 72, 73, 74, 75, 76, 78, 79, 82, 84, 89, 91,
))  # fmt: skip

# OAF_back_angry: actress, word, emotion. One file has OA instead of OAF.
TESS = re.compile(
    r'(?P<actress>OAF?|YAF)_(?P<word>[a-z]+)_(?P<emotion>angry|disgust|fear|happy|neutral|ps|sad)',
    re.I | re.A,
)
TESS_EMOTIONS = {
    'neutral': 'neutral',
    'happy': 'happy',
    'sad': 'sad',
    'angry': 'angry',
    'fear': 'fearful',
    'disgust': 'disgust',
    'ps': 'surprised',
}

# DC_a01, or a01 in a folder DC: speaker, emotion, number, up to 30 if neutral, else up to 15.
SAVEE = re.compile(
    r'(?:(?P<speaker>DC|JE|JK|KL)_)?(?P<emotion>(?:sa|su|[adfh])(?=0[1-9]|1[0-5])|n)'
    r'(?:0[1-9]|[12][0-9]|30)'
)
SAVEE_SPEAKERS = ('DC', 'JE', 'JK', 'KL')
SAVEE_EMOTIONS = {
    'n': 'neutral',
    'h': 'happy',
    'sa': 'sad',
    'a': 'angry',
    'f': 'fearful',
    'd': 'disgust',
    'su': 'surprised',
}

# Suffixes that file managers append to copies: `f01 (10)`, `DC_a01 - Copy`, `DC_a01 copy 2`.
COPY = re.compile(r'( \(\d+\)| - Copy| copy( \d+)?)+$', re.I | re.A)

# 03a01Fa: speaker, text, emotion, take.
EMODB = re.compile(
    r'(?P<speaker>03|08|09|1[0-6])(?P<text>a0[12457]|b0[1239]|b10)(?P<emotion>[WLEAFTN])[a-z]?'
)
EMODB_EMOTIONS = {
    'N': 'neutral',
    'F': 'happy',
    'T': 'sad',
    'W': 'angry',
    'A': 'fearful',
    'E': 'disgust',
    'L': 'boredom',
}
EMODB_MEN = ('03', '10', '11', '12', '15')
EMODB_SPEAKERS = ('03', '08', '09', '10', '11', '12', '13', '14', '15', '16')
EMODB_TEXTS = {
    'a01': 'Der Lappen liegt auf dem Eisschrank.',
    'a02': 'Das will sie am Mittwoch abgeben.',
    'a04': 'Heute abend könnte ich es ihm sagen.',
    'a05': 'Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.',
    'a07': 'In sieben Stunden wird es soweit sein.',
    'b01': 'Was sind denn das für Tüten, die da unter dem Tisch stehen?',
    'b02': 'Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.',
    'b03': 'An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.',
    'b09': 'Ich will das eben wegbringen und dann mit Karl was trinken gehen.',
    'b10': 'Die wird auf dem Platz sein, wo wir sie immer hinlegen.',
}


def ravdess(stem: str) -> FileName | None:
    """Parse a RAVDESS name, e.g. `03-01-06-01-02-01-12`; return None for other names."""
    if not (m := RAVDESS.fullmatch(stem)):
        return None
    return FileName(
        corpus='ravdess',
        speaker=f'ravdess_{m["actor"]}',
        sex=ravdess_sex(int(m['actor'])),
        emotion=RAVDESS_EMOTIONS[int(m['emotion']) - 1],
        label=m['emotion'],
        text=_STATEMENTS[m['statement']],
        intensity='strong' if m['intensity'] == '02' else 'normal',
        channel='song' if m['channel'] == '02' else 'speech',
    )


def ravdess_sex(actor: int) -> str:
    """Return the sex of a RAVDESS actor: odd numbers are men, even ones women."""
    return ('female', 'male')[actor % 2]


def cremad(stem: str) -> FileName | None:
    """Parse a CREMA-D name, e.g. `1001_DFA_ANG_XX`; return None for other names."""
    if not (m := CREMAD.fullmatch(stem)):
        return None
    intensities = {'HI': 'strong', 'LO': 'normal', 'MD': 'normal'}
    return FileName(
        corpus='cremad',
        speaker=f'cremad_{m["actor"]}',
        sex=cremad_sex(int(m['actor'])),
        emotion=CREMAD_EMOTIONS[m['emotion']],
        label=m['emotion'],
        text=CREMAD_SENTENCES[m['sentence']],
        intensity=intensities.get(m['level'], 'unknown'),
    )


def cremad_sex(actor: int) -> str:
    """Return the sex of a CREMA-D actor by the corpus's own table."""
    return 'female' if actor in CREMAD_WOMEN else 'male'


def tess(stem: str) -> FileName | None:
    """Parse a TESS name, e.g. `OAF_back_angry`; return None for other names."""
    if not (m := TESS.fullmatch(stem)):
        return None
    code = m['emotion'].lower()
    return FileName(
        corpus='tess',
        speaker=f'tess_{m["actress"][:2].lower()}f',
        sex='female',
        emotion=TESS_EMOTIONS[code],
        label=code,
        text=f'Say the word {m["word"].lower()}',
    )


def savee(stem: str, folder: str = '') -> FileName | None:
    """Parse a SAVEE name, `DC_a01`, or `a01` in the folder `DC`; return None for other names."""
    if not (m := SAVEE.fullmatch(stem)):
        return None
    speaker = m['speaker'] or (folder.upper() if folder.upper() in SAVEE_SPEAKERS else '')
    return FileName(
        corpus='savee',
        speaker=speaker and f'savee_{speaker.lower()}',
        sex='male',
        emotion=SAVEE_EMOTIONS[m['emotion']],
        label=m['emotion'],
    )


def emodb(stem: str) -> FileName | None:
    """Parse an EMO-DB name, e.g. `03a01Fa`; return None for other names."""
    if not (m := EMODB.fullmatch(stem)):
        return None
    return FileName(
        corpus='emodb',
        speaker=f'emodb_{m["speaker"]}',
        sex=emodb_sex(m['speaker']),
        emotion=EMODB_EMOTIONS[m['emotion']],
        label=m['emotion'],
        text=EMODB_TEXTS[m['text']],
        language='de',
    )


def emodb_sex(speaker: str) -> str:
    """Return the sex of an EMO-DB speaker by the list on the corpus's page."""
    return 'male' if speaker in EMODB_MEN else 'female'


def parse(name: str) -> FileName | None:
    """Parse a file name of any of these corpora; return None for other names.

    Args:
      name: a stem, or a path whose last folder may be the speaker.
    """
    path = PurePath(COPY.sub('', name))
    for parser in (ravdess, cremad, tess, emodb):
        if parsed := parser(path.name):
            return parsed
    return savee(path.name, path.parent.name)


def voices(ids: Sequence[str], speakers: Sequence[str]) -> np.ndarray:
    """Return the speaker of each utterance: from a published corpus's file name, else as given."""
    parsed = [parse(variants.source_of(str(i))) for i in ids]
    found = [p.speaker if p and p.speaker else s for p, s in zip(parsed, speakers, strict=True)]
    return np.array(found, object)


# Recordings of one session or dialog, in which several speakers are audible: IEMOCAP's
# Ses01F_impro01_M003 and MELD's train/dia0_utt3.
_SESSION = re.compile(
    r'(?:^|/)(?:(Ses0[1-5])[FM]_(?:impro|script)\w*_[FM]\d+|((?:train|dev|test)/dia\d+)_utt\d+)$'
)


def sessions(ids: Sequence[str]) -> np.ndarray:
    """Return the session or dialog of each utterance by its published name, '' if it has none."""
    found = [_SESSION.search(variants.source_of(str(i))) for i in ids]
    return np.array([(m[1] or m[2]) if m else '' for m in found], object)


def recordings(
    files: Iterable[Audio], parser: Callable[[Audio], FileName | None], alike: str, title: str
) -> Iterator[Recording | Skipped]:
    """Yield a Recording for each file whose name `parser` accepts, a Skipped for each other file.

    Args:
      files: the audio files of the corpus.
      parser: returns the fields of a file's name, None for other names.
      alike: regular expression; unparsed names that begin with a match count as bad files, the
        others as files that do not belong to the corpus.
      title: name of the corpus in messages.
    """
    for audio in files:
        if (parsed := parser(audio)) is None or not parsed.speaker:
            kind = 'unknown name' if re.match(alike, audio.stem) else 'ignored'
            reason = 'no speaker in its name or folder' if parsed else f'no {title} name'
            yield Skipped(audio.source, kind, reason)
            continue
        fields = {name: value for name, value in parsed._asdict().items() if name != 'corpus'}
        # If the speaker is the folder, the stem alone is not unique.
        alone = parse(audio.stem)
        prefix = '' if alone and alone.speaker else f'{parsed.speaker.rpartition("_")[2].upper()}_'
        yield Recording(
            id=prefix + audio.stem,
            read=audio.read,
            source=audio.source,
            **fields,
        )
