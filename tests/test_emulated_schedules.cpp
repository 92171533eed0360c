// A GPU promises no order among blocks, nor among warps between two barriers. So every op must give the same
// bits whatever order the emulated device runs them in, and a kernel that needs an order must be found out.
#ifdef ENGINE_EMULATED

#include "tests/cases.h"
#include "tests/emulated_helpers.h"
#include "tests/expect.h"

namespace ld {
namespace {

using namespace emulated_test;

struct NamedSchedule {
  const char* name;
  Order order;
  uint64_t seed;
};
constexpr NamedSchedule other_schedules[] = {
    {"reverse", Order::reverse, 0}, {"random:1", Order::random, 1}, {"random:2", Order::random, 2}};

Run run_in(Order order, uint64_t seed, const Function& f, const std::vector<Tensor>& inputs) {
  const ScheduleScope scope(order, seed);
  return run(f, inputs);
}

/// The first schedule in which f has another value or gradient than in the forward one; "" if there is none.
std::string schedule_that_differs(const Function& f, const std::vector<Tensor>& inputs) {
  const Run forward = run_in(Order::forward, 0, f, inputs);
  for (const NamedSchedule& schedule : other_schedules) {
    const Run other = run_in(schedule.order, schedule.seed, f, inputs);
    bool same = same_bits(forward.value, other.value);
    for (size_t k = 0; k < inputs.size(); ++k)
      same = same && same_bits(forward.gradients[k], other.gradients[k]);
    if (!same) return schedule.name;
  }
  return "";
}

TEST_CASE("schedules: every op gives the same bits in every order of blocks, warps and lanes") {
  for (const OpCase& c : all_cases()) {
    INFO(c.op, ": ", c.name);
    std::vector<Tensor> inputs;
    for (const Tensor& x : c.inputs) inputs.push_back(cast(x, DType::float32));
    CHECK(schedule_that_differs(c.f, inputs) == "");
  }
}

// ---- What depends on the order is found out -----------------------------------------------------

// Block b continues the sum of block b − 1.
__global__ void running_sum(float* y, const float* x) {
  const unsigned b = blockIdx.x;
  if (threadIdx.x == 0) y[b] = x[b] + (b > 0 ? y[b - 1] : 0.0f);
}

// The sum is right in any order, but its last bits are those of this one.
__global__ void sum_by_atomics(float* y, const float* x) {
  if (threadIdx.x == 0) atomicAdd(&y[0], x[blockIdx.x]);
}

__global__ void last_block_wins(float* y, const float* x) {
  if (threadIdx.x == 0) y[0] = x[blockIdx.x];
}

// Warp w reads what warp w − 1 has written, and no barrier says that it has.
__global__ void neighbour_without_barrier(float* y, const float* x) {
  const unsigned t = threadIdx.x;
  y[t] = t < 32 ? x[t] : y[t - 32] + x[t];
}

/// As an op: the kernel on the elements of its input, without a gradient.
template <class Kernel>
Function op_of(Kernel kernel, unsigned blocks, unsigned threads) {
  return [=](const std::vector<Var>& in) {
    const Tensor y = Tensor::zeros(in[0].shape(), DType::float32);
    launch(kernel, blocks, threads, 0, y.data<float>(),
           static_cast<const float*>(in[0].value().data<float>()));
    return Var(y);
  };
}

TEST_CASE("schedules: a kernel that depends on the order of its blocks is caught") {
  const std::vector<Tensor> inputs = {cast(random_tensor({40}, 1), DType::float32)};
  CHECK(schedule_that_differs(op_of(running_sum, 40, 32), inputs) == "reverse");
  CHECK(schedule_that_differs(op_of(sum_by_atomics, 40, 32), inputs) != "");
  CHECK(schedule_that_differs(op_of(last_block_wins, 40, 32), inputs) == "reverse");
}

TEST_CASE("schedules: a kernel that depends on the order of its warps is caught") {
  const std::vector<Tensor> inputs = {cast(random_tensor({256}, 1), DType::float32)};
  CHECK(schedule_that_differs(op_of(neighbour_without_barrier, 1, 256), inputs) == "reverse");
}

}  // namespace
}  // namespace ld

#endif
