// Runs from their first step to their last, whole and in parts.
#include <doctest/doctest.h>

#include <cmath>

#include "tests/expect.h"
#include "tests/small_run.h"
#include "training/safetensors.h"

namespace ld {
namespace {

namespace fs = std::filesystem;

// The state of a run of `steps` steps, to go on from or to look at.
std::string run_of(const SmallData& data, const std::string& name, int64_t steps) {
  RunConfig config = small_run(data);
  config.train_steps = steps;
  train(config, data.folder(name));
  return data.folder(name);
}

std::vector<std::string> whole_history() {
  return {"step 1", "step 2",     "step 3", "step 4",  "estimate 4", "step 5",  "step 6",     "step 7",
          "step 8", "estimate 8", "step 9", "step 10", "step 11",    "step 12", "estimate 12"};
}

double last_loss(const std::string& folder, const char* key) {
  double loss = NAN;
  for (const auto& entry : metrics_of(folder))
    if (entry.contains(key)) loss = entry.at(key);
  return loss;
}

}  // namespace

TEST_CASE("trainer: a run leaves its config, metrics and checkpoints, and nothing else") {
  const SmallData data;
  const std::string folder = data.folder("run");
  CHECK(train(small_run(data), folder) == RunEnd::finished);
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(folder)) files.push_back(entry.path().filename());
  std::sort(files.begin(), files.end());
  REQUIRE(files.size() == 6);
  CHECK(is_event_file(files[2]));
  files.erase(files.begin() + 2);
  CHECK(files == std::vector<std::string>{"best.safetensors", "config.toml", "last.safetensors", "lock",
                                          "metrics.jsonl"});
  CHECK(read_run_config(folder + "/config.toml") == small_run(data));
  CHECK(history_of(folder) == whole_history());
  for (const auto& entry : metrics_of(folder)) {
    if (entry.contains("val_loss")) continue;
    const double loss = entry.at("loss"), cross_entropy = entry.at("cross_entropy"),
                 penalty = entry.at("penalty"), ones = entry.at("ones"), l1_norm = entry.at("l1_norm");
    CHECK(loss == doctest::Approx(cross_entropy + penalty));
    CHECK(penalty == doctest::Approx(0.1 * l1_norm).epsilon(1e-6));  // the coefficient's default
    CHECK(penalty > 0);
    CHECK(ones > 0);
    CHECK(ones < 1);
    CHECK(entry.at("lr") > 0);
    CHECK(entry.at("l1_norm_coefficient") == 0.1);
    for (const char* statistic : {"ones", "l1_norm", "entropy", "above_90", "below_10"}) {
      const std::vector<double> layers = entry.at("layers").at(statistic);
      REQUIRE(layers.size() == 2);
      const double mean = entry.at(statistic);
      CHECK((layers[0] + layers[1]) / 2 == doctest::Approx(mean).epsilon(1e-4));  // written with six digits
    }
  }
}

TEST_CASE("trainer: the curves are the numbers of metrics.jsonl") {
  const SmallData data;
  const std::string folder = data.folder("run");
  RunConfig config = small_run(data);
  config.model_config.use_dropout_entropy_penalty = true;
  train(config, folder);
  std::vector<CurvePoint> expected;
  for (const auto& entry : metrics_of(folder)) {
    const int64_t step = entry.at("step");
    auto add = [&](const std::string& tag, const nlohmann::json& value) {
      expected.push_back({step, tag, value.get<float>()});
    };
    if (entry.contains("val_loss")) {
      add("val/loss", entry.at("val_loss"));
      add("val/error_rate", entry.at("val_error_rate"));
      add("train/estimated_loss", entry.at("train_loss"));
      add("train/estimated_error_rate", entry.at("train_error_rate"));
      continue;
    }
    for (const char* key : {"loss", "cross_entropy", "grad_norm", "lr", "penalty"})
      add(std::string("train/") + key, entry.at(key));
    for (const char* key : {"l1_norm_coefficient", "entropy_coefficient"})
      add(std::string("penalty/") + key, entry.at(key));
    std::vector<const char*> statistics = {"ones", "l1_norm", "entropy", "above_90", "below_10"};
    CHECK(entry.contains("flips") == (entry.at("step") > 1));
    if (entry.contains("flips")) statistics.push_back("flips");
    for (const char* key : statistics) add(std::string("mask/") + key, entry.at(key));
    for (const char* key : statistics)
      for (size_t layer : {0, 1})
        add(std::string("mask/") + key + "/blocks." + std::to_string(layer) + ".feed_forward",
            entry.at("layers").at(key)[layer]);
  }
  const auto points = curves_of(folder);
  REQUIRE(points.size() == expected.size());
  for (size_t i = 0; i < points.size(); ++i) {
    INFO(expected[i].tag);
    CHECK(points[i].step == expected[i].step);
    CHECK(points[i].tag == expected[i].tag);
    CHECK(points[i].value == doctest::Approx(expected[i].value).epsilon(1e-4));
  }
}

TEST_CASE("trainer: a clipped gradient is reported as it was, and changes what is learnt") {
  const SmallData data;
  RunConfig config = small_run(data);
  train(config, data.folder("free"));
  const auto free = metrics_of(data.folder("free"));
  const double first = free[0].at("grad_norm");
  config.grad_clip = 1000 * first;  // never reached
  train(config, data.folder("loose"));
  CHECK(metrics_of(data.folder("loose")) == free);
  config.grad_clip = 0.01 * first;
  train(config, data.folder("tight"));
  const auto tight = metrics_of(data.folder("tight"));
  CHECK(tight[0] == free[0]);  // measured before the first update
  CHECK(tight[1] != free[1]);
}

TEST_CASE("trainer: another data file under the same name is refused, the same under another name is not") {
  const SmallData data, other;
  const std::string folder = run_of(data, "run", 4);
  RunConfig config = small_run(other);
  CHECK(train(config, folder, RunStart::resume) == RunEnd::finished);
  write_tokens(other.prefix() + "_val.bin", 300, 3);  // as long, but not the same
  expect_error([&] { train(config, folder, RunStart::resume); },
               {"val file had 300 tokens (crc32 0x", "now it has 300 tokens (crc32 0x", "--out"});
}

TEST_CASE("trainer: the same run twice gives the same bits; another seed others") {
  const SmallData data;
  RunConfig config = small_run(data);
  train(config, data.folder("one"));
  train(config, data.folder("two"));
  expect_same_end(data.folder("two"), data.folder("one"));
  config.seed = 4;
  train(config, data.folder("other"));
  CHECK(metrics_of(data.folder("other")) != metrics_of(data.folder("one")));
}

TEST_CASE("trainer: a run continued later ends to the bit like one that never stopped") {
  const SmallData data;
  const RunConfig config = small_run(data);
  train(config, data.folder("whole"));
  const std::string parts = run_of(data, "parts", 4);  // where an estimate and a checkpoint are made anyway
  RunConfig longer = config;
  longer.train_steps = 8;
  CHECK(train(longer, parts, RunStart::resume) == RunEnd::finished);
  CHECK(train(config, parts, RunStart::resume) == RunEnd::finished);
  expect_same_end(parts, data.folder("whole"));
  CHECK(history_of(parts) == whole_history());
}

TEST_CASE("trainer: resuming a finished run changes nothing") {
  const SmallData data;
  const std::string folder = run_of(data, "run", 12);
  const std::string metrics = file_bytes(folder + "/metrics.jsonl"),
                    last = file_bytes(folder + "/last.safetensors");
  CHECK(train(small_run(data), folder, RunStart::resume) == RunEnd::finished);
  CHECK(file_bytes(folder + "/metrics.jsonl") == metrics);
  CHECK((file_bytes(folder + "/last.safetensors") == last));
}

TEST_CASE("trainer: estimates and checkpoints do not change what is learnt") {
  const SmallData data;
  RunConfig config = small_run(data);
  train(config, data.folder("one"));
  config.est_interval = 5;
  config.est_steps = 1;
  config.checkpoint_interval = 1;
  train(config, data.folder("two"));
  std::vector<nlohmann::json> steps[2];
  for (int i = 0; i < 2; ++i)
    for (const auto& entry : metrics_of(data.folder(i == 0 ? "one" : "two")))
      if (!entry.contains("val_loss")) steps[i].push_back(entry);
  CHECK(steps[0].size() == 12);
  CHECK(steps[0] == steps[1]);
}

TEST_CASE("trainer: a folder that holds a run is not overwritten by accident") {
  const SmallData data;
  const std::string folder = run_of(data, "run", 4);
  const std::string before = file_bytes(folder + "/last.safetensors");
  expect_error([&] { train(small_run(data), folder); },
               {folder, "already holds a run", "--resume", "--overwrite"});
  CHECK((file_bytes(folder + "/last.safetensors") == before));
  CHECK(train(small_run(data), folder, RunStart::overwrite) == RunEnd::finished);
  train(small_run(data), data.folder("fresh"));
  expect_same_end(folder, data.folder("fresh"));
  CHECK(history_of(folder) == whole_history());
}

TEST_CASE("trainer: there must be something to resume") {
  const SmallData data;
  expect_error([&] { train(small_run(data), data.folder("none"), RunStart::resume); },
               {data.folder("none"), "no checkpoint to resume"});
  CHECK_FALSE(fs::exists(data.folder("none")));
  RunConfig other = small_run(data);
  const std::string folder = run_of(data, "run", 4);
  other.lr = 0.02;
  expect_error([&] { train(other, folder, RunStart::resume); }, {"lr = 0.01", "lr = 0.02"});
}

// What a kill can leave: steps after the last checkpoint, and a line of which only the beginning was written.
TEST_CASE("trainer: after a kill, metrics.jsonl holds each step once") {
  const SmallData data;
  train(small_run(data), data.folder("whole"));
  for (const char* rest :
       {"", "{\"step\":5,\"loss\":1.0}\n{\"step\":6,\"loss\":1.0}\n", "{\"step\":5,\"loss\":1.0}\n{\"st",
        "{\"step\":5", "\n", "{\"step\":5,\"loss\":1.0}\n{\"step\":5,\"val_loss\":1.0}\n"}) {
    INFO(rest);
    const std::string folder = run_of(data, "killed", 4);
    std::ofstream(folder + "/metrics.jsonl", std::ios::app) << rest;
    CHECK(train(small_run(data), folder, RunStart::resume) == RunEnd::finished);
    expect_same_end(folder, data.folder("whole"));
    CHECK(history_of(folder) == whole_history());
    fs::remove_all(folder);
  }
}

TEST_CASE("trainer: what a killed run was writing is removed, other files are not") {
  const SmallData data;
  const std::string folder = run_of(data, "run", 4);
  std::ofstream(folder + "/last.safetensors.123.tmp") << "half a checkpoint";
  for (const char* mine : {"/notes.txt", "/notes.tmp", "/notes.123.tmp", "/last.safetensors.mine.tmp"})
    std::ofstream(folder + mine) << "mine";
  train(small_run(data), folder, RunStart::resume);
  CHECK_FALSE(fs::exists(folder + "/last.safetensors.123.tmp"));
  for (const char* mine : {"/notes.tmp", "/notes.123.tmp", "/last.safetensors.mine.tmp"})
    CHECK(fs::exists(folder + mine));
  CHECK(file_bytes(folder + "/notes.txt") == "mine");
}

// Only the order of the sums differs; Adam's first steps make relative errors of small gradients visible.
TEST_CASE("trainer: 4 micro-batches of B are one batch of 4 B, to rounding") {
  const SmallData data;
  RunConfig config = small_run(data);
  config.dtype = "float64";
  config.batch_size = 2;
  config.gradient_accumulation_steps = 4;
  train(config, data.folder("four"));
  config.batch_size = 8;
  config.gradient_accumulation_steps = 1;
  train(config, data.folder("one"));
  const auto four = metrics_of(data.folder("four")), one = metrics_of(data.folder("one"));
  REQUIRE(four.size() == one.size());
  for (size_t i = 0; i < one.size(); ++i) {
    if (one[i].contains("val_loss")) continue;  // of est_steps batches of batch_size: another choice of text
    for (const char* key : {"loss", "cross_entropy", "penalty", "ones", "entropy", "grad_norm", "lr"})
      CHECK(four[i].at(key).get<double>() == doctest::Approx(one[i].at(key).get<double>()).epsilon(1e-9));
  }
}

TEST_CASE("trainer: the loss falls on a text that can be learnt, with every kind of model") {
  const SmallData data;
  for (const std::string kind : {"baseline", "HIDDEN_STATE", "EMBED"}) {
    INFO(kind);
    RunConfig config = small_run(data);
    config.train_steps = config.lr_decay_iters = 200;
    config.batch_size = 16;
    config.gradient_accumulation_steps = 1;
    config.est_interval = config.checkpoint_interval = 200;
    config.est_steps = 4;
    ModelConfig& model = config.model_config;
    model.n_embed = 24;
    model.dropout_rate = 0;
    if (kind[0] == 'b') {
      model.learned_dropout_config.reset();
      model.use_dropout_l1_norm_penalty = false;
    } else {
      model.learned_dropout_config->shift_init = 0;
      if (kind[0] == 'H') model.learned_dropout_config->dropout_input_type = DropoutInput::hidden_state;
    }
    train(config, data.folder(kind));
    const double first = metrics_of(data.folder(kind))[0].at("cross_entropy");
    CHECK(first == doctest::Approx(std::log(11)).epsilon(0.05));  // a fresh model knows nothing
    // One token in ten is a surprise: no model can get below a loss of 0.1 · ln 11 + H(0.1) = 0.56.
    CHECK(last_loss(data.folder(kind), "train_loss") < 1.0);
    CHECK(last_loss(data.folder(kind), "val_loss") < 1.0);
    CHECK(last_loss(data.folder(kind), "val_error_rate") < 0.3);
  }
}

TEST_CASE("trainer: a loss that is not finite ends the run with the last checkpoint intact") {
  const SmallData data;
  RunConfig config = small_run(data);
  config.lr = 1e30;
  config.warmup_iters = 0;
  expect_error([&] { train(config, data.folder("run")); }, {"not finite"});
  CHECK_FALSE(fs::exists(data.folder("run") + "/last.safetensors"));
}

TEST_CASE("trainer: an estimate that is not finite does not end the run and is never the best") {
  const SmallData data;
  RunConfig config = small_run(data);
  config.lr = 1e38;
  config.warmup_iters = 0;
  config.train_steps = 1;
  const std::string folder = data.folder("run");
  CHECK(train(config, folder) == RunEnd::finished);
  CHECK(metrics_of(folder).back().at("val_loss").is_null());
  CHECK_FALSE(fs::exists(folder + "/best.safetensors"));
}

// Forty tokens are soon known by heart, and what is known by heart of them is wrong elsewhere.
TEST_CASE("trainer: the best checkpoint is that of the lowest val loss, not of the last") {
  const SmallData data;
  write_tokens(data.prefix() + "_train.bin", 40, 1);
  RunConfig config = small_run(data);
  config.train_steps = config.lr_decay_iters = 200;
  config.est_interval = 20;
  config.est_steps = 10;
  config.model_config.n_embed = 24;
  config.model_config.learned_dropout_config.reset();
  config.model_config.use_dropout_l1_norm_penalty = false;
  config.model_config.dropout_rate = 0;
  train(config, data.folder("run"));
  double lowest = INFINITY;
  int64_t at = 0;
  for (const auto& line : metrics_of(data.folder("run")))
    if (line.contains("val_loss") && line.at("val_loss") < lowest) {
      lowest = line.at("val_loss");
      at = line.at("step");
    }
  REQUIRE(at < 200);
  const SafetensorsFile best(data.folder("run") + "/best.safetensors"),
      last(data.folder("run") + "/last.safetensors");
  CHECK(best.number("step") == static_cast<double>(at));
  CHECK(best.number("best_val_loss") == lowest);
  CHECK(last.number("step") == 200);
  CHECK(last.number("best_val_loss") == lowest);
  CHECK_FALSE(same_bits(best.read("token_embedding.weight"), last.read("token_embedding.weight")));
}

TEST_CASE("trainer: a run on several threads gives the same bits twice, and when it is continued later") {
  const SmallData data;
  for (const char* dtype : {"float32", "bfloat16"}) {
    INFO(std::string(dtype));
    RunConfig config = small_run(data);
    config.dtype = dtype;
    config.batch_size = 8;
    config.train_steps = 4;
    config.checkpoint_interval = 2;
    ModelConfig& model = config.model_config;
    model.context_size = 40;
    model.n_embed = 48;
    model.n_head = model.learned_dropout_config->n_head = 3;
    auto folder = [&](const char* name) { return data.folder(std::string(name) + dtype); };
    train(config, folder("one"), RunStart::fresh, 4);
    train(config, folder("two"), RunStart::fresh, 4);
    expect_same_end(folder("two"), folder("one"));
    RunConfig half = config;
    half.train_steps = 2;
    train(half, folder("parts"), RunStart::fresh, 4);
    train(config, folder("parts"), RunStart::resume, 4);
    CHECK((file_bytes(folder("parts") + "/last.safetensors") ==
           file_bytes(folder("one") + "/last.safetensors")));
  }
}

}  // namespace ld
