// Inside the emulated device: the machine that runs one block, thread by thread. Not for kernels, which see
// engine/emulated_cuda.h only.
#pragma once

#include <algorithm>
#include <boost/context/detail/fcontext.hpp>
#include <boost/context/stack_context.hpp>
#include <cstring>
#include <exception>
#include <iosfwd>
#include <memory>
#include <new>
#include <numeric>
#include <vector>

#include "engine/emulated_cuda.h"
#include "engine/error.h"

namespace ld::emulated {

class Machine;

struct StackBounds {
  const void* bottom = nullptr;
  size_t size = 0;
  void* fake_stack = nullptr;  // AddressSanitizer's
};

// A fiber with its stack. It outlives the CUDA threads that run on it, one after the other. Boost's class
// `fiber` would hide the first switch to a new stack from AddressSanitizer, hence the two functions under it.
struct Worker {
  explicit Worker(Machine& machine);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  void enter();  // the scheduler goes to this worker, and comes back when that leaves
  void leave();  // this worker goes to the scheduler, and comes back when entered again

  Machine& machine;
  boost::context::stack_context stack;
  StackBounds bounds, scheduler_bounds;
  boost::context::detail::fcontext_t own;  // where this worker stands, while it does not run
  boost::context::detail::fcontext_t scheduler =
      nullptr;  // where the scheduler stands, while this worker runs
};

enum class State : uint8_t { unstarted, ready, at_block_barrier, at_collective, exited };

// A CUDA thread of the block that runs.
struct Thread {
  uint3 index;
  State state;
  Worker* worker;  // the one it stands on, once it has waited
  // What it waits for:
  const char* name;
  Where where;
  int predicate;     // block barriers
  uint32_t mask;     // warp collectives
  void* operands;    // likewise
  Combine* combine;  // likewise
};

inline bool waits(const Thread& t) {
  return t.state == State::at_block_barrier || t.state == State::at_collective;
}

/// Do two waiting threads wait for the same thing?
inline bool same_place(const Thread& a, const Thread& b) {
  const auto same_text = [](const char* x, const char* y) { return x == y || std::strcmp(x, y) == 0; };
  return a.state == b.state && a.where.line() == b.where.line() &&
         same_text(a.where.file_name(), b.where.file_name()) && same_text(a.name, b.name) &&
         (a.state != State::at_collective || (a.mask == b.mask && a.combine == b.combine));
}

/// splitmix64: a good enough order, in two lines.
struct Random {
  uint64_t state;
  uint64_t operator()() {
    uint64_t z = state += 0x9E3779B97F4A7C15ull;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ z >> 27) * 0x94D049BB133111EBull;
    return z ^ z >> 31;
  }
};

/// Numbers 0 ... count-1 in the wanted order.
inline void arrange(std::vector<unsigned>& order, size_t count, Order how, Random& random) {
  order.resize(count);
  std::iota(order.begin(), order.end(), 0u);
  if (how == Order::reverse) std::reverse(order.begin(), order.end());
  if (how == Order::random)
    for (size_t i = count; i > 1; --i) std::swap(order[i - 1], order[random() % i]);
}

/// One per OS thread; runs one block at a time.
class Machine {
 public:
  Machine() : threads(max_block_threads) {}
  ~Machine();
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  /// Throws what a thread of the block throws, or what is wrong with the block. `position` in the launch's
  /// order of blocks seeds the random order, so that it does not depend on the OS thread.
  void run_block(const Launch& launch, uint3 block, const Schedule& schedule, uint64_t position);
  bool inside_kernel() const { return running != nullptr; }

  // Called by the CUDA thread that runs:
  Thread& self() {
    check(running, "emulated: a barrier or warp collective outside a kernel");
    return *running;
  }
  Thread* warp_of_self() { return &threads[size_t(running - threads.data()) / warpSize * warpSize]; }
  int lanes(const Thread* warp) const { return std::min(warpSize, int(count) - int(warp - threads.data())); }
  void wait(State state, const char* name, const Where& where);
  void work(Worker& worker);
  size_t worker_count() const { return workers.size(); }
  int barrier_count = 0;  // result of the last block barrier
  void open_static_shared(SharedSlot& slot, size_t bytes, size_t alignment);
  void* dynamic_shared() { return dynamic_memory.get(); }

 private:
  void prepare(const Launch& launch);
  void run_warp(unsigned warp);
  bool complete_collectives(Thread* warp);
  bool complete_block_barrier();
  void cancel_all();
  [[noreturn]] void report_stuck();

  Worker& idle_worker();

  const Launch* launch = nullptr;
  Order order = Order::forward;
  Random random{0};
  std::vector<Thread> threads;
  unsigned count = 0, exited = 0;  // of the threads of this block
  dim3 shape{0, 0, 0};             // the block dimensions for which `threads[].index` is right
  Thread* running = nullptr;
  std::exception_ptr error;  // the first that a thread threw
  bool cancelling = false;   // every thread that wakes up is to unwind its stack

  std::vector<unsigned> warp_order, lane_order;
  Thread* starting_warp = nullptr;  // of which lane_order[next_start ... end_start-1] have not started yet
  size_t next_start = 0, end_start = 0;

  std::vector<std::unique_ptr<Worker>> workers;
  std::vector<Worker*> idle_workers;

  struct AlignedDelete {
    std::align_val_t alignment;
    void operator()(void* p) const { ::operator delete(p, alignment); }
  };
  using Memory = std::unique_ptr<void, AlignedDelete>;
  static Memory allocate(size_t bytes, size_t alignment) {
    return Memory(::operator new(bytes, std::align_val_t(alignment)),
                  AlignedDelete{std::align_val_t(alignment)});
  }
  Memory dynamic_memory{nullptr, {std::align_val_t(16)}};
  size_t dynamic_bytes = 0, static_bytes = 0;
  std::vector<Memory> static_memory;
};

/// The machine of the calling OS thread.
Machine& machine();

/// The kernel and where it was launched, for error messages.
std::ostream& operator<<(std::ostream& out, const Launch& launch);
/// How much dynamic shared memory a kernel may have: 48 KiB unless it asked for more.
size_t dynamic_shared_limit(const void* kernel);

}  // namespace ld::emulated
