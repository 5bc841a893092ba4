"""PyTorch's side: twins of the timed networks, a BiLSTM and log-mel; torch is imported lazily.

No other file imports torch. On a GPU everything runs there, with TF32 allowed as in jax, and in
bfloat16 (autocast) on request.
"""

import contextlib
import itertools
import logging
import warnings
from collections.abc import Callable, Sequence

import numpy as np
from networks import ATTENTION, BANDS, CLASSES, Shape

LAYOUTS = ('default', 'channels_last')


def device() -> str:
    """Return the device PyTorch computes on."""
    import torch

    torch.set_float32_matmul_precision('high')  # as jax computes on a GPU; without effect on a CPU
    return 'cuda' if torch.cuda.is_available() else 'cpu'


def finish() -> None:
    """Wait until PyTorch's device is idle."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def network(shape: Shape):
    """Return the twin of a shape, an nn.Module: [B 1 F M] -> logits [B C]."""
    import torch
    from torch import nn

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            blocks, inputs = [], 1
            for number, (outputs, kernel, stride) in enumerate(
                zip(shape.channels, shape.kernels, shape.strides, strict=True)
            ):
                blocks += [
                    nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
                    nn.BatchNorm2d(outputs),
                    nn.ReLU(),
                ]
                blocks += [nn.MaxPool2d(2)] if number < shape.pooled else []
                inputs = outputs
            self.blocks = nn.Sequential(*blocks)
            self.lstm = nn.LSTM(
                shape.recurrent_inputs, shape.hidden, batch_first=True, bidirectional=True
            )
            self.project, self.score = (
                nn.Linear(2 * shape.hidden, ATTENTION),
                nn.Linear(ATTENTION, 1, bias=False),
            )
            self.classify, self.dropout = (
                nn.Linear(4 * shape.hidden, CLASSES),
                nn.Dropout(shape.dropout),
            )

        def forward(self, x):
            x = self.blocks(x).permute(0, 2, 3, 1).flatten(2)
            x, _ = self.lstm(self.dropout(x))
            weight = torch.softmax(self.score(torch.tanh(self.project(x))), 1)
            mean = (weight * x).sum(1)
            deviation = ((weight * (x - mean[:, None]) ** 2).sum(1) + 1e-5).sqrt()
            return self.classify(self.dropout(torch.cat([mean, deviation], -1)))

    torch.manual_seed(0)
    return Network().to(device())


def trainer(
    shape: Shape, batch: int, layout: str = 'default', compiled: str = '', bfloat16: bool = False
) -> Callable[[int], None]:
    """Return a function steps -> None that trains a fresh twin on a batch that is ready.

    A step has AdamW, clipping and label smoothing.
    """
    import torch
    from torch import nn

    target = device()
    net, x = network(shape), torch.randn(batch, 1, shape.frames, BANDS, device=target)
    y = torch.arange(batch, device=target) % CLASSES
    if layout == 'channels_last':
        net, x = (
            net.to(memory_format=torch.channels_last),
            x.contiguous(memory_format=torch.channels_last),
        )
    forward = torch.compile(net, mode=compiled) if compiled else net
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3, weight_decay=1e-2, fused=target == 'cuda')
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.1)

    def run(steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(target, torch.bfloat16) if bfloat16 else contextlib.nullcontext():
                loss = loss_of(forward(x), y)
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
        finish()

    run.network = net
    return run


def trainers(
    shape: Shape, batch: int, bfloat16: bool = False, compiled: bool = True
) -> dict[str, Callable[[int], None]]:
    """Return the trainers of a twin, by name: both memory layouts, eager and if asked compiled.

    On a GPU also with CUDA graphs: single steps are too short there to launch their operations one
    by one.
    """
    words = 'PyTorch bf16' if bfloat16 else 'PyTorch'
    modes = {'': '', 'compiled, ': 'default', 'compiled, CUDA graphs, ': 'reduce-overhead'}
    names = list(modes)[: 1 if not compiled else 3 if device() == 'cuda' else 2]
    return {
        f'{words}, {name}{layout}': trainer(shape, batch, layout, modes[name], bfloat16)
        for name, layout in itertools.product(names, LAYOUTS)
    }


def scorer(net, batch: int, frames: int) -> Callable[[], None]:
    """Return a function that scores one batch of windows of `frames` that is ready."""
    import torch

    x = torch.randn(batch, 1, frames, BANDS, device=device())

    def run() -> None:
        training = net.training
        net.eval()
        with torch.inference_mode():
            net(x)
        net.train(training)

    return run


def bilstm(
    batch: int, frames: int, inputs: int, hidden: int, bfloat16: bool = False
) -> Callable[[], None]:
    """Return forward and backward of a bidirectional nn.LSTM; cuDNN's on a GPU."""
    import torch
    from torch import nn

    target = device()
    lstm = nn.LSTM(inputs, hidden, batch_first=True, bidirectional=True).to(target)
    x = torch.randn(batch, frames, inputs, device=target, requires_grad=True)
    cotangent = torch.randn(batch, frames, 2 * hidden, device=target)

    def run() -> None:
        lstm.zero_grad(set_to_none=True)
        x.grad = None
        with torch.autocast(target, torch.bfloat16) if bfloat16 else contextlib.nullcontext():
            out, _ = lstm(x)
        (out * cotangent).sum().backward()
        finish()

    return run


def on_device(values: np.ndarray):
    """Return an array on the device PyTorch computes on."""
    import torch

    return torch.as_tensor(values).to(device())


def log_mel(samples):
    """Return our log-mel in PyTorch: [B T] at 16 kHz -> [B 1 + T // hop, bands]."""
    import torch

    from ser_jax.audio import mel
    from ser_jax.audio.features import LOG_MEL as of

    size = round(of.window_s * of.rate_hz)
    if samples.device not in _CONSTANTS:
        bank = mel.mel_bank(of.rate_hz, of.fft, of.bands, of.low_hz, of.high_hz)
        _CONSTANTS[samples.device] = (on_device(mel.hann(size)), on_device(bank))
    window, bank = _CONSTANTS[samples.device]
    spectrum = torch.stft(
        samples, of.fft, of.hop, size, window, center=True, pad_mode='constant', return_complex=True
    ).transpose(1, 2)
    power = torch.view_as_real(spectrum).square().sum(-1)
    return 10 * torch.log10(torch.clamp(power @ bank, min=of.floor))


_CONSTANTS: dict = {}


def log_mels(recordings: Sequence[np.ndarray], batch: int) -> list[np.ndarray]:
    """Return log-mel of recordings of any lengths, in their order.

    Batches are sorted by length and padded to their longest recording.
    """
    import torch

    from ser_jax.audio.features import LOG_MEL

    order = sorted(range(len(recordings)), key=lambda i: len(recordings[i]))
    out: list = [None] * len(recordings)
    with torch.inference_mode():
        for at in range(0, len(order), batch):
            chosen = order[at : at + batch]
            padded = np.zeros((len(chosen), len(recordings[chosen[-1]])), np.float32)
            for row, i in enumerate(chosen):
                padded[row, : len(recordings[i])] = recordings[i]
            frames = log_mel(on_device(padded)).cpu().numpy()
            for row, i in enumerate(chosen):
                out[i] = frames[row, : 1 + len(recordings[i]) // LOG_MEL.hop]
    return out


def answers(net, features: np.ndarray) -> np.ndarray:
    """Return probabilities [B C] of a twin for log-mel [B F M]."""
    import torch

    with torch.inference_mode():
        return torch.softmax(net(on_device(features)[:, None]), -1).cpu().numpy()


def onnx_session(net, path: str, batch: int, frames: int):
    """Return an ONNX Runtime session of a twin; its input 'x' is log-mel [batch, 1, frames, M]."""
    import onnxruntime
    import torch

    net, example = net.to('cpu').eval(), torch.zeros(batch, 1, frames, BANDS)
    logging.getLogger('torch.onnx').setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # the exporter warns about its own code
        torch.onnx.export(
            net, (example,), path, input_names=['x'], output_names=['y'], verbose=False
        )
    providers = [p for p in onnxruntime.get_available_providers() if p.startswith(('CUDA', 'CPU'))]
    return onnxruntime.InferenceSession(path, providers=providers)


def whisper(name: str, mel: np.ndarray) -> Callable[[], None]:
    """Return transformers' encoder with random weights, applied to log-mel [B F bands]."""
    import torch
    import transformers
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    from ser_jax.models.encoders.transformer import HEAD
    from ser_jax.models.encoders.whisper import SIZES

    size = SIZES[name]
    config = transformers.WhisperConfig(
        d_model=size.width,
        encoder_layers=size.layers,
        encoder_attention_heads=size.width // HEAD,
        encoder_ffn_dim=4 * size.width,
        num_mel_bins=size.bands,
        max_source_positions=mel.shape[1] // 2,
    )
    net, x = WhisperEncoder(config).eval().to(device()), on_device(mel).transpose(1, 2).contiguous()

    def run() -> None:
        with torch.inference_mode():
            net(x, output_hidden_states=True)
        finish()

    return run
