"""Records of a running training: metrics.jsonl, optional TensorBoard files, a progress line."""

import json
import pathlib
import time
import zlib
from typing import Any

import rich.console
import rich.progress

from ser_jax.contract import writing


class Logbook:
    """Records of a run; only the first process writes.

    Records are dicts with `kind`: 'epoch' (member, epoch, step, train_loss, valid_loss, valid_uar,
    learning_rate) or 'kept' (member, epoch, score). Each is a line of JSON, with a checksum as its
    last key, `crc32`.
    """

    def __init__(self, workdir: pathlib.Path, tensorboard: bool = True, writes: bool = True):
        self.path = pathlib.Path(workdir) / 'metrics.jsonl'
        self._writes, self._shows = writes, writes and tensorboard
        self._board: Any = None  # tensorboardX.SummaryWriter, imported at the first record

    def rewind(self, is_past) -> None:
        """Drop the records for which `is_past` is False: those after the checkpoint resumed from.

        TensorBoard's files are rewritten from the remaining records, because its own purge drops
        steps of all members.
        """
        if not self._writes or not self.path.exists():
            return
        records = [r for r in read(self.path) if is_past(r)]
        fresh = self.path.with_suffix('.writing')
        with writing(fresh):
            fresh.write_text(''.join(map(line, records)))
            fresh.rename(self.path)
        if self._shows:
            self.close()
            for stale in self._folder.glob('events.out.tfevents.*'):
                stale.unlink()
            for record in records:
                self._show(record)

    def write(self, record: dict) -> None:
        """Append one record."""
        if not self._writes:
            return
        with writing(self.path), self.path.open('a') as f:
            f.write(line(record))
        if self._shows:
            self._show(record)

    def _show(self, record: dict) -> None:
        if record['kind'] != 'epoch':
            return
        if self._board is None:
            from tensorboardX import SummaryWriter

            self._board = SummaryWriter(str(self._folder))
        for name in ('train_loss', 'valid_loss', 'valid_uar', 'learning_rate'):
            if record.get(name) is not None:
                self._board.add_scalar(f'{record["member"]}/{name}', record[name], record['step'])

    @property
    def _folder(self) -> pathlib.Path:
        return self.path.with_name('tensorboard')

    def close(self) -> None:
        if self._board:
            self._board.close()
            self._board = None


def line(record: dict) -> str:
    """Return a record as a line of metrics.jsonl, with a checksum of its content last."""
    return json.dumps({**record, 'crc32': _crc32(record)}) + '\n'


def _crc32(record: dict) -> int:
    return zlib.crc32(json.dumps(record).encode())


def read(path: pathlib.Path) -> list[dict]:
    """Return the records of a metrics.jsonl, without checksums; [] if it does not exist.

    Lines that are not JSON, such as a last line cut off by a kill, and lines that do not match
    their checksum are skipped. Lines of earlier versions have none.
    """
    path, records = pathlib.Path(path), []
    for text in path.read_bytes().splitlines() if path.exists() else []:
        try:
            record = json.loads(text)
        except ValueError:
            continue
        stored = record.pop('crc32', None) if isinstance(record, dict) else None
        if stored is None or stored == _crc32(record):
            records.append(record)
    return records


class Progress:
    """Progress line of a training: loss, UAR, utterances per second, time left.

    On a terminal the line is updated in place; elsewhere (a log file, CI) one is printed every
    `every_s` seconds.
    """

    def __init__(
        self, total_steps: int, done_steps: int = 0, shows: bool = True, every_s: float = 30.0
    ):
        self.console = rich.console.Console(highlight=False, soft_wrap=True)
        self._every_s, self._shows, self._utterances = every_s, shows, 0
        self._total, self._first, self._done = total_steps, done_steps, done_steps
        self._began = self._last = time.monotonic()
        self.note = ''  # scores of the last epoch, shown after `words`
        self._bar = None
        if shows and self.console.is_terminal:
            self._bar = rich.progress.Progress(
                rich.progress.TextColumn('{task.description}'),
                rich.progress.BarColumn(),
                rich.progress.TextColumn('{task.percentage:3.0f} %'),
                console=self.console,
            )
            self._task = self._bar.add_task('compiling', total=total_steps, completed=done_steps)
            self._bar.start()

    def advance(self, steps: int, utterances: int, words: str) -> None:
        """Count `steps` more over `utterances`; show `words` with the speed and the time left."""
        self._done, self._utterances = self._done + steps, self._utterances + utterances
        now = time.monotonic()
        passed = max(now - self._began, 1e-9)
        left = (self._total - self._done) * passed / max(self._done - self._first, 1)
        line = (
            f'{words}{self.note} · {self._utterances / passed:,.0f} utterances/s · {_clock(left)} '
            'left'
        )
        if self._bar:
            self._bar.update(self._task, description=line, completed=self._done)
        elif self._shows and now - self._last > self._every_s:
            self._last = now
            self.console.print(f'{100 * self._done / self._total:3.0f} % · {line}')

    def close(self) -> None:
        if self._bar:
            self._bar.stop()


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    return (
        f'{minutes // 60}:{minutes % 60:02d}:{seconds:02d}'
        if minutes >= 60
        else f'{minutes}:{seconds:02d}'
    )
