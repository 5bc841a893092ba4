#!/usr/bin/env bash
# Trains on all hosts of a TPU VM: launch/tpu_vm.sh NAME ZONE -- --config=... --workdir=...
# The same command on every host, in ~/ser_jax (a checkout with its .venv); --workdir and the corpora
# are on a share of all hosts. After a preemption, once the TPU is back, the same line resumes from
# the checkpoint.
set -euo pipefail
usage='e.g. launch/tpu_vm.sh my-v5e us-west4-a -- --config=configs/conv_bilstm.py --workdir=/share/runs/x'
[[ $# -ge 4 && $3 == -- ]] || { echo "error: expected NAME ZONE -- flags, got '$*'; $usage" >&2; exit 2; }
name=$1 zone=$2; shift 3
flags=$(printf ' %q' "$@")  # quoted for the remote shell
exec gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all \
  --command="cd ser_jax && .venv/bin/python -m ser_jax.main$flags --cluster"
