"""ONNX operators for the primitives of JAX that the networks and front ends are made of.

Each function maps (graph, equation of a jaxpr, names of its inputs) to the name of its output.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from ser_jax.contract import InputError
from ser_jax.exporting.onnx_graph import Graph

RENAMED = {
    'abs': 'Abs', 'add': 'Add', 'ceil': 'Ceil', 'copy': 'Identity', 'copy_p': 'Identity',
    'cos': 'Cos', 'div': 'Div', 'eq': 'Equal', 'erf': 'Erf', 'exp': 'Exp', 'floor': 'Floor',
    'ge': 'GreaterOrEqual', 'gt': 'Greater', 'le': 'LessOrEqual', 'log': 'Log',
    'logistic': 'Sigmoid', 'lt': 'Less', 'max': 'Max', 'min': 'Min', 'mul': 'Mul', 'neg': 'Neg',
    'not': 'Not', 'or': 'Or', 'and': 'And', 'pow': 'Pow', 'sign': 'Sign', 'sin': 'Sin',
    'sqrt': 'Sqrt', 'stop_gradient': 'Identity', 'sub': 'Sub', 'tanh': 'Tanh', 'xor': 'Xor',
}  # fmt: skip
LAST = np.iinfo(np.int64).max


def sides(equation) -> tuple[tuple, tuple]:
    """Return the shapes of the first input and of the output."""
    return equation.invars[0].aval.shape, equation.outvars[0].aval.shape


def unsupported(equation, reason: str = '') -> InputError:
    """Return the error for an operation that has no ONNX form here."""
    return InputError(
        f'the network uses {equation.primitive.name}{reason}, which has no form in ONNX here; '
        'export it with --format=stablehlo or savedmodel'
    )


def _rsqrt(g: Graph, e, x):
    return g.add('Reciprocal', g.add('Sqrt', x))


def _square(g: Graph, e, x):
    return g.add('Mul', x, x)


def _integer_pow(g: Graph, e, x):
    if e.params['y'] == 2:
        return g.add('Mul', x, x)
    return g.add('Pow', x, g.constant(e.params['y'], e.invars[0].aval.dtype))


def _erfc(g: Graph, e, x):
    return g.add('Sub', g.constant(1, e.invars[0].aval.dtype), g.add('Erf', x))


def _log1p(g: Graph, e, x):
    return g.add('Log', g.add('Add', g.constant(1, e.invars[0].aval.dtype), x))


def _exp2(g: Graph, e, x):
    return g.add('Pow', g.constant(2, e.invars[0].aval.dtype), x)


def _round(g: Graph, e, x):
    if e.params['rounding_method'] != jax.lax.RoundingMethod.TO_NEAREST_EVEN:
        raise unsupported(e, ' away from zero')
    return g.add('Round', x)


def _rem(g: Graph, e, x, y):
    return g.add('Mod', x, y, fmod=1)


def _ne(g: Graph, e, x, y):
    return g.add('Not', g.add('Equal', x, y))


def _is_finite(g: Graph, e, x):
    return g.add('Not', g.add('Or', g.add('IsInf', x), g.add('IsNaN', x)))


def _clamp(g: Graph, e, low, x, high):
    return g.add('Min', g.add('Max', x, low), high)


def _select(g: Graph, e, which, *cases):
    if len(cases) != 2:
        raise unsupported(e, ' between more than two cases')
    if e.invars[0].aval.dtype != bool:
        which = cast(g, which, bool)
    return g.add('Where', which, cases[1], cases[0])


def cast(g: Graph, x: str, dtype) -> str:
    """Convert the elements of x."""
    return g.add('Cast', x, to=g.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def _convert(g: Graph, e, x):
    return cast(g, x, e.params['new_dtype'])


def reshaped(g: Graph, x: str, shape) -> str:
    """Reshape x; one symbolic size is left to the runtime, which needs no computation for it."""
    unknown = [i for i, n in enumerate(shape) if jax.export.is_symbolic_dim(n)]
    if len(unknown) == 1 and 0 not in shape:
        shape = [-1 if i in unknown else n for i, n in enumerate(shape)]
    return g.add('Reshape', x, g.shape(shape))


def _reshape(g: Graph, e, x, *sizes):
    order = e.params.get('dimensions')  # of the axes, before they are merged
    if order and e.primitive.name == 'reshape':
        x = g.add('Transpose', x, perm=[int(i) for i in order])
    return reshaped(g, x, sides(e)[1])


def _broadcast(g: Graph, e, x, *sizes):
    before, after = sides(e)
    spread = [1] * len(after)
    for n, axis in zip(before, e.params['broadcast_dimensions'], strict=True):
        spread[int(axis)] = n
    if tuple(spread) != before:
        x = reshaped(g, x, spread)
    return x if tuple(spread) == tuple(after) else g.add('Expand', x, g.shape(after))


def _transpose(g: Graph, e, x):
    return g.add('Transpose', x, perm=[int(i) for i in e.params['permutation']])


def _rev(g: Graph, e, x):
    axes = [int(a) for a in e.params['dimensions']]
    ends = [g.constant([n] * len(axes), np.int64) for n in (-1, -LAST)]
    steps = g.constant([-1] * len(axes), np.int64)
    return g.add('Slice', x, *ends, g.constant(axes, np.int64), steps)


def _concatenate(g: Graph, e, *parts):
    return g.add('Concat', *parts, axis=int(e.params['dimension']))


def _stack(g: Graph, e, *parts):
    axis = int(e.params.get('axis', e.params.get('dimension', 0)))
    one = g.constant([axis], np.int64)
    return g.add('Concat', *[g.add('Unsqueeze', p, one) for p in parts], axis=axis)


def _split(g: Graph, e, x):
    sizes = g.shape(e.params['sizes'])
    names = g.add('Split', x, sizes, outputs=len(e.outvars), axis=int(e.params['axis']))
    return names if len(e.outvars) > 1 else [names]


def sliced(g: Graph, x: str, axis: int, start, stop, step: int = 1) -> str:
    """Slice x along one axis."""
    ends = [g.size(start), g.size(stop), g.constant([axis], np.int64)]
    return g.add('Slice', x, *ends, g.constant([step], np.int64))


def _slice(g: Graph, e, x):
    p, before = e.params, sides(e)[0]
    steps = p['strides'] or [1] * len(before)
    for axis, n in enumerate(before):
        start, stop, step = p['start_indices'][axis], p['limit_indices'][axis], int(steps[axis])
        whole = not jax.export.is_symbolic_dim(start) and start == 0 and step == 1
        if not (whole and stop == n):
            x = sliced(g, x, axis, start, stop, step)
    return x


def _pad(g: Graph, e, x, value):
    widths = [w if isinstance(w, tuple) else tuple(w) for w in e.params['padding_config']]
    if any(interior for *_, interior in widths):
        raise unsupported(e, ' between elements')
    ends = [low for low, *_ in widths] + [high for _, high, _ in widths]
    return g.add('Pad', x, g.shape(ends), value)  # negative widths cut


def _iota(g: Graph, e, *sizes):
    shape, axis = e.outvars[0].aval.shape, int(e.params['dimension'])
    zero, one = g.constant(0, np.int64), g.constant(1, np.int64)
    count = g.add('Squeeze', g.size(shape[axis]), g.constant([0], np.int64))
    numbers = cast(g, g.add('Range', zero, count, one), e.outvars[0].aval.dtype)
    row = [1] * len(shape)
    row[axis] = shape[axis]
    return g.add('Expand', reshaped(g, numbers, row), g.shape(shape))


def _size_as_value(g: Graph, e):
    one = g.add('Squeeze', g.size(e.params['dim']), g.constant([0], np.int64))
    return cast(g, one, e.outvars[0].aval.dtype)


def _reduce(operator: str) -> Callable:
    def reduce(g: Graph, e, x):
        axes = g.constant([int(a) for a in e.params['axes']], np.int64)
        if e.invars[0].aval.dtype != bool:
            return g.add(operator, x, axes, keepdims=0)
        return cast(g, g.add(operator, cast(g, x, np.int32), axes, keepdims=0), bool)

    return reduce


def _argmax(operator: str) -> Callable:
    def best(g: Graph, e, x):
        if e.invars[0].aval.dtype == bool:
            x = cast(g, x, np.int32)
        (axis,) = e.params['axes']
        return cast(g, g.add(operator, x, axis=int(axis), keepdims=0), e.params['index_dtype'])

    return best


def _cumsum(g: Graph, e, x):
    axis = g.constant(int(e.params['axis']), np.int64)
    return g.add('CumSum', x, axis, reverse=int(e.params['reverse']))


OPERATORS: dict[str, Callable[..., Any]] = {
    'argmax': _argmax('ArgMax'),
    'argmin': _argmax('ArgMin'),
    'broadcast_in_dim': _broadcast,
    'clamp': _clamp,
    'concatenate': _concatenate,
    'convert_element_type': _convert,
    'cumsum': _cumsum,
    'dim_as_value': _size_as_value,
    'erfc': _erfc,
    'exp2': _exp2,
    'expand_dims': _reshape,
    'integer_pow': _integer_pow,
    'iota': _iota,
    'is_finite': _is_finite,
    'log1p': _log1p,
    'ne': _ne,
    'pad': _pad,
    'reduce_and': _reduce('ReduceMin'),
    'reduce_max': _reduce('ReduceMax'),
    'reduce_min': _reduce('ReduceMin'),
    'reduce_or': _reduce('ReduceMax'),
    'reduce_sum': _reduce('ReduceSum'),
    'rem': _rem,
    'reshape': _reshape,
    'rev': _rev,
    'round': _round,
    'rsqrt': _rsqrt,
    'select_n': _select,
    'slice': _slice,
    'split': _split,
    'square': _square,
    'squeeze': _reshape,
    'stack': _stack,
    'transpose': _transpose,
}
