"""The log of a resumed run is the log of one that never stopped."""

import errno
import json
import os
import pathlib
import struct

import pytest

from ser_jax.contract import InputError
from ser_jax.runs.logbook import Logbook, Progress, read


def record(member, epoch, **more):
    return {
        'kind': 'epoch',
        'member': member,
        'epoch': epoch,
        'step': epoch * 10,
        'train_loss': 1.0,
        'valid_loss': None,
        'valid_uar': None,
        'learning_rate': 0.1,
        **more,
    }


def test_rewind_drops_what_came_later_and_a_line_cut_by_a_kill(tmp_path):
    book = Logbook(tmp_path, tensorboard=False)
    for epoch in (1, 2, 3):
        book.write(record('a', epoch))
    with (tmp_path / 'metrics.jsonl').open('a') as f:
        f.write('{"kind": "epoch", "mem')
    book.rewind(lambda r: r['epoch'] <= 2)
    book.write(record('a', 3))
    assert [r['epoch'] for r in read(tmp_path / 'metrics.jsonl')] == [1, 2, 3]


def test_tensorboard_gets_events(tmp_path):
    book = Logbook(tmp_path)
    book.write(record('a', 1))
    book.close()
    assert any(p.stat().st_size > 50 for p in (tmp_path / 'tensorboard').iterdir())


def test_only_the_first_process_writes(tmp_path):
    Logbook(tmp_path, writes=False).write(record('a', 1))
    assert not list(tmp_path.iterdir())


def test_progress_without_a_terminal_prints_lines_of_their_own(capsys):
    progress = Progress(10, every_s=0.0)
    progress.note = ' · loss 1.000'
    for _ in range(10):
        progress.advance(1, 32, 'fold0')
    progress.close()
    lines = capsys.readouterr().out.strip().splitlines()
    assert (
        len(lines) == 10
        and lines[-1].startswith('100 %')
        and 'loss 1.000' in lines[-1]
        and 'utterances/s' in lines[-1]
    )


def test_records_are_json_lines(tmp_path):
    Logbook(tmp_path, tensorboard=False).write(record('a', 1, extra='é'))
    *fields, checksum = json.loads((tmp_path / 'metrics.jsonl').read_text()).items()
    assert dict(fields) == record('a', 1, extra='é') and checksum[0] == 'crc32'


def shown(workdir) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard reads: tag -> (step, value) of all event files."""
    from tensorboardX.proto import event_pb2

    values = {}
    for path in sorted((workdir / 'tensorboard').glob('events.out.tfevents.*')):
        content, at = path.read_bytes(), 0
        while at < len(content):
            (length,) = struct.unpack('<Q', content[at : at + 8])
            event = event_pb2.Event.FromString(content[at + 12 : at + 12 + length])
            at += 16 + length
            for value in event.summary.value:
                values.setdefault(value.tag, []).append((event.step, value.simple_value))
    return values


def test_tensorboard_is_rewound_with_the_records(tmp_path):
    """Epochs after the checkpoint are shown once, as resumed; other members are unchanged."""
    book = Logbook(tmp_path)
    for member, epochs in (('a', 3), ('b', 2)):
        for epoch in range(1, epochs + 1):
            book.write(record(member, epoch, learning_rate=1.0))
    book.close()
    again = Logbook(tmp_path)
    again.rewind(lambda r: r['member'] == 'a' or r['epoch'] <= 1)
    again.write(record('b', 2, learning_rate=2.0))
    again.close()
    rates = {
        tag: values for tag, values in shown(tmp_path).items() if tag.endswith('learning_rate')
    }
    assert rates == {
        'a/learning_rate': [(10, 1.0), (20, 1.0), (30, 1.0)],
        'b/learning_rate': [(10, 1.0), (20, 2.0)],
    }


@pytest.mark.parametrize(
    'code, advice', [(errno.ENOSPC, 'make room'), (errno.EROFS, 'permissions')]
)
def test_a_record_that_cannot_be_written_has_its_cause(tmp_path, monkeypatch, code, advice):
    def refuse(*_, **__):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(pathlib.Path, 'open', refuse)
    with pytest.raises(InputError, match=rf'metrics\.jsonl cannot be written .*{advice}'):
        Logbook(tmp_path, tensorboard=False).write(record('a', 1))


def test_any_changed_bit_is_noticed_or_harmless(tmp_path):
    """The record is left out, or has what was written."""
    book, written = Logbook(tmp_path, tensorboard=False), record('a', 2, train_loss=0.125)
    book.write(written)
    content = book.path.read_bytes()
    for at in range(8 * len(content)):
        changed = bytearray(content)
        changed[at // 8] ^= 1 << at % 8
        book.path.write_bytes(changed)
        for found in read(book.path):
            assert {k: found.get(k) for k in written} == written, at


def test_records_of_earlier_versions_have_no_checksum(tmp_path):
    (tmp_path / 'metrics.jsonl').write_text(json.dumps(record('a', 1)) + '\n')
    assert read(tmp_path / 'metrics.jsonl') == [record('a', 1)]
