"""The timed networks, as shapes from which ours and PyTorch's are both built.

`conv_bilstm` is configs/conv_bilstm.py as shipped. The benchmark network is simpler and larger:
four 3 x 3 convolutions 1 -> 32 -> 64 -> 64 -> 128 with BatchNorm and ReLU over 304 frames x 64
bands, 2 x 2 max-pooling after the first three, a BiLSTM of 128 over the flattened bands, attentive
pooling and a dense layer of 8.
"""

from typing import Any, NamedTuple

BANDS, CLASSES, ATTENTION = 64, 8, 64


class Shape(NamedTuple):
    """The dimensions of a network."""

    name: str
    channels: tuple[int, ...]
    kernels: tuple[int, ...]
    strides: tuple[tuple[int, int], ...]  # (frames, bands)
    pooled: int  # number of blocks, from the first, followed by 2 x 2 max-pooling
    hidden: int
    dropout: float
    frames: int

    def sizes(self, frames: int = 0) -> list[tuple[int, int, int]]:
        """Return (frames, bands, channels) before and after every block, for inputs of `frames`."""
        out = [(frames or self.frames, BANDS, 1)]
        for block, (channels, (along, across)) in enumerate(
            zip(self.channels, self.strides, strict=True)
        ):
            f, m = -(-out[-1][0] // along), -(-out[-1][1] // across)
            out.append((f // 2, m // 2, channels) if block < self.pooled else (f, m, channels))
        return out

    @property
    def recurrent_inputs(self) -> int:
        """Number of inputs of the BiLSTM per frame."""
        return self.sizes()[-1][1] * self.channels[-1]

    def flops(self, frames: int = 0) -> float:
        """Return the operations of one utterance forward; a training step takes three times those.

        Operations are multiplications and additions.
        """
        sizes, total = self.sizes(frames), 0
        for block, (kernel, (along, across)) in enumerate(
            zip(self.kernels, self.strides, strict=True)
        ):
            (f, m, inputs), outputs = sizes[block], self.channels[block]
            total += -(-f // along) * -(-m // across) * kernel**2 * inputs * outputs
        steps = sizes[-1][0]
        total += lstm_flops(steps, self.recurrent_inputs, self.hidden) / 2
        return 2 * (total + steps * 2 * self.hidden * ATTENTION)


def lstm_flops(steps: int, inputs: int, hidden: int) -> float:
    """Return the multiplications and additions of a bidirectional LSTM forward."""
    return 2 * 2 * steps * 4 * hidden * (inputs + hidden)


BENCHMARK = Shape(
    'benchmark network',
    (32, 64, 64, 128),
    (3, 3, 3, 3),
    ((1, 1),) * 4,
    pooled=3,
    hidden=128,
    dropout=0.0,
    frames=304,
)


def shipped(frames: int = 0) -> Shape:
    """Return conv_bilstm as shipped, by default with the training window of its config."""
    from configs.conv_bilstm import get_config
    from ser_jax.audio.features import LOG_MEL

    config = get_config()
    m, frames = config.model, frames or round(config.train.window_s / LOG_MEL.hop_s) + 1
    strides = tuple(tuple(s) for s in m.strides)
    return Shape(
        'conv_bilstm', tuple(m.channels), tuple(m.kernels), strides, 0, m.hidden, m.dropout, frames
    )


def named(name: str, frames: int = 0) -> Shape:
    """Return the shape of a name in --networks: conv_bilstm or benchmark."""
    if name == 'benchmark':
        return BENCHMARK._replace(frames=frames or BENCHMARK.frames)
    return shipped(frames)


def learner(shape: Shape, bfloat16: bool = False):
    """Return our learner of a shape; augmentation, optimizer and EMA are those of conv_bilstm."""
    import jax.numpy as jnp

    from configs.conv_bilstm import get_config
    from ser_jax.audio.features import LOG_MEL
    from ser_jax.learn import optim
    from ser_jax.learn.inputs import Preprocessing
    from ser_jax.learn.learner import Learner

    config, dtype = get_config(), jnp.bfloat16 if bfloat16 else jnp.float32
    return Learner(
        lambda rngs: _model(shape, dtype, rngs),
        optim.build(config.optim, 100_000, 1000),
        Preprocessing(config.augment, LOG_MEL, LOG_MEL, False, shape.frames),
        config.loss.label_smoothing,
        config.loss.modalities,
        config.optim.ema,
    )


def _model(shape: Shape, dtype, rngs):
    from ser_jax.models import conv_bilstm

    blocks = (shape.channels, shape.kernels, shape.strides)
    if not shape.pooled:
        return conv_bilstm.Model(
            CLASSES, BANDS, 0, *blocks, shape.hidden, shape.dropout, dtype=dtype, rngs=rngs
        )
    return _pooled(shape, dtype, rngs)


def _pooled(shape: Shape, dtype, rngs):
    """Return a network with pooling, made of the layers of our models."""
    import jax.numpy as jnp
    from flax import nnx

    from ser_jax.audio.mel import frame_mask
    from ser_jax.contract import Inputs, Output
    from ser_jax.models import layers, lstm

    class Network(nnx.Module):
        def __init__(self):
            self.blocks, inputs = nnx.List(), 1
            for outputs, kernel, stride in zip(
                shape.channels, shape.kernels, shape.strides, strict=True
            ):
                self.blocks.append(
                    layers.Conv(inputs, outputs, kernel, stride, dtype=dtype, rngs=rngs)
                )
                inputs = outputs
            self.lstm = lstm.BiLSTM(shape.recurrent_inputs, shape.hidden, dtype=dtype, rngs=rngs)
            self.pool = layers.AttentiveStatistics(2 * shape.hidden, ATTENTION, rngs=rngs)
            self.classify = nnx.Linear(4 * shape.hidden, CLASSES, rngs=rngs)

        def __call__(self, inputs: Inputs, rngs: Any = None) -> Output:
            length = inputs.length
            x = jnp.where(
                frame_mask(length, inputs.features.shape[1])[..., None], inputs.features, 0
            )
            x = x[..., None].astype(dtype)
            for number, block in enumerate(self.blocks):
                x, length = block(x, length)
                if number < shape.pooled:
                    x, length = layers.max_pool_2x2(x), length // 2
            x = self.lstm(x.reshape(*x.shape[:2], -1), length)
            embedding = self.pool(x, length)
            logits = self.classify(embedding)
            return Output(logits, embedding, {'audio': logits})

    return Network()
