"""The score of one run on one corpus under one protocol, for one modality."""

import dataclasses
from typing import NamedTuple

import numpy as np

from ser_jax.scoring.calibration import Reliability
from ser_jax.scoring.intervals import Interval
from ser_jax.scoring.temperatures import Calibrated

# Words in the protocol column, after its name.
TRANSDUCTIVE = 'transductive'  # recordings of the test speakers are used
SHARED = 'speakers shared'  # speakers of the test are in training, by the published split
PARTIAL = 'partial'  # a part of the protocol's corpora was built


def protocol_label(name: str, version: int = 1, leaky: bool = False, partial: bool = False) -> str:
    """Return a protocol's name for tables, e.g. 'savee/loso4, partial' or 'meld/official@2, ...'.

    Names that begin with `leaky` need no further word.
    """
    words = [name if version == 1 else f'{name}@{version}']
    words += [SHARED] * (leaky and not name.startswith('leaky')) + [PARTIAL] * partial
    return ', '.join(words)


class Speaker(NamedTuple):
    """Test speaker: utterances, UAR, and recall per class (nan for classes without utterances)."""

    name: str
    sex: str
    utterances: int
    uar: float
    recall: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Score:
    """Score of one run on one corpus under one protocol, for one modality.

    Attributes:
      config: the model's name.
      classes: the emotions on the axes of `confusion`.
      confusion: [C, C] counts summed over seeds; rows are the truth.
      uar ... macro_f1, recall (of every class in the truth): mean over seeds, with interval.
      chance: UAR of a constant guess.
      ece: expected calibration error of `reliability`, nan without probabilities.
      utterances, speakers: number of distinct ones in the test.
      seeds, folds, members: number of distinct ones in the predictions.
      planned: number of members of the complete run, from the column `planned`; folds * seeds if
        there is no such column.
      member_uar, member_sd: mean and standard deviation of the UARs of single members
        (folds x seeds); the deviation is nan for one member.
      by_sex: UAR per sex.
      by_speaker: one entry per speaker.
      margins: for a fused score, paired UAR(fused) - UAR(other modality); empty otherwise.
      sex_gap: UAR of female minus UAR of male speakers, nan if one is missing.
      answer: 'member' (each member alone, averaged over seeds) or 'mean' (mean probabilities of the
        members that never trained on the speaker).
      calibrated: calibration after temperature scaling; None without a basis for it.
      auc: area under the ROC curve for the probability of the second of two classes; None unless
        there are two.
    """

    run: str
    config: str
    corpus: str
    protocol: str
    modality: str
    classes: tuple[str, ...]
    confusion: np.ndarray
    uar: Interval
    wa: Interval
    macro_precision: Interval
    macro_recall: Interval
    macro_f1: Interval
    recall: dict[str, Interval]
    chance: float
    ece: float
    reliability: Reliability
    utterances: int
    speakers: int
    seeds: int
    folds: int
    members: int
    planned: int
    member_uar: float
    member_sd: float
    by_sex: dict[str, float]
    by_speaker: tuple[Speaker, ...]
    margins: dict[str, Interval]
    sex_gap: Interval
    answer: str = 'member'
    calibrated: Calibrated | None = None
    auc: Interval | None = None

    @property
    def inflated(self) -> bool:
        """True if the protocol is leaky: test speakers also occur in training."""
        return self.protocol.startswith('leaky') or SHARED in self.protocol.split(', ')

    @property
    def transductive(self) -> bool:
        """True if features are relative to unlabeled recordings of the test speakers."""
        return TRANSDUCTIVE in self.protocol

    @property
    def partial(self) -> bool:
        """True if speakers, emotions or recordings of the protocol are missing."""
        return PARTIAL in self.protocol.split(', ')

    @property
    def synthetic(self) -> bool:
        """True if no human speech was scored."""
        return self.corpus == 'synthetic'

    @property
    def incomplete(self) -> bool:
        """True if some of the planned members are missing."""
        return self.members < self.planned

    @property
    def note(self) -> str:
        """Caveats to print beside every number of this score; '' if there are none."""
        return ', '.join(
            word
            for word in ('inflated', 'transductive', 'synthetic', 'partial', 'incomplete')
            if getattr(self, word)
        )

    @property
    def speaker_sd(self) -> float:
        """Standard deviation of the UARs of single speakers; nan for one speaker."""
        uars = [s.uar for s in self.by_speaker]
        return float(np.std(uars, ddof=1)) if len(uars) > 1 else np.nan

    @property
    def name(self) -> str:
        """The modality, and the kind of answer if it is the mean of members."""
        return self.modality + (', mean of members' if self.answer == 'mean' else '')

    def __str__(self) -> str:
        plural = '' if self.seeds == 1 else 's'
        return (
            f'UAR {self.uar}{f" {self.note}" if self.note else ""} ({self.corpus}, '
            f'{self.protocol}, {self.name}, {self.utterances} utterances, {self.speakers} '
            f'speakers, {self.seeds} seed{plural}, 95 % by {self.uar.by})'
        )
