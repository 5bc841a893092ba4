"""JSON files of a run's directory: written with checksums, validated when read.

A file is refused if it is missing, truncated, corrupt, of another form than training writes, or
changed since. Runs of earlier versions have no checksums; of their files only the form is checked.
"""

import hashlib
import json
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from ser_jax.config import base
from ser_jax.contract import InputError
from ser_jax.runs import logbook

FILES = ('config', 'environment', 'folds', 'normalization', 'vocabulary', 'corpora')
INVENTORY = 'utterances'  # `runs.inventory`; runs of earlier versions have none
CHECKSUMS = 'checksums.json'
DEFINITION = 'definition'  # of the protocol, in folds.json; runs of earlier versions have none
_INDENTED = ('config', 'environment')
_MEMBER = re.compile(r'fold\d+_seed\d+')
_ANY = 'any key'
_LARGEST = float(np.finfo(np.float32).max)
_RENEW = 'restore it from a copy of the run, or train it again'
_SIDES = {'train': [str], 'valid': [str], 'test': [str]}
_COLUMNS = ('utterance', 'speaker', 'emotion', 'text_sha256', 'source_sha256')
_FORMS = {
    'config': {
        'data': {'corpora': [str]}, 'features': {'source': str}, 'members': {'protocol': str},
        'model': {'name': str},
    },
    'environment': {'fingerprints': {_ANY: str}},
    'folds': {'protocol': str, 'emotions': [str], 'members': {_ANY: _SIDES}},
    DEFINITION: {'name': str, 'version': float, 'leaky': bool, 'partial': bool},
    'normalization': {_ANY: {'mean': [float], 'std': [float]}},
    'vocabulary': {_ANY: [str]},
    'corpora': [
        {'name': str, 'title': str, 'licence': str, 'research_only': bool, 'emotions': [str]},
    ],
    INVENTORY: {column: [str] for column in _COLUMNS},
}  # fmt: skip


def write(directory: pathlib.Path, files: Mapping[str, Any]) -> None:
    """Write `<name>.json` for each file, then the checksums of all."""
    checksums = {}
    for name, content in files.items():
        text = json.dumps(content, indent=1 if name in _INDENTED else None)
        replace(directory / f'{name}.json', text)
        checksums[f'{name}.json'] = hashlib.sha256(text.encode()).hexdigest()
    replace(directory / CHECKSUMS, json.dumps(checksums, indent=1))


def replace(path: pathlib.Path, content: str) -> None:
    """Write a file atomically; leave it untouched if it already has this content."""
    if path.exists() and path.read_bytes() == content.encode():
        return  # so that a file and its checksum agree at any moment
    fresh = path.with_suffix('.writing')
    fresh.write_text(content, encoding='utf-8')
    fresh.rename(path)


def read(directory: pathlib.Path, checked: bool = True) -> dict[str, Any]:
    """Return the content of FILES by name.

    Args:
      checked: False accepts files that were changed since they were written; `changed` names them.

    Raises:
      InputError: a file is missing, damaged or changed.
    """
    content = {name: read_one(directory, name) for name in FILES}
    if reason := _disagreement(content):
        raise _damaged(directory, *reason)
    if checked and (other := changed(directory)):
        raise InputError(f'{directory / other[0]} was changed since training wrote it; {_RENEW}')
    return content


def without_definition(content: dict[str, Any]) -> dict[str, Any]:
    """Return a file's content without the definition of the protocol, for comparisons.

    Runs of earlier versions have none, and its title and source may be reworded; the sides of every
    member are compared.
    """
    return {key: value for key, value in content.items() if key != DEFINITION}


def read_inventory(directory: pathlib.Path) -> dict[str, list[str]] | None:
    """Return the inventory of a run's utterances; None for earlier versions, which kept none.

    Raises:
      InputError: the inventory is damaged.
    """
    if not (directory / f'{INVENTORY}.json').exists():
        return None
    content = read_one(directory, INVENTORY)
    if len({len(column) for column in content.values()}) > 1:
        raise _damaged(directory, f'{INVENTORY}.json', 'its columns have different lengths')
    return content


def changed(directory: pathlib.Path) -> list[str]:
    """Return the names of the files whose checksum differs; [] for runs without checksums.

    Raises:
      InputError: the checksums themselves are damaged.
    """
    path = directory / CHECKSUMS
    if not path.exists():
        return []
    checksums = _parsed(directory, CHECKSUMS)
    if reason := _mismatch(checksums, {f'{name}.json': str for name in FILES}, CHECKSUMS):
        raise _damaged(directory, CHECKSUMS, reason)
    present = [name for name in checksums if (directory / name).exists()]
    sha256 = {name: hashlib.sha256((directory / name).read_bytes()).hexdigest() for name in present}
    return [name for name, stored in checksums.items() if sha256.get(name) != stored]


def read_one(directory: pathlib.Path, name: str) -> Any:
    """Return the content of `<name>.json` after checking its form.

    Raises:
      InputError: the file is missing or damaged.
    """
    content = _parsed(directory, f'{name}.json')
    reason = _mismatch(content, _FORMS[name], '') or (
        _odd_knob(content) if name == 'config' else ''
    )
    if reason:
        raise _damaged(directory, f'{name}.json', reason)
    return content


def history(directory: pathlib.Path, log: Callable[[str], None] = print) -> list[dict]:
    """Return the records of a run's metrics.jsonl; report the count of damaged lines through `log`.

    A last line cut off by a kill does not count as damaged.
    """
    path = directory / 'metrics.jsonl'
    try:
        records = logbook.read(path)
        lines = path.read_text().splitlines() if path.exists() else []
    except (OSError, ValueError) as e:
        log(f'{path} cannot be read ({type(e).__name__}); the report has no learning curves')
        return []
    kept = [r for r in records if isinstance(r, dict) and not any(_problems(r))]
    cut = bool(lines) and not lines[-1].rstrip().endswith('}')
    if lost := len(lines) - len(kept) - cut:
        log(
            f'{path}: {lost} of {len(lines)} lines are damaged; they are left out of the learning '
            'curves'
        )
    return kept


def _problems(record: dict) -> Iterator[str]:
    """Yield the mismatch of each used field of a record; '' if it matches."""
    for key in ('kind', 'member'):
        yield _mismatch(record.get(key), str, key)
    yield _mismatch(record.get('epoch'), float, 'epoch')
    for key in ('train_loss', 'valid_loss', 'valid_uar', 'score'):
        if record.get(key) is not None:
            yield _mismatch(record[key], float, key)


def _parsed(directory: pathlib.Path, file: str) -> Any:
    try:
        return json.loads((directory / file).read_bytes().decode())
    except FileNotFoundError as e:
        raise InputError(f'{directory} is not a complete run: {file} is missing; {_RENEW}') from e
    except (OSError, ValueError, RecursionError) as e:
        raise _damaged(directory, file, f'{type(e).__name__}: {e}') from e


def _damaged(directory: pathlib.Path, file: str, reason: str) -> InputError:
    return InputError(f'{directory / file} is damaged ({" ".join(reason.split())[:200]}); {_RENEW}')


def _mismatch(value: Any, form: Any, at: str) -> str:
    """Describe the first value that does not match its form; '' if all match.

    A form is a type, [form] of a list's elements, or {key: form}, where _ANY stands for every key.
    Keys that the form does not name are accepted.
    """
    location = at or 'its content'
    if isinstance(form, list):
        if not isinstance(value, list):
            return f'{location} is {_kind(value)}, expected a list'
        return next(
            (m for i, v in enumerate(value) if (m := _mismatch(v, form[0], f'{at}[{i}]'))), ''
        )
    if isinstance(form, dict):
        if not isinstance(value, dict):
            return f'{location} is {_kind(value)}, expected an object'
        below = dict.fromkeys(value, form[_ANY]) if _ANY in form else form
        if missing := [k for k in below if k not in value]:
            return f'{location} lacks {missing[0]!r}'
        return next(
            (m for k, f in below.items() if (m := _mismatch(value[k], f, f'{at}.{k}'.lstrip('.')))),
            '',
        )
    if form is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and abs(value) <= _LARGEST:
            return ''
        return f'{location} is {value!r}'[:80] + ', expected a finite number'
    if isinstance(value, form):
        return ''
    return f'{location} is {_kind(value)}, expected {_KINDS[form]}'


_KINDS = {str: 'text', bool: 'true or false', dict: 'an object', list: 'a list', type(None): 'null'}


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), 'a number')


def _odd_knob(config: dict) -> str:
    """Describe the first knob whose type differs from its default's; accept unknown knobs."""
    for section, defaults in base().items():
        stored = config.get(section, {})
        if not isinstance(stored, dict):
            return f'{section} is {_kind(stored)}, expected an object'
        for knob in (k for k in stored if k in defaults):
            if reason := _mismatch(stored[knob], _form_of(defaults[knob]), f'{section}.{knob}'):
                return reason
            if isinstance(defaults[knob], int) and isinstance(stored[knob], float):
                return f'{section}.{knob} is {stored[knob]!r}, expected a whole number'
    return ''


def _form_of(default: Any) -> Any:
    if isinstance(default, tuple):
        return [_form_of(default[0]) if default else object]
    number = isinstance(default, int | float) and not isinstance(default, bool)
    return float if number else type(default)


def _disagreement(content: dict[str, Any]) -> tuple[str, str] | None:
    """Return (file, reason) if files of valid form contradict each other, else None."""
    folds = content['folds']
    members = list(folds['members'])
    if odd := [m for m in members if not _MEMBER.fullmatch(m)]:
        return 'folds.json', f'{odd[0]!r} is not the name of a member'
    if DEFINITION in folds:
        if reason := _mismatch(folds[DEFINITION], _FORMS[DEFINITION], DEFINITION):
            return 'folds.json', reason
        if (name := folds[DEFINITION]['name']) != folds['protocol']:
            return 'folds.json', f'its protocol is {folds["protocol"]!r} and is defined as {name!r}'
    if not members or len(set(folds['emotions'])) < max(2, len(folds['emotions'])):
        return 'folds.json', f'{len(members)} members, emotions {folds["emotions"]}'
    for name in ('normalization', 'vocabulary'):
        if other := sorted(set(members) ^ set(content[name])):
            return f'{name}.json', f'its members differ from those of folds.json: {other[0]}'
    sizes, smallest = set(), []
    for of_member in content['normalization'].values():
        sizes |= {len(of_member['mean']), len(of_member['std'])}
        smallest.append(min(of_member['std'], default=0))
    if len(sizes) > 1 or min(smallest) <= 0:
        return (
            'normalization.json',
            'means and deviations differ in length, or a deviation is not positive',
        )
    return None
