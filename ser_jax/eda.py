"""Exploration of corpora: `python -m ser_jax.eda --corpora=ravdess,tess` → page, figures, tables.

Counts, lengths, rates, levels and words come from `log_mel` shards, else from `waveform`, else from
`text`; waves and spectrograms from `native` shards, else from `waveform`. Corpora of texts get
counts and words. The figures are for print.
"""

import itertools
import pathlib
from collections.abc import Sequence

import numpy as np
from absl import flags

from ser_jax import cli
from ser_jax.contract import CHANNELS, InputError
from ser_jax.data.utterances import Utterances, normalization, open_corpora
from ser_jax.explore import augmented, exemplars, statistics
from ser_jax.explore import notes as noting
from ser_jax.report import exploration


def explore(
    names: Sequence[str], output: pathlib.Path, data_dir: str = '', channels: Sequence[str] = ()
) -> list[Utterances]:
    """Write eda.html, figures/ and tables/ to `output` and return the opened corpora.

    Args:
      names: built corpora.
      channels: vocal channels of the utterances to use; () = all.

    Raises:
      InputError: a corpus is not built or damaged, or has no utterance of these channels.
    """
    corpora = [open_corpus(name, data_dir, channels) for name in names]
    output.mkdir(parents=True, exist_ok=True)  # raises before the work if it is not writable
    looks = [look(u, data_dir) for u in corpora]
    tables = statistics.tables(corpora) | {
        'sheets': exemplars.rows([*itertools.chain.from_iterable(look.found for look in looks)])
    }
    exploration.write(output, corpora, tables, looks, statistics.COVERED)
    return corpora


def open_corpus(name: str, data_dir: str = '', channels: Sequence[str] = ()) -> Utterances:
    """Open a corpus from the config that is fastest to read: log_mel, else waveform, else text."""
    built = exemplars.built(name, data_dir)
    sources = [c for c in ('log_mel', 'waveform', 'text') if c in built]
    corpus = open_corpora([name], data_dir, sources[0] if sources else 'log_mel')
    if not channels:
        return corpus
    selected = corpus.select(np.isin(corpus.channel, list(channels)))
    if not len(selected):
        raise InputError(
            f'{name} has no {" or ".join(channels)}; it has '
            f'{", ".join(sorted(set(corpus.channel)))}'
        )
    return selected


def look(corpus: Utterances, data_dir: str = '') -> exploration.Look:
    """Return the recordings of one corpus for the page, before and after augmentation."""
    name, notes = corpus.names[0], noting.notes(corpus)
    if not (corpus.seconds > 0).any():
        return exploration.Look((), (), (), '', notes, '', '')
    sampled = {'native', 'waveform'} & set(exemplars.built(name, data_dir))
    sounds = exemplars.Sounds(name, data_dir) if sampled else None
    command = f'python -m ser_jax.build datasets/{name} --config=waveform' + (
        f' --data_dir={data_dir}' if data_dir else ''
    )
    id, mel, samples = exemplars.median_recording(corpus, sounds)
    mean, _ = normalization(corpus, np.arange(len(corpus)))
    waves = [] if samples is None else augmented.changed_samples(samples)
    found, config = exemplars.examples(corpus, sounds), sounds.config if sounds else ''
    return exploration.Look(
        found, augmented.changed_mel(mel, mean), waves, id, notes, config, '' if sounds else command
    )


def main(argv: list[str]) -> None:
    """Explore the corpora, print their totals and the paths of the results."""
    if argv[1:]:
        raise InputError(f'unexpected argument {argv[1]!r}; corpora are given as --corpora=')
    names, channels = flags.FLAGS.corpora, flags.FLAGS.channels
    if not names:
        raise InputError('no --corpora given; e.g. --corpora=ravdess,tess')
    if repeated := [n for i, n in enumerate(names) if n in names[:i]]:
        raise InputError(f'--corpora has {repeated[0]} twice; give every corpus once')
    if unknown := [c for c in channels if c not in CHANNELS]:
        raise InputError(f'--channels={unknown[0]} is not known; known are {", ".join(CHANNELS)}')
    cli.prepare_jax()
    output = pathlib.Path(flags.FLAGS.output or pathlib.Path('eda', '-'.join(names))).expanduser()
    corpora = explore(names, output, flags.FLAGS.data_dir, channels)
    for row in statistics.totals(corpora):
        print(_line(row))
    print(
        f'page: {output / "eda.html"}   figures: {output / "figures"}   tables: {output / "tables"}'
    )


def _line(row: dict) -> str:
    """Describe one corpus in one line."""
    words = [
        f'{row["utterances"]:,} utterances',
        f'{row["emotions"]} emotions',
        f'{row["speakers"]:,} speakers',
    ]
    if row['recordings']:
        words += [
            f'{row["hours"]:.2f} hours',
            f'median {row["seconds_median"]:.2f} s, {row["level_db_median"]:.1f} dB',
        ]
        words += [f'{row["rates_hz"].replace(" ", ", ")} Hz', f'{row["clipped"]:,} clipped']
    if row['sentences']:
        words.append(f'{row["sentences"]:,} sentences')
    return f'{row["corpus"]}: {" · ".join(words)}'


def define_flags() -> None:
    """Define the flags of this verb; only when it runs, so that verbs can be imported together."""
    flags.DEFINE_list('corpora', [], 'Built corpora to explore, e.g. ravdess,tess.')
    flags.DEFINE_list('channels', [], "Vocal channels to include, e.g. speech; '' = all.")
    flags.DEFINE_string(
        'data_dir', '', "Folder of the built corpora; '' = $TFDS_DATA_DIR or ~/tensorflow_datasets."
    )
    flags.DEFINE_string(
        'output', '', "Folder for the page, figures and tables; '' = eda/<corpora>."
    )


if __name__ == '__main__':
    define_flags()
    cli.run(main)
