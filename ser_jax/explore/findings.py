"""Findings of an audit: the type that all checks yield, and the place of an utterance."""

from typing import NamedTuple

from ser_jax.data.utterances import Utterances

SEVERITIES = ('leak', 'error', 'warning', 'note')


class Finding(NamedTuple):
    """One line of an audit: severity, check, finding, remedy and the items concerned."""

    severity: str
    check: str
    what: str
    do: str = ''
    where: tuple[str, ...] = ()


def place(u: Utterances, i: int) -> str:
    """Return `corpus/id` of an utterance."""
    return f'{u.names[u.corpus[i]]}/{u.id[i]}'


def places(u: Utterances) -> dict[str, int]:
    """Return the index of each utterance by its `corpus/id`, in order."""
    return {place(u, i): i for i in range(len(u))}
