// The emulated CUDA device: how the threads of one block take turns. How a grid becomes blocks is in
// emulated_launch.cc.
#ifdef ENGINE_EMULATED

#include "engine/emulated_cuda.h"

#include <algorithm>
#include <boost/context/protected_fixedsize_stack.hpp>
#include <ios>

#include "engine/emulated_machine.h"
#include "engine/error.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

constinit thread_local uint3 threadIdx{};
constinit thread_local uint3 blockIdx{};
constinit thread_local dim3 blockDim{};
constinit thread_local dim3 gridDim{};

namespace ld::emulated {

constinit thread_local uint64_t current_block = 0;

Machine& machine() {
  static thread_local Machine machine;
  return machine;
}

// ---- Fibers -------------------------------------------------------------------------------------

namespace {

// AddressSanitizer must be told of every switch to another stack. `fake_stack` is where it leaves its notes
// on the stack that is being left (null: nobody will return to it).
#if defined(__SANITIZE_ADDRESS__)
constexpr size_t stack_bytes = 256 * 1024;  // instrumented frames are several times larger
void leave_for(void** fake_stack, const StackBounds& to) {
  __sanitizer_start_switch_fiber(fake_stack, to.bottom, to.size);
}
void arrived(void* fake_stack, StackBounds* from) {
  __sanitizer_finish_switch_fiber(fake_stack, from ? &from->bottom : nullptr, from ? &from->size : nullptr);
}
#else
constexpr size_t stack_bytes = 64 * 1024;
void leave_for(void**, const StackBounds&) {}
void arrived(void*, StackBounds*) {}
#endif

// The first function on a new stack; not instrumented, because the sanitizer does not know yet where it is.
__attribute__((no_sanitize_address)) void start(boost::context::detail::transfer_t from) {
  Worker& worker = *static_cast<Worker*>(from.data);
  arrived(nullptr, &worker.scheduler_bounds);
  worker.scheduler = from.fctx;
  worker.machine.work(worker);
  leave_for(nullptr, worker.scheduler_bounds);
  boost::context::detail::jump_fcontext(worker.scheduler, nullptr);  // for good
}

using StackAllocator = boost::context::protected_fixedsize_stack;  // a guard page stops an overflow

}  // namespace

Worker::Worker(Machine& machine) : machine(machine), stack(StackAllocator(stack_bytes).allocate()) {
  bounds = {static_cast<char*>(stack.sp) - stack.size, stack.size, nullptr};
  // The stacks begin at different distances from their page's end, else their tops would all compete for the
  // same few lines of the cache.
  const size_t shift = machine.worker_count() * 320 % 4096;
  own =
      boost::context::detail::make_fcontext(static_cast<char*>(stack.sp) - shift, stack.size - shift, start);
}

Worker::~Worker() { StackAllocator(stack_bytes).deallocate(stack); }

void Worker::enter() {
  void* fake_stack = nullptr;
  leave_for(&fake_stack, bounds);
  own = boost::context::detail::jump_fcontext(own, this).fctx;
  arrived(fake_stack, nullptr);
}

void Worker::leave() {
  leave_for(&bounds.fake_stack, scheduler_bounds);
  scheduler = boost::context::detail::jump_fcontext(scheduler, nullptr).fctx;
  arrived(bounds.fake_stack, &scheduler_bounds);
}

// ---- The threads of a block ---------------------------------------------------------------------

namespace {
// Thrown into the threads that wait when another one has failed, to unwind their stacks.
struct Cancelled {};
}  // namespace

// A worker's life: run the threads of the warp that have not started. When one waits, the worker is that
// thread's until it is done, and the scheduler goes on with another worker; threads that never wait share one
// worker, and cost no switch.
void Machine::work(Worker& worker) {
  while (launch) {
    while (next_start < end_start) {
      Thread& thread = starting_warp[lane_order[next_start++]];
      running = &thread;
      threadIdx = thread.index;
      thread.worker = &worker;
      try {
        launch->call(launch->kernel, launch->arguments);
      } catch (const Cancelled&) {
      } catch (...) {
        if (!error) error = std::current_exception();
        next_start = end_start;  // start no more
      }
      thread.state = State::exited;
      ++exited;
    }
    idle_workers.push_back(&worker);
    worker.leave();
  }
}

Worker& Machine::idle_worker() {
  if (idle_workers.empty())
    idle_workers.push_back(workers.emplace_back(std::make_unique<Worker>(*this)).get());
  Worker& worker = *idle_workers.back();
  idle_workers.pop_back();
  return worker;
}

Machine::~Machine() {
  launch = nullptr;  // the workers return from work()
  for (auto& worker : workers) worker->enter();
}

void Machine::wait(State state, const char* name, const Where& where) {
  Thread& thread = *running;
  thread.state = state;
  thread.name = name;
  thread.where = where;
  thread.worker->leave();
  if (cancelling) throw Cancelled{};
}

// Starts or resumes what can run in a warp, until every thread of it waits for another warp or has exited.
void Machine::run_warp(unsigned warp) {
  Thread* const first = &threads[warp * warpSize];
  const int size = lanes(first);
  if (order == Order::random || int(lane_order.size()) != size)
    arrange(lane_order, size_t(size), order, random);
  if (first->state == State::unstarted) {
    starting_warp = first;
    next_start = 0;
    end_start = lane_order.size();
    while (next_start < end_start) idle_worker().enter();
    if (error) return;
  }
  do {
    for (const unsigned lane : lane_order) {
      Thread& thread = first[lane];
      if (thread.state != State::ready) continue;
      running = &thread;
      threadIdx = thread.index;
      thread.worker->enter();
      if (error) return;
    }
  } while (complete_collectives(first));
}

// Completes what collectives of a warp are complete: all living lanes of the mask stand at the same one.
bool Machine::complete_collectives(Thread* warp) {
  const int size = lanes(warp);
  uint32_t alive = 0, waiting = 0;
  for (int lane = 0; lane < size; ++lane) {
    if (warp[lane].state != State::exited) alive |= 1u << lane;
    if (warp[lane].state == State::at_collective) waiting |= 1u << lane;
  }
  bool any = false;
  for (uint32_t open = waiting; open;) {
    Thread& first = warp[std::countr_zero(open)];
    const uint32_t present = first.mask & alive;
    open &= open - 1;
    void* operands[warpSize] = {};
    bool complete = (present & ~waiting) == 0;
    for (uint32_t rest = present; complete && rest; rest &= rest - 1) {
      const Thread& other = warp[std::countr_zero(rest)];
      complete = same_place(first, other);
      operands[std::countr_zero(rest)] = other.operands;
    }
    if (!complete) continue;  // now; another lane may still come
    first.combine(operands, present);
    for (uint32_t rest = present; rest; rest &= rest - 1) warp[std::countr_zero(rest)].state = State::ready;
    open &= ~present;
    waiting &= ~present;
    any = true;
  }
  return any;
}

// Threads that have exited, or wait elsewhere, leave it incomplete for good (see block_barrier).
bool Machine::complete_block_barrier() {
  int sum = 0;
  for (unsigned i = 0; i < count; ++i) {
    if (threads[i].state != State::at_block_barrier || !same_place(threads[0], threads[i])) return false;
    sum += threads[i].predicate != 0;
  }
  for (unsigned i = 0; i < count; ++i) threads[i].state = State::ready;
  barrier_count = sum;
  return true;
}

void Machine::prepare(const Launch& next) {
  launch = &next;
  gridDim = next.grid;
  blockDim = next.block;
  count = next.block.x * next.block.y * next.block.z;
  if (shape.x != next.block.x || shape.y != next.block.y || shape.z != next.block.z) {
    shape = next.block;
    for (unsigned i = 0; i < count; ++i)
      threads[i].index = {i % shape.x, i / shape.x % shape.y, i / shape.x / shape.y};
  }
  for (unsigned i = 0; i < count; ++i) threads[i].state = State::unstarted;
  exited = 0;
  error = nullptr;
  cancelling = false;
  lane_order.clear();
  static_bytes = 0;
  if (dynamic_bytes != next.shared_bytes || !dynamic_memory) {
    dynamic_bytes = next.shared_bytes;
    dynamic_memory = allocate(dynamic_bytes, 16);
  }
  std::memset(dynamic_memory.get(), 0xFF, dynamic_bytes);
  ++current_block;
}

void Machine::run_block(const Launch& next, uint3 block, const Schedule& schedule, uint64_t position) {
  prepare(next);
  blockIdx = block;
  order = schedule.order;
  random.state = schedule.seed + position;
  random.state = random();  // neighbouring blocks get unrelated orders
  const unsigned warps = (count + warpSize - 1) / warpSize;
  arrange(warp_order, warps, order, random);
  try {
    do {
      for (const unsigned warp : warp_order) {
        run_warp(warp);
        if (error) std::rethrow_exception(error);
      }
    } while (exited < count && complete_block_barrier());
    if (exited < count) report_stuck();
  } catch (...) {
    cancel_all();
    running = nullptr;
    throw;
  }
  running = nullptr;
}

void Machine::cancel_all() {
  cancelling = true;
  next_start = end_start;
  for (unsigned i = 0; i < count; ++i)
    if (waits(threads[i]) || threads[i].state == State::ready) {
      running = &threads[i];
      threads[i].worker->enter();
    }
}

// ---- Shared memory ------------------------------------------------------------------------------

void open_static_shared(SharedSlot& slot, size_t bytes, size_t alignment) {
  machine().open_static_shared(slot, bytes, alignment);
}
void* dynamic_shared() { return machine().dynamic_shared(); }

// ---- Barriers and collectives, as the CUDA threads call them ------------------------------------

int block_barrier(int predicate, const char* name, const Where& where) {
  Machine& m = machine();
  m.self().predicate = predicate;
  m.wait(State::at_block_barrier, name, where);
  return m.barrier_count;
}

void warp_collective(uint32_t mask, void* operands, Combine* combine, const char* name, const Where& where) {
  Machine& m = machine();
  check(mask >> lane() & 1, name, " (", where.file_name(), ":", where.line(), "): lane ", lane(),
        " takes part but is not in the mask 0x", std::hex, mask, "; every calling lane must name itself");
  Thread& self = m.self();
  self.mask = mask;
  self.operands = operands;
  self.combine = combine;
  m.wait(State::at_collective, name, where);
}

uint32_t ballot(uint32_t mask, bool predicate, const char* name, const Where& where) {
  struct Vote {
    bool predicate;
    uint32_t result;
  } mine{predicate, 0};
  warp_collective(
      mask, &mine,
      [](void* const* operands, uint32_t present) {
        uint32_t votes = 0;
        for (uint32_t rest = present; rest; rest &= rest - 1)
          if (static_cast<Vote*>(operands[std::countr_zero(rest)])->predicate) votes |= rest & -rest;
        for (uint32_t rest = present; rest; rest &= rest - 1)
          static_cast<Vote*>(operands[std::countr_zero(rest)])->result = votes;
      },
      name, where);
  return mine.result;
}

int checked_width(int width, const char* name, const Where& where) {
  check(width >= 1 && width <= warpSize && std::has_single_bit(unsigned(width)), name, " (",
        where.file_name(), ":", where.line(), "): width is ", width, ", expected 1, 2, 4, 8, 16 or 32");
  return width;
}

}  // namespace ld::emulated

#endif
