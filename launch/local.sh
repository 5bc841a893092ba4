#!/usr/bin/env bash
# Trains with N processes on this machine: launch/local.sh N --config=... --workdir=...
set -euo pipefail
[[ ${1:-} =~ ^[1-9][0-9]*$ ]] || { echo "error: expected the number of processes first, got '${1:-}'; e.g. launch/local.sh 2 --config=configs/fusion.py --workdir=runs/x" >&2; exit 2; }
processes=$1; shift
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
for ((i = 0; i < processes; i++)); do
  "${PYTHON:-python3}" -m ser_jax.main "$@" --coordinator="127.0.0.1:$port" --num_processes="$processes" --process_id="$i" &
done
# One process that fails takes the others with it: they would wait for it forever.
for ((i = 0; i < processes; i++)); do wait -n || exit $?; done
