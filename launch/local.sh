#!/usr/bin/env bash
# Trains with N processes on this machine: launch/local.sh N -- --config=... --workdir=...
set -euo pipefail
usage='e.g. launch/local.sh 2 -- --config=configs/fusion.py --workdir=runs/x'
[[ ${1:-} =~ ^[1-9][0-9]*$ ]] || { echo "error: expected the number of processes first, got '${1:-}'; $usage" >&2; exit 2; }
processes=$1; shift
if [[ ${1:-} == -- ]]; then shift; fi
python=${PYTHON:-python3}
port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
pids=() code=0 patience=
trap 'kill "${pids[@]}" $patience 2>/dev/null || true; wait' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
for ((i = 0; i < processes; i++)); do
  "$python" -m ser_jax.main "$@" --coordinator="127.0.0.1:$port" --num_processes="$processes" --process_id="$i" &
  pids+=($!)
done
# If one process fails, the others end with a message; those that do not are killed after
# PATIENCE_S.
for ((i = 0; i < processes; i++)); do
  failed=0
  wait -n -p ended || failed=$?
  [[ $ended != "$patience" ]] || break
  if [[ $failed != 0 && $code == 0 ]]; then
    code=$failed
    sleep "${PATIENCE_S:-90}" & patience=$!
  fi
done
exit "$code"
