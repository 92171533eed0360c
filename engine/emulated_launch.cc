// The emulated CUDA device: from a launch to its blocks; schedules, limits, and the report of a stuck block.
#ifdef ENGINE_EMULATED

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <mutex>
#include <sstream>
#include <unordered_map>

#include "engine/emulated_machine.h"
#include "engine/error.h"

static std::ostream& operator<<(std::ostream& out, dim3 d) {
  return out << "(" << d.x << "," << d.y << "," << d.z << ")";
}

namespace ld::emulated {

std::ostream& operator<<(std::ostream& out, const Launch& launch) {
  return out << "kernel " << launch.name << " (" << launch.parameter_types << ") launched at " << launch.file
             << ":" << launch.line;
}

// ---- Schedules ----------------------------------------------------------------------------------

namespace {

Schedule schedule_from_environment() {
  const char* variable = std::getenv("ENGINE_EMULATED_SCHEDULE");
  const std::string text = variable ? variable : "forward";
  if (text == "forward") return {Order::forward, 0};
  if (text == "reverse") return {Order::reverse, 0};
  if (text == "random") return {Order::random, 0};
  if (text.starts_with("random:")) return {Order::random, std::strtoull(text.c_str() + 7, nullptr, 10)};
  fail("ENGINE_EMULATED_SCHEDULE is '", text, "', expected forward, reverse, random or random:SEED");
}

Schedule& global_schedule() {
  static Schedule schedule = schedule_from_environment();
  return schedule;
}

}  // namespace

void set_schedule(Order order, uint64_t seed) { global_schedule() = {order, seed}; }
Schedule schedule() { return global_schedule(); }

// ---- Limits -------------------------------------------------------------------------------------

namespace {

struct DynamicLimits {
  std::mutex mutex;
  std::unordered_map<const void*, size_t> bytes;
};

DynamicLimits& dynamic_limits() {
  static DynamicLimits limits;
  return limits;
}

}  // namespace

void set_dynamic_shared_limit(const void* kernel, size_t bytes) {
  DynamicLimits& limits = dynamic_limits();
  const std::lock_guard lock(limits.mutex);
  limits.bytes[kernel] = bytes;
}

size_t dynamic_shared_limit(const void* kernel) {
  DynamicLimits& limits = dynamic_limits();
  const std::lock_guard lock(limits.mutex);
  const auto found = limits.bytes.find(kernel);
  return found == limits.bytes.end() ? max_shared_bytes : std::max(found->second, max_shared_bytes);
}

namespace {

void check_limits(const Launch& launch) {
  const dim3 g = launch.grid, b = launch.block;
  check(g.x && g.y && g.z && b.x && b.y && b.z, "launch: grid ", g, " with block ", b,
        " is empty; skip the launch when there is nothing to do: ", launch);
  check(g.x <= max_grid_x && g.y <= max_grid_yz && g.z <= max_grid_yz, "launch: grid ", g,
        " is beyond the limit of (2147483647,65535,65535); put the large dimension in x: ", launch);
  check(b.x <= max_block_threads && b.y <= max_block_threads && b.z <= max_block_z &&
            uint64_t(b.x) * b.y * b.z <= max_block_threads,
        "launch: block ", b, " is beyond the limit of 1024 threads, 64 of them in z: ", launch);
  const size_t limit = dynamic_shared_limit(launch.kernel);
  check(launch.shared_bytes <= limit, "launch: ", launch.shared_bytes,
        " bytes of shared memory, the limit is ", limit, "; raise it with cudaFuncSetAttribute (up to ",
        max_shared_bytes_optin, "): ", launch);
}

}  // namespace

void Machine::open_static_shared(SharedSlot& slot, size_t bytes, size_t alignment) {
  static_bytes += bytes;
  const bool raised = dynamic_shared_limit(launch->kernel) > max_shared_bytes;
  check(static_bytes <= max_shared_bytes, "STATIC_SHARED: ", static_bytes, " bytes, at most ",
        max_shared_bytes, " are possible; use DYNAMIC_SHARED for more: ", *launch);
  check(static_bytes + dynamic_bytes <= (raised ? max_shared_bytes_optin : max_shared_bytes),
        "shared memory: ", static_bytes, " bytes static and ", dynamic_bytes,
        " dynamic are together beyond the limit of ", raised ? max_shared_bytes_optin : max_shared_bytes,
        ": ", *launch);
  if (!slot.address)
    slot.address = static_memory.emplace_back(allocate(bytes, std::max<size_t>(alignment, 16))).get();
  std::memset(slot.address, 0xFF, bytes);
  slot.block = current_block;
}

// ---- A block that does not come to its end ------------------------------------------------------

void Machine::report_stuck() {
  std::ostringstream text;
  text << "emulated: a barrier is never completed in " << *launch << ", block (" << blockIdx.x << ","
       << blockIdx.y << "," << blockIdx.z << ") of " << count << " threads:";
  std::vector<bool> told(count, false);
  for (unsigned i = 0; i < count; ++i) {
    if (told[i]) continue;
    const auto same = [&](unsigned j) {
      return threads[i].state == threads[j].state &&
             (!waits(threads[i]) || same_place(threads[i], threads[j]));
    };
    text << "\n  thread";
    const char* separator = " ";
    for (unsigned j = i; j < count; ++j) {
      if (!same(j)) continue;
      unsigned last = j;
      while (last + 1 < count && same(last + 1)) ++last;
      text << separator << j;
      if (last > j) text << "-" << last;
      separator = ",";
      for (; j <= last; ++j) told[j] = true;
    }
    if (threads[i].state == State::exited) {
      text << ": exited";
    } else {
      text << ": waits at " << threads[i].name;
      if (threads[i].state == State::at_collective)
        text << " with mask 0x" << std::hex << threads[i].mask << std::dec;
      text << " (" << threads[i].where.file_name() << ":" << threads[i].where.line() << ")";
    }
  }
  fail(text.str(),
       "\nevery thread of the block must reach the same __syncthreads, and every lane in the mask the same "
       "warp collective; move it out of the branch or loop that only some of them take");
}

// ---- Launch -------------------------------------------------------------------------------------

// Blocks of one grid are independent, so they are spread over the OS threads (OpenMP, if the build has it).
// If several blocks fail, the error of the one first in order is reported, whatever the OS threads' timing.
void run(const Launch& launch) {
  check(!machine().inside_kernel(), "launch: a kernel cannot launch another one: ", launch);
  check_limits(launch);
  const Schedule schedule = global_schedule();
  const dim3 grid = launch.grid;
  const int64_t blocks = int64_t(grid.x) * grid.y * grid.z;
  std::vector<unsigned> order;
  Random random{schedule.seed};
  if (schedule.order == Order::random) arrange(order, size_t(blocks), schedule.order, random);

  std::mutex failure;
  std::exception_ptr error;
  std::atomic<int64_t> failed = blocks;  // the position of `error`
  const auto run_block = [&](int64_t position) {
    if (position > failed) return;
    const int64_t block = schedule.order == Order::forward   ? position
                          : schedule.order == Order::reverse ? blocks - 1 - position
                                                             : order[size_t(position)];
    const uint3 index = {unsigned(block % grid.x), unsigned(block / grid.x % grid.y),
                         unsigned(block / grid.x / grid.y)};
    try {
      machine().run_block(launch, index, schedule, uint64_t(position));
    } catch (...) {
      const std::lock_guard lock(failure);
      if (position < failed) {
        failed = position;
        error = std::current_exception();
      }
    }
  };
  // Waking the other OS threads costs more than a small launch.
#ifdef _OPENMP
  const bool worthwhile = blocks > 1 && blocks * launch.block.x * launch.block.y * launch.block.z >= 4096;
#pragma omp parallel for schedule(dynamic) if (worthwhile)
#endif
  for (int64_t position = 0; position < blocks; ++position) run_block(position);
  if (error) std::rethrow_exception(error);
}

}  // namespace ld::emulated

#endif
