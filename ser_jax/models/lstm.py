"""Bidirectional LSTM with the invariant of `layers`: padding never affects an output."""

import jax
import jax.numpy as jnp
from flax import nnx

from ser_jax.audio.mel import frame_mask


class BiLSTM(nnx.Module):
    """Bidirectional LSTM (Hochreiter & Schmidhuber 1997) over real frames: [B F I] -> [B F 2H].

    Both directions run stacked in one scan (`recur`); the input projection is outside of it.
    Padding leaves the state unchanged, so the backward direction starts at the end of each
    utterance. The forget gate's bias is initialized to 1; all weights are uniform in +-1/sqrt(H),
    also the recurrent ones: orthogonal ones need a QR that hangs under `vmap` on two cores.
    """

    def __init__(self, inputs: int, hidden: int, *, dtype, rngs: nnx.Rngs):
        uniform = nnx.initializers.uniform(2 * hidden**-0.5)

        def draw(shape):
            return uniform(rngs.params(), shape) - hidden**-0.5

        self.input = nnx.Param(draw((2, inputs, 4 * hidden)))
        self.recurrent = nnx.Param(draw((2, hidden, 4 * hidden)))
        bias = jnp.zeros((2, 4 * hidden)).at[:, hidden : 2 * hidden].set(1)
        self.bias = nnx.Param(bias)
        self.hidden, self.dtype = hidden, dtype

    def __call__(self, x, length):
        x = x.astype(self.dtype)
        mask = frame_mask(length, x.shape[1])
        # One product for both directions; the second half is that of the backward direction, so its
        # frames are reversed.
        weights = jnp.concatenate(tuple(self.input[...]), -1).astype(self.dtype)
        projected = x.transpose(1, 0, 2) @ weights + self.bias[...].reshape(-1).astype(self.dtype)
        forward, backward = jnp.split(projected, 2, -1)  # [F B 4H]
        gates = jnp.stack([forward, backward[::-1]], 1)  # [F 2 B 4H]
        real = jnp.stack([mask, mask[:, ::-1]]).transpose(2, 0, 1)[..., None]  # [F 2 B 1]
        out = recur(gates, self.recurrent[...].astype(self.dtype), real)
        forward, backward = out[:, 0], out[::-1, 1]  # [F B H]
        return jnp.concatenate([forward, backward], -1).transpose(1, 0, 2)


@jax.custom_vjp
def recur(gates, recurrent, real):
    """Scan LSTM cells over frames, both directions stacked; frames not `real` keep the state.

    The gradient is explicit, so that the recurrent weights' gradient is one product over all
    frames; automatic differentiation would accumulate it frame by frame.

    Args:
      gates: input projections, [F 2 B 4H] in the order input, forget, candidate, output.
      recurrent: [2 H 4H].
      real: bool [F 2 B 1].

    Returns:
      float32 [F 2 B H].
    """
    return _recur(gates, recurrent, real)[0]


def _recur(gates, recurrent, real):
    def step(state, inputs):
        cell, out = state
        gate, keep = inputs
        gate = gate + jnp.einsum('dbh,dhg->dbg', out.astype(recurrent.dtype), recurrent)
        i, f, g, o = opened = _activations(gate)
        new_cell = f * cell + i * g
        new_out = o * jnp.tanh(new_cell)
        state = (jnp.where(keep, new_cell, cell), jnp.where(keep, new_out, out))
        return state, (state[1], state[0], opened)

    zeros = jnp.zeros((*gates.shape[1:3], recurrent.shape[1]), jnp.float32)
    _, (outs, cells, opened) = jax.lax.scan(step, (zeros, zeros), (gates, real))
    return outs, (opened, cells, outs, recurrent, real)


def _recur_gradient(residuals, gradient):
    opened, cells, outs, recurrent, real = residuals
    turned = jax.lax.optimization_barrier(recurrent.transpose(0, 2, 1))  # once, not in each frame

    def step(state, inputs):
        d_cell, d_out = state
        (i, f, g, o), cell, keep, d_given = inputs
        new = jnp.tanh(f * cell + i * g)
        d_out = d_out + d_given
        d_new_out, d_new_cell = jnp.where(keep, d_out, 0), jnp.where(keep, d_cell, 0)
        d_new_cell += d_new_out * o * (1 - new**2)
        d_gate = jnp.concatenate(
            [
                d_new_cell * g * i * (1 - i),
                d_new_cell * cell * f * (1 - f),
                d_new_cell * i * (1 - g**2),
                d_new_out * new * o * (1 - o),
            ],
            -1,
        ).astype(recurrent.dtype)
        back = jnp.einsum('dbg,dgh->dbh', d_gate, turned).astype(jnp.float32)
        d_cell = d_new_cell * f + jnp.where(keep, 0, d_cell)
        d_out = back + jnp.where(keep, 0, d_out)
        return (d_cell, d_out), d_gate

    zeros = jnp.zeros_like(cells[0])
    inputs = opened, _shifted(cells), real, gradient
    _, d_gates = jax.lax.scan(step, (zeros, zeros), inputs, reverse=True)
    before = _shifted(outs).astype(recurrent.dtype)
    return d_gates, jnp.einsum('fdbh,fdbg->dhg', before, d_gates), None


def _shifted(states):
    """Return the states [F ...] before each frame; zero before the first."""
    return jnp.concatenate([jnp.zeros_like(states[:1]), states[:-1]])


recur.defvjp(_recur, _recur_gradient)


def _activations(gate):
    i, f, g, o = jnp.split(gate.astype(jnp.float32), 4, axis=-1)
    return jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)
