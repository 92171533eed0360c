#include "training/metrics.h"

#include <numeric>

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

constexpr int64_t loss_columns = 2;  // cross-entropy and penalty

}  // namespace

double StepMetrics::mean(MaskStatistic statistic) const {
  double sum = 0;
  for (const MaskStatistics& mask : masks) sum += mask[statistic];
  return masks.empty() ? 0 : sum / static_cast<double>(masks.size());
}

void StepGatherer::add(const Losses& losses) {
  const Tensor& cross_entropy = losses.cross_entropy.value();
  if (!values_) {
    columns_ = loss_columns + static_cast<int64_t>(losses.masks.size()) * mask_statistics;
    values_ = Tensor::zeros({micro_batches_, columns_}, cross_entropy.dtype());
  }
  auto* row = static_cast<char*>(values_.raw()) + added_++ * columns_ * size_of(values_.dtype());
  auto put = [&](const Tensor& source, int64_t column) {
    check(source.dtype() == values_.dtype(), "metrics: losses are ", values_.dtype(), ", a statistic is ",
          source.dtype(), "; give them one dtype");
    copy_on_device(row + column * size_of(source.dtype()), source.raw(), static_cast<size_t>(source.bytes()));
  };
  put(cross_entropy, 0);
  if (losses.penalty) put(losses.penalty.value(), 1);
  for (size_t i = 0; i < losses.masks.size(); ++i)
    put(losses.masks[i], loss_columns + static_cast<int64_t>(i) * mask_statistics);
}

void StepGatherer::add_flips(const std::vector<MaskDecisions>& now, std::vector<Tensor>& before) {
  if (!before.empty()) flips_ = Tensor({static_cast<int64_t>(now.size())}, DType::float32);
  before.resize(now.size());
  for (size_t i = 0; i < now.size(); ++i) {
    if (flips_) {
      const Tensor share = fraction_of_flips(now[i], before[i], DType::float32);
      copy_on_device(flips_.data<float>() + i, share.raw(), sizeof(float));
    }
    before[i] = now[i].words;
  }
}

StepMetrics StepGatherer::read() const {
  const std::vector<double> values = values_.to_vector();
  auto mean = [&](int64_t column) {
    double sum = 0;
    for (int64_t i = 0; i < added_; ++i) sum += values[static_cast<size_t>(i * columns_ + column)];
    return sum / static_cast<double>(added_);
  };
  StepMetrics metrics;
  metrics.cross_entropy = mean(0);
  metrics.penalty = mean(1);
  for (int64_t column = loss_columns; column < columns_; column += mask_statistics) {
    MaskStatistics& mask = metrics.masks.emplace_back();
    for (int k = 0; k < mask_statistics; ++k) mask[static_cast<size_t>(k)] = mean(column + k);
  }
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
