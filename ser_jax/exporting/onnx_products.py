"""ONNX operators for products, convolutions, windows and gathers of JAX."""

import string

import jax
import numpy as np

from ser_jax.exporting.onnx_graph import Graph
from ser_jax.exporting.onnx_operators import OPERATORS, cast, reshaped, sides, unsupported


def _dot(g: Graph, e, x, y):
    """Return the product over the contracted axes of two arrays."""
    (left, right), (left_batch, right_batch) = e.params['dimension_numbers']
    a, b = (v.aval for v in e.invars)
    out = e.outvars[0].aval.dtype
    if a.dtype != out:
        x, y = cast(g, x, out), cast(g, y, out)
    batch = list(range(len(left_batch)))
    leading = [int(i) for i in left_batch] == batch == [int(i) for i in right_batch]
    one = len(left) == 1 and left[0] == a.ndim - 1 and right[0] == len(batch)
    if leading and one and b.ndim == len(batch) + 2 and (not batch or a.ndim >= b.ndim):
        if batch and a.ndim > b.ndim:  # a's further axes are rows of the product
            y = reshaped(g, y, [*b.shape[: len(batch)], *[1] * (a.ndim - b.ndim), *b.shape[-2:]])
        return g.add('MatMul', x, y)
    letters = iter(string.ascii_lowercase)
    first = [next(letters) for _ in range(a.ndim)]
    second = [next(letters) for _ in range(b.ndim)]
    for i, j in [*zip(left, right, strict=True), *zip(left_batch, right_batch, strict=True)]:
        second[j] = first[i]
    shared = [first[i] for i in left_batch]
    summed = {first[i] for i in left} | set(shared)
    rest = [c for c in [*first, *second] if c not in summed]
    equation = f'{"".join(first)},{"".join(second)}->{"".join(shared + rest)}'
    return g.add('Einsum', x, y, equation=equation)


def _convolution(g: Graph, e, x, kernel):
    p = e.params
    if p['batch_group_count'] != 1 or set(p['lhs_dilation']) != {1}:
        raise unsupported(e, ' with a dilated input')
    numbers, dtype = p['dimension_numbers'], e.outvars[0].aval.dtype
    if e.invars[0].aval.dtype != dtype:
        x, kernel = cast(g, x, dtype), cast(g, kernel, dtype)
    x = g.add('Transpose', x, perm=[int(i) for i in numbers.lhs_spec])
    kernel = g.add('Transpose', kernel, perm=[int(i) for i in numbers.rhs_spec])
    x, pads = _padded(g, x, p['padding'], np.zeros((), dtype))
    out = g.add(
        'Conv',
        x,
        kernel,
        strides=[int(n) for n in p['window_strides']],
        dilations=[int(n) for n in p['rhs_dilation']],
        pads=pads,
        group=int(p['feature_group_count']),
    )
    return g.add('Transpose', out, perm=[int(i) for i in np.argsort(numbers.out_spec)])


def _padded(g: Graph, x, padding, value) -> tuple[str, list[int]]:
    """Return x [B C ...] and the padding that is left to the operator: integers alone."""
    widths = [low for low, _ in padding] + [high for _, high in padding]
    if not any(map(jax.export.is_symbolic_dim, widths)):
        return x, [int(w) for w in widths]
    half = len(widths) // 2
    ends = g.shape([0, 0, *widths[:half], 0, 0, *widths[half:]])
    return g.add('Pad', x, ends, g.constant(value)), [0] * len(widths)


def _window_max(g: Graph, e, x):
    """Return the maxima of windows over the middle axes of [B ... C]."""
    p, ndim = e.params, len(sides(e)[0])
    window, strides, padding = p['window_dimensions'], p['window_strides'], p['padding']
    if window[0] != 1 or window[-1] != 1 or set(p['window_dilation']) != {1}:
        raise unsupported(e, ' over other axes than the middle ones')
    order = [0, ndim - 1, *range(1, ndim - 1)]
    low = np.array(-np.inf, e.invars[0].aval.dtype)
    x, pads = _padded(g, g.add('Transpose', x, perm=order), padding[1:-1], low)
    out = g.add(
        'MaxPool',
        x,
        kernel_shape=[int(n) for n in window[1:-1]],
        strides=[int(n) for n in strides[1:-1]],
        pads=pads,
    )
    return g.add('Transpose', out, perm=[int(i) for i in np.argsort(order)])


def _gather(g: Graph, e, x, at):
    """Return the elements at `at` [... n] along n axes of x, with all of its other axes.

    Indices are moved into the range of their axis.
    """
    d, before = e.params['dimension_numbers'], sides(e)[0]
    axes, batch = [int(i) for i in d.start_index_map], [int(i) for i in d.operand_batching_dims]
    if e.invars[1].aval.ndim == 1:
        return _one_part(g, e, x, at, axes)
    single = {*axes, *batch}
    for axis, n in enumerate(e.params['slice_sizes']):
        wanted = 1 if axis in single else before[axis]
        if n != wanted:
            raise unsupported(e, ' of parts of an axis')
    indices = e.invars[1].aval
    at = cast(g, at, np.int64)
    last = g.add('Sub', g.shape([before[a] for a in axes]), g.constant(1, np.int64))
    at = g.add('Min', g.add('Max', at, g.constant(0, np.int64)), last)
    if len(axes) == 1 and not batch and list(d.collapsed_slice_dims) == axes:
        out = g.add('Gather', x, reshaped(g, at, indices.shape[:-1]), axis=axes[0])
        order = [i for i in range(e.outvars[0].aval.ndim) if i not in d.offset_dims]
        offset = [int(i) for i in d.offset_dims]
        order = [*offset[: axes[0]], *order, *offset[axes[0] :]]
        ordered = order == sorted(order)
        return out if ordered else g.add('Transpose', out, perm=[int(i) for i in np.argsort(order)])
    # Batch axes first in both; the result is [batch, other axes of the indices, rest of x].
    aligned = [int(i) for i in d.start_indices_batching_dims]
    others = [i for i in range(indices.ndim - 1) if i not in aligned]
    if aligned != list(range(len(aligned))):
        at = g.add('Transpose', at, perm=[*aligned, *others, indices.ndim - 1])
    rest = [i for i in range(len(before)) if i not in single]
    order = [*batch, *axes, *rest]
    if order != sorted(order):
        x = g.add('Transpose', x, perm=order)
    out = g.add('GatherND', x, at, batch_dims=len(batch))
    # Axes of size 1 that are indexed but not collapsed are kept.
    collapsed = {int(i) for i in d.collapsed_slice_dims} | set(batch)
    offset = [int(i) for i in d.offset_dims]
    if kept := [a for a in range(len(before)) if a not in collapsed and a in single]:
        place = len(indices.shape) - 1 + np.array([i for i in _offsets(before, collapsed, kept)])
        out = g.add('Unsqueeze', out, g.constant(place, np.int64))
    order = [*aligned, *others]
    places = [i for i in range(e.outvars[0].aval.ndim) if i not in offset]
    target = [places[i] for i in order] + offset
    if target != sorted(target):
        out = g.add('Transpose', out, perm=[int(i) for i in np.argsort(target)])
    return out


def _one_part(g: Graph, e, x, at, axes):
    """Return the part of x that begins at `at` [n] along `axes`."""
    before, after = sides(e)
    sizes = [e.params['slice_sizes'][a] for a in axes]
    last = g.add('Sub', g.shape([before[a] for a in axes]), g.shape(sizes))
    zero = g.constant(0, np.int64)
    start = g.add('Min', g.add('Max', cast(g, at, np.int64), zero), last)
    stop = g.add('Add', start, g.shape(sizes))
    return reshaped(g, g.add('Slice', x, start, stop, g.constant(axes, np.int64)), after)


def _dynamic_slice(g: Graph, e, x, *at):
    """Return the part of x that begins at the scalars `at`."""
    place = g.constant([0], np.int64)
    start = g.add('Concat', *[g.add('Unsqueeze', i, place) for i in at], axis=0)
    return _one_part(g, e, x, start, list(range(len(at))))


def _offsets(before, collapsed: set, kept: list) -> list[int]:
    """Return the places of the `kept` axes among those of x that are not collapsed."""
    names = [a for a in range(len(before)) if a not in collapsed]
    return [names.index(a) for a in kept]


OPERATORS |= {
    'conv_general_dilated': _convolution,
    'dot_general': _dot,
    'dynamic_slice': _dynamic_slice,
    'gather': _gather,
    'reduce_window_max': _window_max,
}
