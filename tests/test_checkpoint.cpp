// What a run needs to go on: saved, loaded, and refused where it belongs to another run.
#include <doctest/doctest.h>

#include "autograd/tape.h"
#include "tests/expect.h"
#include "tests/small_model.h"
#include "tests/small_run.h"
#include "training/safetensors.h"

namespace ld {
namespace {

// A model after some steps, with its optimizer.
struct Trained {
  explicit Trained(const RunConfig& config, int steps)
      : config(config),
        model(config.model_config, config.model_dtype(), static_cast<uint64_t>(config.seed)),
        optimizer(model.parameters(), {}) {
    for (int step = 0; step < steps; ++step) {
      model.parameters().zero_gradients();
      Tape tape;
      tape.backward(model(random_tokens(2, 6, 11, 1), random_tokens(2, 6, 11, 2), training_pass()).loss);
      optimizer.step(0.01);
    }
  }
  void save(const std::string& path, const RunState& state = {12, 1.0 / 3, 8}) const {
    save_checkpoint(path, config, data, model.parameters(), optimizer, state);
  }
  RunState load(const std::string& path) {
    return load_checkpoint(path, config, data, model.parameters(), optimizer);
  }
  std::string load_error(const std::string& path) {
    return error_of([&] { load(path); });
  }

  RunConfig config;
  DataFingerprint data{"2,000 tokens", "300 tokens"};
  Transformer model;
  AdamW optimizer;
};

struct Place {
  SmallData data;
  std::string path = data.folder("checkpoint.safetensors");
  RunConfig config = small_run(data);
};

}  // namespace

TEST_CASE("checkpoint: weights, moments and state come back to the last bit") {
  Place place;
  SUBCASE("float32") {}
  SUBCASE("bfloat16, whose float32 masters are what is saved") { place.config.dtype = "bfloat16"; }
  // Detached: some parameters have no moments.
  place.config.model_config.learned_dropout_config->use_detached_input = true;
  const Trained trained(place.config, 3);
  trained.save(place.path);
  Trained other(place.config, 1);
  const RunState state = other.load(place.path);
  CHECK(state.step == 12);
  CHECK(state.best_val_loss == 1.0 / 3);
  CHECK(state.best_step == 8);
  for (size_t k = 0; k < trained.model.parameters().all().size(); ++k) {
    const Parameter& p = trained.model.parameters().all()[k];
    INFO(p.name);
    CHECK(same_bits(p.var.value(), other.model.parameters().all()[k].var.value()));
    CHECK(same_bits(p.master, other.model.parameters().all()[k].master));
    CHECK(SafetensorsFile(place.path).contains(p.name));
    const AdamW::Moments &ours = trained.optimizer.moments()[k], &theirs = other.optimizer.moments()[k];
    CHECK(ours.updates == theirs.updates);
    CHECK(same_bits(ours.m, theirs.m));
    CHECK(same_bits(ours.v, theirs.v));
    CHECK(static_cast<bool>(ours.m) != is_cut_off(place.config.model_config, p));
  }
}

TEST_CASE("checkpoint: a run that has estimated nothing yet has an infinite best loss") {
  const Place place;
  Trained trained(place.config, 1);
  trained.save(place.path, {});
  CHECK(trained.load(place.path).best_val_loss == std::numeric_limits<double>::infinity());
}

TEST_CASE("checkpoint: only what does not change the numbers may differ from the saved config") {
  const Place place;
  Trained(place.config, 1).save(place.path);
  auto error_with = [&](auto change) {
    RunConfig config = place.config;
    change(config);
    return Trained(config, 0).load_error(place.path);
  };
  CHECK(error_with([](RunConfig& c) { c.train_steps = 99; }) == "nothing was thrown");
  CHECK(error_with([](RunConfig& c) { c.est_interval = 99; }) == "nothing was thrown");
  CHECK(error_with([](RunConfig& c) { c.est_steps = 99; }) == "nothing was thrown");
  CHECK(error_with([](RunConfig& c) { c.checkpoint_interval = 99; }) == "nothing was thrown");
  CHECK(error_with([](RunConfig& c) { c.data = "elsewhere"; }) == "nothing was thrown");
  CHECK(error_with([](RunConfig& c) { c.sample_tokens = 99; }) == "nothing was thrown");

  struct Refused {
    std::string message, saved, ours;
  };
  for (const Refused& refused :
       {Refused{error_with([](RunConfig& c) { c.lr = 0.02; }), "\"lr = 0.01\"", "\"lr = 0.02\""},
        Refused{error_with([](RunConfig& c) { c.seed = 4; }), "\"seed = 3\"", "\"seed = 4\""},
        Refused{error_with([](RunConfig& c) { c.batch_size = 6; }), "\"batch_size = 3\"",
                "\"batch_size = 6\""},
        Refused{error_with([](RunConfig& c) { c.model_config.n_layer = 3; }), "\"n_layer = 2\"",
                "\"n_layer = 3\""},
        Refused{error_with([](RunConfig& c) { c.model_config.dropout_rate = 0.5; }), "\"dropout_rate = 0.2\"",
                "\"dropout_rate = 0.5\""},
        Refused{error_with([](RunConfig& c) { c.model_config.learned_dropout_config->use_bias = true; }),
                "\"use_bias = false\"", "\"use_bias = true\""},
        Refused{error_with([](RunConfig& c) { c.model_config.dropout_l1_norm_coeff_config.max_coeff = 0.5; }),
                "\"max_coeff = 0.1\"", "\"max_coeff = 0.5\""}}) {
    INFO(refused.message);
    CHECK(refused.message.find(place.path) != std::string::npos);
    CHECK(refused.message.find(refused.saved) != std::string::npos);
    CHECK(refused.message.find(refused.ours) != std::string::npos);
  }
}

TEST_CASE("checkpoint: the data must be the same, wherever it lies") {
  const Place place;
  Trained trained(place.config, 1);
  trained.save(place.path);
  trained.data.val = "301 tokens";
  const std::string message = trained.load_error(place.path);
  for (const char* part : {"val file", "had 300 tokens", "has 301 tokens", "--out"}) {
    INFO(message);
    CHECK(message.find(part) != message.npos);
  }
  trained.data = {"2,001 tokens", "300 tokens"};
  CHECK(trained.load_error(place.path).find("train file had 2,000 tokens") != std::string::npos);
}

TEST_CASE("checkpoint: a file of another kind, or a damaged one, is refused") {
  const Place place;
  Trained trained(place.config, 1);
  write_safetensors(place.path, {{"weight", random_tensor({2}, 1)}}, {{"made_by", "somebody else"}});
  CHECK(trained.load_error(place.path).find("not a checkpoint of this program") != std::string::npos);

  write_safetensors(place.path, {}, {{"format", "learned-dropout checkpoint 0"}});
  CHECK(trained.load_error(place.path).find("is a \"learned-dropout checkpoint 0\"") != std::string::npos);

  trained.save(place.path);
  const std::string bytes = file_bytes(place.path);
  for (size_t n = 0; n < bytes.size(); n += 97) {
    std::ofstream(place.path, std::ios::binary) << bytes.substr(0, n);
    CHECK(trained.load_error(place.path).starts_with(place.path));
  }
  // Any byte of any tensor.
  uint64_t header = 0;
  std::memcpy(&header, bytes.data(), sizeof header);
  for (size_t n = sizeof header + header; n < bytes.size(); n += 997) {
    std::string flipped = bytes;
    flipped[n] = static_cast<char>(flipped[n] ^ 1);
    std::ofstream(place.path, std::ios::binary) << flipped;
    INFO(n);
    CHECK(trained.load_error(place.path).find("not those that were written; the file is damaged") !=
          std::string::npos);
  }
  // A step that is no number: same length, so all else stays in place.
  std::string damaged = bytes;
  const size_t at = damaged.find("\"step\":\"12\"");
  REQUIRE(at != damaged.npos);
  damaged.replace(at, 11, "\"step\":\"xx\"");
  std::ofstream(place.path, std::ios::binary) << damaged;
  CHECK(trained.load_error(place.path).find("metadata is damaged") != std::string::npos);
  CHECK(trained.load_error(place.data.folder("none")).find("No such file") != std::string::npos);
}

TEST_CASE("checkpoint: saving replaces the file whole, and leaves no other behind") {
  const Place place;
  const Trained one(place.config, 1), two(place.config, 2);
  one.save(place.path);
  const std::string first = file_bytes(place.path);
  two.save(place.path);
  CHECK((file_bytes(place.path) != first));
  one.save(place.path);
  CHECK((file_bytes(place.path) == first));
  int temporary = 0;
  for (const auto& entry : std::filesystem::directory_iterator(place.data.directory.path))
    temporary += entry.path().extension() == ".tmp";
  CHECK(temporary == 0);
}

}  // namespace ld
