"""The scripts of launch/, with stand-ins for the programs of a cluster and with real processes."""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import yaml

from ser_jax import distributed
from ser_jax.config import base
from ser_jax.runs import logbook
from tests.train_test import assert_bitwise, command, kept, run

ROOT = pathlib.Path(__file__).parents[1]
LAUNCH = ROOT / 'launch'
FLAGS = ['--config=configs/fusion.py', '--workdir=runs/a b', "--config.members.seeds=(0,'1')"]
# SGD: parameters differ by as much as gradients do.
SGD = (
    '--config.optim.name=sgd',
    '--config.optim.learning_rate=0.05',
    '--config.optim.weight_decay=0',
    '--config.members.only=0,',
)

# A stand-in for srun: drops its own options, runs the rest once per task with the variables of
# SLURM, and ends with the highest exit code, or with that of SIGTERM if it had to kill the others.
SRUN = """#!/usr/bin/env bash
tasks=1
while [[ $1 == --* ]]; do
  case $1 in --ntasks=*) tasks=${1#*=};; --kill-on-bad-exit*) kills=143;; esac
  shift
done
export SLURM_NTASKS=$tasks SLURM_LOCALID=0 SLURM_STEP_NODELIST=${SLURM_JOB_NODELIST:-}
for ((i = 0; i < tasks; i++)); do SLURM_PROCID=$i "$@" & pids[i]=$!; done
code=0
for pid in "${pids[@]}"; do
  own=0
  wait "$pid" || own=${kills:-$?}
  code=$((own > code ? own : code))
done
exit $code
"""
SCONTROL = """#!/usr/bin/env bash
if [[ $1 == show ]]; then printf '127.0.0.1\\nnode2\\n'; else echo "$@" >> "$RECORDS/scontrol"; fi
"""
# A stand-in for Python: records its arguments and ends with the code that CODE gives.
PYTHON = f"""#!{sys.executable}
import json, os, sys, uuid
if sys.argv[1] == '-c':
    print(4321)
else:
    with open(f"{{os.environ['RECORDS']}}/{{uuid.uuid4()}}.json", 'w') as f:
        json.dump(sys.argv[1:], f)
    codes = os.environ.get('CODE', '0').split(',')  # of all processes, or one for each
    code = int(codes[int(os.environ.get('SLURM_PROCID', 0)) % len(codes)])
    if code < 0:
        os.kill(os.getpid(), -code)
    sys.exit(code)
"""


@pytest.fixture
def cluster(tmp_path):
    """launch(script, *flags, **variables) -> (what ended, the command lines that were started)."""
    bin, records = tmp_path / 'bin', tmp_path / 'records'
    bin.mkdir()
    records.mkdir()
    for name, content in {'srun': SRUN, 'scontrol': SCONTROL, 'python': PYTHON}.items():
        (bin / name).write_text(content)
        (bin / name).chmod(0o755)

    def launch(script, *flags, **variables):
        surroundings = {
            'PATH': f'{bin}:{os.environ["PATH"]}',
            'RECORDS': str(records),
            'PYTHON': str(bin / 'python'),
        }
        env = {**os.environ, **surroundings, **variables}
        done = run(
            [LAUNCH / script, *flags]
            if script.endswith('.sh')
            else ['bash', LAUNCH / script, *flags],
            env=env,
        )
        return done, [json.loads(p.read_text()) for p in records.glob('*.json')]

    launch.records, launch.bin = records, bin
    return launch


def values(line: list[str]) -> dict[str, str]:
    """A command line's flags; it must be the one that everything ends in."""
    assert line[:2] == ['-m', 'ser_jax.main']
    return dict(flag.removeprefix('--').split('=', 1) for flag in line[2:])


def test_local_processes_differ_by_their_number_alone(cluster):
    for extra in ([], ['--']):
        done, lines = cluster('local.sh', '3', *extra, *FLAGS)
        assert done.returncode == 0, done.stderr
        assert sorted(values(line).pop('process_id') for line in lines) == ['0', '1', '2']
        for line in lines:
            assert line[2:5] == FLAGS
            assert (
                values(line)['coordinator'] == '127.0.0.1:4321'
                and values(line)['num_processes'] == '3'
            )
        for path in cluster.records.iterdir():
            path.unlink()


def test_local_says_what_it_expects_and_hands_a_failure_on(cluster):
    done, lines = cluster('local.sh', *FLAGS)
    assert (
        done.returncode == 2
        and 'expected the number of processes first' in done.stderr
        and not lines
    )
    assert cluster('local.sh', '2', *FLAGS, CODE='7')[0].returncode == 7


def test_local_does_not_wait_forever_for_those_that_do_not_notice(cluster):
    (cluster.bin / 'python').write_text(
        PYTHON.replace(
            'sys.exit(', 'import time; "--process_id=1" in sys.argv or time.sleep(60); sys.exit('
        )
    )
    began = time.monotonic()
    done, _ = cluster('local.sh', '2', *FLAGS, CODE='7', PATIENCE_S='1')
    assert done.returncode == 7 and time.monotonic() - began < 30


def test_slurm_gives_every_array_task_its_member_and_folder(cluster):
    config = FLAGS[0]
    done, lines = cluster(
        'slurm_members.sbatch',
        'runs/study',
        config,
        SLURM_ARRAY_TASK_ID='3',
        SLURM_SUBMIT_DIR=str(ROOT),
    )
    assert done.returncode == 0, done.stderr
    expected = {
        'config': 'configs/fusion.py',
        'workdir': 'runs/study/part_3',
        'config.members.only': '3,',
    }
    expected['config.members.at_once'] = (
        '1'  # whatever devices a task has, so that pieces can be merged
    )
    assert [values(line) for line in lines] == [expected]
    for flags, variables, expected in [
        (('runs/study', config), {}, '--array'),
        ((config,), {'SLURM_ARRAY_TASK_ID': '3'}, "the study's folder"),
    ]:
        done, again = cluster('slurm_members.sbatch', *flags, **variables)
        assert done.returncode == 2 and expected in done.stderr and len(again) == 1


NODES = {'SLURM_JOB_ID': '5', 'SLURM_JOB_NUM_NODES': '2', 'SLURM_JOB_NODELIST': '127.0.0.1,node2'}


def test_slurm_nodes_find_the_first_of_them(cluster):
    done, lines = cluster('slurm_nodes.sbatch', *FLAGS, **NODES)
    assert done.returncode == 0, done.stderr
    assert sorted(values(line)['process_id'] for line in lines) == ['0', '1']
    for line in lines:
        assert line[2:5] == FLAGS
        assert (
            values(line)['coordinator'] == '127.0.0.1:61445'
            and values(line)['num_processes'] == '2'
        )
    assert cluster('slurm_nodes.sbatch', FLAGS[0], **NODES)[0].returncode == 2


@pytest.mark.parametrize(
    'codes, restarts, ends, again',
    [
        ('75', 0, 75, True),
        ('134', 9, 75, True),
        ('-9', 0, 75, True),
        ('-15,75', 0, 75, True),
        ('75', 10, 75, False),
        ('2', 0, 102, False),
        ('1,75', 0, 101, False),  # one of them failed by itself
        ('134,1', 0, 101, False),
    ],
)
def test_slurm_queues_again_what_lost_a_node_and_nothing_else(
    cluster, codes, restarts, ends, again
):
    done, _ = cluster(
        'slurm_nodes.sbatch', *FLAGS, **NODES, CODE=codes, SLURM_RESTART_COUNT=str(restarts)
    )
    asked = cluster.records / 'scontrol'
    assert done.returncode == ends and asked.exists() == again
    assert not again or asked.read_text() == 'requeue 5\n'


def test_tpu_hosts_get_the_flags_as_they_were_given(cluster):
    """Through the shell of every host."""
    (cluster.bin / 'gcloud').write_text(
        '#!/usr/bin/env bash\necho "$@" > "$RECORDS/gcloud"\ncd "$RECORDS/.."\nbash -c '
        '"${!##--command=}"\n'
    )
    (cluster.bin / 'gcloud').chmod(0o755)
    host = cluster.records.parent / 'ser_jax' / '.venv' / 'bin'
    host.mkdir(parents=True)
    shutil.copy(cluster.bin / 'python', host)
    done, lines = cluster('tpu_vm.sh', 'pod', 'zone', '--', *FLAGS)
    assert done.returncode == 0, done.stderr
    assert lines == [['-m', 'ser_jax.main', *FLAGS, '--cluster']]
    assert (
        (cluster.records / 'gcloud')
        .read_text()
        .startswith('compute tpus tpu-vm ssh pod --zone=zone --worker=all ')
    )
    assert cluster('tpu_vm.sh', 'pod', *FLAGS)[0].returncode == 2


def test_jobset_is_one_training_over_its_hosts():
    job = yaml.safe_load((LAUNCH / 'jobset.yaml').read_text())
    (hosts,) = job['spec']['replicatedJobs']
    spec = hosts['template']['spec']
    (container,) = spec['template']['spec']['containers']
    line, flags = container['command'], values(container['command'][1:])
    assert (
        line[0] == 'python3'
        and spec['completionMode'] == 'Indexed'
        and job['spec']['network']['enableDNSHostnames']
    )
    assert spec['parallelism'] == spec['completions'] == int(flags['num_processes'])
    name, port = job['metadata']['name'], container['ports'][0]['containerPort']
    assert flags['coordinator'] == f'{name}-{hosts["name"]}-0-0.{name}:{port}'
    assert flags['process_id'] == '$(JOB_COMPLETION_INDEX)'
    assert (ROOT / flags['config']).exists() and 'dir' in base().data
    known = set(re.findall(r"DEFINE_\w+\(\s*'(\w+)'", (ROOT / 'ser_jax' / 'main.py').read_text()))
    assert {f.split('.')[0] for f in flags} <= known
    (rule,) = spec['podFailurePolicy']['rules']
    assert (
        rule['action'] == 'FailJob' and distributed.LOST_CODE not in rule['onExitCodes']['values']
    )
    (mount,), (volume,) = container['volumeMounts'], spec['template']['spec']['volumes']
    assert mount['name'] == volume['name'] and flags['workdir'].startswith(mount['mountPath'] + '/')


@pytest.mark.parametrize('script', [p.name for p in sorted(LAUNCH.glob('*.s*'))])
def test_scripts_pass_shellcheck(script):
    done = run([pathlib.Path(sys.executable).with_name('shellcheck'), LAUNCH / script])
    assert done.returncode == 0, done.stdout


E = b'E1121 14:32:21.984297    5332 coordination_service.cc:1549] the following error:\n'
F = (
    b'F1121 14:32:21.987142    5343 client.h:80] Terminating process because the JAX distributed '
    b'service detected fatal errors.\n'
)
LOST_LINE = f'{distributed.LOST}\n'.encode()


@pytest.mark.parametrize(
    'lines, shown',
    [
        ([b'a warning\n', b'half a line'], b'a warning\nhalf a line'),
        ([b'a warning\n', E, b'1\n', F, b'a stack\n'], b'a warning\n' + LOST_LINE),
        ([E, b'1\n', LOST_LINE, F, b'a stack\n'], LOST_LINE),
        ([LOST_LINE, E, F], LOST_LINE),
        ([E, b'Traceback\n'], E + b'Traceback\n'),  # nobody was lost after all
    ],
)
def test_a_lost_process_is_one_line_and_all_other_lines_are_kept(lines, shown):
    out, rest = [], iter(lines)
    distributed.filter_lines(rest, out.append)
    assert b''.join(out) == shown and not list(rest)


@pytest.mark.parametrize(
    'flags, expected',
    [
        (
            ('--coordinator=127.0.0.1:1', '--num_processes=2', '--process_id=2'),
            'did not find each other with .*_id=2.*',
        ),
        (
            ('--coordinator=node1', '--num_processes=2', '--process_id=0'),
            '--coordinator=node1 has no port.*',
        ),
        (
            ('--num_processes=2', '--process_id=1'),
            '--num_processes and --process_id need --coordinator.*',
        ),
    ],
)
def test_processes_that_cannot_be_numbered_so_are_refused(data_dir, tmp_path, flags, expected):
    done = run(command(data_dir, tmp_path / 'run', *flags))
    assert done.returncode == 2 and not (tmp_path / 'run').exists()
    assert re.fullmatch(rf'error: .*{expected}\n', done.stderr)


def test_a_process_given_a_coordinator_takes_all_devices_of_its_node(monkeypatch):
    """On SLURM too, where JAX would take one."""
    asked = {}
    monkeypatch.setattr('jax.distributed.initialize', lambda **known: asked.update(known))
    monkeypatch.setattr(distributed, '_filter_stderr', lambda: None)
    distributed.initialize('node1:1234', 2, 0)
    assert asked['cluster_detection_method'] == 'deactivate' and 'local_device_ids' not in asked
    asked.clear()
    distributed.initialize()
    assert 'cluster_detection_method' not in asked


@pytest.mark.slow
@pytest.mark.parametrize('script', ['local.sh', 'slurm_nodes.sbatch'])
def test_launched_processes_learn_what_one_learns(cluster, data_dir, tmp_path, script):
    def flags(name: str) -> list[str]:
        return command(data_dir, tmp_path / name, *SGD, '--config.train.epochs=1')[3:]

    one = run([sys.executable, '-m', 'ser_jax.main', *flags('one')])
    assert one.returncode == 0, one.stderr
    first = ['2', '--'] if script == 'local.sh' else []
    job = {
        **NODES,
        'SLURM_JOB_ID': str(os.getpid()),
        'SLURM_SUBMIT_DIR': str(ROOT),
        'PYTHON': sys.executable,
    }
    done, _ = cluster(script, *first, *flags('two'), **job)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / 'two' / 'environment.json').read_text())['processes'] == 2
    a, b = kept(tmp_path / 'one'), kept(tmp_path / 'two')
    assert a.keys() == b.keys() and a
    for name in a:
        np.testing.assert_allclose(a[name], b[name], atol=1e-6, err_msg=name)
    (a, *_), (b, *_) = (logbook.read(tmp_path / n / 'metrics.jsonl') for n in ('one', 'two'))
    assert a['valid_uar'] == b['valid_uar']
    np.testing.assert_allclose(a['train_loss'], b['train_loss'], rtol=1e-5)


def pair(data_dir, workdir) -> list[subprocess.Popen]:
    """Two processes that train together."""
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    flags = (
        *SGD,
        '--config.train.epochs=12',
        f'--coordinator=127.0.0.1:{port}',
        '--num_processes=2',
    )
    return [
        subprocess.Popen(
            command(data_dir, workdir, *flags, f'--process_id={i}'),
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]


def ends(processes) -> list[tuple[int, str]]:
    stderr = [p.communicate(timeout=240)[1] for p in processes]
    return [(p.returncode, s) for p, s in zip(processes, stderr, strict=True)]


@pytest.fixture(scope='module')
def undisturbed(data_dir, tmp_path_factory):
    workdir = tmp_path_factory.mktemp('pair') / 'run'
    assert [code for code, _ in ends(pair(data_dir, workdir))] == [0, 0]
    return workdir


@pytest.mark.slow
@pytest.mark.parametrize('victim', [0, 1])
@pytest.mark.parametrize('how', [signal.SIGKILL, signal.SIGTERM])
def test_the_other_of_two_stops_in_one_line_and_both_go_on_later(
    undisturbed, data_dir, tmp_path, victim, how
):
    workdir = tmp_path / 'run'
    processes = pair(data_dir, workdir)
    log = workdir / 'metrics.jsonl'
    while processes[0].poll() is None and (
        not log.exists() or len(log.read_text().splitlines()) < 4
    ):
        time.sleep(0.01)
    processes[victim].send_signal(how)
    began = time.monotonic()
    (code, stderr), (lost, _) = ends([processes[1 - victim], processes[victim]])
    assert time.monotonic() - began < 75 and lost == -how
    assert code in (distributed.LOST_CODE, -signal.SIGABRT) and stderr == f'{distributed.LOST}\n'
    saved = [int(p.name) for p in (workdir / 'checkpoints').iterdir() if p.name.isdigit()]
    assert saved and max(saved) >= 2
    again = ends(pair(data_dir, workdir))
    assert [code for code, _ in again] == [0, 0], again
    assert_bitwise(kept(undisturbed), kept(workdir))
    assert logbook.read(log) == logbook.read(undisturbed / 'metrics.jsonl')
