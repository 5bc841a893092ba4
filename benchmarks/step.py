"""Training utterances a second: our conv+BiLSTM step against the same network in PyTorch, from one run.

    pip install -e .[bench]
    python benchmarks/step.py [--batch=32] [--frames=301] [--steps=20] [--rounds=5]

Both train the network of configs/conv_bilstm.py with AdamW, gradient clipping and dropout on random log-mel of full
length. Ours is the step that `main` runs, cutting windows, normalizing and augmenting included; PyTorch's is the bare
network on a batch that is ready, in its two memory layouts. Rounds alternate; medians are printed, and ratios to the
better of PyTorch's two. Page faults of freed buffers take a third of the time on both sides if glibc is left to give
them back, so both run with large malloc thresholds.
"""

import argparse
import json
import pathlib
import statistics
import sys
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # configs/ is no package


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    for name, default in (('batch', 32), ('frames', 301), ('steps', 20), ('rounds', 5)):
        parser.add_argument(f'--{name}', type=int, default=default)
    args = parser.parse_args()
    from ser_jax import door, environment

    door.prepare_jax()
    variants = {'ser_jax': ours(args.batch, args.frames)}
    for layout in ('default', 'channels_last'):
        variants[f'PyTorch, {layout}'] = peer(args.batch, args.frames, layout)
    times: dict[str, list[float]] = {name: [] for name in variants}
    for step in variants.values():
        step(3)  # compile and warm up
    for _ in range(args.rounds):
        for name, step in variants.items():
            began = time.perf_counter()
            step(args.steps)
            times[name].append((time.perf_counter() - began) / args.steps)
    median = {name: statistics.median(t) for name, t in times.items()}
    best = min(t for name, t in median.items() if name != 'ser_jax')
    import jax
    import torch

    print(
        f'{environment.machine()}; jax {jax.__version__}, torch {torch.__version__}, {torch.get_num_threads()} threads; '
        f'batch {args.batch} x {args.frames} frames; median of {args.rounds} rounds of {args.steps} steps'
    )
    for name, t in median.items():
        print(f'{name:24s} {1000 * t:7.1f} ms/step {args.batch / t:7.0f} utterances/s   {best / t:.2f} x best PyTorch')
    print(
        json.dumps(
            {
                'ms_per_step': {n: round(1000 * t, 2) for n, t in median.items()},
                'ratio': round(best / median['ser_jax'], 3),
            }
        )
    )


def ours(batch: int, frames: int):
    """steps -> runs that many of our training steps."""
    import jax
    import jax.numpy as jnp

    from configs.conv_bilstm import get_config
    from ser_jax import assemble
    from ser_jax.audio.features import LOG_MEL
    from ser_jax.learn.inputs import Own, Row, Shared

    config = get_config()
    config.train.window_s = (frames - 1) * LOG_MEL.hop_s
    learner = assemble.build_learner(config, 8, 0, 1000)
    random, n, length = np.random.default_rng(0), 64, 2 * frames
    zeros = np.zeros(n, np.int32)
    flat = random.standard_normal((n * length + learner.inputs.span, LOG_MEL.bands)).astype(np.float16)
    shared = Shared(
        flat,
        np.arange(n, dtype=np.int32) * length,
        zeros + length,
        np.arange(n, dtype=np.int32) % 8,
        zeros,
        zeros,
        zeros,
        zeros,
        np.ones((1, 8), bool),
    )
    own = Own(
        jax.random.key(0),
        np.zeros(64, np.float32),
        np.ones(64, np.float32),
        np.ones(8, np.float32),
        np.zeros((n, 1), np.int32),
    )
    shared, own = jax.device_put(shared), jax.device_put(own)
    update = jax.jit(learner.update, donate_argnums=0)
    state = jax.jit(learner.init)(jax.random.key(0))

    def run(steps: int) -> None:
        nonlocal state
        for _ in range(steps):
            row = Row(
                random.integers(0, n, batch, np.int32),
                random.integers(0, frames // 2, batch, np.int32),
                jnp.ones(batch),
            )
            state = update(state, own, shared, row)
        jax.block_until_ready(state.step)

    return run


def peer(batch: int, frames: int, layout: str):
    """steps -> runs that many PyTorch steps of the same network."""
    import torch
    from torch import nn

    from configs.conv_bilstm import get_config

    m = get_config().model

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            blocks, inputs, bands = [], 1, 64
            for outputs, kernel, stride in zip(m.channels, m.kernels, m.strides, strict=True):
                blocks += [
                    nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
                    nn.BatchNorm2d(outputs),
                    nn.ReLU(),
                ]
                inputs, bands = outputs, -(-bands // stride[1])
            self.blocks = nn.Sequential(*blocks)
            self.lstm = nn.LSTM(inputs * bands, m.hidden, batch_first=True, bidirectional=True)
            self.project, self.score = nn.Linear(2 * m.hidden, 64), nn.Linear(64, 1, bias=False)
            self.classify, self.dropout = nn.Linear(4 * m.hidden, 8), nn.Dropout(m.dropout)

        def forward(self, x):
            x = self.blocks(x).permute(0, 2, 3, 1).flatten(2)
            x, _ = self.lstm(self.dropout(x))
            weight = torch.softmax(self.score(torch.tanh(self.project(x))), 1)
            mean = (weight * x).sum(1)
            deviation = ((weight * (x - mean[:, None]) ** 2).sum(1) + 1e-5).sqrt()
            return self.classify(self.dropout(torch.cat([mean, deviation], -1)))

    torch.manual_seed(0)
    network = Network()
    x, y = torch.randn(batch, 1, frames, 64), torch.arange(batch) % 8
    if layout == 'channels_last':
        network, x = network.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=1e-2)
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.1)

    def run(steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            loss_of(network(x), y).backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()

    return run


if __name__ == '__main__':
    main()
