"""Inspection of a corpus before training: each file is read once, checked and compared."""

import collections
import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ser_jax.audio import soundness, wav
from ser_jax.contract import InputError, Recording

# Kinds of skipped files that are no fault of the user's copy: not counted toward the tolerance.
HARMLESS = ('duplicate', 'label conflict', 'ignored')


@dataclasses.dataclass(frozen=True)
class Skipped:
    """A file that is not used.

    `kind` is one of HARMLESS, or counts toward the tolerance: unknown name | name conflict |
    bad line | missing | empty | silent | not finite | out of range | truncated | undecodable.
    """

    source: str
    kind: str
    detail: str = ''


@dataclasses.dataclass
class Inspected:
    """Result of inspecting one recording: its measures and prepared samples, or its defect."""

    recording: Recording
    sha256: str = ''
    measures: dict = dataclasses.field(default_factory=dict)  # see `measures` below
    prepared: Any = None
    defect: Skipped | None = None


def sha256(samples: np.ndarray) -> str:
    """Return the hash of decoded samples, the same for every lossless container.

    It covers little-endian int16 (C order) if all samples are 16-bit values / 32768, else
    little-endian float32.
    """
    scaled = samples * np.float32(32768)
    exact = scaled.astype('<i2') if samples.size and np.abs(scaled).max() <= 32768 else None
    if exact is None or not np.array_equal(exact, scaled):
        return hashlib.sha256(np.ascontiguousarray(samples, '<f4').data).hexdigest()
    return hashlib.sha256(np.ascontiguousarray(exact).data).hexdigest()


def clipped(samples: np.ndarray) -> bool:
    """Return True if three samples in a row are at full scale.

    A single peak is normalization, a plateau is clipping.
    """
    full = np.abs(samples) >= 32766 / 32768
    return bool((full[:-2] & full[1:-1] & full[2:]).any())


def measures(samples: np.ndarray | None, rate_hz: int) -> dict:
    """Return the measured fields of an example: zeros if `samples` is None.

    They are seconds, rate_hz, level_db, peak, clipped, and silence (share of 10 ms stretches that
    are 40 dB or more below the loudest).
    """
    if samples is None:
        floats = dict.fromkeys(('seconds', 'level_db', 'peak', 'silence'), 0.0)
        return {**floats, 'rate_hz': 0, 'clipped': 0}
    power = np.square(samples, dtype=np.float32)
    power = power if power.ndim == 1 else power.mean(axis=1)
    stretch = max(1, rate_hz // 100)
    whole = len(power) // stretch * stretch
    stretches = power[:whole].reshape(-1, stretch).mean(axis=1) if whole else power
    return {
        'seconds': len(samples) / rate_hz,
        'rate_hz': rate_hz,
        'level_db': float(10 * np.log10(max(power.mean(dtype=np.float64), 1e-12))),
        'peak': float(np.abs(samples).max()),
        'clipped': int(clipped(samples)),
        'silence': float((stretches <= stretches.max() * 1e-4).mean()),
    }


def inspect(
    rate_hz: int | None, prepare: Callable[[np.ndarray, str], Any], recording: Recording
) -> Inspected:
    """Decode, measure and check one recording.

    Args:
      rate_hz: rate of the stored samples; None: the recorded rate, with all channels.
      prepare: function of (samples at that rate, id); its result becomes `Inspected.prepared`.
      recording: the recording to read.
    """
    if recording.read is None:
        words = ' '.join(recording.text.split())
        defect = None if words else Skipped(recording.source, 'empty')
        return Inspected(
            recording, hashlib.sha256(words.encode()).hexdigest(), measures(None, 0), {}, defect
        )
    try:
        samples, from_hz = recording.read()
        prepared = soundness.checked(samples, from_hz, rate_hz, recording.source)
        kept = prepare(prepared, recording.id)
    except wav.SoundError as e:
        reason = '' if e.reason == e.kind else e.reason
        return Inspected(recording, defect=Skipped(recording.source, e.kind, reason))
    return Inspected(recording, sha256(samples), measures(samples, from_hz), kept)


def without_duplicates(inspected: Sequence[Inspected]) -> tuple[list[Inspected], list[Skipped]]:
    """Return the recordings to keep, in order, and the others with reasons.

    Of recordings with equal samples the first is kept, or none if their labels disagree, since the
    right label is unknown. Of recordings with one id and different samples none is kept.
    """
    by_content, by_id = collections.defaultdict(list), collections.defaultdict(list)
    for result in inspected:
        by_content[result.sha256].append(result)
        by_id[result.recording.id].append(result)
    kept, skipped, first = [], [], dict[str, Recording]()
    for result in inspected:
        recording = result.recording
        copies = [r.recording for r in by_content[result.sha256]]
        contrary = [c for c in copies if c.emotion != recording.emotion]
        namesakes = [r.recording for r in by_id[recording.id] if r.sha256 != result.sha256]
        if contrary:
            other = contrary[0]
            detail = f'labeled {recording.emotion}; the same content is {other.emotion} in '
            skipped.append(Skipped(recording.source, 'label conflict', detail + other.source))
        elif namesakes:
            detail = f'another content than {namesakes[0].source}, which has the same name, '
            skipped.append(Skipped(recording.source, 'name conflict', detail + recording.id))
        elif result.sha256 in first:
            detail = f'the same content as {first[result.sha256].source}'
            skipped.append(Skipped(recording.source, 'duplicate', detail))
        else:
            first[result.sha256] = recording
            kept.append(result)
    return kept, skipped


def check_tolerance(
    skipped: Iterable[Skipped], files: int, tolerance: float, namesakes: str = ''
) -> None:
    """Check that at most the share `tolerance` of the files is bad, and not all of them.

    Args:
      skipped: the skipped files.
      files: number of files found, with the skipped but not the ignored ones.
      tolerance: maximum share of bad files.
      namesakes: advice of the corpus for different recordings of one name.

    Raises:
      InputError: too many files are bad; the message has an example of each kind.
    """
    kinds = collections.defaultdict(list)
    for s in skipped:
        if s.kind not in HARMLESS:
            kinds[s.kind].append(s)
    bad = sum(map(len, kinds.values()))
    if not bad or tolerance * files >= bad < files:
        return
    found = [
        f'{len(some)} {kind}, e.g. ' + ': '.join(filter(None, (some[0].source, some[0].detail)))
        for kind, some in sorted(kinds.items(), key=lambda item: -len(item[1]))
    ]
    share = ', all of them'
    if bad < files:
        share = f', {bad / files:.1%}; at most {tolerance:.1%} are accepted'
    advice = 'repair or remove them'
    if 'name conflict' in kinds:
        one = namesakes or 'give the folder that holds only one of each as --manual_dir'
        advice = f'if a name stands for different contents, {one}; {advice} otherwise'
    if bad < files:
        advice += ', or allow more with --tolerance=SHARE (under stock `tfds build`: '
        advice += 'SER_JAX_TOLERANCE=SHARE)'
    raise InputError(f'{bad} of {files} files are bad{share} ({"; ".join(found)}); {advice}')


def tolerance(default: float) -> float:
    """Return the maximum share of bad files: SER_JAX_TOLERANCE if set, else `default`."""
    text = os.environ.get('SER_JAX_TOLERANCE', '')
    try:
        value = float(text) if text else default
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise InputError(f'tolerance must be a number from 0 to 1, e.g. 0.02, got {text!r}')
    return value
