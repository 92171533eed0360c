// Reads the files of tests/fixtures: named tensors that PyTorch computed in float64.
// bench/pytorch_fixtures.py writes them and describes the format and the names.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "autograd/gradcheck.h"
#include "engine/random.h"

namespace ld {

class Fixture {
 public:
  /// "model_embed" is tests/fixtures/model_embed.fixture.
  explicit Fixture(const std::string& name);

  bool contains(const std::string& name) const { return tensors_.contains(name); }
  const Shape& shape(const std::string& name) const { return entry(name).shape; }
  const std::vector<double>& values(const std::string& name) const { return entry(name).values; }
  /// The only element of a one-element tensor.
  double value(const std::string& name) const;
  Tensor tensor(const std::string& name, DType dtype = DType::float64) const;
  /// Token ids and targets.
  Tensor integers(const std::string& name) const;
  /// The key of the engine's noise that PyTorch was given.
  NoiseKey noise_key() const { return {static_cast<uint64_t>(value("noise_seed")), 0, 0, 0}; }
  /// The names that begin with `prefix`, without it.
  std::vector<std::string> names(const std::string& prefix) const;

 private:
  struct Entry {
    Shape shape;
    std::vector<double> values;
  };
  const Entry& entry(const std::string& name) const;

  std::string path_;
  std::map<std::string, Entry> tensors_;
};

/// CHECKs that our values are PyTorch's, up to the order of float64 sums.
void check_close(const std::string& what, const std::vector<double>& ours, const std::vector<double>& theirs);

/// CHECKs f of the named inputs: its value against y, and each input's gradient under the cotangent dy
/// against d + its name; in a file of many cases, all of these begin with `prefix`.
void check_fixture(const Fixture& fixture, const std::vector<std::string>& inputs, const Function& f,
                   const std::string& prefix = "");

}  // namespace ld
