#include <doctest/doctest.h>

#include <cmath>
#include <thread>

#include "engine/memory.h"
#include "engine/tensor.h"

namespace ld {
namespace {

int64_t live(MemoryUse use) { return memory_report().by_use[static_cast<size_t>(use)].now; }

TEST_CASE("pool: a freed block serves the next request of its size") {
  const void* first = nullptr;
  {
    Tensor t({12345}, DType::float32);
    first = t.raw();
  }
  const int64_t asked = memory_report().allocations;
  for (int i = 0; i < 10; ++i) {
    Tensor t({12345}, DType::float32);
    CHECK(t.raw() == first);
    Tensor a_little_less({12340}, DType::float32);  // sizes are rounded up, so that this one fits later
  }
  CHECK(memory_report().allocations <= asked + 1);
}

TEST_CASE("pool: a block lives as long as its last owner") {
  const int64_t before = memory_report().total.now;
  Tensor view;
  {
    Tensor t = Tensor::from({1, 2, 3, 4}, {4}, DType::float64);
    view = t.reshaped({2, 2});
  }
  CHECK(memory_report().total.now > before);
  CHECK(view.to_vector() == std::vector<double>{1, 2, 3, 4});
  view = Tensor();
  CHECK(memory_report().total.now == before);
}

TEST_CASE("pool: bytes are counted by use, with their peak") {
  const int64_t weights = live(MemoryUse::weights), activations = live(MemoryUse::activations);
  Tensor outside;
  {
    MemoryScope scope(MemoryUse::weights);
    Tensor w({1024}, DType::float32);
    CHECK(live(MemoryUse::weights) == weights + 4096);
    {
      MemoryScope inner(MemoryUse::workspace);
      Tensor t({1}, DType::float32);
      CHECK(live(MemoryUse::weights) == weights + 4096);
    }
    outside = Tensor({1024}, DType::float32);
  }
  CHECK(live(MemoryUse::weights) == weights + 4096);  // it keeps the use it was made for
  Tensor t({1024}, DType::float32);
  CHECK(live(MemoryUse::activations) == activations + 4096);
  reset_memory_peaks();
  { Tensor large({1 << 20}, DType::float32); }
  const MemoryCount total = memory_report().total;
  CHECK(total.peak - total.now == 4 << 20);
  reset_memory_peaks();
  CHECK(memory_report().total.peak == memory_report().total.now);
}

TEST_CASE("pool: cached blocks can be given back") {
  { Tensor t({3 << 20}, DType::float32); }
  CHECK(memory_report().held > memory_report().total.now);
  pool_release_cached();
  CHECK(memory_report().held == memory_report().total.now);
}

TEST_CASE("pool: giving blocks back leaves the others alone") {
  const int64_t blocks = 300, elements = 50'000;  // more than a slab of the CPU holds (engine/device_cpu.cc)
  const auto contents = [](int64_t i) { return std::vector<double>(elements, static_cast<double>(i)); };
  for (int round = 0; round < 3; ++round) {
    std::vector<Tensor> tensors;
    for (int64_t i = 0; i < blocks; ++i)
      tensors.push_back(Tensor::from(contents(i), {elements}, DType::float32));
    for (int64_t i = 0; i < blocks; ++i)
      if (i % 7 != round) tensors[static_cast<size_t>(i)] = Tensor();
    pool_release_cached();
    for (int64_t i = round; i < blocks; i += 7)
      REQUIRE(tensors[static_cast<size_t>(i)].to_vector() == contents(i));
    tensors.clear();
    pool_release_cached();  // the next round begins with new memory
    CHECK(memory_report().held == memory_report().total.now);
  }
}

TEST_CASE("pool: new memory is NaN in test builds") {
  for (DType dtype : {DType::float32, DType::float64, DType::bfloat16}) {
    { Tensor used = Tensor::from(std::vector<double>(100, 1.0), {100}, dtype); }
    for (double v : Tensor({100}, dtype).to_vector()) REQUIRE(std::isnan(v));
  }
  for (double v : Tensor({100}, DType::int32).to_vector()) REQUIRE(v == -1);  // no valid token
}

#ifdef ENGINE_CPU
TEST_CASE("pool: several threads at once") {
  const int64_t before = memory_report().total.now;
  std::vector<std::thread> threads;
  for (int k = 0; k < 4; ++k)
    threads.emplace_back([k] {
      for (int i = 0; i < 500; ++i) {
        Tensor t = Tensor::from(std::vector<double>(64, k), {64}, DType::float32);
        if (t.to_vector() != std::vector<double>(64, k)) std::abort();
      }
    });
  for (std::thread& t : threads) t.join();
  CHECK(memory_report().total.now == before);
}
#endif

}  // namespace
}  // namespace ld
