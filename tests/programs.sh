#!/usr/bin/env bash
# What a user does: prepare a text, train on it, look at the run, go on with it, sample. Every option of ./train and
# ./sample, by what it prints or leaves. The programs are those that `make` and `make gradcheck` have built.
#
#   tests/programs.sh
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
  echo "FAILED: $*" >&2
  exit 1
}
# expect TEXT COMMAND...: succeeds, and prints TEXT.
expect() {
  local text=$1 output
  shift
  echo "\$ $*"
  output=$("$@" 2>&1) || fail "$* ends with status $?: $output"
  [[ $output == *"$text"* ]] || fail "$* does not print \"$text\": $output"
}
# refuse TEXT COMMAND...: ends with status 1 and one line, which holds TEXT.
refuse() {
  local text=$1 output status=0
  shift
  echo "\$ $*"
  output=$("$@" 2>&1 >/dev/null) || status=$?
  [[ $status -eq 1 && $output == *"$text"* && $output != *$'\n'* ]] || fail "$* ends with status $status: $output"
}
# steps N FOLDER: metrics.jsonl holds N steps.
steps() {
  [[ $(grep -c '"cross_entropy"' "$2/metrics.jsonl") -eq $1 ]] || fail "$2/metrics.jsonl does not hold $1 steps"
}

expect "vocabulary" ./prepare README.md --tokenizer chars --name readme --out "$work"
config=(configs/shakespeare_cpu.toml --set "data=$work/readme" --set est_steps=2 --set dtype=float32)
masks='model_config.learned_dropout_config={dropout_input_type="EMBED",mask_rounding_type="NOISE_AND_LINEAR",n_head=4}'
run=$work/run
export OMP_NUM_THREADS=2

expect "n_layer = 4" ./train "${config[@]}" --dry-run
expect "n_layer = 2" ./train "${config[@]}" --dry-run --set model_config.n_layer=2
expect "[model_config] (required)" ./train --keys
expect "device" ./train --device-info
expect "tokens/s" ./train "${config[@]}" --forecast
expect "linear_cross_entropy" ./train "${config[@]}" --draw "$work/tape.dot"
grep -q digraph "$work/tape.dot" || fail "tape.dot is no graph"
refuse "n_layr" ./train "${config[@]}" --set model_config.n_layr=2
refuse "n_layr" ./train "${config[@]}" --unset model_config.n_layr
refuse "no such file" ./train none.toml
refuse "excludes" ./train "${config[@]}" --resume --overwrite

# A run, its refusal to be overwritten, and its continuation with everything that it was told, by its own config.
expect "20 tokens of the model after step 3" \
  ./train "${config[@]}" --set "$masks" --set sample_tokens=20 --out "$run" --steps 3
steps 3 "$run"
refuse "already holds a run" ./train "${config[@]}" --set "$masks" --set sample_tokens=20 --out "$run"
refuse "another config" ./train "${config[@]}" --out "$run" --resume
expect "resumed after step 3" ./train "$run/config.toml" --resume --steps 5
steps 5 "$run"
if [[ $(./train --device-info) == *"cpu:"* ]]; then
  expect "last bits may differ" env OMP_NUM_THREADS=1 ./train "$run/config.toml" --resume --steps 6
fi

# The same text with and without a cache of keys and values, and from the same seed; another from another.
text() { ./sample "$run" --prompt "The " --tokens 30 "$@" 2>"$work/notes" || fail "./sample $*: $(<"$work/notes")"; }
plain=$(text)
[[ $plain == "The "* ]] || fail "the text does not begin with the prompt: $plain"
other=$(text --no-cache)
[[ $other == "$plain" ]] || fail "the cache changes the text"
other=$(text --seed 2)
[[ $other != "$plain" ]] || fail "the seed does not change the text"
greedy=$(text --temperature 0) other=$(text --temperature 0 --seed 2)
[[ $other == "$greedy" ]] || fail "temperature 0 is random"
printf 'The ' >"$work/prompt"
other=$(./sample "$run" --prompt-file "$work/prompt" --tokens 30 2>/dev/null)
[[ $other == "$plain" ]] || fail "--prompt-file is not --prompt"
other=$(text --samples 2)
[[ $other == "$plain"$'\n----------------\nThe '* ]] || fail "--samples 2 does not print two"
text --checkpoint last >/dev/null
expect "ms a token" ./sample "$run" --stochastic-masks --dtype bfloat16 --top-k 5 --top-p 0.9 --tokens 5
# Whatever becomes of the data: the run has its own tokenizer. Another one may be named.
mv "$work/readme.chars" "$work/moved.chars"
other=$(text)
[[ $other == "$plain" ]] || fail "the run needs the data's tokenizer"
other=$(text --tokenizer "$work/moved.chars")
[[ $other == "$plain" ]] || fail "--tokenizer takes another one"
refuse "no.chars" ./sample "$run" --tokenizer "$work/no.chars"
mv "$work/moved.chars" "$work/readme.chars"

expect "finished: 1 steps" \
  ./train "$run/config.toml" --overwrite --unset model_config.learned_dropout_config --unset sample_tokens --steps 1
grep -q learned_dropout_config "$run/config.toml" && fail "--unset leaves the section there"
steps 1 "$run"
expect "linear_cross_entropy" ./train "${config[@]}" --out "$work/profiled" --steps 3 --profile "$work/trace.json"
grep -q traceEvents "$work/trace.json" || fail "trace.json is no trace"

# The draft's masks, in every place.
draft='model_config.learned_dropout_config={mask_function="ELEMENTWISE",placement="EVERY_DROPOUT"}'
expect "finished" ./train "${config[@]}" --set "$draft" --out "$work/draft" --steps 3
refuse "stochastic-masks" ./sample "$work/draft" --stochastic-masks

refuse "no op is called" ./gradcheck --op none
echo "the programs do what they say"
