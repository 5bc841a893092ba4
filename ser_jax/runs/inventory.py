"""Inventory of a run's utterances (audio, label, speaker, text), to compare with another build."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ser_jax.data.utterances import Utterances
from ser_jax.explore.findings import Finding, place

_CHANGES = {  # column -> its noun in findings
    'source_sha256': 'sound',
    'emotion': 'label',
    'speaker': 'speaker',
    'text_sha256': 'text',
}


def inventory(u: Utterances) -> dict[str, list[str]]:
    """Return columns of equal length; `utterance` is 'corpus/id'."""
    return {
        'utterance': [place(u, i) for i in range(len(u))],
        'speaker': [str(s) for s in u.speaker],
        'emotion': [str(e) for e in u.emotion],
        'text_sha256': [hashlib.sha256(t.encode()).hexdigest()[:16] if t else '' for t in u.text],
        'source_sha256': [str(s) for s in u.source_sha256],
    }


def changes(
    then: Mapping[str, Sequence[str]], u: Utterances, of_run: np.ndarray
) -> Iterator[Finding]:
    """Yield the differences between the build a run was trained on and another build.

    Args:
      then: the run's `inventory`.
      u: the other build under the run's labels.
      of_run: bool [N], the utterances of `u` that the run would use now.
    """
    now = inventory(u)
    at = {name: i for i, name in enumerate(now['utterance'])}
    both = [(i, at[name]) for i, name in enumerate(then['utterance']) if name in at]
    for column, what in _CHANGES.items():
        pairs = [(i, j) for i, j in both if then[column][i] != now[column][j]]
        if pairs:
            i, j = pairs[0]
            example = then['utterance'][i]
            if column in ('emotion', 'speaker'):
                example += f': {then[column][i]}, now {now[column][j]}'
            items = tuple(then['utterance'][i] for i, _ in pairs)
            yield _finding(
                what,
                f'{len(pairs)} of {len(both)} utterances have another {what}, e.g. {example}',
                items,
            )
    known = set(then['utterance'])
    new = tuple(
        name
        for name, takes in zip(now['utterance'], of_run, strict=True)
        if takes and name not in known
    )
    if new:
        yield _finding('utterances', f'{len(new)} utterances are new, e.g. {new[0]}', new)


def _finding(what: str, line: str, items: tuple[str, ...]) -> Finding:
    return Finding(
        'error',
        f'changed {what}',
        f'{line} since the run was trained',
        'score it on the build it was trained on',
        items,
    )
