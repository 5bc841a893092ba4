"""Apache Beam's runner and its options for a DownloadConfig of TFDS; imported with `beam`."""

import contextlib
import io
import shlex
import sys
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options import pipeline_options
from apache_beam.runners.portability import fn_api_runner
from apache_beam.transforms import environments

from ser_jax.contract import InputError

SEE = "see 'Preparing data on Beam' in launch/README.md"
_LOCAL = ('directrunner', 'fnapirunner')  # runners on this machine, in lower case


def create(config, log: Path) -> tuple[pipeline_options.PipelineOptions, Any]:
    """Return (options, runner) of a DownloadConfig that requests Beam.

    DirectRunner is replaced by Beam's engine in Python (FnApiRunner), since it would first download
    another one, which does not support direct_num_workers. The local workers log to `log` instead
    of the screen.

    Raises:
      InputError: an option has an invalid value, the local runner has no such option, or the config
        sets nondeterministic_order.
    """
    if config.nondeterministic_order:
        raise InputError(
            '--nondeterministic_order would mix the shards, which are in the order of ids; '
            'leave it out'
        )
    known, given = _parsed(config.beam_options or pipeline_options.PipelineOptions(flags=[]))
    options = pipeline_options.PipelineOptions.from_dictionary(given)  # a copy, modified below
    options.view_as(pipeline_options.TypeOptions).pipeline_type_check = False  # as TFDS does
    standard = options.view_as(pipeline_options.StandardOptions)
    runner = config.beam_runner or standard.runner or 'DirectRunner'
    if isinstance(runner, str) and runner.rpartition('.')[2].lower() in _LOCAL:
        if unknown := sorted(set(given) - set(known)):  # other runners have options of their own
            raise InputError(
                f'--beam_pipeline_options has {unknown[0]}, which is not an option of Beam; {SEE}'
            )
        runner = _local_runner(options, log)
        standard.runner = 'FnApiRunner'
    try:
        return options, beam.runners.create_runner(runner) if isinstance(runner, str) else runner
    except (ValueError, ImportError, AttributeError) as e:
        raise InputError(
            f'--beam_pipeline_options has runner={runner}, which is not available ({e}); {SEE}'
        ) from e


def _parsed(options: pipeline_options.PipelineOptions) -> tuple[dict, dict]:
    """Return all options of Beam, and the given options, unknown ones included."""
    usage = io.StringIO()
    try:
        with contextlib.redirect_stderr(usage):
            known = options.get_all_options()
            return known, options.get_all_options(True, retain_unknown_options=True)
    except SystemExit as e:  # Beam's parser prints four pages, the error last
        reason = usage.getvalue().strip().rpartition('error: ')[2]
        raise InputError(f'--beam_pipeline_options cannot be parsed: {reason}; {SEE}') from e


def _local_runner(
    options: pipeline_options.PipelineOptions, log: Path
) -> fn_api_runner.FnApiRunner:
    """Return the local runner; processes of `multi_processing` append their errors to `log`."""
    direct = options.view_as(pipeline_options.DirectOptions)
    environment = None
    if direct.direct_running_mode == 'multi_processing':
        direct.direct_running_mode = 'in_memory'  # else Beam replaces the environment
        worker = f'{sys.executable} -m apache_beam.runners.worker.sdk_worker_main'
        command = f'{worker} 2>>{shlex.quote(str(log))}'
        environment = environments.SubprocessSDKEnvironment.from_command_string(command)
    return fn_api_runner.FnApiRunner(default_environment=environment)
