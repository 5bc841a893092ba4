"""Script of the embedded synthetic corpus: speakers, sentences, emotions, prosody.

`script` draws lines (sentence, condition of the words, prosody) from one seed;
`synthetic_voice.perform` synthesizes a line with eSpeak NG. A line depends on (seed, speaker,
emotion, number) only, so any part of the corpus can be generated without the rest, with the same
result.

Prosody deviates from a speaker's neutral in the directions found in acted emotion by perception
and acoustic studies: anger, happiness, sadness, fear and tenderness (our calm) after Juslin &
Laukka (2003, Psychological Bulletin 129(5), 770-814) and Scherer (2003, Speech Communication 40,
227-256); disgust and surprise after Banse & Scherer (1996, Journal of Personality and Social
Psychology 70(3), 614-636) and the synthesis settings of Cahn (1990, Journal of the American Voice
I/O Society 8, 1-19). The directions are theirs; the sizes, and the spread that makes emotions
overlap, are ours.
"""

import itertools
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

EMOTIONS = ('neutral', 'calm', 'happy', 'sad', 'angry', 'fearful', 'disgust', 'surprised')
# Emotion of the words in every 12 sentences: that of the prosody, none, another one.
CONDITIONS = ('match',) * 7 + ('neutral',) * 3 + ('contradict',) * 2


class Prosody(NamedTuple):
    """Prosody of a sentence relative to its speaker's neutral; spreads are standard deviations."""

    rate: float  # log2 of the ratio of speaking rates
    pitch: float  # semitones
    range: float  # log2 of the ratio of pitch ranges
    level: float  # dB
    tilt: float  # dB per octave, above 0 = brighter
    breath: float  # level of the noise in dB relative to the speech
    tremor: float  # depth of a 5 to 8 Hz modulation of loudness and pitch, 0 to 1
    pause: float  # gap between words, units of 10 ms
    rise: float  # log odds of a final rise, as in a question
    stress: float  # log odds of an exclamation


MEANS = {  #               rate pitch range level tilt breath tremor pause rise stress
    'neutral': Prosody(+0.00, +0.0, +0.00, +0.0, +0.0, -34, 0.03, 0.3, -4, -3),
    'calm': Prosody(-0.20, -1.0, -0.25, -3.0, -1.0, -26, 0.02, 1.0, -4, -4),
    'happy': Prosody(+0.15, +3.0, +0.55, +2.5, +0.6, -34, 0.03, 0.0, -2, +1),
    'sad': Prosody(-0.35, -2.0, -0.60, -5.0, -1.8, -22, 0.15, 2.0, -4, -4),
    'angry': Prosody(+0.20, +1.5, +0.50, +5.5, +2.0, -36, 0.08, 0.0, -3, +2),
    'fearful': Prosody(+0.25, +4.5, -0.30, -1.5, -0.4, -24, 0.35, 0.5, -1, -1),
    'disgust': Prosody(-0.25, -1.5, +0.20, +0.0, +1.0, -28, 0.10, 0.5, -3, -1),
    'surprised': Prosody(+0.08, +4.0, +0.80, +1.5, +0.0, -30, 0.03, 0.3, +1, +1),
}
SPREAD = Prosody(0.11, 1.4, 0.28, 2.0, 0.65, 4.5, 0.06, 0.7, 0.0, 0.0)  # between sentences
HABIT = 0.5  # deviation of a speaker's expression of an emotion from MEANS, in units of SPREAD


class Speaker(NamedTuple):
    """One of the twelve synthetic speakers."""

    id: str
    sex: str
    voice: str  # eSpeak NG voice: language + variant
    pitch: float  # semitones relative to the variant's
    rate: int  # words per minute


SPEAKERS = (
    Speaker('f1', 'female', 'en-us+f1', 0.0, 207),
    Speaker('f2', 'female', 'en+f2', 1.0, 217),
    Speaker('f3', 'female', 'en-us+f3', -1.0, 197),
    Speaker('f4', 'female', 'en+f4', 1.5, 222),
    Speaker('f5', 'female', 'en-us+linda', -2.0, 212),
    Speaker('f6', 'female', 'en-us+Annie', -3.0, 202),
    Speaker('m1', 'male', 'en-us+m1', 0.0, 212),
    Speaker('m2', 'male', 'en+m2', 1.0, 202),
    Speaker('m3', 'male', 'en-us+m3', 2.0, 222),
    Speaker('m4', 'male', 'en+m4', -0.5, 197),
    Speaker('m5', 'male', 'en-us+m7', 0.0, 217),
    Speaker('m6', 'male', 'en-us+max', 3.0, 207),
)

# Each word belongs to one emotion; speakers share words, never sentences.
LEXICON = {
    'neutral': {
        'adjective': ('ordinary', 'typical', 'average', 'formal', 'practical', 'indifferent'),
        'verb': ('reported', 'commented', 'summarized'),
        'noun': ('paperwork', 'routine', 'business'),
    },
    'calm': {
        'adjective': ('peaceful', 'relaxed', 'serene', 'gentle', 'rested', 'content'),
        'verb': ('meditated', 'settled', 'lingered'),
        'noun': ('silence', 'comfort', 'harmony'),
    },
    'happy': {
        'adjective': ('cheerful', 'delighted', 'joyful', 'glad', 'thrilled', 'merry'),
        'verb': ('laughed', 'smiled', 'cheered'),
        'noun': ('joy', 'laughter', 'fun'),
    },
    'sad': {
        'adjective': ('lonely', 'gloomy', 'miserable', 'heartbroken', 'tearful', 'unhappy'),
        'verb': ('cried', 'wept', 'sobbed'),
        'noun': ('grief', 'sorrow', 'despair'),
    },
    'angry': {
        'adjective': ('furious', 'outraged', 'bitter', 'hostile', 'annoyed', 'mad'),
        'verb': ('shouted', 'yelled', 'argued'),
        'noun': ('rage', 'fury', 'hatred'),
    },
    'fearful': {
        'adjective': ('afraid', 'scared', 'terrified', 'nervous', 'anxious', 'frightened'),
        'verb': ('trembled', 'screamed', 'fled'),
        'noun': ('danger', 'terror', 'panic'),
    },
    'disgust': {
        'adjective': ('sick', 'nauseous', 'revolted', 'queasy', 'repulsed', 'appalled'),
        'verb': ('gagged', 'recoiled', 'choked'),
        'noun': ('filth', 'slime', 'vomit'),
    },
    'surprised': {
        'adjective': ('amazed', 'astonished', 'stunned', 'startled', 'shocked', 'speechless'),
        'verb': ('gasped', 'blinked', 'stared'),
        'noun': ('amazement', 'wonder', 'disbelief'),
    },
}
FRAMES = (
    '{who} sounded {adjective} about {thing}',
    '{who} felt {adjective} {place} {time}',
    '{who} {verb} {place} {time}',
    '{who} {verb} and talked about {thing}',
    'there was {noun} {place} {time}',
    '{who} spoke of {noun} and {thing}',
    '{who} {verb}, {adjective} about {thing}',
    'with {noun}, {who} felt {adjective} {time}',
)
PLAIN_FRAMES = (
    '{who} carried {thing} {place}',
    '{who} asked about {thing} {time}',
    '{who} talked about {thing} {place}',
    '{thing} was {place} {time}',
    '{who} was {place} {time}',
    '{who} spoke of {thing} {time}',
)
CARRIERS = {
    'who': (
        *('Anna', 'my neighbor', 'the teacher', 'my cousin', 'the driver', 'David'),
        *('our doctor', 'the tall girl', 'my brother', 'Helen', 'the old man', 'a friend'),
    ),
    'thing': (
        *('the letter', 'the blue box', 'the gate', 'the train', 'the piano', 'the window'),
        *('the red car', 'the map', 'the concert', 'the meeting', 'the exam', 'the picture'),
        *('the dinner', 'the call'),
    ),
    'place': (
        *('at the station', 'in the office', 'by the river', 'near the school'),
        *('behind the house', 'at the market', 'on the stairs', 'in the hall'),
    ),
    'time': (
        *('this morning', 'last night', 'on Monday', 'after lunch'),
        *('before noon', 'in April', 'today', 'yesterday'),
    ),
}


class Line(NamedTuple):
    """One sentence of the script."""

    id: str  # speaker, emotion and number, e.g. f1_angry_03
    speaker: Speaker
    emotion: str  # of the prosody
    condition: str  # of the words: match | neutral | contradict
    text: str
    prosody: Prosody
    seed: int


def script(
    seed: int = 0, sentences: int = 12, speakers: Sequence[Speaker] = SPEAKERS
) -> list[Line]:
    """Return the corpus: `sentences` lines for every speaker and emotion, in that order.

    No sentence occurs twice. Line n of a speaker and emotion does not depend on `sentences`.
    """
    parts = (_part(seed, speaker, sentences) for speaker in speakers)
    return list(itertools.chain.from_iterable(parts))


def _part(seed: int, speaker: Speaker, sentences: int) -> list[Line]:
    lines, texts = [], set()
    for number in range(sentences):
        for emotion in EMOTIONS:
            rng = generator(seed, 'line', speaker.id, emotion, number)
            block, position = divmod(number, len(CONDITIONS))
            order = generator(seed, 'words', speaker.id, emotion, block)
            condition = str(order.permutation(CONDITIONS)[position])
            others = [e for e in EMOTIONS if e != emotion]
            contrary = others[rng.integers(len(others))]
            choices = {'match': emotion, 'neutral': None, 'contradict': contrary}
            text = _sentence(rng, choices[condition])
            # The checksum of a sentence selects its speaker, so no two share one under any seed.
            while SPEAKERS[zlib.crc32(text.encode()) % len(SPEAKERS)] != speaker or text in texts:
                text = _sentence(rng, choices[condition])
            texts.add(text)
            prosody = _draw(seed, speaker, emotion, rng)
            id = f'{speaker.id}_{emotion}_{number:02d}'
            lines.append(Line(id, speaker, emotion, condition, text, prosody, seed))
    return sorted(lines, key=lambda line: EMOTIONS.index(line.emotion))


def generator(*key: int | str) -> np.random.Generator:
    """Return a random generator seeded by integers and by the checksums of names."""
    return np.random.default_rng([k if isinstance(k, int) else zlib.crc32(k.encode()) for k in key])


def _sentence(rng: np.random.Generator, emotion: str | None) -> str:
    def choose(words: Sequence[str]) -> str:
        return words[int(rng.integers(len(words)))]

    slots = CARRIERS if emotion is None else CARRIERS | LEXICON[emotion]
    text = choose(PLAIN_FRAMES if emotion is None else FRAMES).format(
        **{k: choose(v) for k, v in slots.items()}
    )
    return text[0].upper() + text[1:] + '.'


def _draw(seed: int, speaker: Speaker, emotion: str, rng: np.random.Generator) -> Prosody:
    """Draw prosody: the emotion's mean + the speaker's deviations + the sentence's deviation."""
    spread = np.array(SPREAD)
    voice = 0.5 * generator(seed, 'voice', speaker.id).normal(size=spread.size)
    habit = HABIT * generator(seed, 'habit', speaker.id, emotion).normal(size=spread.size)
    drawn = np.array(MEANS[emotion]) + spread * (voice + habit + rng.normal(size=spread.size))
    return Prosody(*(float(x) for x in drawn))
