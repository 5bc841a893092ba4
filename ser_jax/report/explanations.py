"""Page of explanations: attributions over spectrograms, audio, words, and the sanity check."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.ndimage
import soundfile
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure

from ser_jax.audio import features, front_ends
from ser_jax.audio.mel import mel_bank
from ser_jax.contract import CorpusInfo
from ser_jax.report import html
from ser_jax.report.axes import BLUE, DOUBLE, INK, LINE, MUTED, ORANGE, dress
from ser_jax.scoring import agreement
from ser_jax.scoring.agreement import Agreement

_RATE_HZ = features.RATE_HZ
_TICKS_HZ = (250, 500, 1000, 2000, 4000, 8000)
_GREYS = LinearSegmentedColormap.from_list('greys', ['#ffffff', '#9aa4ad', '#3b444c'])
_STRONGEST = 0.995  # quantile of the attributions' magnitude that is opaque
_BLUR = (2.0, 1.0)  # frames, bands: deviation of the smoothing of integrated gradients, drawn only
_MOMENTS = 3  # listed


class Explanation(NamedTuple):
    """One explained answer.

    Attributes:
      place: corpus/id.
      probabilities: by class, mean over `members`.
      members: those that test the utterance.
      picture: spectrogram [F, M]; None if there is none to draw.
      hop_s: time between frames of the attributions.
      gradients: integrated gradients [F, M]; None without a spectrogram as input.
      patches: drop of the log-probability without each patch, [columns, rows]; None as above.
      moments: drop without each moment [columns].
      columns: bounds of the columns in frames, [columns + 1].
      words: words of the text with the drop without each, in order.
      samples: float32 [T] at 16 kHz; None if they are not built.
      remark: about the samples, '' if there is nothing to remark.
      change: log-probability minus that of the baseline; nan without gradients.
      agreement: rank correlations with other explanations.
    """

    place: str
    speaker: str
    truth: str
    answer: str
    probabilities: dict[str, float]
    members: list[str]
    picture: np.ndarray | None
    hop_s: float
    gradients: np.ndarray | None
    patches: np.ndarray | None
    moments: np.ndarray
    columns: np.ndarray
    words: list[tuple[str, float]]
    samples: np.ndarray | None
    remark: str
    change: float
    agreement: Agreement

    @property
    def ranked(self) -> list[tuple[str, float]]:
        """Classes and probabilities, most probable first."""
        return sorted(self.probabilities.items(), key=lambda item: -item[1])

    @property
    def top_words(self) -> list[tuple[str, float]]:
        """Words and drops, the largest drop first."""
        return sorted(self.words, key=lambda item: -item[1])

    @property
    def top_moments(self) -> list[tuple[float, float, float]]:
        """Start and end in seconds and drop of the strongest moments that support the answer."""
        order = np.argsort(-self.moments, kind='stable')[:_MOMENTS]
        seconds = self.columns * self.hop_s
        found = [(seconds[i], seconds[i + 1], float(self.moments[i])) for i in order]
        return [m for m in found if m[2] > 0]


class Section(NamedTuple):
    """Explanations of one run; `corpora` are those of the explained utterances."""

    number: int
    run: str
    config: str
    protocol: str
    front_end: str
    pictures: bool
    modality: str
    corpora: Sequence[CorpusInfo]
    explanations: Sequence[Explanation]
    agreement: Agreement

    @property
    def verdict(self) -> tuple[bool, str]:
        """Result of the sanity check, see `scoring.agreement.verdict`."""
        return agreement.verdict(self.agreement)


def write(path: Path, sections: Sequence[Section], seed: int, steps: int) -> None:
    """Write the page, one self-contained file.

    Args:
      path: usually `explanations.html`; its folder must exist.
      sections: one per run.
      seed: of the choice of utterances and of the random weights.
      steps: points on the path of integrated gradients.
    """
    recorded: dict[str, CorpusInfo] = {}
    for section in sections:
        if any(e.samples is not None for e in section.explanations):
            recorded |= {c.name: c for c in section.corpora if c.research_only or c.licence}
    rendered = html.template('explanations.html.jinja').render(
        sections=[_rendered(s) for s in sections],
        licences=list(recorded.values()),
        seed=seed,
        steps=steps,
    )
    Path(path).write_text(rendered, encoding='utf-8')


def _rendered(section: Section) -> dict[str, Any]:
    """Return the template variables of a run."""
    parts = []
    for i, e in enumerate(section.explanations):
        anchor = f'run-{section.number}-{i}'
        drawn = figure(e, section.front_end)
        label = f'Attributions of the answer {e.answer} for {e.place}'
        sound = '' if e.samples is None else audio_uri(e.samples)
        parts.append((e, anchor, html.svg(drawn, anchor, label), sound))
    return {'section': section, 'name': Path(section.run).name, 'parts': parts}


def audio_uri(samples: np.ndarray) -> Markup:
    """Return samples [T] at 16 kHz as a data URI of a FLAC file."""
    sink = io.BytesIO()
    soundfile.write(sink, np.clip(samples, -1, 1), _RATE_HZ, format='FLAC', subtype='PCM_16')
    return Markup('data:audio/flac;base64,' + base64.b64encode(sink.getvalue()).decode())


def figure(e: Explanation, front_end: str) -> Figure:
    """Plot both attributions over the spectrogram, and the moments below."""
    panels = 2 if e.gradients is not None else int(e.picture is not None)
    drawn = Figure(figsize=(DOUBLE, 1.5 * panels + 1.5), dpi=120, layout='constrained')
    ratios = [1.25] * panels + [1]
    axes = drawn.subplots(panels + 1, 1, sharex=True, squeeze=False, height_ratios=ratios)[:, 0]
    seconds = float(e.columns[-1] * e.hop_s)
    if e.gradients is not None and e.patches is not None:
        smooth = scipy.ndimage.gaussian_filter(e.gradients, _BLUR)
        _over(axes[0], e, smooth, seconds, 'integrated gradients, smoothed')
        patches = np.repeat(e.patches, np.diff(e.columns), axis=0)
        _over(axes[1], e, patches, seconds, 'occlusion of patches')
        for panel in axes[:2]:
            _frequencies(panel, front_end, e.gradients.shape[1])
    elif panels:
        _over(axes[0], e, None, seconds, 'log-mel of the recording')
        _frequencies(axes[0], features.LOG_MEL.name, features.LOG_MEL.bands)
    _curve(axes[-1], e)
    axes[-1].set_xlim(0, seconds)
    axes[-1].set_xlabel('time (s)')
    return drawn


def _over(
    axes: Axes, e: Explanation, values: np.ndarray | None, seconds: float, title: str
) -> None:
    """Draw the spectrogram in grey and attributions over it, in color by their sign."""
    dress(axes, title)
    assert e.picture is not None
    low, high = np.quantile(e.picture, [0.05, 0.999])
    bands = e.picture.shape[1]
    place: dict[str, Any] = {'aspect': 'auto', 'origin': 'lower', 'extent': (0, seconds, 0, bands)}
    axes.imshow(e.picture.T, cmap=_GREYS, vmin=low, vmax=high, **place)
    if values is None:
        return
    strongest = float(np.quantile(abs(values), _STRONGEST)) or 1.0
    strength = np.clip(abs(values) / strongest, 0, 1)
    layer = np.zeros((*values.shape, 4))
    layer[..., :3] = np.where(values[..., None] > 0, to_rgb(ORANGE), to_rgb(BLUE))
    layer[..., 3] = 0.85 * strength
    if values.shape[1] != bands:
        bounds = np.round(np.linspace(0, bands, values.shape[1] + 1)).astype(int)
        layer = np.repeat(layer, np.diff(bounds), axis=1)
    axes.imshow(layer.transpose(1, 0, 2), interpolation='nearest', **place)


def _frequencies(axes: Axes, front_end: str, bands: int) -> None:
    """Label the axis of bands with frequencies, or with numbers if these are not known."""
    centers = band_centers_hz(front_end)
    axes.set_ylim(0, bands)
    if centers is None:
        axes.set_ylabel('band')
        return
    ticks = [t for t in _TICKS_HZ if centers[0] <= t <= centers[-1]]
    at = np.interp(ticks, centers, np.arange(bands) + 0.5)
    axes.set_yticks(at, [f'{t / 1000:g}' for t in ticks])
    axes.set_ylabel('kHz')


def band_centers_hz(front_end: str) -> np.ndarray | None:
    """Return the mean frequency of each band of a front end of mel bands [M], None for others."""
    front: Any = front_ends.by_name(front_end)
    bands, rate_hz = front.layout.bands, front.rate_hz
    if bands < 2 or getattr(front, 'published', False) or not getattr(front, 'bands', 0):
        return None
    fft = getattr(front, 'fft', 0) or front.window
    low_hz, high_hz = getattr(front, 'low_hz', 0.0), getattr(front, 'high_hz', rate_hz / 2)
    bank = mel_bank(rate_hz, fft, bands, low_hz, high_hz)
    total = np.maximum(bank.sum(0), 1e-12)
    return (bank * np.fft.rfftfreq(fft, 1 / rate_hz)[:, None]).sum(0) / total


def _curve(axes: Axes, e: Explanation) -> None:
    """Draw the moments: steps of occlusion and, beside them, the sums of integrated gradients."""
    dress(axes, 'moments: drop of the log-probability without each')
    bounds = e.columns * e.hop_s
    axes.axhline(0, color=MUTED, linewidth=0.8)
    axes.stairs(e.moments, bounds, color=ORANGE, linewidth=1.6, label='occlusion')
    if e.gradients is not None:
        sums = np.add.reduceat(e.gradients.sum(1), e.columns[:-1])
        axes.stairs(
            sums, bounds, color=INK, linewidth=1.1, linestyle='--', label='integrated gradients'
        )
    axes.grid(axis='y', color=LINE, linewidth=0.5)
    axes.legend(frameon=False, fontsize=7, ncols=2)
