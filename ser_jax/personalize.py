"""Personalization: `python -m ser_jax.personalize --run=runs/x --recordings=FOLDER`.

Make a run that knows a speaker, from recordings without a label (FOLDER/*.wav) and labelled ones
(FOLDER/<emotion>/*.wav). The parent is unchanged; every call writes the next version.
"""

import pathlib
import sys

from absl import flags

from ser_jax import cli, personal
from ser_jax.audio.clips import Clip
from ser_jax.contract import InputError
from ser_jax.corpora import personal_folder
from ser_jax.report.answers import printable
from ser_jax.runs import parent

_ADVISED = 8  # recordings of about four seconds


def main(argv: list[str]) -> None:
    """Read the recordings, personalize, print the scores."""
    values = flags.FLAGS
    if argv[1:]:
        raise InputError(f'unexpected argument {argv[1]!r}; recordings are given as --recordings=')
    if not values.run or not values.recordings:
        missing = '--recordings' if values.run else '--run'
        raise InputError(f'{missing} is missing; e.g. --run=runs/best --recordings=FOLDER')
    folder, run = pathlib.Path(values.recordings), pathlib.Path(values.run)
    name = values.name or folder.absolute().name
    output = pathlib.Path(values.output or f'{run.absolute()}-{name}')
    found = personal_folder.recordings(folder)
    cli.prepare_jax()
    _say_if_changed(run, output)
    spoken = [
        personal.Spoken(Clip(*f.audio.read(), source=f.audio.source), f.emotion) for f in found
    ]
    members = [values.member] if values.member else ()
    made = personal.personalize(run, spoken, output, name, members, _progress)
    _report(made, run)


def _progress(share: float) -> None:
    if sys.stderr.isatty():
        print(f'\r{100 * share:3.0f} %', end='' if share < 1 else '\n', file=sys.stderr, flush=True)


def _say_if_changed(run: pathlib.Path, output: pathlib.Path) -> None:
    """Print a line if earlier versions were made from another state of the run."""
    versions = sorted(output.glob('v*/parent.json'), key=lambda p: p.stat().st_mtime)
    before = parent.read(versions[-1].parent) if versions else None
    if before and (changed := parent.changed_since(before, run)):
        print(
            f'{versions[-1].parent} was made from another run, or {run} has changed since '
            f'({changed[0]}); the new version begins with {run} as it is now',
            file=sys.stderr,
        )


def _report(made: personal.Personalized, run: pathlib.Path) -> None:
    if made.enrolled:
        print(f'enrolled: {made.enrolled} recordings')
        if made.enrolled < _ADVISED:
            print(f'  {_ADVISED} of about four seconds are better, of several moods')
    if taught := made.taught:
        print(f'taught: {taught.recordings} recordings of {", ".join(taught.emotions)}')
        print(f'  general model     UAR {taught.before}, loss {taught.loss[0]:.3f}')
        print(f'  taught            UAR {taught.after}, loss {taught.loss[1]:.3f}')
        print(f'  difference            {taught.gain}, on recordings held out')
        if not taught.kept:
            print('  not better, so not kept: more recordings may help')
    if made.directory is None:
        print(f'no version is written; {run}, the general model, stays the better one')
        return
    print(printable(f'version: {made.directory}'))
    print(printable(f'next:    python -m ser_jax.predict --run={made.directory} RECORDING.wav'))


def define_flags() -> None:
    """Define the flags of this verb; only at its start, so that verbs can be imported together."""
    flags.DEFINE_string('run', None, 'The directory of a trained run.')
    flags.DEFINE_string(
        'recordings', None, 'FOLDER/*.wav without a label, FOLDER/<emotion>/*.wav labelled.'
    )
    flags.DEFINE_string('name', '', "The speaker's name; '' = that of the folder.")
    flags.DEFINE_string('output', '', "Folder of the versions; '' = <run>-<name>.")
    flags.DEFINE_string('member', '', "One of the run's members; '' = all.")


if __name__ == '__main__':
    define_flags()
    cli.run(main)
