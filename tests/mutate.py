"""Mutation test: plant small faults in the source, one at a time, and count those the tests notice.

    python tests/mutate.py --n=120 --seed=0 --paths=ser_jax/learn,ser_jax/scoring

Every fault is planted in a temporary copy of the tree. The tests beside the changed file run first,
then those of whole runs, up to the first failure. Exit code: 0 if at least 90 % of the faults are
noticed, 1 if fewer, 2 if the tests fail without any fault. A survivor is printed as a difference
of lines: write the test that notices it, or enter it below if no result can depend on it.
"""

import argparse
import ast
import copy
import difflib
import itertools
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parents[1]
PATHS = ('ser_jax/learn', 'ser_jax/data', 'ser_jax/scoring', 'ser_jax/inference.py')
RUNS = ('inference_test.py', 'train_test.py', 'evaluate_test.py', 'predict_test.py')
SHARE = 0.9  # least share of noticed faults
MOST_S = 900.0  # a fault that takes longer has hung a test: it is noticed

OPERATORS = {
    'Lt': 'LtE GtE', 'LtE': 'Lt Gt', 'Gt': 'GtE LtE', 'GtE': 'Gt Lt', 'Eq': 'NotEq', 'NotEq': 'Eq',
    'In': 'NotIn', 'NotIn': 'In', 'Is': 'IsNot', 'IsNot': 'Is', 'And': 'Or', 'Or': 'And',
    'Add': 'Sub', 'Sub': 'Add', 'Mult': 'Div', 'Div': 'Mult', 'FloorDiv': 'Mult', 'MatMult': 'Mult',
    'Mod': 'FloorDiv', 'Pow': 'Mult', 'BitAnd': 'BitOr', 'BitOr': 'BitAnd',
}  # fmt: skip
OPPOSITES = {'min': 'max', 'minimum': 'maximum', 'argmin': 'argmax', 'floor': 'ceil', 'any': 'all'}
OPPOSITES |= {b: a for a, b in OPPOSITES.items()}
MESSAGES = {'print', 'say', 'warn', 'warning', 'info', 'debug', 'printable', 'InputError'}
CHECKS = {'strict', 'encoding', 'newline', 'check_vma'}  # arguments that change no result

# Lines (a pattern of their text) on which no result depends: speed, memory and waiting only.
UNOBSERVABLE = re.compile(
    r'_VALUES|_COUNTS|_ahead|eighth|most_at_once|values = most|block_until_ready|donate_argnums'
    r'|threads|ascontiguousarray'
)


class Fault(NamedTuple):
    """A changed file: its path, first changed line, kind of change and new text."""

    path: str
    line: int
    kind: str
    text: str


def faults(path: str, source: str) -> Iterator[list[Fault]]:
    """Yield the faults of every place of a file that can be mutated."""
    tree, lines = ast.parse(source), source.encode().splitlines(keepends=True)
    starts = [0, *itertools.accumulate(map(len, lines))]
    for node in _mutable(tree):
        if UNOBSERVABLE.search(lines[node.lineno - 1].decode()):
            continue
        before = source.encode()[: starts[node.lineno - 1] + node.col_offset].decode()
        after = source.encode()[starts[node.end_lineno - 1] + node.end_col_offset :].decode()
        found = itertools.chain.from_iterable(of(node) for of in KINDS)
        place = [Fault(path, node.lineno, kind, before + _text(x) + after) for kind, x in found]
        if place:
            yield place


def _mutable(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes below `node` but those of annotations, decorators and messages."""
    for field, value in ast.iter_fields(node):
        if field in ('annotation', 'returns', 'decorator_list', 'bases', 'defaults', 'kw_defaults'):
            continue
        for child in value if isinstance(value, list) else [value]:
            message = isinstance(child, ast.Call) and _name(child.func) in MESSAGES
            check = isinstance(child, ast.keyword) and child.arg in CHECKS
            plain = isinstance(child, ast.AST) and not isinstance(child, ast.JoinedStr)
            if message or check or not plain:
                continue
            child.condition = field == 'test'
            yield from [child] if hasattr(child, 'lineno') else []
            yield from _mutable(child)


def _name(function: ast.AST) -> str:
    return getattr(function, 'attr', getattr(function, 'id', ''))


def _text(node: ast.AST) -> str:
    """Return the source of a node, in parentheses where its surroundings might bind tighter."""
    text = ast.unparse(node)
    closed = isinstance(node, ast.Call | ast.Name | ast.Attribute | ast.Slice | ast.Subscript)
    return text if closed or not isinstance(node, ast.expr) else f'({text})'


def _changed(node: ast.AST, **fields) -> ast.AST:
    """Return a copy of a node with other fields."""
    other = copy.copy(node)
    other.__dict__.update(fields)
    return other


def _of_operators(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    ops = getattr(node, 'ops', [getattr(node, 'op', None)])
    for i, word in enumerate(type(op).__name__ for op in ops):
        for new in OPERATORS.get(word, '').split():
            other = [*ops[:i], getattr(ast, new)(), *ops[i + 1 :]]
            fields = {'ops': other} if isinstance(node, ast.Compare) else {'op': other[0]}
            yield f'{word} -> {new}', _changed(node, **fields)
    if isinstance(node, ast.UnaryOp) and not isinstance(node.operand, ast.Constant):
        yield 'sign or not dropped', node.operand
    elif isinstance(node, ast.IfExp):
        yield 'branches swapped', _changed(node, body=node.orelse, orelse=node.body)
    elif isinstance(node, ast.BoolOp):
        yield from (('operand dropped', kept) for kept in (node.values[0], node.values[-1]))


def _of_constants(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    value = getattr(node, 'value', None)
    if isinstance(node, ast.Constant) and isinstance(value, int | float):
        for new in [not value] if isinstance(value, bool) else {value + 1, value - 1, 0}:
            if new != value:
                yield f'{value} -> {new}', ast.Constant(new)
    elif isinstance(node, ast.Slice):
        for end in ('lower', 'upper'):
            bound = getattr(node, end)
            for op in (ast.Add, ast.Sub) if bound else ():
                new = ast.BinOp(bound, op(), ast.Constant(1))
                yield f'{end} bound {op.__name__} 1', _changed(node, **{end: new})
    elif isinstance(node, ast.keyword) and node.arg == 'axis':
        zero = getattr(node.value, 'value', None) == 0
        yield 'axis changed', _changed(node, value=ast.Constant(int(zero)))


def _of_calls(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    if not isinstance(node, ast.Call):
        return
    name = _name(node.func)
    for old in OPPOSITES.keys() & {name}:
        function = ast.parse(ast.unparse(node.func).removesuffix(old) + OPPOSITES[old])
        yield f'{old} -> {OPPOSITES[old]}', _changed(node, func=function.body[0].value)
    if len(node.args) > 1:
        if name not in OPPOSITES and ast.dump(node.args[0]) != ast.dump(node.args[1]):
            swapped = [*node.args[1::-1], *node.args[2:]]
            yield 'arguments swapped', _changed(node, args=swapped)
        yield 'argument dropped', _changed(node, args=node.args[:-1])
    for given in node.keywords:
        rest = [k for k in node.keywords if k is not given]
        if given.arg not in CHECKS:
            yield f'argument {given.arg} dropped', _changed(node, keywords=rest)


def _of_statements(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    if getattr(node, 'condition', False):
        yield 'condition negated', ast.UnaryOp(ast.Not(), node)
    value = getattr(node, 'value', None)
    if isinstance(node, ast.Expr):
        spared = isinstance(value, ast.Constant) or _name(getattr(value, 'func', node)) in MESSAGES
    else:
        spared = bool(getattr(node, 'orelse', False))
    if isinstance(node, ast.Expr | ast.AugAssign | ast.If | ast.Continue) and not spared:
        yield 'statement deleted', ast.Pass()
    if isinstance(node, ast.Return) and isinstance(value, ast.Tuple):
        yield 'result reversed', _changed(node, value=ast.Tuple(value.elts[::-1], ast.Load()))
    elif isinstance(node, ast.Return) and not isinstance(value, ast.Constant | None):
        yield 'result None', _changed(node, value=ast.Constant(None))


KINDS = (_of_operators, _of_constants, _of_calls, _of_statements)


def tests_of(path: str) -> list[str]:
    """Return the tests that run for a file, those beside it first."""
    file = pathlib.PurePath(path)
    below = pathlib.PurePath('tests', *file.parts[1:-1])
    names = [below / f'{file.stem}_test.py', *([below] if len(file.parts) > 2 else [])]
    names += [pathlib.PurePath('tests', name) for name in RUNS]
    return list(dict.fromkeys(str(name) for name in names if (ROOT / name).exists()))


def first_failure(tree: pathlib.Path, tests: list[str]) -> str:
    """Return the first failing test of a tree, '' if all pass."""
    options = {'PYTHONPATH': str(tree), 'PYTHONDONTWRITEBYTECODE': '1',
               'PYTEST_ADDOPTS': "-x -q -p no:cacheprovider -m 'not slow'"}  # fmt: skip
    try:
        done = subprocess.run(
            [sys.executable, '-m', 'pytest', *tests], cwd=tree, env=os.environ | options,
            capture_output=True, text=True, timeout=MOST_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f'no end after {MOST_S:.0f} s'
    found = re.search(r'^(?:FAILED|ERROR) (\S+)', done.stdout, re.MULTILINE)
    return found.group(1) if found else done.stderr[-200:] if done.returncode else ''


def copied(place: str) -> pathlib.Path:
    """Copy the files that git tracks or does not ignore."""
    names = 'git ls-files -coz --exclude-standard | xargs -0 ls -d 2>/dev/null'
    subprocess.run(f'{names} | tar cT - | tar xC {place}', cwd=ROOT, shell=True, check=True)
    return pathlib.Path(place)


def chosen_faults(paths: list[str], n: int, seed: int) -> list[Fault]:
    """Draw `n` faults: a place uniformly, then one of its mutations."""
    files = [f for p in paths for f in [ROOT / p, *sorted((ROOT / p).rglob('*.py'))] if f.is_file()]
    places = [x for f in files for x in faults(str(f.relative_to(ROOT)), f.read_text())]
    draw = random.Random(seed)
    draw.shuffle(places)
    return [draw.choice(place) for place in places[:n]]


def main() -> int:
    """Plant faults, print the table and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    for name, default in {'n': 120, 'seed': 0, 'paths': ','.join(PATHS)}.items():
        parser.add_argument(f'--{name}', type=type(default), default=default)
    given = parser.parse_args()
    chosen, survivors = chosen_faults(given.paths.split(','), given.n, given.seed), 0
    with tempfile.TemporaryDirectory() as place:
        tree = copied(place)
        every = {test: None for fault in chosen for test in tests_of(fault.path)}
        if failed := first_failure(tree, list(every)):
            print(f'without any fault {failed} fails')
            return 2
        for number, fault in enumerate(chosen, 1):
            before, began = (tree / fault.path).read_text(), time.monotonic()
            (tree / fault.path).write_text(fault.text)
            noticed = first_failure(tree, tests_of(fault.path))
            (tree / fault.path).write_text(before)
            head = f'{number:4} {fault.path}:{fault.line}'
            seconds = time.monotonic() - began
            print(f'{head:48} {fault.kind:28} {noticed or "SURVIVED"} ({seconds:.0f} s)')
            if not noticed:
                survivors += 1
                lines = before.splitlines(), fault.text.splitlines()
                print('\n'.join(difflib.unified_diff(*lines, 'before', 'after', lineterm='', n=2)))
            sys.stdout.flush()
    share = 1 - survivors / max(1, len(chosen))
    print(f'{len(chosen) - survivors} of {len(chosen)} faults noticed ({share:.1%})')
    return int(share < SHARE)


if __name__ == '__main__':
    sys.exit(main())
