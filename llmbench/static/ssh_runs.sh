#!/bin/bash
# Runs on machines that only have SSH: one file of parameters a machine, results fetched when they are done.
#   bash ssh_runs.sh start  pretrain points hosts.txt      # the K-th file goes to the K-th host; each run goes on when you log out
#   bash ssh_runs.sh status pretrain points hosts.txt
#   bash ssh_runs.sh fetch  pretrain points hosts.txt      # into runs/ssh/NAME
# hosts.txt: a host a line, as ssh knows it. On each of them: llmbench in ~/llmbench/.venv (or HOME_THERE=..., BIN=...).
# JOB is the name of a run notebook, or the path of one here, which is copied to the hosts.
set -euo pipefail

usage='usage: bash ssh_runs.sh start|status|fetch JOB POINTS_FOLDER HOSTS_FILE'
what=${1:?$usage} job=${2:?$usage} points=${3:?$usage} hosts_file=${4:?$usage}
HOME_THERE=${HOME_THERE:-llmbench}
BIN=${BIN:-.venv/bin}
SSH=${SSH:-ssh}
OUT=${OUT:-runs/ssh}

shopt -s nullglob
files=("$points"/*.yaml)
mapfile -t hosts < <(grep -v '^[[:space:]]*\(#\|$\)' "$hosts_file")
[ "${#files[@]}" -gt 0 ] || { echo "no .yaml files in $points" >&2; exit 2; }
[ "${#hosts[@]}" -ge "${#files[@]}" ] || { echo "${#files[@]} files of parameters, but only ${#hosts[@]} hosts in $hosts_file" >&2; exit 2; }

case $HOME_THERE in
  \~/*) printf -v home '%q' "${HOME_THERE#??}"; home=\~/$home ;;              # the home of the other machine
  *) printf -v home '%q' "$HOME_THERE" ;;
esac
printf -v bin '%q' "$BIN/llmbench"
book=$job
if [ -f "$job" ]; then book=$OUT/$(basename "$job"); fi
printf -v book_there '%q' "$book"

failed=0
for k in "${!files[@]}"; do
  host=${hosts[k]} name=$(basename "${files[k]}" .yaml)
  printf -v there '%q' "$OUT/$name"
  case $what in
    start)
      # a run is there when its record names its process: one that ends before (a misspelt parameter, a folder in use) has not started
      if ! { "$SSH" "$host" "mkdir -p $home && cd $home && mkdir -p $there && cat > $there.yaml" < "${files[k]}" &&
             { [ ! -f "$job" ] || "$SSH" "$host" "cd $home && cat > $book_there" < "$job"; } &&
             "$SSH" -n "$host" "cd $home || exit 1
               [ -x $bin ] || { echo there is no program $bin in $home >&2; exit 1; }
               nohup $bin run $book_there -f $there.yaml -o $there >> $there.log 2>&1 < /dev/null &
               run=\$! k=0
               while [ \$k -lt 60 ] && kill -0 \$run 2> /dev/null; do
                 grep -q '\"pid\": '\$run'\\b' $there/run.json 2> /dev/null && exit 0
                 sleep 1
                 k=\$((k+1))
               done
               kill -0 \$run 2> /dev/null || wait \$run || { tail -n 5 $there.log >&2; exit 1; }"; }; then
        echo "$host: could not start $OUT/$name" >&2
        failed=1
      else echo "$host: started $OUT/$name"; fi ;;
    status)
      "$SSH" -n "$host" "cd $home && $bin ls $there" || failed=1 ;;
    fetch)
      mkdir -p "$OUT/$name"
      "$SSH" -n "$host" "cd $home && tar -C $there -cf - --exclude=checkpoints ." | tar -C "$OUT/$name" -xf - || failed=1 ;;
    *) echo "$usage" >&2; exit 2 ;;
  esac
done
exit "$failed"
