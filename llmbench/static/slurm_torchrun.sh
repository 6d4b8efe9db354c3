#!/bin/bash
# One run on several accelerators, of one machine or of several, under Slurm. The first process keeps its record:
# OUT/run.json says `running`, `done`, `failed` or `stopped` (torchrun itself ends with 1 whatever went wrong).
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
#SBATCH --output=slurm-%j.log
set -euo pipefail

JOB=${1:?a run notebook by name or path, then NAME=VALUE ...}
shift
NODES=${SLURM_NNODES:-${NODES:-1}}
GPUS=${SLURM_GPUS_ON_NODE:-${GPUS:-1}}
given=()
for a in "$@"; do
  case $a in
    out=*) given+=(-o "${a#out=}") ;;
    *=*) given+=(-p "$a") ;;
    *) echo "'$a' is no NAME=VALUE" >&2; exit 2 ;;
  esac
done

# a killed group is started again and goes on from its last whole checkpoint
run=(torchrun --nnodes "$NODES" --nproc-per-node "$GPUS" --max-restarts 3)
if [ "$NODES" -gt 1 ]; then
  head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
  run+=(--rdzv-id "$SLURM_JOB_ID" --rdzv-backend c10d --rdzv-endpoint "$head:29500")
else
  export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
  run+=(--standalone)
fi
run+=(-m llmbench.cli run "$JOB" "${given[@]}")

if [ -n "${SLURM_JOB_ID:-}" ]; then exec srun "${run[@]}"; fi
exec "${run[@]}"
