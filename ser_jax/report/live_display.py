"""Display of live predictions: a panel on a terminal, plain lines elsewhere."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import rich.console
import rich.live
import rich.table
import rich.text

from ser_jax.audio.transcription import Transcript
from ser_jax.contract import Window
from ser_jax.report.answers import NOT_A_VOICE, UNKNOWN, described, printable

_BAR = 30  # characters
_QUIETEST_DB = -60.0
_TRANSCRIPTS = 4  # shown in the panel


class State(NamedTuple):
    """State after a window."""

    window: Window
    smoothed: np.ndarray | None  # [C]; None without a voice
    latency_s: float
    factor: float  # computing time per time of the signal
    peak: float  # of the newest samples


class Display(Protocol):
    """Receiver of live states, transcripts and notes."""

    def state(self, state: State) -> None: ...

    def transcript(self, transcript: Transcript) -> None: ...

    def note(self, text: str) -> None: ...

    def close(self) -> None: ...


class Lines:
    """A line for each window, transcript and note."""

    def __init__(self, console: rich.console.Console, emotions: Sequence[str]):
        self._console, self._emotions = console, emotions

    def state(self, state: State) -> None:
        """Print a window."""
        window = state.window
        text = f'{state.window.end_s:7.1f} s  {_verdict(state, self._emotions)}'
        if not window.problem:
            text += f'  ({1000 * state.latency_s:.0f} ms)'
        self._print(text)

    def transcript(self, transcript: Transcript) -> None:
        """Print a transcript."""
        self._print(f'           {transcript.described()}')

    def note(self, text: str) -> None:
        """Print a note."""
        self._print(text)

    def close(self) -> None:
        """Do nothing: every line is complete."""

    def _print(self, text: str) -> None:
        self._console.print(printable(text), markup=False)
        self._console.file.flush()


class Panel:
    """A panel that is drawn again: bars by emotion, level, transcripts, latency."""

    def __init__(self, live: rich.live.Live, emotions: Sequence[str]):
        self._live, self._emotions = live, emotions
        self._state: State | None = None
        self._said: list[str] = []
        self._note = ''

    def state(self, state: State) -> None:
        """Draw a window."""
        self._state = state
        self._draw()

    def transcript(self, transcript: Transcript) -> None:
        """Add a transcript."""
        if transcript.text:
            self._said = [*self._said, transcript.described()][-_TRANSCRIPTS:]
        self._draw()

    def note(self, text: str) -> None:
        """Replace the note."""
        self._note = text
        self._draw()

    def close(self) -> None:
        """Leave the last state on the screen."""
        self._live.stop()

    def _draw(self) -> None:
        self._live.update(self.drawn(), refresh=True)

    def drawn(self) -> rich.console.Group:
        """Return the panel."""
        parts: list[rich.console.RenderableType] = []
        if state := self._state:
            table = rich.table.Table.grid(padding=(0, 1))
            values = state.smoothed if state.smoothed is not None else np.zeros(len(self._emotions))
            for emotion, value in zip(self._emotions, values, strict=True):
                full = round(_BAR * float(value))
                bar = rich.text.Text('█' * full + '░' * (_BAR - full), style='cyan')
                table.add_row(emotion, bar, f'{100 * float(value):3.0f} %')
            level = 20 * np.log10(max(state.peak, 1e-6))
            reach = round(_BAR * min(1.0, max(0.0, 1 - level / _QUIETEST_DB)))
            meter = rich.text.Text('█' * reach + '░' * (_BAR - reach), style='green')
            table.add_row('level', meter, f'{level:3.0f} dB')
            facts = (
                f'{state.window.end_s:.1f} s   latency {1000 * state.latency_s:.0f} ms   '
                f'real-time factor {state.factor:.3f}'
            )
            parts += [rich.text.Text(_verdict(state, self._emotions), style='bold'), table]
            parts.append(rich.text.Text(facts, style='dim'))
        parts += [rich.text.Text(printable(line)) for line in self._said]
        parts.append(rich.text.Text(printable(self._note), style='dim'))
        return rich.console.Group(*parts)


def _verdict(state: State, emotions: Sequence[str]) -> str:
    """Return the answer at a window in words."""
    if state.window.problem:
        return state.window.problem
    if state.window.voice == UNKNOWN or state.smoothed is None:
        return NOT_A_VOICE
    return described(state.smoothed, emotions, state.window.voice)


@contextlib.contextmanager
def display_for(console: rich.console.Console, emotions: Sequence[str]) -> Iterator[Display]:
    """Open the display that fits a console: a panel on a terminal, else lines."""
    if not console.is_terminal:
        yield Lines(console, emotions)
        return
    with rich.live.Live(console=console, auto_refresh=False) as live:
        yield Panel(live, emotions)
