// What is said when the device's memory does not suffice: the emulated one can be told to have little.
#ifdef ENGINE_EMULATED

#include "engine/memory.h"
#include "tests/emulated_helpers.h"
#include "tests/small_run.h"

namespace ld {
namespace {

using emulated_test::contains;
using emulated_test::message_of;

}  // namespace

TEST_CASE("out of memory: the message says what is in use for what, and which keys to change") {
  Tensor weights, moments;
  {
    const MemoryScope scope(MemoryUse::weights);
    weights = Tensor({3 << 20}, DType::uint16);
  }
  {
    const MemoryScope scope(MemoryUse::optimizer);
    moments = Tensor({9 << 20}, DType::uint16);
  }
  const emulated::MemoryLimit none(0);
  const MemoryReport before = memory_report();
  const MemoryScope scope(MemoryUse::workspace);
  const std::string message = message_of([] { Tensor({128 << 20}, DType::uint16); });
  CHECK(contains(message, "out of memory: 256 MiB more for workspace, while "));
  std::string uses;  // ours, and what other tests have left
  for (int i = 0; i < memory_uses; ++i)
    uses += (i ? ", " : "(") + std::string(name_of(static_cast<MemoryUse>(i))) + " " +
            std::to_string((before.by_use[static_cast<size_t>(i)].now + (1 << 20) - 1) >> 20) + " MiB";
  CHECK(contains(uses, "weights 6 MiB, "));
  CHECK(contains(uses, "optimizer 18 MiB, "));
  CHECK(contains(message, uses + ")"));
  CHECK(contains(message, "Lower batch_size and raise gradient_accumulation_steps by the same factor"));
  const MemoryReport after = memory_report();
  CHECK(after.total.now == before.total.now);  // nothing is counted that was not given
  CHECK(after.held == after.total.now);        // and what was cached has been given back before giving up
}

TEST_CASE("out of memory: a training run ends with it, and the device serves the next one") {
  const SmallData data;
  RunConfig config = small_run(data);
  config.train_steps = 1;
  config.batch_size = 200;
  pool_release_cached();
  {
    const emulated::MemoryLimit little(1 << 20);
    const std::string message = message_of([&] { train(config, data.folder("run")); });
    CHECK(contains(message, "out of memory: "));
    for (const char* use : {"weights ", "gradients ", "optimizer ", "activations ", "workspace "})
      CHECK(contains(message, use));
  }
  config.batch_size = 1;
  CHECK(train(config, data.folder("smaller")) == RunEnd::finished);
}

}  // namespace ld

#endif
