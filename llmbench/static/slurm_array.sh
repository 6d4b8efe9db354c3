#!/bin/bash
# A Slurm array without anything between Slurm and the job: element K does the K-th file of parameters.
#   mkdir points; printf 'lr: 1e-3\n' > points/a.yaml; printf 'lr: 3e-3\n' > points/b.yaml
#   JOB=pretrain POINTS=points OUT=runs/array sbatch --array=1-2 slurm_array.sh
# Where submitit is installed, `llmbench sweep --where slurm` does the same and also retries, stops early and reports.
#SBATCH --job-name=llmbench
#SBATCH --time=04:00:00
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --requeue
#SBATCH --signal=B:TERM@120
#SBATCH --output=slurm-%A_%a.log
set -euo pipefail

JOB=${JOB:?a run notebook, like JOB=pretrain}
POINTS=${POINTS:-points}
OUT=${OUT:-runs/array}
K=${SLURM_ARRAY_TASK_ID:?submit with --array=1-N}

shopt -s nullglob
files=("$POINTS"/*.yaml)
if [ "$K" -lt 1 ] || [ "$K" -gt "${#files[@]}" ]; then
  echo "no file number $K: there are ${#files[@]} .yaml files in $POINTS" >&2
  exit 2
fi
file=${files[K-1]}
name=$(basename "$file" .yaml)

# two minutes before the time is up Slurm sends TERM to this shell: hand it on, so that the run says `stopped`
llmbench run "$JOB" -f "$file" -o "$OUT/$name" &
child=$!
trap 'kill -TERM "$child" 2>/dev/null || true' TERM INT
code=0
wait "$child" || code=$?
if kill -0 "$child" 2>/dev/null; then code=0; wait "$child" || code=$?; fi   # the first wait ended with the signal

# 3: stopped, not failed. Queue this element again: the same command goes on with what is finished. (The number of
# the job alone, in the element that bears the number of the whole array, would queue every element again.)
if [ "$code" -eq 3 ] && [ -n "${SLURM_ARRAY_JOB_ID:-}" ]; then scontrol requeue "${SLURM_ARRAY_JOB_ID}_$K"; fi
exit "$code"
