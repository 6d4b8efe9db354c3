#!/bin/bash
# One run on several accelerators, of one machine or of several, under Slurm. The first process keeps its record:
# OUT/run.json says how it went (torchrun itself ends with 1 whatever went wrong). A group of which a process was killed
# is started again, at most RESTARTS times, and goes on from its last whole checkpoint; a fault of the job is not tried
# again. Before the time is up the run is stopped and queued again. Exit codes: 0 done, 1 failed, 3 stopped.
# OUT must be on a disk that all machines see.
#   sbatch --nodes=2 slurm_torchrun.sh pretrain data='web=/shared/web/*.jsonl.gz' tokens=2e9 size=12 out=/shared/runs/big
# On one machine without Slurm:  NODES=1 GPUS=8 bash slurm_torchrun.sh pretrain data='web=web/*.jsonl.gz' tokens=2e9 size=12 out=runs/big
#SBATCH --job-name=llmbench-torchrun
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@300
#SBATCH --output=slurm-%j.log
set -euo pipefail

JOB=${1:?a run notebook by name or path, then NAME=VALUE ...}
shift
NODES=${SLURM_NNODES:-${NODES:-1}}
GPUS=${SLURM_GPUS_ON_NODE:-${GPUS:-1}}
RESTARTS=${RESTARTS:-3}
out=runs/$(basename "$JOB" .ipynb)
given=()
for a in "$@"; do
  case $a in
    out=*) out=${a#out=} ;;
    *=*) given+=(-p "$a") ;;
    *) echo "'$a' is no NAME=VALUE" >&2; exit 2 ;;
  esac
done

run=(torchrun --nnodes "$NODES" --nproc-per-node "$GPUS" --max-restarts 0)   # torchrun would try faults of the job again, too
if [ "$NODES" -gt 1 ]; then
  head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
  run+=(--rdzv-id "$SLURM_JOB_ID" --rdzv-backend c10d --rdzv-endpoint "$head:29500")
else
  export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
  run+=(--standalone)
fi
run+=(-m llmbench.cli run "$JOB" "${given[@]}" -o "$out")
if [ -n "${SLURM_JOB_ID:-}" ]; then run=(srun "${run[@]}"); fi

told=
trap 'told=1; kill -TERM "$child" 2>/dev/null || true' TERM INT
for ((try=0; try<=RESTARTS; try++)); do
  was=$(stat -c %y "$out/run.json" 2>/dev/null || true)
  "${run[@]}" &
  child=$!
  while code=0; wait "$child" || code=$?; kill -0 "$child" 2>/dev/null; do :; done   # a signal ends a wait, not what it waits for
  if [ "$code" -eq 0 ] || [ "$was" = "$(stat -c %y "$out/run.json" 2>/dev/null || true)" ]; then exit "$code"; fi   # done, or no run began
  code=0
  llmbench show "$out" > /dev/null || code=$?
  if [ "$code" -ne 3 ] || [ -n "$told" ] || [ "$try" -eq "$RESTARTS" ]; then break; fi
  echo "a process was killed: started again ($((try+1)) of $RESTARTS)" >&2
done
if [ "$code" -eq 3 ] && [ -n "$told" ] && [ -n "${SLURM_JOB_ID:-}" ]; then scontrol requeue "$SLURM_JOB_ID"; fi
if [ "$code" -eq 0 ]; then code=1; fi   # the record is of another process that is at work there
exit "$code"
