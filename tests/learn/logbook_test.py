"""The log of a resumed run is the log of one that never stopped."""

import json

from ser_jax.learn.logbook import Logbook, Progress, read


def record(member, epoch, **more):
    return {'kind': 'epoch', 'member': member, 'epoch': epoch, 'step': epoch * 10, 'train_loss': 1.0, 'valid_loss': None,
            'valid_uar': None, 'learning_rate': 0.1, **more}  # fmt: skip


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
        len(lines) == 10 and lines[-1].startswith('100 %') and 'loss 1.000' in lines[-1] and 'utterances/s' in lines[-1]
    )


def test_records_are_json_lines(tmp_path):
    Logbook(tmp_path, tensorboard=False).write(record('a', 1, extra='é'))
    assert json.loads((tmp_path / 'metrics.jsonl').read_text()) == record('a', 1, extra='é')
