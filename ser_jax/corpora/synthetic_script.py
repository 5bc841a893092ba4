"""Script and synthesis of the embedded synthetic corpus: speakers, sentences, emotions, prosody.

`script` draws lines (sentence, condition of the words, prosody) from one seed; `perform`
synthesizes a line with eSpeak NG. A line depends on (seed, speaker, emotion, number) only, so any
part of the corpus can be generated without the rest, with the same result.

Prosody deviates from a speaker's neutral in the directions found in acted emotion by perception
and acoustic studies: anger, happiness, sadness, fear and tenderness (our calm) after Juslin &
Laukka (2003, Psychological Bulletin 129(5), 770-814) and Scherer (2003, Speech Communication 40,
227-256); disgust and surprise after Banse & Scherer (1996, Journal of Personality and Social
Psychology 70(3), 614-636) and the synthesis settings of Cahn (1990, Journal of the American Voice
I/O Society 8, 1-19). The directions are theirs; the sizes, and the spread that makes emotions
overlap, are ours.
"""

import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ser_jax.corpora import espeak

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
        *(
            'the letter',
            'the blue box',
            'the gate',
            'the train',
            'the piano',
            'the window',
            'the red car',
        ),
        *(
            'the map',
            'the concert',
            'the meeting',
            'the exam',
            'the picture',
            'the dinner',
            'the call',
        ),
    ),
    'place': (
        *('at the station', 'in the office', 'by the river', 'near the school'),
        *('behind the house', 'at the market', 'on the stairs', 'in the hall'),
    ),
    'time': (
        'this morning',
        'last night',
        'on Monday',
        'after lunch',
        'before noon',
        'in April',
        'today',
        'yesterday',
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
    return [line for s in speakers for line in _part(seed, s, sentences)]


def _part(seed: int, speaker: Speaker, sentences: int) -> list[Line]:
    lines, said = [], set()
    for number in range(sentences):
        for emotion in EMOTIONS:
            rng = _rng(seed, 'line', speaker.id, emotion, number)
            block, place = divmod(number, len(CONDITIONS))
            condition = str(
                _rng(seed, 'words', speaker.id, emotion, block).permutation(CONDITIONS)[place]
            )
            others = [e for e in EMOTIONS if e != emotion]
            words_of = {
                'match': emotion,
                'neutral': None,
                'contradict': others[rng.integers(len(others))],
            }[condition]
            text = _sentence(rng, words_of)
            # The checksum of a sentence selects its speaker, so no two share one under any seed.
            while SPEAKERS[zlib.crc32(text.encode()) % len(SPEAKERS)] != speaker or text in said:
                text = _sentence(rng, words_of)
            said.add(text)
            prosody = _draw(seed, speaker, emotion, rng)
            lines.append(
                Line(
                    f'{speaker.id}_{emotion}_{number:02d}',
                    speaker,
                    emotion,
                    condition,
                    text,
                    prosody,
                    seed,
                )
            )
    return sorted(lines, key=lambda line: EMOTIONS.index(line.emotion))


def _rng(*key: int | str) -> np.random.Generator:
    return np.random.default_rng([k if isinstance(k, int) else zlib.crc32(k.encode()) for k in key])


def _sentence(rng: np.random.Generator, emotion: str | None) -> str:
    def choose(words):
        return words[rng.integers(len(words))]

    slots = CARRIERS if emotion is None else CARRIERS | LEXICON[emotion]
    text = choose(PLAIN_FRAMES if emotion is None else FRAMES).format(
        **{k: choose(v) for k, v in slots.items()}
    )
    return text[0].upper() + text[1:] + '.'


def _draw(seed: int, speaker: Speaker, emotion: str, rng: np.random.Generator) -> Prosody:
    """Draw prosody: the emotion's mean + the speaker's deviations + the sentence's deviation."""
    spread = np.array(SPREAD)
    own = 0.5 * _rng(seed, 'voice', speaker.id).normal(size=spread.size)
    habit = HABIT * _rng(seed, 'habit', speaker.id, emotion).normal(size=spread.size)
    drawn = np.array(MEANS[emotion]) + spread * (own + habit + rng.normal(size=spread.size))
    return Prosody(*(float(x) for x in drawn))


def perform(line: Line) -> tuple[np.ndarray, int]:
    """Synthesize a line: samples of 16 bits as float32 [T] in (-1, 1), about 1 to 4 s; rate in Hz.

    Raises:
      InputError: eSpeak NG is not installed.
    """
    p, speaker = line.prosody, line.speaker
    rng = _rng(line.seed, 'performance', line.id)
    rising, exclaimed = rng.random(2) < 1 / (1 + np.exp([-p.rise, -p.stress]))
    said, rate_hz = espeak.speak(
        line.text[:-1] + ('?' if rising else '!' if exclaimed else '.'),
        speaker.voice,
        rate=_within('rate', speaker.rate * 2**p.rate),
        # eSpeak's pitch doubles over 50 units.
        pitch=_within('pitch', 50 + 50 / 12 * (speaker.pitch + p.pitch)),
        range=_within('range', 50 * 2**p.range),
        word_gap=_within('word_gap', p.pause),
    )
    voice = _trim(said / 32768, rate_hz)
    voice = _tremble(
        voice, rate_hz, np.clip(p.tremor, 0, 0.6), rng.uniform(5, 8), rng.uniform(0, 2 * np.pi)
    )
    voice = _tilt(voice, rate_hz, p.tilt)
    voice = voice + 10 ** (p.breath / 20) * _envelope(voice, rate_hz) * _hiss(rng, voice.size)
    voice *= 10 ** ((-30 + p.level) / 20) / np.sqrt(np.mean(voice**2))
    before, after = (round(rate_hz * s) for s in rng.uniform(0.05, 0.25, 2))
    heard = np.pad(voice, (before, after))
    # Microphone noise, so that a pause is not digital silence.
    heard += 10 ** (rng.uniform(-75, -65) / 20) * rng.standard_normal(heard.size)
    heard *= min(1, 0.99 / np.abs(heard).max())
    return (np.rint(heard * 32768) / 32768).astype(np.float32), rate_hz


def _within(setting: str, value: float) -> int:
    return round(float(np.clip(value, *espeak.LIMITS[setting])))


def _trim(voice: np.ndarray, rate_hz: int) -> np.ndarray:
    """Trim leading and trailing silence, which eSpeak NG lengthens at low rates."""
    loud = np.flatnonzero(_envelope(voice, rate_hz) > 1e-3)
    return voice[loud[0] : loud[-1] + 1]


def _tremble(
    voice: np.ndarray, rate_hz: int, depth: float, trembles_hz: float, phase: float
) -> np.ndarray:
    """Modulate loudness by `depth` and pitch by up to a sixth of it."""
    t = np.arange(voice.size)
    turn = 2 * np.pi * trembles_hz / rate_hz
    shift = depth / 6 / turn * (np.sin(turn * t + phase) - np.sin(phase))
    return np.interp(t + shift, t, voice) * (1 + depth * np.cos(turn * t + phase))


def _tilt(voice: np.ndarray, rate_hz: int, db_per_octave: float) -> np.ndarray:
    """Tilt the spectrum about 500 Hz, up to three octaves from it."""
    size = 1 << (voice.size - 1).bit_length()  # an FFT of any other length can be 50 times slower
    octaves = np.clip(np.log2(np.maximum(np.fft.rfftfreq(size, 1 / rate_hz), 1) / 500), -3, 3)
    turned = np.fft.rfft(voice, size) * np.exp(np.log(10) / 20 * db_per_octave * octaves)
    return np.fft.irfft(turned, size)[: voice.size]


def _envelope(voice: np.ndarray, rate_hz: int) -> np.ndarray:
    """Return the RMS over 20 ms around each sample."""
    half = rate_hz // 100
    power = np.cumsum(np.pad(voice**2, (half + 1, half)))
    return np.sqrt(np.maximum(power[2 * half + 1 :] - power[: -2 * half - 1], 0) / (2 * half + 1))


def _hiss(rng: np.random.Generator, samples: int) -> np.ndarray:
    """Draw noise of unit power whose density rises with frequency, like that of breath."""
    return np.diff(rng.standard_normal(samples + 1)) / np.sqrt(2)
