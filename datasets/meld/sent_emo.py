"""Tables of MELD ({train,dev,test}_sent_emo.csv): rows by split, dialog and turn."""

import re
from collections.abc import Iterable

from ser_jax.corpora import builder, tables, text_files

COLUMNS = ('Utterance', 'Speaker', 'Emotion', 'Dialogue_ID', 'Utterance_ID')
Rows = dict[tuple[str, int, int], dict[str, str]]


def rows(found: Iterable[text_files.Document]) -> tuple[Rows, list[builder.Skipped]]:
    """Return the rows of the tables by (split, dialog, turn), and the damaged lines.

    Args:
      found: the tables, with their split in `match[1]`.

    Raises:
      InputError: a table lacks a column, or two lines for one utterance differ.
    """
    out: Rows = {}
    sources: dict[tuple[str, int, int], str] = {}
    faults = []
    for table in found:
        header = tables.header(table.text, table.source, str.strip, COLUMNS)
        if missing := [c for c in COLUMNS if header.columns.count(c) != 1]:
            raise builder.InputError(
                f'{table.source} has no column {missing[0]}; expected the table as published'
            )
        for line in tables.rows(table.text, header):
            source = f'{table.source}:{line.number}'
            row = {c: line.values[c] for c in COLUMNS} if line.values else {}
            turn = [row.get(c, '') for c in COLUMNS[-2:]]
            if not all(re.fullmatch('[0-9]+', n) for n in turn):
                reason = line.fault or 'no number of dialog or utterance'
                faults.append(builder.Skipped(source, 'bad line', reason))
                continue
            key = table.match[1], int(turn[0]), int(turn[1])
            if out.setdefault(key, row) != row:
                raise builder.InputError(
                    f'{sources[key]} and {source} differ about dia{key[1]}_utt{key[2]} of '
                    f'{key[0]}; keep only the table as published'
                )
            sources.setdefault(key, source)
    return out, faults
