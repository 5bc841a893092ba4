"""Knobs that belong to a protocol: set by it, and refused where a config sets them otherwise."""

from typing import Any

import rich.table
from ml_collections import ConfigDict

from ser_jax.contract import InputError
from ser_jax.data import protocols
from ser_jax.data.protocols import Protocol

ASKED = '?'  # --config.members.protocol=? lists the protocols


def settled(config: ConfigDict, defaults: ConfigDict) -> ConfigDict:
    """Return the config with the knobs that its protocol fixes; the same object if it fixes none.

    Args:
      defaults: `ser_jax.config.base()`; a knob with its default is not set by the user.

    Raises:
      InputError: the protocol is unknown, is of other corpora, or fixes a knob that the config sets
        to another value.
    """
    protocol = protocols.named(config.members.protocol)
    if not protocol.published:
        return config
    _check_corpora(protocol, config)
    _check_lists(protocol, config, defaults)
    config = config.copy_and_resolve_references()
    for knob, value in _fixed(protocol).items():
        given, default = config.data[knob], defaults.data[knob]
        if not (_same(given, value) or _same(given, default)):
            raise InputError(
                f'data.{knob}={_shown(given)} with members.protocol={protocol.name!r}, which has '
                f'data.{knob}={_shown(value)}; leave data.{knob} out, or use a protocol of any '
                "classes, e.g. members.protocol='speakers_k'"
            )
        with config.ignore_type():  # a stored config has lists
            config.data[knob] = value
    return config


def _fixed(protocol: Protocol) -> dict[str, Any]:
    """Return the knobs of `data` that a published protocol fixes."""
    return {
        'channels': protocol.channels,
        'train_only_channels': (),
        'labels': 'emotion',
        'merge': protocol.merge,
        'emotions': protocol.classes,
        'supported': protocol.supported,
    }


def _same(a: Any, b: Any) -> bool:
    """Return True if two values are equal; the order of entries does not count."""
    return a == b if isinstance(a, str) else sorted(a) == sorted(b)


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, str) else str(tuple(value))


def _check_corpora(protocol: Protocol, config: ConfigDict) -> None:
    """Refuse corpora that a protocol does not have; it may lack some of its own."""
    given = [name.partition('/')[0] for name in config.data.corpora]
    if protocol.corpora and (not given or not set(given) <= set(protocol.corpora)):
        raise InputError(
            f'members.protocol={protocol.name!r} splits {", ".join(protocol.corpora)}, got '
            f'data.corpora={tuple(config.data.corpora)}; set '
            f'--config.data.corpora={",".join(protocol.corpora)},'
        )


def _check_lists(protocol: Protocol, config: ConfigDict, defaults: ConfigDict) -> None:
    """Refuse knobs of `members` that have no effect on fixed lists."""
    if not protocol.lists:
        return
    for knob, used in (('folds', len(protocol.lists)), ('folds_file', '')):
        given, default = config.members[knob], defaults.members[knob]
        if given not in (default, used):
            raise InputError(
                f'members.{knob}={given!r} has no effect with members.protocol={protocol.name!r}, '
                f'which has {len(protocol.lists)} fixed folds; set it to {default!r}'
            )


def table() -> rich.table.Table:
    """Return the list of all protocols, for the console."""
    made = rich.table.Table(box=None, pad_edge=False, header_style='bold')
    for title in ('protocol', 'version', 'corpora', 'classes', 'folds', 'leaky'):
        made.add_column(title, no_wrap=title == 'protocol', overflow='fold')
    for protocol in protocols.PROTOCOLS.values():
        made.add_row(
            protocol.name,
            str(protocol.version),
            ', '.join(protocol.corpora) or 'any',
            str(len(protocol.classes) or 'any'),
            str(len(protocol.lists) or 'any'),
            'leaky' if protocol.leaky else 'no',
        )
    return made
