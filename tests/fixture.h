// Reads the files of tests/fixtures: named tensors that PyTorch computed in float64.
// bench/pytorch_fixtures.py writes them and describes the format and the names.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "engine/tensor.h"

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

}  // namespace ld
