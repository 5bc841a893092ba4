"""Conditions under which a run is scored or trained: named distortions, in groups.

Those that need no other recording are variants as well (`ser_jax.audio.variants.CHANGES`), so that
a run can be trained on them. A condition of a recording is the same whenever it is made: it depends
on the seed, the recording's id and the condition's name.
"""

import dataclasses
import difflib
from collections.abc import Sequence

import numpy as np

from ser_jax.audio import distortions
from ser_jax.audio.distortions import Change, Mixture
from ser_jax.contract import InputError

CLEAN = 'clean'  # name of the recordings as they are
ALL = 'all'
TALKERS = 6  # utterances of other speakers in a babble
SPEECH, SOUNDS = 'speech', 'sounds'  # kinds of recordings that are mixed in
_SNRS_DB = (20, 15, 10, 5, 0)
_MP3, _OPUS = ('MP3', 'MPEG_LAYER_III'), ('OGG', 'OPUS')


@dataclasses.dataclass(frozen=True)
class Condition:
    """A named distortion.

    Attributes:
      name: e.g. 'white_10db'.
      group: e.g. 'noise'.
      words: description for sentences, e.g. 'white noise at 10 dB'.
      change: the function, or
      mixture: the function that needs other recordings.
      others: their number.
      kind: of the other recordings, SPEECH (utterances of other speakers) or SOUNDS.
      snr_db: ratio of speech to noise, of conditions of the group 'noise'.
    """

    name: str
    group: str
    words: str
    change: Change | None = None
    mixture: Mixture | None = None
    others: int = 0
    kind: str = ''
    snr_db: float | None = None

    @property
    def stem(self) -> str:
        """The name without its amount, e.g. 'white'."""
        return self.name.partition('_')[0]

    def __call__(
        self,
        samples: np.ndarray,
        rate_hz: int,
        rng: np.random.Generator,
        others: Sequence[np.ndarray] = (),
    ) -> np.ndarray:
        """Return the distorted samples, float32.

        Args:
          samples: mono float32 [T] in [-1, 1], not changed.
          rate_hz: their rate, also that of the others.
          rng: from `variants.generator`.
          others: `others` recordings.
        """
        if self.mixture:
            return self.mixture(samples, rate_hz, rng, others)
        assert self.change
        return self.change(samples, rate_hz, rng)


def _noises() -> list[Condition]:
    made = []
    for db in _SNRS_DB:
        white = distortions.white(db)
        made.append(
            Condition(f'white_{db}db', 'noise', f'white noise at {db} dB', white, snr_db=db)
        )
    for db in _SNRS_DB:
        words, mixture = f'babble at {db} dB', distortions.babble(db)
        talkers = (mixture, TALKERS, SPEECH, db)
        made.append(Condition(f'babble_{db}db', 'noise', words, None, *talkers))
    for db in _SNRS_DB:
        words, mixture = f'other sounds at {db} dB', distortions.sounds(db)
        made.append(Condition(f'sounds_{db}db', 'noise', words, None, mixture, 1, SOUNDS, db))
    return made


CONDITIONS: dict[str, Condition] = {
    condition.name: condition
    for condition in (
        *_noises(),
        Condition('gain_20db', 'level', 'a level 20 dB higher', distortions.gain(20)),
        Condition('gain_-20db', 'level', 'a level 20 dB lower', distortions.gain(-20)),
        Condition('clip_10db', 'level', 'clipping 10 dB below the peak', distortions.clip(10)),
        Condition('clip_20db', 'level', 'clipping 20 dB below the peak', distortions.clip(20)),
        Condition('telephone', 'band', 'a telephone band', distortions.band(300, 3400)),
        Condition('rate_8khz', 'band', 'a sampling rate of 8 kHz', distortions.rate(8000)),
        Condition('mp3_32kbps', 'codec', 'mp3 at 32 kbit/s', distortions.codec(*_MP3, 32_000)),
        Condition('mp3_16kbps', 'codec', 'mp3 at 16 kbit/s', distortions.codec(*_MP3, 16_000)),
        Condition('opus_12kbps', 'codec', 'opus at 12 kbit/s', distortions.codec(*_OPUS, 12_000)),
        Condition('opus_6kbps', 'codec', 'opus at 6 kbit/s', distortions.codec(*_OPUS, 6000)),
        Condition('reverb_300ms', 'room', 'a room of T60 300 ms', distortions.reverb(0.3)),
        Condition('reverb_600ms', 'room', 'a room of T60 600 ms', distortions.reverb(0.6)),
        Condition('reverb_1200ms', 'room', 'a room of T60 1200 ms', distortions.reverb(1.2)),
        Condition('speed_90', 'time', '90 % of the speed', distortions.speed(90)),
        Condition('speed_110', 'time', '110 % of the speed', distortions.speed(110)),
        Condition('silence_1s', 'time', 'a second of silence before', distortions.silence(1.0)),
    )
}
GROUPS = tuple(dict.fromkeys(c.group for c in CONDITIONS.values()))
STEMS = tuple(dict.fromkeys(c.stem for c in CONDITIONS.values()))
ALONE = {c.name: c.change for c in CONDITIONS.values() if c.change}  # they need no other recording


def chosen(names: Sequence[str]) -> tuple[Condition, ...]:
    """Return the conditions of a list of words, each once, in the order of the table.

    Args:
      names: names, stems ('white' for all white noise), groups, or 'all'.

    Raises:
      InputError: a word is none of these.
    """
    wanted: set[str] = set()
    for name in (n.strip() for n in names):
        members = {c.name for c in CONDITIONS.values() if name in (c.name, c.stem, c.group, ALL)}
        if not members:
            known = (*CONDITIONS, *GROUPS, *STEMS, ALL)
            near = difflib.get_close_matches(name, known, 1)
            hint = f'; did you mean {near[0]}?' if near else ''
            raise InputError(
                f'--conditions has {name!r}, which is none{hint} (--conditions=? lists the names; '
                f'groups are {", ".join(GROUPS)} and {ALL})'
            )
        wanted |= members
    return tuple(c for c in CONDITIONS.values() if c.name in wanted)


def listing() -> str:
    """Return the conditions as text, a line for each, by group."""
    lines = []
    for group in GROUPS:
        lines.append(f'{group}:')
        of_group = [c for c in CONDITIONS.values() if c.group == group]
        lines += [f'  {c.name:<14} {c.words}' for c in of_group]
    stems = f'Names up to the _ stand for all amounts ({", ".join(STEMS)}); {ALL}: every condition'
    return '\n'.join([*lines, stems])


def words(name: str) -> str:
    """Return the description of a condition; the name itself of one that is not in the table."""
    return CONDITIONS[name].words if name in CONDITIONS else name
