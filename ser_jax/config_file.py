"""The flag --config: an experiment's file and overrides of its knobs; each mistake is one line."""

import difflib
import importlib.util
import os
import pathlib
import re
import sys
import traceback
from collections.abc import Iterator
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from ser_jax.config import base
from ser_jax.contract import InputError

EXPECTED = 'expected a Python file with get_config(), e.g. configs/fusion.py'
_NAME = 'config'


def guard(flag: flags.Flag) -> None:
    """Have the flag config of `config_flags.DEFINE_config_file` load its file as `load` does."""
    flag.parser = _Parser()


def value() -> tuple[str, ConfigDict]:
    """Return the path in --config and the config with its overrides.

    Raises:
      InputError: no --config was given, or an override has entries of another kind than its knob.
    """
    flag: Any = flags.FLAGS[_NAME]
    if not flag.present:
        raise InputError('no --config given; e.g. --config=configs/fusion.py')
    for field, given in flag.override_values.items():
        _check_entries(field, given, flag.parser.loaded)
    return flag.config_filename, _with_lists_split(flag.value.copy_and_resolve_references())


def expected(error: flags.IllegalFlagValueError) -> str | None:
    """Return the kind of value that an override takes, as a message; None if it is no override."""
    found = re.match(rf'(?s)flag --{_NAME}\.([\w.]+)=(.*?): ', str(error))
    loaded = getattr(flags.FLAGS[_NAME].parser, 'loaded', None) if _NAME in flags.FLAGS else None
    if not found or loaded is None:
        return None
    field, given = found.groups()
    return f'--{_NAME}.{field}={given}: expected {_kind(_get(loaded, field), field)}, got {given!r}'


class _Parser(flags.ArgumentParser):
    """Parser that loads a config file and refuses overrides of keys it lacks before any is set."""

    loaded: ConfigDict | None = None  # before its overrides

    def parse(self, path: str) -> ConfigDict:
        config = load(path)
        for word in sys.argv:
            if found := re.match(rf'--?(?:no)?{_NAME}\.([^=]+)', word):
                _check_key(config, found[1], f'--{_NAME}.{found[1]}')
        self.loaded = config.copy_and_resolve_references()
        config.lock()
        return config


def load(path: str) -> ConfigDict:
    """Return the config from get_config() of `file.py` or `file.py:argument`.

    Raises:
      InputError: there is no such file, it fails (the message has its line), or it sets a key that
        does not exist.
    """
    file, *argument = path.split(':', 1)
    spec = importlib.util.spec_from_file_location('experiment', file)
    found = pathlib.Path(file).is_file() and file.endswith('.py')
    if not found or spec is None or spec.loader is None:
        raise InputError(f'--{_NAME}={path} cannot be loaded; {EXPECTED}')
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        if not hasattr(module, 'get_config'):
            raise InputError(f'--{_NAME}={path} has no get_config(); {EXPECTED}')
        config = module.get_config(*argument)
    except InputError:
        raise
    except Exception as e:  # the user's file may raise any error
        reason = e.msg if isinstance(e, SyntaxError) else e
        raise InputError(f'{_place(e, file)}: {type(e).__name__}: {reason}') from e
    if not isinstance(config, ConfigDict):
        raise InputError(
            f'get_config() of {file} returns {type(config).__name__}; expected '
            'ser_jax.config.base() with changes'
        )
    for section, default in base().items():
        if not isinstance(config.get(section), ConfigDict):
            raise InputError(
                f'get_config() of {file} returns no section {section!r}; begin with '
                'ser_jax.config.base()'
            )
        for knob in config[section] if section != 'model' else ():  # each network has others
            _check_key(base(), f'{section}.{knob}', file)
    for section in config:
        _check_key(base(), section, file)
    return config


def _place(error: Exception, file: str) -> str:
    """Return 'configs/x.py, line 12': the last line of a file that took part in an error."""
    frames, whole = traceback.extract_tb(error.__traceback__), os.path.abspath(file)
    lines = [f.lineno for f in frames if os.path.abspath(f.filename) == whole]
    if isinstance(error, SyntaxError) and not lines:
        file, lines = os.path.relpath(error.filename or file), [error.lineno]
    return f'{file}, line {lines[-1]}' if lines else file


def _get(config: ConfigDict, field: str) -> Any:
    """Return the value at a dotted key; None where there is no such key."""
    for word in field.split('.'):
        config = config[word] if isinstance(config, ConfigDict) and word in config else None
    return config


def _check_key(config: ConfigDict, field: str, where: str) -> None:
    """Refuse a dotted key that `config` lacks; name the most similar one that it has."""
    at: Any = config
    path: list[str] = []
    for word in field.split('.'):
        if not isinstance(at, ConfigDict):
            raise InputError(
                f'{where}: the config has no key {field!r} inside a knob; did you mean '
                f'{".".join(path)!r}?'
            )
        if word not in at:
            nearest = max(_keys(config), key=lambda key: _likeness(field, key))
            raise InputError(f'{where}: the config has no key {field!r}; did you mean {nearest!r}?')
        at, path = at[word], [*path, word]


def _likeness(field: str, key: str) -> float:
    """Return the similarity of two dotted keys, and of their last words or initials ('lr')."""
    word, knob = field.rsplit('.', 1)[-1], key.rsplit('.', 1)[-1]
    initials = ''.join(part[0] for part in knob.split('_')) if '_' in knob else ''
    return _ratio(field, key) + max(_ratio(word, knob), float(word == initials))


def _ratio(a: str, b: str) -> float:
    return difflib.SequenceMatcher(None, a, b).ratio()


def _keys(config: ConfigDict, prefix: str = '') -> Iterator[str]:
    for key, inside in config.items():
        if isinstance(inside, ConfigDict):
            yield prefix + key
            yield from _keys(inside, f'{prefix}{key}.')
        else:
            yield prefix + key


def _check_entries(field: str, given: Any, loaded: ConfigDict) -> None:
    """Refuse a tuple whose entries are of another kind than the config's, e.g. 3 for words."""
    before = _get(loaded, field)
    if not isinstance(before, tuple) or not isinstance(given, tuple):
        return
    kinds = {type(entry) for entry in before}
    if not before and field.startswith('data.'):
        kinds = {str}
    if float in kinds:
        kinds |= {int}
    wrong = [entry for entry in given if type(entry) not in kinds]
    if kinds and wrong:
        kind = type(wrong[0]).__name__
        raise InputError(
            f'--{_NAME}.{field}: expected {_kind(before, field)}, got {wrong[0]!r} ({kind})'
        )


def _kind(before: Any, field: str) -> str:
    """Describe the kind of value that a knob takes, by the value that the config gives it."""
    if isinstance(before, ConfigDict):
        return f'one of its knobs, e.g. --{_NAME}.{field}.{next(iter(before), "knob")}=...'
    if isinstance(before, tuple):
        kind = type(before[0]).__name__ if before else 'str'
        known = ','.join(map(str, before))
        return f'values like {known} ({kind})' if before else 'words separated by commas (str)'
    if isinstance(before, bool):
        return 'true or false'
    words = {int: 'a whole number', float: 'a number', str: 'a word'}.get(type(before), 'a value')
    return f'{words} like {before!r} ({type(before).__name__})'


def _with_lists_split(config: ConfigDict) -> ConfigDict:
    """Return the config with its lists of words (`ravdess,tess`, from flags) split at commas."""
    for section in config.values():
        if isinstance(section, ConfigDict):
            for key, value in section.items():
                if isinstance(value, tuple) and value and all(isinstance(v, str) for v in value):
                    words = (word.strip() for word in ','.join(value).split(','))
                    section[key] = tuple(word for word in words if word)
    return config
