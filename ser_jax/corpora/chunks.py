"""Processing of one chunk of recordings, in the building process or on a Beam worker."""

import dataclasses
from collections.abc import Sequence

from ser_jax.audio import soundness
from ser_jax.contract import InputError, Recording
from ser_jax.corpora import audio_files, inspection
from ser_jax.corpora.feature_configs import FeatureConfig, fields

_RECORDING_FIELDS = [f.name for f in dataclasses.fields(Recording) if f.name in fields()]


def normal(recording: Recording) -> Recording:
    """Return a recording with printable texts; id, speaker, emotion and label in the form NFC."""
    return dataclasses.replace(
        recording,
        id=audio_files.normal(recording.id),
        speaker=audio_files.normal(recording.speaker),
        emotion=audio_files.normal(recording.emotion),
        label=audio_files.normal(recording.label),
        source=audio_files.readable(recording.source),
        text=audio_files.readable(recording.text),
    )


def inspect(rate_hz: int | None, recordings: Sequence[Recording]) -> list[inspection.Inspected]:
    """Decode, measure and check recordings; keep no samples."""
    return [inspection.inspect(rate_hz, _nothing, r) for r in recordings]


def examples(config: FeatureConfig, inspected: Sequence[inspection.Inspected]) -> list[dict]:
    """Compute the features of inspected recordings and return their examples.

    Raises:
      InputError: a recording has changed since its inspection, or its features are not usable.
    """
    stored = config.finish([_prepared(config, result.recording) for result in inspected])
    for result, values in zip(inspected, stored, strict=True):
        if flaw := soundness.flaw(values):
            reason = f'{result.recording.source}: {flaw[1]}'
            raise InputError(f'{reason}; remove it, or build without Beam, which leaves it out')
    return [example(result, values) for result, values in zip(inspected, stored, strict=True)]


def example(result: inspection.Inspected, stored: dict) -> dict:
    """Return the example of a recording: metadata, hash, measures and the computed fields."""
    metadata = {name: getattr(result.recording, name) for name in _RECORDING_FIELDS}
    return {**metadata, 'source_sha256': result.sha256, **result.measures, **stored}


def _nothing(samples, id: str) -> None:
    """Discard the samples."""


def _prepared(config: FeatureConfig, recording: Recording):
    if recording.read is None:
        return {}
    samples, rate_hz = recording.read()
    checked = soundness.checked(samples, rate_hz, config.rate_hz, recording.source)
    return config.prepare(checked, recording.id)
