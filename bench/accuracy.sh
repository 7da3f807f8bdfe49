#!/usr/bin/env bash
# Accuracy of the defaults, and of searched settings, beside baselines that count (docs/accuracy.md):
#   bench/accuracy.sh DATA OUT SET...
# DATA contains the data sets, OUT receives results and ranks. SET: beauty, sports, food, globo,
# tafeng, ml-100k, ml-1m. MODELS (gru4rec,nextitnet,srmn,tsc) and THREADS (all) are taken from the
# environment; SEARCH=1 adds a line with searched learning rates for each model of `cmnrec train`.
# The same command continues an interrupted run.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
if (($# < 3)); then
  sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
  exit 2
fi
data="$1" out="$2"
shift 2
for set in "$@"; do
  case "$set" in
    beauty | sports | food | globo | tafeng | ml-100k | ml-1m) ;;
    *)
      echo "accuracy: expected sets among beauty, sports, food, globo, tafeng, ml-100k, ml-1m, got '$set'" >&2
      exit 2
      ;;
  esac
done
models="${MODELS:-gru4rec,nextitnet,srmn,tsc}"
program="${CMNREC:-$here/../build/bench/examples/cmnrec}"
if [[ -z "${CMNREC:-}" ]]; then
  cmake -S "$here/.." -B "$here/../build/bench" -DCMAKE_BUILD_TYPE=Release -DREFRAIN_TESTS=OFF -DREFRAIN_EXAMPLES=ON \
    -DREFRAIN_BENCH=ON -DREFRAIN_CUDA=OFF > /dev/null
  cmake --build "$here/../build/bench" --target cmnrec -j"$(nproc)" >&2
fi
mkdir -p "$out"

# Every nth user of a large file.
every() { awk -v n="$1" 'NR % n == 0' "$2" > "$3"; }

for set in "$@"; do
  split=(--leave-last-out --without-seen --threads "${THREADS:-0}")
  case "$set" in
    beauty) split+=(--data "$data/s3rec/Beauty.txt" --length 50) ;;
    sports) split+=(--data "$data/s3rec/Sports_and_Outdoors.txt" --length 50) ;;
    ml-100k) split+=(--data "$data/ml-100k/u.data" --length 100) ;;
    ml-1m) split+=(--data "$data/ml-1m/derived/sequences.txt" --length 200) ;;
    food) # items below 8,661 are the food domain
      awk -F '[\t,]' '{ row = ""; for (i = 2; i <= NF; ++i) if ($i < 8661) row = row " " $i; if (split(row, items, " ") >= 3) print ++user row }' \
        "$data"/amazon-food-kitchen/train_{overlap,A}.txt > "$out/food.txt"
      split+=(--data "$out/food.txt" --min-item-count 5 --length 20)
      ;;
    globo)
      every 12 "$data/globo/sequences.txt" "$out/globo.txt"
      split+=(--data "$out/globo.txt" --min-item-count 5 --length 10)
      ;;
    tafeng)
      every 4 "$data/tafeng/sequences.txt" "$out/tafeng.txt"
      split+=(--data "$out/tafeng.txt" --min-item-count 5 --length 50)
      ;;
  esac
  "$program" compare "${split[@]}" --models "$models,mostpop,ngram,cooccurrence" --results "$out/$set.jsonl" \
    --ranks "$out/$set-ranks.jsonl" --log "$out/$set.log" | tee "$out/$set.table"
  "$here/bootstrap.py" "$out/$set-ranks.jsonl" --protocol "seen ones left out" --metric HR@10 --against co-occurrence | tee "$out/$set.tests"
  [[ -n "${SEARCH:-}" ]] || continue
  for model in ${models//,/ }; do
    [[ "$model" == tsc ]] && kind=cmnrec || kind="$model"
    file="$out/$set-$model.safetensors"
    if [[ ! -e "$file" ]]; then
      "$program" train "${split[@]}" --kind "$kind" --search --resume "$file.state" --out "$file" | tee "$out/$set-$model.search"
      rm -f "$file.state"
    fi
    "$program" evaluate --model "$file" --data "${split[5]}" --ranks "$out/$set-$model-ranks.jsonl" > "$out/$set-$model.searched"
  done
done
