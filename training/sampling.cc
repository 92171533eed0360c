#include "training/sampling.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "engine/error.h"

namespace ld {
namespace {

struct Candidate {
  int32_t token;
  double weight;  // its logit, then its share of the total weight
};

int32_t most_likely(std::span<const double> logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

double kth_largest(std::span<const double> logits, int64_t k) {
  std::vector<double> largest(static_cast<size_t>(k));
  std::partial_sort_copy(logits.begin(), logits.end(), largest.begin(), largest.end(), std::greater<>());
  return largest.back();
}

// Keeps the fewest candidates, heaviest first, that hold the fraction p of the total weight.
void keep_top_p(std::vector<Candidate>& candidates, double p) {
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const Candidate& a, const Candidate& b) { return a.weight > b.weight; });
  double total = 0, sum = 0;
  for (const Candidate& candidate : candidates) total += candidate.weight;
  size_t kept = 0;
  while (kept < candidates.size() && (kept == 0 || sum < p * total)) sum += candidates[kept++].weight;
  candidates.resize(kept);
}

}  // namespace

void SamplingOptions::validate() const {
  check(temperature >= 0 && std::isfinite(temperature), "sampling: temperature ", temperature,
        " is not 0 or more; 0 takes the most likely token, 1 samples as the model says");
  check(top_k >= 1, "sampling: top-k ", top_k, " is not 1 or more; a large number keeps every token");
  check(top_p > 0 && top_p <= 1, "sampling: top-p ", top_p,
        " is not above 0 and at most 1; 1 keeps every token");
}

int32_t choose_token(std::span<const double> logits, const SamplingOptions& options, double u) {
  options.validate();
  check(!logits.empty(), "sampling: no logits to choose from");
  for (size_t i = 0; i < logits.size(); ++i)
    check(logits[i] < INFINITY, "sampling: the logit of token ", i, " is ", logits[i],
          "; the checkpoint is that of a run that diverged");
  const int32_t best = most_likely(logits);
  const double largest = logits[static_cast<size_t>(best)];
  if (options.temperature == 0 || largest == -INFINITY) return best;

  const bool keeps_all = options.top_k >= static_cast<int64_t>(logits.size());
  const double least = keeps_all ? -INFINITY : kth_largest(logits, options.top_k);
  std::vector<Candidate> candidates;
  for (size_t i = 0; i < logits.size(); ++i)
    if (logits[i] >= least)
      candidates.push_back({static_cast<int32_t>(i), std::exp((logits[i] - largest) / options.temperature)});
  if (options.top_p < 1) keep_top_p(candidates, options.top_p);

  double total = 0, sum = 0;
  for (const Candidate& candidate : candidates) total += candidate.weight;
  for (const Candidate& candidate : candidates) {
    sum += candidate.weight;
    if (u * total < sum) return candidate.token;
  }
  return best;  // u·total was rounded up to the total
}

}  // namespace ld
