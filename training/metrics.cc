#include "training/metrics.h"

#include <algorithm>
#include <numeric>

#include "autograd/tape.h"
#include "ops/stack.h"

namespace ld {
namespace {

// A further statistic is one line here, beside its place in MaskStatistic.
constexpr struct {
  MaskStatistic statistic;
  const char* name;
} statistic_names[] = {
    {fraction_of_ones, "ones"},      {mean_l1_norm, "l1_norm"},       {mean_entropy, "entropy"},
    {fraction_above_90, "above_90"}, {fraction_below_10, "below_10"},
};
static_assert(std::size(statistic_names) == mask_statistics, "every statistic is logged");

}  // namespace

double StepMetrics::mean(MaskStatistic statistic) const {
  double sum = 0;
  for (const MaskStatistics& mask : masks) sum += mask[statistic];
  return masks.empty() ? 0 : sum / static_cast<double>(masks.size());
}

Measured measured(const Losses& losses) {
  const DType dtype = losses.cross_entropy.dtype();
  const Var penalty = losses.penalty ? losses.penalty : Var(Tensor::zeros({}, dtype));
  const std::vector<Var> masks(losses.masks.begin(), losses.masks.end());
  const NoGradient no_gradient;
  return {stack({losses.cross_entropy, penalty}).value(),
          masks.empty() ? Tensor({0}, dtype) : stack(masks).value(),
          {}};
}

Tensor flips_since(std::vector<Tensor>& before, const std::vector<MaskDecisions>& now) {
  if (before.empty()) {
    for (const MaskDecisions& decisions : now) before.push_back(decisions.words);
    return {};
  }
  Tensor flips({std::ssize(now)}, DType::float32);
  for (size_t i = 0; i < now.size(); ++i) {
    flips.part(static_cast<int64_t>(i), {}).copy_from(fraction_of_flips(now[i], before[i], DType::float32));
    before[i].copy_from(now[i].words);
  }
  return flips;
}

void StepGatherer::add(const Measured& measured) {
  auto put = [this](Tensor& rows, const Tensor& row) {
    if (!rows) rows = Tensor::zeros({micro_batches_, row.elements()}, row.dtype());
    rows.part(added_ * row.elements(), row.shape()).copy_from(row);
  };
  put(losses_, measured.losses);
  put(statistics_, measured.statistics);
  ++added_;
  if (measured.flips) flips_ = measured.flips.clone();
}

StepMetrics StepGatherer::read() const {
  auto means = [this](const Tensor& rows) {
    const auto columns = static_cast<size_t>(rows.size(1)), added = static_cast<size_t>(added_);
    const std::vector<double> values = rows.to_vector();
    std::vector<double> sums(columns, 0);
    for (size_t i = 0; i < added * columns; ++i) sums[i % columns] += values[i];
    for (double& sum : sums) sum /= static_cast<double>(added);
    return sums;
  };
  const std::vector<double> losses = means(losses_), statistics = means(statistics_);
  StepMetrics metrics;
  metrics.cross_entropy = losses[0];
  metrics.penalty = losses[1];
  for (size_t i = 0; i < statistics.size(); i += mask_statistics)
    std::copy_n(statistics.begin() + static_cast<std::ptrdiff_t>(i), mask_statistics,
                metrics.masks.emplace_back().begin());
  if (flips_) metrics.flips = flips_.to_vector();
  return metrics;
}

std::vector<LoggedNumber> logged_numbers(const StepMetrics& m, const ModelConfig& model, int64_t step) {
  std::vector<LoggedNumber> numbers = {{"loss", "train/loss", m.loss()},
                                       {"cross_entropy", "train/cross_entropy", m.cross_entropy},
                                       {"grad_norm", "train/grad_norm", m.gradient_norm},
                                       {"lr", "train/lr", m.lr},
                                       {"seconds", "train/seconds", m.seconds}};
  auto add_coefficient = [&](bool used, const CoefficientConfig& coefficient, const std::string& name) {
    if (used) numbers.push_back({name, "penalty/" + name, coefficient.at(step - 1)});
  };
  if (model.use_dropout_l1_norm_penalty || model.use_dropout_entropy_penalty)
    numbers.push_back({"penalty", "train/penalty", m.penalty});
  add_coefficient(model.use_dropout_l1_norm_penalty, model.dropout_l1_norm_coeff_config,
                  "l1_norm_coefficient");
  add_coefficient(model.use_dropout_entropy_penalty, model.dropout_entropy_coeff_config,
                  "entropy_coefficient");
  if (m.masks.empty()) return numbers;
  for (const auto& [statistic, name] : statistic_names)
    numbers.push_back({name, std::string("mask/") + name, m.mean(statistic)});
  if (!m.flips.empty()) {
    const double sum = std::accumulate(m.flips.begin(), m.flips.end(), 0.0);
    numbers.push_back({"flips", "mask/flips", sum / static_cast<double>(m.flips.size())});
  }
  return numbers;
}

std::vector<LoggedLayers> logged_layers(const StepMetrics& metrics) {
  std::vector<LoggedLayers> all;
  if (metrics.masks.empty()) return all;
  for (const auto& [statistic, name] : statistic_names) {
    LoggedLayers layers{name, std::string("mask/") + name, {}};
    for (const MaskStatistics& mask : metrics.masks) layers.values.push_back(mask[statistic]);
    all.push_back(layers);
  }
  if (!metrics.flips.empty()) all.push_back({"flips", "mask/flips", metrics.flips});
  return all;
}

}  // namespace ld
