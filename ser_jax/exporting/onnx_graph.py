"""Nodes, constants and sizes of an ONNX graph under construction."""

import ast
import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

OPSET = 18  # reductions take their axes as inputs; known to every runtime since 2023


class Graph:
    """Nodes of a graph in order; bodies of loops share the constants and sizes of the outermost.

    Args:
      outer: the graph around a loop's body; None = the outermost.
    """

    def __init__(self, outer: 'Graph | None' = None):
        self.onnx = importlib.import_module('onnx')
        self.outer = outer
        self.root: Graph = outer.root if outer else self
        self.nodes: list[Any] = []
        if not outer:
            self.constants: dict[str, np.ndarray] = {}
            self.sizes: dict[str, str] = {}  # size as text -> tensor int64 [1]
            self._by_content: dict[tuple, str] = {}
            self._count = 0

    def name(self) -> str:
        """Return a new name of a tensor."""
        self.root._count += 1
        return f'v{self.root._count}'

    def add(self, operator: str, *inputs: str, outputs: int = 1, **attributes) -> Any:
        """Append a node; return the name of its output, or their list if there are several."""
        names = [self.name() for _ in range(outputs)]
        self.nodes.append(self.onnx.helper.make_node(operator, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, value, dtype=None) -> str:
        """Return the name of a constant; equal ones are stored once."""
        array = np.asarray(value, dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        root = self.root
        if key not in root._by_content:
            root._by_content[key] = self.name()
            root.constants[root._by_content[key]] = array
        return root._by_content[key]

    def size(self, value) -> str:
        """Return int64 [1] with a size: an integer, or an expression in sizes of the inputs."""
        if not jax.export.is_symbolic_dim(value):
            return self.constant([int(value)], np.int64)
        root, text = self.root, str(value)
        if text not in root.sizes:
            root.sizes[text] = root._evaluate(ast.parse(text.replace('^', '**'), mode='eval').body)
        return root.sizes[text]

    def shape(self, sizes: Sequence) -> str:
        """Return int64 [n] with `sizes`."""
        if not any(map(jax.export.is_symbolic_dim, sizes)):
            return self.constant([int(n) for n in sizes], np.int64)
        return self.root.add('Concat', *map(self.size, sizes), axis=0)

    def _evaluate(self, node: ast.expr) -> str:
        """Return int64 [1] of an expression as JAX writes it, e.g. 'floordiv(t, 160) + 1'."""
        match node:
            case ast.Constant(value=int(value)):
                return self.constant([value], np.int64)
            case ast.Name(id=name):
                return self.sizes[name]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self.add('Neg', self._evaluate(operand))
            case ast.BinOp(left=left, op=ast.Pow(), right=ast.Constant(value=int(times))):
                power = self._evaluate(left)
                return power if times == 1 else self.add('Mul', *[power] * 2)
            case ast.BinOp(left=left, op=op, right=right):
                names = {ast.Add: 'Add', ast.Sub: 'Sub', ast.Mult: 'Mul'}
                return self.add(names[type(op)], self._evaluate(left), self._evaluate(right))
            case ast.Call(func=ast.Name(id=function), args=arguments):
                return self._call(function, [self._evaluate(a) for a in arguments])
        raise NotImplementedError(f'size {ast.unparse(node)}')

    def _call(self, function: str, arguments: list[str]) -> str:
        if function == 'floordiv':  # of ONNX, division truncates and the remainder is never < 0
            a, b = arguments
            return self.add('Div', self.add('Sub', a, self.add('Mod', a, b)), b)
        return self.add({'mod': 'Mod', 'max': 'Max', 'min': 'Min'}[function], *arguments)

    def body(self, name: str, inputs: Sequence, outputs: Sequence) -> Any:
        """Return the graph of a loop's body.

        Args:
          name: of the graph.
          inputs: (name, dtype) of each.
          outputs: (name, dtype) of each.
        """
        before = [self._info(n, dtype, None) for n, dtype in inputs]
        after = [self._info(n, dtype, None) for n, dtype in outputs]
        return self.onnx.helper.make_graph(self.nodes, name, before, after)

    def model(self, inputs: Sequence, outputs: Sequence, metadata: Mapping[str, str]) -> Any:
        """Return the finished model without nodes whose results are not used.

        Args:
          inputs: (name, dtype, shape) of each; a text in a shape is a size of any value.
          outputs: likewise.
          metadata: texts stored in the model.
        """
        helper = self.onnx.helper
        nodes = used_nodes(self.nodes, [name for name, _, _ in outputs])
        read = names_read(nodes)
        stored = [
            self.onnx.numpy_helper.from_array(v, n) for n, v in self.constants.items() if n in read
        ]
        before, after = [self._info(*x) for x in inputs], [self._info(*x) for x in outputs]
        graph = helper.make_graph(nodes, 'ser_jax', before, after, stored)
        opsets = [helper.make_opsetid('', OPSET)]
        model = helper.make_model(graph, producer_name='ser_jax', opset_imports=opsets)
        model.ir_version = 8  # of opset 18; newer ones are refused by older runtimes
        helper.set_model_props(model, dict(metadata))
        self.onnx.checker.check_model(model)
        return model

    def _info(self, name: str, dtype, shape):
        number = self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self.onnx.helper.make_tensor_value_info(name, number, shape)


def names_read(nodes: Sequence) -> set[str]:
    """Return the names that nodes and the bodies in them read."""
    found: set[str] = set()
    for node in nodes:
        found |= set(node.input)
        for attribute in node.attribute:
            if attribute.HasField('g'):
                found |= names_read(attribute.g.node) | {x.name for x in attribute.g.output}
    return found


def used_nodes(nodes: Sequence, outputs: Sequence[str]) -> list:
    """Return the nodes on which `outputs` depend, in order."""
    needed, kept = set(outputs), []
    for node in reversed(nodes):
        if needed & set(node.output):
            kept.append(node)
            needed |= names_read([node])
    return kept[::-1]
