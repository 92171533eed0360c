// CUDA graphs on the emulated device: what capture records, refuses and leaves; and that a training run whose
// steps are launched graphs is, to the last bit, the run whose kernels are launched one by one.
#ifdef ENGINE_EMULATED

#include "autograd/observer.h"
#include "engine/graph.h"
#include "engine/kernel_shapes.h"
#include "engine/staging.h"
#include "ops/select.h"
#include "tests/emulated_helpers.h"
#include "tests/expect.h"
#include "tests/small_model.h"
#include "tests/small_run.h"
#include "training/safetensors.h"

namespace ld {
namespace {

using emulated_test::contains;

void scale(float* y, const float* x, float factor, int64_t n) {
  for_each(n, [=](int64_t i) { y[i] = factor * x[i]; });
}

/// Sees every op and does nothing: with an observer, a trainer makes no graphs.
struct Idle : TapeObserver {
  void after_forward(const char*, const std::vector<Var>&, const std::vector<Var>&) override {}
};

}  // namespace

TEST_CASE("graph: captured work is done at every launch, with what its memory holds then") {
  Staging input(Tensor({1000}, DType::float32));
  const Tensor x = input.target();
  auto next = [&](float value) {
    std::fill_n(input.open<float>(), 1000, value);
    input.send();
  };
  Tensor y;
  int calls = 0;
  auto work = [&] {
    ++calls;
    const Tensor once = Tensor::like(x);
    scale(once.data<float>(), x.data<float>(), 3, 1000);
    y = Tensor::zeros(x.shape(), DType::float32);
    scale(y.data<float>(), once.data<float>(), 2, 1000);
  };
  next(1);
  work();
  CHECK(y.to_vector() == std::vector<double>(1000, 6));
  y = Tensor();
  Graphs graphs;
  for (float value : {2.0f, 5.0f, 7.0f}) {
    next(value);
    graphs.run(0, work);
    INFO(graphs.obstacle());
    CHECK(graphs.obstacle().empty());
    CHECK(y.to_vector() == std::vector<double>(1000, 6.0 * value));
  }
  CHECK(calls == 2);
}

TEST_CASE("graph: what would wait for the device is refused during capture, and the work done without") {
  const Tensor x = Tensor::from(std::vector<double>(5, 1), {5}, DType::float32);
  const struct {
    const char* what;
    std::function<void()> work;
  } obstacles[] = {
      {"cudaStreamSynchronize", [] { synchronize(); }},
      {"cudaMemcpyDeviceToHost", [&] { x.to_vector(); }},
      {"20 bytes are copied from host memory",
       [&] {
         x.assign({1, 2, 3, 4, 5});
       }},
      {"capture: activations need", [] { Tensor({123457}, DType::float64); }},
  };
  for (const auto& [what, work] : obstacles) {
    pool_release_cached();
    Graphs graphs;
    int done = 0;
    const int64_t launches = emulated::graph_launches();
    for (int i = 0; i < 3; ++i) graphs.run(0, [&] { work(), ++done; });
    CHECK(contains(graphs.obstacle(), what));
    CHECK(done == 3);
    graphs.run(1, [&] { ++done; });  // nor is another one captured
    CHECK(done == 4);
    CHECK(emulated::graph_launches() == launches);
    CHECK(x.to_vector().size() == 5);  // the device works on
  }
}

TEST_CASE("graph: dropped, it is captured again, and its memory has served others") {
  int calls = 0;
  auto work = [&] {
    Tensor::zeros({4321}, DType::float64);
    ++calls;
  };
  work();
  Graphs graphs;
  for (int i = 0; i < 3; ++i) graphs.run(0, work);
  CHECK(calls == 2);
  graphs.drop();
  const MemoryReport before = memory_report();
  work();
  CHECK(memory_report().allocations == before.allocations);
  for (int i = 0; i < 3; ++i) graphs.run(0, work);
  CHECK(calls == 4);
  CHECK(graphs.obstacle().empty());
}

// A block that a graph writes to between its launches must be nobody else's.
TEST_CASE("graph: its memory is set aside as long as it lives") {
  const Shape shape({4321});
  const void* used = nullptr;
  auto work = [&] {
    Tensor t = Tensor::zeros(shape, DType::float64);
    used = t.raw();
  };
  work();
  const void* after = nullptr;
  {
    Graphs graphs;
    graphs.run(0, work);
    CHECK(graphs.obstacle().empty());
    const void* of_first = used;
    Tensor others = Tensor::from(std::vector<double>(4321, 7), shape, DType::float64);
    CHECK(others.raw() != of_first);
    graphs.run(0, work);
    CHECK(others.to_vector() == std::vector<double>(4321, 7));
    graphs.run(1, work);  // a second graph takes what the first one used
    CHECK(used == of_first);
    after = of_first;
  }
  std::vector<Tensor> again;
  for (int i = 0; i < 2; ++i) again.emplace_back(shape, DType::float64);
  CHECK((again[0].raw() == after || again[1].raw() == after));
}

TEST_CASE("graph: noise is drawn where the run has come to, not where it was captured") {
  Staging place(Tensor({2}, DType::int32));
  const Tensor x = Tensor::zeros({3, 50}, DType::float32);
  auto key = [&](uint32_t step, uint32_t sample) { return NoiseKey{7, step, sample, 4}; };
  NoiseKey placed = key(0, 0);
  placed.place = static_cast<const NoisePlace*>(place.target().raw());
  Tensor y;
  auto work = [&] { y = uniform_noise(x, placed).value(); };
  *place.open<NoisePlace>() = {1, 2};
  place.send();
  work();
  CHECK(same_bits(y, uniform_noise(x, key(1, 2)).value()));
  y = Tensor();
  Graphs graphs;
  for (uint32_t step : {3, 4, 9}) {
    *place.open<NoisePlace>() = {step, 5};
    place.send();
    graphs.run(0, work);
    CHECK(graphs.obstacle().empty());
    CHECK(same_bits(y, uniform_noise(x, key(step, 5)).value()));
  }
}

// Two micro-batches a step: launched are, from the third step on, the first one and the others, by a graph
// each. Dropout, mask noise, both penalties with coefficients that move, clipping, flips.
TEST_CASE("graph: a training run by graphs is the run without them, to the last bit") {
  const SmallData data;
  for (DropoutInput input : {DropoutInput::hidden_state, DropoutInput::embed})
    for (const char* dtype : {"float32", "bfloat16"})
      for (int64_t micro_batches : {1, 3}) {
        INFO(dtype, " embed ", input == DropoutInput::embed, " micro-batches ", micro_batches);
        RunConfig config = small_run(data);
        config.dtype = dtype;
        config.train_steps = 6;
        config.gradient_accumulation_steps = micro_batches;
        config.grad_clip = 0.1;
        config.model_config = small_learned(input);
        ModelConfig& model = config.model_config;
        model.use_dropout_l1_norm_penalty = model.use_dropout_entropy_penalty = true;
        model.dropout_l1_norm_coeff_config = {.max_coeff = 0.5, .exp_rate = 0.01, .min_coeff = 0.1};
        const std::string name =
            std::string(dtype) + std::to_string(int(input)) + std::to_string(micro_batches);
        int64_t launches = emulated::graph_launches();
        {
          const Idle watched;
          train(config, data.folder("one_by_one" + name));
        }
        CHECK(emulated::graph_launches() == launches);
        train(config, data.folder("graphs" + name));
        CHECK(emulated::graph_launches() == launches + 4 * micro_batches);
        expect_same_end(data.folder("graphs" + name), data.folder("one_by_one" + name));
      }
}

// Decay that multiplies the weights by −99 in every step makes the scores of attention overflow a few steps
// later. By then the update has been queued.
TEST_CASE("graph: a step that is not finite changes nothing, and the op is found without graphs") {
  const SmallData data;
  RunConfig config = small_run(data);
  config.decay_lr = false;
  config.lr = 1;
  config.weight_decay = 100;
  config.checkpoint_interval = 1;
  const Dataset dataset = open_dataset(config);
  Transformer model(config.model_config, DType::float32, 3);
  const int64_t launches = emulated::graph_launches();
  const std::string message = emulated_test::message_of(
      [&] { Trainer(config, model, dataset, data.folder("run"), RunStart::fresh).run(); });
  CHECK(contains(message, " is not finite. The checkpoints in "));
  CHECK(contains(message, "The first op to blame:\nmicro-batch "));
  CHECK(emulated::graph_launches() > launches);
  const SafetensorsFile last(data.folder("run") + "/last.safetensors");
  const double step = last.number("step");
  CHECK(contains(message, "step " + std::to_string(static_cast<int>(step) + 1) + ": "));
  for (const Parameter& parameter : model.parameters().all())
    CHECK(same_bits(parameter.master, last.read(parameter.name)));
}

}  // namespace ld

#endif
