#include "engine/memory.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "engine/error.h"

namespace ld {
namespace {

std::atomic<bool> poison = false;
thread_local MemoryUse current_use = MemoryUse::activations;
thread_local bool current_in_graph = false;

/// Free blocks by size.
class BlockCache {
 public:
  void put(void* block, int64_t size) { blocks_[size].push_back(block); }
  void* take(int64_t size) {
    auto& cached = blocks_[size];
    if (cached.empty()) return nullptr;
    void* block = cached.back();
    cached.pop_back();
    return block;
  }
  int64_t bytes() const {
    int64_t sum = 0;
    for (const auto& [size, blocks] : blocks_) sum += size * std::ssize(blocks);
    return sum;
  }
  /// f(block, size) for each of them, then there is none.
  template <class F>
  void empty(F f) {
    for (auto& [size, blocks] : blocks_)
      while (!blocks.empty()) {
        void* block = blocks.back();
        blocks.pop_back();
        f(block, size);
      }
  }

 private:
  std::map<int64_t, std::vector<void*>> blocks_;
};

std::string mebibytes(int64_t bytes) { return std::to_string((bytes + (1 << 20) - 1) >> 20) + " MiB"; }

class Pool {
 public:
  void* allocate(int64_t size, MemoryUse use, bool in_graph) {
    std::lock_guard lock(mutex_);
    void* block = in_graph ? graphs_.take(size) : nullptr;
    if (!block) block = free_.take(size);
    if (!block) block = in_graph ? nullptr : fresh(size);
    if (!block) refuse(size, use, in_graph);
    count(use, size);
    return block;
  }

  void free(void* block, int64_t size, MemoryUse use, bool in_graph) {
    std::lock_guard lock(mutex_);
    count(use, -size);
    (in_graph && graph_users_ > 0 ? graphs_ : free_).put(block, size);
  }

  void add_graph_user() {
    std::lock_guard lock(mutex_);
    ++graph_users_;
  }
  void remove_graph_user() {
    std::lock_guard lock(mutex_);
    if (--graph_users_ == 0) graphs_.empty([this](void* block, int64_t size) { free_.put(block, size); });
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
  void* fresh(int64_t size) {
    void* block = device_allocate(static_cast<size_t>(size));
    if (!block) {
      release_locked();
      block = device_allocate(static_cast<size_t>(size));
    }
    if (!block) return nullptr;
    report_.held += size;
    ++report_.allocations;
    return block;
  }
  [[noreturn]] void refuse(int64_t size, MemoryUse use, bool in_graph) const {
    if (in_graph)
      fail("capture: ", name_of(use), " need ", size, " bytes that are not cached; do the work without ",
           "capturing it first");
    fail("out of memory: ", mebibytes(size), " more for ", name_of(use), ", while ",
         mebibytes(report_.total.now), " are in use (", uses(), ")", set_aside(),
         ". Lower batch_size and raise ",
         "gradient_accumulation_steps by the same factor: a step stays what it is, and needs less at a time");
  }
  std::string set_aside() const {
    const int64_t bytes = graphs_.bytes();
    return bytes > 0 ? " and " + mebibytes(bytes) + " are set aside for CUDA graphs" : "";
  }
  /// "weights 12 MiB, gradients 0 MiB, …"
  std::string uses() const {
    std::string text;
    for (int i = 0; i < memory_uses; ++i)
      text += (i ? ", " : "") + std::string(name_of(static_cast<MemoryUse>(i))) + " " +
              mebibytes(report_.by_use[static_cast<size_t>(i)].now);
    return text;
  }
  void count(MemoryUse use, int64_t bytes) {
    for (MemoryCount* c : {&report_.by_use[static_cast<size_t>(use)], &report_.total}) {
      c->now += bytes;
      c->peak = std::max(c->peak, c->now);
    }
  }
  void release_locked() {
    free_.empty([this](void* block, int64_t size) {
      device_free(block);
      report_.held -= size;
    });
  }

  std::mutex mutex_;
  BlockCache free_, graphs_;
  int graph_users_ = 0;
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
  check(bytes >= 0, "memory: ", bytes, " bytes asked for");
  int64_t size = rounded_size(bytes);
  const MemoryUse use = current_use;
  const bool in_graph = current_in_graph;
  void* block = pool().allocate(size, use, in_graph);
  if (poison)
    fill_bytes(block, 0xff, static_cast<size_t>(size));  // NaN in every floating type, -1 as an integer
  return {block, [size, use, in_graph](void* p) { pool().free(p, size, use, in_graph); }};
}

GraphMemory::GraphMemory() { pool().add_graph_user(); }
GraphMemory::~GraphMemory() { pool().remove_graph_user(); }
void GraphMemory::open() { current_in_graph = true; }
void GraphMemory::close() { current_in_graph = false; }

void poison_new_memory(bool on) { poison = on; }
MemoryReport memory_report() { return pool().report(); }
void reset_memory_peaks() { pool().reset_peaks(); }
void pool_release_cached() { pool().release(); }

}  // namespace ld
