#include "engine/memory.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <vector>

#include "engine/error.h"

namespace ld {
namespace {

std::atomic<bool> poison = false;
thread_local MemoryUse current_use = MemoryUse::activations;

class Pool {
 public:
  void* allocate(int64_t size, MemoryUse use) {
    std::lock_guard lock(mutex_);
    count(use, size);
    auto& cached = free_[size];
    if (!cached.empty()) {
      void* block = cached.back();
      cached.pop_back();
      return block;
    }
    void* block = device_allocate(static_cast<size_t>(size));
    if (!block) {
      release_locked();
      block = device_allocate(static_cast<size_t>(size));
    }
    if (!block) {
      count(use, -size);
      fail("out of memory: ", size >> 20, " MiB for ", name_of(use), " with ", report_.total.now >> 20,
           " MiB in use. Lower batch_size (and raise gradient_accumulation_steps by the same factor)");
    }
    report_.held += size;
    ++report_.allocations;
    return block;
  }

  void free(void* block, int64_t size, MemoryUse use) {
    std::lock_guard lock(mutex_);
    count(use, -size);
    free_[size].push_back(block);
  }

  MemoryReport report() {
    std::lock_guard lock(mutex_);
    return report_;
  }

  void reset_peaks() {
    std::lock_guard lock(mutex_);
    for (MemoryCount& c : report_.by_use) c.peak = c.now;
    report_.total.peak = report_.total.now;
  }

  void release() {
    std::lock_guard lock(mutex_);
    release_locked();
  }

 private:
  void count(MemoryUse use, int64_t bytes) {
    for (MemoryCount* c : {&report_.by_use[static_cast<size_t>(use)], &report_.total}) {
      c->now += bytes;
      c->peak = std::max(c->peak, c->now);
    }
  }
  void release_locked() {
    for (auto& [size, blocks] : free_) {
      for (void* block : blocks) device_free(block);
      report_.held -= size * static_cast<int64_t>(blocks.size());
      blocks.clear();
    }
  }

  std::mutex mutex_;
  std::map<int64_t, std::vector<void*>> free_;
  MemoryReport report_;
};

// Never destroyed: tensors in static storage may outlive any order of destruction.
Pool& pool() {
  static Pool* instance = new Pool;
  return *instance;
}

// Few sizes, so that a freed block fits the next request: steps of an eighth of the power of two below.
int64_t rounded_size(int64_t bytes) {
  int64_t step = 256;
  while (step * 16 <= bytes) step *= 2;
  return (std::max<int64_t>(bytes, 1) + step - 1) / step * step;
}

}  // namespace

const char* name_of(MemoryUse use) {
  static constexpr const char* names[memory_uses] = {"weights", "gradients", "optimizer", "activations",
                                                     "workspace"};
  return names[static_cast<size_t>(use)];
}

MemoryScope::MemoryScope(MemoryUse use) : previous_(current_use) { current_use = use; }
MemoryScope::~MemoryScope() { current_use = previous_; }

std::shared_ptr<void> pool_allocate(int64_t bytes) {
  int64_t size = rounded_size(bytes);
  MemoryUse use = current_use;
  void* block = pool().allocate(size, use);
  if (poison)
    fill_bytes(block, 0xff, static_cast<size_t>(size));  // NaN in every floating type, -1 as an integer
  return {block, [size, use](void* p) { pool().free(p, size, use); }};
}

void poison_new_memory(bool on) { poison = on; }
MemoryReport memory_report() { return pool().report(); }
void reset_memory_peaks() { pool().reset_peaks(); }
void pool_release_cached() { pool().release(); }

}  // namespace ld
