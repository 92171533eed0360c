// The memory pool. Blocks are cached by size and used again, so that after the first step no step asks the
// operating system for memory; bytes are counted by what they are for, so that a run can say where they went.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "engine/device.h"

namespace ld {

enum class MemoryUse : uint8_t { weights, gradients, optimizer, activations, workspace };
inline constexpr int memory_uses = 5;
const char* name_of(MemoryUse use);

/// Everything allocated by this thread while the object lives counts as `use` (activations otherwise).
class MemoryScope {
 public:
  explicit MemoryScope(MemoryUse use);
  ~MemoryScope();
  MemoryScope(const MemoryScope&) = delete;
  MemoryScope& operator=(const MemoryScope&) = delete;

 private:
  MemoryUse previous_;
};

/// Shared ownership of one block, at a multiple of 256 bytes; it returns to the pool when the last owner goes.
/// Error: there is no memory left.
std::shared_ptr<void> pool_allocate(int64_t bytes);
/// From here on every block is filled with NaN when handed out, so that reading what nobody wrote shows.
/// The tests do; it costs a pass over memory.
void poison_new_memory(bool on);

/// Memory for work that is captured once and launched many times (engine/graph.h). While a GraphMemory is
/// open, this thread's blocks come from the cached ones, none from the device, and belong to graphs from then
/// on: what is freed can serve the next capture, and nobody else as long as a GraphMemory lives.
class GraphMemory {
 public:
  GraphMemory();
  ~GraphMemory();
  GraphMemory(const GraphMemory&) = delete;
  GraphMemory& operator=(const GraphMemory&) = delete;
  void open();
  void close();
};

struct MemoryCount {
  int64_t now = 0, peak = 0;  // bytes in live tensors
};
struct MemoryReport {
  std::array<MemoryCount, memory_uses> by_use;
  MemoryCount total;
  int64_t held = 0;         // bytes of the blocks that are taken from the device, live or cached
  int64_t allocations = 0;  // blocks asked from the device so far
};
MemoryReport memory_report();
void reset_memory_peaks();
/// Gives the cached blocks back to the device.
void pool_release_cached();

}  // namespace ld
