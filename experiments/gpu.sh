#!/usr/bin/env bash
# The course on a GPU: each notebook at `full`, one long training, the profile, and what the run
# measured beside the committed ledger, that of a CPU.
#
#   experiments/gpu.sh [--smoke] [videos/]
#
# --smoke: a few minutes on any machine, to see that every part works; in a folder of its own,
# OUT/smoke. videos/: a folder of real video to train on; without it the training sees generated
# clips alone. What can be set before the command: OUT (folder, runs/gpu), HOURS (of the training,
# 3), BATCH (clips a step, 256), PRECISION (of the training, bf16-mixed or 32-true), ONLY
# (notebooks, as 02,05), PYTHON.
# A part that fails is named at the end, and the others still run. Ctrl-C ends all of it, and the
# same command goes on where it was interrupted.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

stop() {
  echo "stopped; the same command goes on" >&2
  exit 130
}
trap stop INT # Bash waits for the part that runs, which keeps what it has done.

preset=full
out=${OUT:-runs/gpu}
profile=(--threads "$(nproc)")
training=(--hours "${HOURS:-3}" --batch "${BATCH:-256}" --lr 1e-3)
if [ "${1:-}" = --smoke ]; then
  shift
  preset=smoke
  out=$out/smoke # The real job must not find the trial's course, and take it for its own.
  profile=(--threads 1 --seconds 0 --most 1 --works "V4 step")
  training=(--steps 2 --batch 4 --scale 0.001)
fi
training+=(--precision "${PRECISION:-bf16-mixed}")
if [ $# -gt 0 ]; then training+=(--videos "$@"); fi
python=${PYTHON:-.venv/bin/python}
failed=()

part() {
  local name=$1
  shift
  echo "== $name"
  "$@"
  local status=$?
  if [ $status -eq 130 ]; then stop; fi # of a part that was stopped by Ctrl-C
  if [ $status -ne 0 ]; then failed+=("$name"); fi
}

compare() {
  "$python" experiments/compare_ledgers.py data/ledger.json "$out/course/ledger.json" \
    > "$out/comparison.md"
}

course=(--preset "$preset" --only "${ONLY:-}" --out "$out/course")
if [ -e "$out/course" ]; then course=(--resume "$out/course"); fi

mkdir -p "$out"
part course "$python" -m eon_utils run "${course[@]}"
part comparison compare
part training "$python" -m eon_utils prior "${training[@]}" --out "$out/prior"
part profile "$python" experiments/profile_course.py "${profile[@]}" --out "$out/profile"

if [ ${#failed[@]} -gt 0 ]; then
  echo "failed: ${failed[*]}" >&2
  exit 1
fi
echo "all of it is in $out"
