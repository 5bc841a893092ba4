"""Jaxpr to ONNX: every equation becomes one or a few nodes, calls are inlined, scans stay loops."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax

from ser_jax.exporting import onnx_products  # noqa: F401  # registers its operators
from ser_jax.exporting.onnx_graph import Graph
from ser_jax.exporting.onnx_operators import OPERATORS, RENAMED, unsupported
from ser_jax.exporting.transforms import callee


def converted(closed, inputs: Sequence[str], outputs: Sequence[str], metadata: Mapping[str, str]):
    """Return the ONNX model of a function.

    Args:
      closed: its jaxpr, see `jax.make_jaxpr`; sizes of the first input may be symbolic names.
      inputs, outputs: names of them.
      metadata: texts stored in the model.
    """
    g, jaxpr = Graph(), closed.jaxpr
    for axis, n in enumerate(jaxpr.invars[0].aval.shape):
        if jax.export.is_symbolic_dim(n):
            g.sizes[str(n)] = g.add('Shape', inputs[0], start=axis, end=axis + 1)
    results = _evaluate(g, jaxpr, closed.consts, list(inputs))
    for name, result in zip(outputs, results, strict=True):
        g.nodes.append(g.onnx.helper.make_node('Identity', [result], [name]))
    ends = []
    for names, variables in ((inputs, jaxpr.invars), (outputs, jaxpr.outvars)):
        ends.append([_described(n, v.aval) for n, v in zip(names, variables, strict=True)])
    return g.model(ends[0], ends[1], metadata)


def _described(name: str, aval) -> tuple[str, Any, list]:
    sizes = [str(n) if jax.export.is_symbolic_dim(n) else int(n) for n in aval.shape]
    return name, aval.dtype, sizes


def _evaluate(g: Graph, jaxpr, constants: Sequence, inputs: Sequence) -> list:
    """Append the nodes of a jaxpr; return the names of its outputs."""
    names = dict(zip(jaxpr.invars, inputs, strict=True))
    for variable, value in zip(jaxpr.constvars, constants, strict=True):
        names[variable] = value if isinstance(value, str) else g.constant(value)

    def read(atom):
        return g.constant(atom.val, atom.aval.dtype) if hasattr(atom, 'val') else names[atom]

    for equation in jaxpr.eqns:
        results = _apply(g, equation, [read(a) for a in equation.invars])
        names.update(zip(equation.outvars, results, strict=True))
    return [read(a) for a in jaxpr.outvars]


def _apply(g: Graph, equation, inputs: list) -> list:
    """Append the nodes of an equation; return the names of its outputs."""
    primitive = equation.primitive.name
    if primitive == 'scan':
        return _scan(g, equation, inputs)
    if primitive in RENAMED:
        return [g.add(RENAMED[primitive], *inputs)]
    if primitive in OPERATORS:
        results = OPERATORS[primitive](g, equation, *inputs)
        return results if isinstance(results, list) else [results]
    if primitive == 'optimization_barrier':
        return inputs
    if called := callee(equation):
        return _evaluate(g, *called, inputs)
    raise unsupported(equation)


def _scan(g: Graph, equation, inputs: list) -> list:
    """Append a loop over the first axis of the scanned inputs."""
    p, closed = equation.params, equation.params['jaxpr']
    fixed, states = p['num_consts'], p['num_carry']
    body, variables = Graph(g), closed.jaxpr.invars
    given = [(body.name(), v.aval.dtype) for v in variables[fixed:]]
    names = [*inputs[:fixed], *[n for n, _ in given]]
    # An output may be an input or a constant of the body, which ONNX refuses.
    results = [body.add('Identity', r) for r in _evaluate(body, closed.jaxpr, closed.consts, names)]
    ends = [(n, v.aval.dtype) for n, v in zip(results, closed.jaxpr.outvars, strict=True)]
    scanned = len(inputs) - fixed - states
    backward = int(p['reverse'])
    outputs = g.add(
        'Scan',
        *inputs[fixed:],
        outputs=len(results),
        body=body.body(g.name(), given, ends),
        num_scan_inputs=scanned,
        scan_input_directions=[backward] * scanned,
        scan_output_directions=[backward] * (len(results) - states),
    )
    return outputs if isinstance(outputs, list) else [outputs]
