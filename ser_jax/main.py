"""Training of a config, from the beginning or from its last checkpoint.

python -m ser_jax.main --config=configs/conv_bilstm.py --workdir=runs/x [--config.any.knob=value]
"""

import pathlib

import rich.console
from absl import flags
from ml_collections import config_flags

from ser_jax import cli, config_file, distributed

config_flags.DEFINE_config_file(
    'config', None, 'The experiment: a file of configs/.', lock_config=True
)
config_file.guard(flags.FLAGS['config'])
_WORKDIR = flags.DEFINE_string(
    'workdir',
    '',
    "Directory of the run; '' = runs/<config's name>. Training in an existing one is resumed.",
)
_COORDINATOR = flags.DEFINE_string(
    'coordinator', '', 'host:port of process 0, if several processes train together.'
)
_PROCESSES = flags.DEFINE_integer('num_processes', 0, 'Number of processes that train together.')
_PROCESS = flags.DEFINE_integer('process_id', -1, 'Index of this process among them.')
_CLUSTER = flags.DEFINE_bool(
    'cluster', False, 'Find the other processes by the cluster (SLURM, GKE, TPU).'
)


def main(argv: list[str]) -> None:
    """Parse the flags, set up the devices, train."""
    from ser_jax.contract import InputError

    if argv[1:]:
        raise InputError(
            f'unexpected argument {argv[1]!r}; knobs are set as --config.section.knob=value'
        )
    path, config = config_file.value()
    from ser_jax.data import protocol_knobs

    if config.members.protocol == protocol_knobs.ASKED:
        rich.console.Console().print(protocol_knobs.table())
        return
    import jax

    cli.prepare_jax()
    if (_PROCESSES.value or _PROCESS.value >= 0) and not _COORDINATOR.value:
        raise InputError(
            '--num_processes and --process_id need --coordinator; give its host:port, or none of '
            'the three'
        )
    if _COORDINATOR.value or _CLUSTER.value:
        distributed.initialize(_COORDINATOR.value, _PROCESSES.value, _PROCESS.value)
    from ser_jax import train

    workdir = pathlib.Path(_WORKDIR.value or f'runs/{pathlib.Path(path.partition(":")[0]).stem}')
    train.train(config, workdir)
    if jax.process_index() == 0:
        print(f'trained: {workdir}\nnext:    python -m ser_jax.evaluate --runs={workdir}')


if __name__ == '__main__':
    cli.run(main)
