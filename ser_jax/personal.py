"""A run that knows one speaker: enrolled by recordings without a label, taught by labelled ones.

    made = personalize('runs/best', [Spoken(clip, 'angry'), Spoken(clip), ...], 'runs/mine')
    Predictor.open(made.directory).predict([clip])

Runs that use statistics of speakers (`features.speaker_norm`) get them by enrollment. Teaching fits
a head (`learn.personal_head`) on the frozen model, kept only if it is better on recordings that it
was not fitted on. Nothing of the parent changes.
"""

import datetime
import difflib
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ser_jax.audio import soundness
from ser_jax.audio.clips import Clip, checked_samples
from ser_jax.contract import InputError
from ser_jax.corpora.inspection import sha256
from ser_jax.data import speaker_statistics
from ser_jax.emotions import relabeling, word
from ser_jax.explore import same_recording
from ser_jax.inference import Predictor
from ser_jax.runs import parent, run_files, teaching
from ser_jax.runs.teaching import Taught
from ser_jax.scoring.intervals import Interval

_RATE_HZ = 16000
Progress = Callable[[float], None]  # called with the finished share, 0 to 1


class Spoken(NamedTuple):
    """A recording of the speaker, and its emotion; '' without a label."""

    clip: Clip
    emotion: str = ''


class Recordings(NamedTuple):
    """Checked recordings of one speaker, without copies of the same samples."""

    clips: list[Clip]
    label: np.ndarray  # int [N], -1 without a label
    group: np.ndarray  # int [N], equal for copies of one recording
    sha256: list[str]


class Personalized(NamedTuple):
    """The result of `personalize`.

    Attributes:
      directory: the personalized run; None if nothing was better than the general model.
      enrolled: number of recordings that the speaker's statistics are of; 0 = not enrolled.
      taught: None without labelled recordings.
    """

    directory: pathlib.Path | None
    enrolled: int
    taught: Taught | None


def personalize(
    run: str | pathlib.Path,
    spoken: Sequence[Spoken],
    output: str | pathlib.Path,
    name: str = '',
    members: Sequence[str] = (),
    progress: Progress = lambda share: None,
) -> Personalized:
    """Write the next version of a run that knows a speaker: `<output>/v1`, `v2`, ...

    Args:
      run: directory of a general run, or of a personalized one, whose general model is taken.
      spoken: recordings of one person.
      output: folder of the versions.
      name: of the speaker.
      members: names of the members to take; () = all.
      progress: receives the finished share.

    Raises:
      InputError: recordings are unusable, too few, or were used to train the run.
    """
    run, output = pathlib.Path(run), pathlib.Path(output)
    predictor = Predictor.open(run, members, general=True)
    recordings = checked(predictor, spoken)
    refuse_trained_on(predictor, recordings)
    progress(0.1)
    speaker, taught = None, None
    labelled = np.flatnonzero(recordings.label >= 0)
    if uses_speaker(predictor):
        _check_enough_to_enroll(predictor, recordings)
        speaker = predictor.enroll(recordings.clips)
    elif not len(labelled):
        raise InputError(
            f'{run} uses no statistics of speakers, so recordings without a label change nothing; '
            'label some (FOLDER/<emotion>/*.wav), or take a run with features.speaker_norm'
        )
    progress(0.3)
    if len(labelled):
        taught = teach(predictor, recordings, lambda share: progress(0.3 + 0.65 * share))
    head = taught.head if taught and taught.kept else None
    directory = None
    if speaker is not None or head is not None:
        about = describe(predictor, recordings, taught, name)
        known = parent.Personal(about, predictor.members, speaker, head)
        directory = parent.next_version(output)
        parent.write(directory, run, known)
    progress(1.0)
    return Personalized(directory, len(recordings.clips) if speaker is not None else 0, taught)


def _check_enough_to_enroll(predictor: Predictor, recordings: Recordings) -> None:
    """Raise InputError if so few are given that enrollment does harm (docs/personalization.md)."""
    trained_with = speaker_statistics.enrolled_count(predictor.trained.config.features.speaker_norm)
    least = (trained_with if trained_with > 0 else 8) // 2
    if len(recordings.clips) < least:
        raise InputError(
            f'got {len(recordings.clips)} recordings; fewer than {least} make this run worse, so '
            'give at least twice as many, of several moods'
        )


def uses_speaker(predictor: Predictor) -> bool:
    """Return True if the run predicts relative to a speaker."""
    return predictor.trained.config.features.speaker_norm != speaker_statistics.NONE


def checked(predictor: Predictor, spoken: Sequence[Spoken]) -> Recordings:
    """Return the recordings with the labels of the run; copies with the same samples come once.

    Raises:
      InputError: there is none, one is silent or otherwise unusable, its label is unknown to the
        run, or two copies of a recording have two labels.
    """
    if not spoken:
        raise InputError('no recording is given; give some of the speaker')
    classes = list(predictor.emotions)
    label = [classes.index(e) if (e := _class(predictor, s)) else -1 for s in spoken]
    prepared, hashes = [], []
    for clip, _ in spoken:
        samples = checked_samples(clip)
        hashes.append(sha256(samples))
        prepared.append(soundness.checked(samples, clip.rate_hz, _RATE_HZ, clip.source))
    for i, content in enumerate(hashes):
        first = hashes.index(content)
        if -1 != label[i] != label[first] != -1:
            raise InputError(
                f'{spoken[i].clip.source} ({classes[label[i]]}) and {spoken[first].clip.source} '
                f'({classes[label[first]]}) are one recording with two labels; remove one of them'
            )
    group = same_recording.groups(prepared, hashes)
    once: dict[str, int] = {}
    for i in np.argsort(np.array(label) < 0, kind='stable'):  # of copies, take one with a label
        once.setdefault(hashes[i], int(i))
    kept = sorted(once.values())
    clips, kept_hashes = [spoken[i].clip for i in kept], [hashes[i] for i in kept]
    return Recordings(clips, np.array(label)[kept], group[kept], kept_hashes)


def _class(predictor: Predictor, spoken: Spoken) -> str:
    """Return the class of the run that a label means, '' without a label."""
    if not spoken.emotion:
        return ''
    plain, classes = word(spoken.emotion), predictor.emotions
    knobs = predictor.trained.config.data
    if knobs.labels != 'sex_emotion':
        plain = relabeling(knobs.labels, knobs.merge, [plain]).get(plain, plain)
    if plain not in classes:
        near = difflib.get_close_matches(plain, classes, 1, 0.6)
        hint = f'did you mean {near[0]}?' if near else 'rename it, or leave it without a label'
        raise InputError(
            f'{spoken.clip.source}: {spoken.emotion!r} is no emotion of the run, which has '
            f'{", ".join(classes)}; {hint}'
        )
    return plain


def refuse_trained_on(predictor: Predictor, recordings: Recordings) -> None:
    """Raise InputError if a member was trained on one of the recordings, found by content."""
    trained = predictor.trained
    kept = run_files.read_inventory(trained.directory)
    if kept is None:
        return  # a run of an earlier version, which kept no hashes
    place = dict(zip(kept['source_sha256'], kept['utterance'], strict=True))
    for member in predictor.members:
        used = set(trained.folds[member]['train']) | set(trained.folds[member]['valid'])
        for clip, content in zip(recordings.clips, recordings.sha256, strict=True):
            if place.get(content) in used:
                raise InputError(
                    f'{clip.source} is {place[content]}, which {member} of {trained.directory} was '
                    'trained on: scores would be of known recordings; give recordings that the run '
                    'has not seen, or members that were not trained on them'
                )


def teach(
    predictor: Predictor, recordings: Recordings, progress: Progress = lambda share: None
) -> Taught:
    """Return the head of a speaker, and how much better it is on recordings held out.

    Statistics of the speaker, if the run uses them, are the same on both sides.

    Raises:
      InputError: too few recordings are labelled.
    """
    rows = np.flatnonzero(recordings.label >= 0)
    label, group = recordings.label[rows], recordings.group[rows]
    teaching.check_enough(label, group, predictor.emotions)
    *_, mean = predictor.by_member([recordings.clips[i] for i in rows])
    progress(0.5)
    return teaching.teach(
        mean['audio'],
        mean['embedding'],
        label,
        group,
        predictor.emotions,
        lambda share: progress(0.5 + 0.5 * share),
    )


def describe(
    predictor: Predictor, recordings: Recordings, taught: Taught | None, name: str
) -> dict[str, Any]:
    """Return the content of parent.json: the speaker, the recordings, the scores."""
    names = [predictor.emotions[c] if c >= 0 else '' for c in recordings.label]
    about: dict[str, Any] = {
        'speaker': name,
        'made': datetime.datetime.now(datetime.UTC).strftime('%Y-%m-%d %H:%M UTC'),
        'enrolled': len(recordings.clips) if uses_speaker(predictor) else 0,
        'recordings': [
            {'sha256': content, 'emotion': emotion, 'source': clip.source}
            for clip, content, emotion in zip(
                recordings.clips, recordings.sha256, names, strict=True
            )
        ],
        'taught': None,
    }
    if taught:
        fields = {k: v for k, v in taught._asdict().items() if k != 'head'}
        plain = {k: v._asdict() if isinstance(v, Interval) else v for k, v in fields.items()}
        about['taught'] = {'metric': 'UAR on recordings held out', **plain}
    return about
