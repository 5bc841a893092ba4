"""The HTTP server as replicas of Ray Serve, on one machine or a cluster.

    pip install 'ray[serve]'
    SER_JAX_RUNS=runs/best SER_JAX_REPLICAS=2 serve run launch.ray_serve:deployment

Every replica opens the runs itself, so their directories must be visible on every machine. Ray
replaces a replica that ends; the others answer meanwhile. Variables: SER_JAX_RUNS, directories or
NAME=DIRECTORY, separated by commas; SER_JAX_REPLICAS (2); SER_JAX_CPUS and SER_JAX_GPUS of a
replica (1 and 0); SER_JAX_MEMBER, one member of every run; SER_JAX_MAX_BATCH (16); SER_JAX_TOKEN.
"""

import os

from ray import serve


def application():
    """Return the application of one replica, built in its process."""
    from ser_jax import cli
    from ser_jax.inference import Predictor
    from ser_jax.serve import named_runs
    from ser_jax.serving import api
    from ser_jax.serving.limits import Limits

    cli.prepare_jax()
    runs = named_runs(os.environ.get('SER_JAX_RUNS', '').split(','))
    member = os.environ.get('SER_JAX_MEMBER')
    predictors = {}
    for name, directory in runs.items():
        predictors[name] = Predictor.open(directory, [member] if member else ())
    limits = Limits(max_batch=int(os.environ.get('SER_JAX_MAX_BATCH', '16')))
    return api.app(predictors, limits, os.environ.get('SER_JAX_TOKEN', ''))


@serve.deployment(
    num_replicas=int(os.environ.get('SER_JAX_REPLICAS', '2')),
    ray_actor_options={
        'num_cpus': float(os.environ.get('SER_JAX_CPUS', '1')),
        'num_gpus': float(os.environ.get('SER_JAX_GPUS', '0')),
        'runtime_env': {
            'env_vars': {k: v for k, v in os.environ.items() if k.startswith('SER_JAX_')}
        },
    },
    health_check_period_s=5,
    max_ongoing_requests=64,
)
@serve.ingress(application)
class Replica:
    """One copy of the server."""


deployment = Replica.bind()
