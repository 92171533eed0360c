#!/usr/bin/env bash
# The write-up's comparison, small enough for two CPU cores: character by character on data/shakespeare_char
# (configs/shakespeare_cpu.toml says how to make it), the sizes of that config, every kind of model from three
# seeds. Prints, as a Markdown table, mean ± standard deviation over the seeds of the best validation loss, of
# the step where it was met, and of the share of ones in the last 100 steps.
#
#   bench/comparison.sh [FOLDER=runs/comparison]        STEPS=2000 SEEDS="1 2 3" by default
#
# A run that is complete is not done again, and one that was interrupted goes on, so the script may be too.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-runs/comparison}
steps=${STEPS:-2000}
seeds=${SEEDS:-1 2 3}

# name | what is set, one --set a word
mask='mask_rounding_type="NOISE_AND_LINEAR",n_head=4'
penalty='model_config.use_dropout_l1_norm_penalty=true'
models=(
  "baseline|"
  "dropout 0.2|model_config.dropout_rate=0.2"
  "LearnedDropout, penalty, shift 0|$penalty model_config.learned_dropout_config={dropout_input_type=\"HIDDEN_STATE\",$mask,shift_init=0}"
  "LearnedDropout, penalty, shift π|$penalty model_config.learned_dropout_config={dropout_input_type=\"HIDDEN_STATE\",$mask,shift_init=3.14159}"
  "pre-computed masks, penalty, shift 0|$penalty model_config.learned_dropout_config={dropout_input_type=\"EMBED\",use_detached_input=true,$mask,shift_init=0}"
)

mkdir -p "$folder"
for seed in $seeds; do
  for k in "${!models[@]}"; do
    run="$folder/$k-$seed"
    grep -qs "^finished: $steps steps" "$run.log" && continue
    arguments=(--set seed="$seed" --set train_steps="$steps" --set lr_decay_iters="$steps"
               --set est_steps=100 --out "$run")
    for setting in ${models[$k]#*|}; do arguments+=(--set "$setting"); done
    [[ -e $run/last.safetensors ]] && arguments+=(--resume)
    echo "$(date +%T)  ${models[$k]%%|*}, seed $seed" >&2
    ./train configs/shakespeare_cpu.toml "${arguments[@]}" >"$run.log"
  done
done

echo "| model | best val loss | at step | % of ones |"
echo "|---|---|---|---|"
for k in "${!models[@]}"; do
  for seed in $seeds; do
    awk -v name="${models[$k]%%|*}" '
      function value(key) { return match($0, "\"" key "\":[-+.0-9e]+") ? substr($0, RSTART + length(key) + 3, RLENGTH - length(key) - 3) : "" }
      { loss = value("val_loss"); step = value("step"); share = value("ones") }
      loss != "" && (best == "" || loss + 0 < best + 0) { best = loss; at = step }
      share != "" { last[++n] = share }
      END {
        first = n > 100 ? n - 99 : 1
        for (i = first; i <= n; ++i) ones += last[i] / (n - first + 1)
        print name "|" best "|" at "|" (n ? 100 * ones : "")
      }' "$folder/$k-$seed/metrics.jsonl"
  done
done | awk -F'|' '
  function show(sum, squares, n, digits) {
    mean = sum / n
    return sprintf("%." digits "f ± %." digits "f", mean, n > 1 ? sqrt((squares - n * mean * mean > 0 ? squares - n * mean * mean : 0) / (n - 1)) : 0)
  }
  !($1 in n) { order[++models] = $1 }
  { ++n[$1]; l[$1] += $2; ll[$1] += $2 * $2; s[$1] += $3; ss[$1] += $3 * $3; o[$1] += $4; oo[$1] += $4 * $4; has[$1] = $4 != "" }
  END {
    for (k = 1; k <= models; ++k) {
      m = order[k]
      print "| " m " | " show(l[m], ll[m], n[m], 4) " | " show(s[m], ss[m], n[m], 0) " | " (has[m] ? show(o[m], oo[m], n[m], 1) : "–") " |"
    }
  }'
