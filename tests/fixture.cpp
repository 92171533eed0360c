#include "tests/fixture.h"

#include <doctest/doctest.h>

#include <fstream>
#include <sstream>

#include "autograd/tape.h"
#include "tests/expect.h"

namespace ld {
namespace {

// Both sides compute in float64 with sums in their own order, of at most 41 terms: 1e-15, and a few roundings
// more in a chain of functions. Relative to the largest element.
constexpr double tolerance = 1e-13;

template <class T>
std::vector<double> read_values(std::istream& in, int64_t n) {
  std::vector<T> raw(static_cast<size_t>(n));
  in.read(reinterpret_cast<char*>(raw.data()), n * static_cast<int64_t>(sizeof(T)));
  return {raw.begin(), raw.end()};
}

}  // namespace

Fixture::Fixture(const std::string& name) : path_("tests/fixtures/" + name + ".fixture") {
  std::ifstream in(path_, std::ios::binary);
  check(in.is_open(), path_, ": cannot be opened; run the tests from the root of the repository");
  for (std::string line; std::getline(in, line);) {
    std::istringstream head(line);
    std::string tensor, dtype;
    int rank = -1;
    head >> tensor >> dtype >> rank;
    Entry entry;
    for (int64_t size; rank > 0 && head >> size; --rank) entry.shape.push_back(size);
    check(rank == 0 && (dtype == "float64" || dtype == "int64"), path_, ": cannot read the line \"", line,
          "\"");
    const int64_t n = entry.shape.elements();
    entry.values = dtype == "int64" ? read_values<int64_t>(in, n) : read_values<double>(in, n);
    check(in.get() == '\n', path_, ": ", tensor, " is cut off");
    tensors_.emplace(tensor, std::move(entry));
  }
}

double Fixture::value(const std::string& name) const {
  check(values(name).size() == 1, path_, ": ", name, " has shape ", shape(name), ", expected one element");
  return values(name)[0];
}

Tensor Fixture::tensor(const std::string& name, DType dtype) const {
  return Tensor::from(values(name), shape(name), dtype);
}

Tensor Fixture::integers(const std::string& name) const {
  return Tensor::from(std::vector<int32_t>(values(name).begin(), values(name).end()), shape(name));
}

std::vector<std::string> Fixture::names(const std::string& prefix) const {
  std::vector<std::string> found;
  for (const auto& [name, entry] : tensors_)
    if (name.starts_with(prefix)) found.push_back(name.substr(prefix.size()));
  return found;
}

const Fixture::Entry& Fixture::entry(const std::string& name) const {
  auto found = tensors_.find(name);
  check(found != tensors_.end(), path_, ": has no tensor ", name);
  return found->second;
}

void check_close(const std::string& what, const std::vector<double>& ours,
                 const std::vector<double>& theirs) {
  INFO(what);
  const double error = relative_difference(ours, theirs);
  INFO("relative error ", error);
  CHECK_FALSE(!(error <= tolerance));
}

void check_fixture(const Fixture& fixture, const std::vector<std::string>& inputs, const Function& f,
                   const std::string& prefix) {
  std::vector<Var> vars;
  for (const std::string& name : inputs) vars.push_back(Var::leaf(fixture.tensor(prefix + name)));
  Tape tape;
  Var y = f(vars);
  CHECK(y.shape() == fixture.shape(prefix + "y"));
  check_close(prefix + "y", y.value().to_vector(), fixture.values(prefix + "y"));
  tape.backward(y, fixture.tensor(prefix + "dy"));
  for (size_t i = 0; i < inputs.size(); ++i) {
    const std::string gradient = prefix + "d" + inputs[i];
    check_close(gradient, vars[i].gradient().to_vector(), fixture.values(gradient));
  }
}

}  // namespace ld
