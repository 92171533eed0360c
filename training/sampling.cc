#include "training/sampling.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "engine/error.h"
#include "engine/math.h"

namespace ld {
namespace {

struct Candidate {
  int32_t token;
  double weight;  // its logit, then its share of the total weight
};

double largest_of(std::span<const double> logits) {
  double largest = -INFINITY;
  int64_t refused = 0;
#pragma omp simd reduction(max : largest) reduction(+ : refused)
  for (size_t i = 0; i < logits.size(); ++i) {
    largest = logits[i] > largest ? logits[i] : largest;
    refused += logits[i] < INFINITY ? 0 : 1;
  }
  for (size_t i = 0; refused > 0 && i < logits.size(); ++i)
    check(logits[i] < INFINITY, "sampling: the logit of token ", i, " is ", logits[i],
          "; the checkpoint is that of a run that diverged");
  return largest;
}

double kth_largest(std::span<const double> logits, int64_t k) {
  std::vector<double> largest(static_cast<size_t>(k));
  std::partial_sort_copy(logits.begin(), logits.end(), largest.begin(), largest.end(), std::greater<>());
  return largest.back();
}

// Keeps the first candidates, as few as hold the fraction p of the total weight.
void keep_top_p(std::vector<Candidate>& candidates, double p) {
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
  const double largest = largest_of(logits);
  const auto best = static_cast<int32_t>(std::ranges::find(logits, largest) - logits.begin());
  if (options.temperature == 0 || largest == -INFINITY) return best;

  const bool keeps_all = options.top_k >= static_cast<int64_t>(logits.size());
  const double least = keeps_all ? -INFINITY : kth_largest(logits, options.top_k);
  std::vector<Candidate> candidates;
  candidates.reserve(std::min(static_cast<size_t>(options.top_k), logits.size()));
  for (size_t i = 0; i < logits.size(); ++i)
    if (logits[i] >= least) candidates.push_back({static_cast<int32_t>(i), logits[i]});
  // While the weights are logits: of equal ones the exponentials of a SIMD loop and of its end may differ.
  if (options.top_p < 1)
    std::stable_sort(candidates.begin(), candidates.end(),
                     [](const Candidate& a, const Candidate& b) { return a.weight > b.weight; });
#pragma omp simd
  for (size_t i = 0; i < candidates.size(); ++i)
    candidates[i].weight = math::exp((candidates[i].weight - largest) / options.temperature);
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
