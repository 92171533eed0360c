// Configs: the published runs read back as published, overrides and defaults do what they say, and the
// resolved config reads back as itself.
#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <filesystem>
#include <limits>
#include <random>
#include <string>

#include "engine/error.h"
#include "tests/config_text.h"
#include "training/key_names.h"
#include "training/run_config.h"

namespace {

using namespace ld;
using namespace ld::config_text;

RunConfig published_training(int64_t steps) {
  RunConfig run;
  run.data = "data/gcide";
  run.train_steps = steps;
  run.batch_size = 50;
  run.gradient_accumulation_steps = 16;
  run.lr = 0.0009;
  run.decay_lr = true;
  run.warmup_iters = 300;
  run.lr_decay_iters = 700000;
  run.min_lr = 9.0e-05;
  run.beta1 = 0.9;
  run.beta2 = 0.95;
  run.weight_decay = 0.1;
  run.est_interval = 500;
  run.est_steps = 200;
  run.checkpoint_interval = 500;
  run.model_config.context_size = 200;
  run.model_config.n_layer = 26;
  return run;
}

RunConfig published_baseline(double dropout_rate) {
  RunConfig run = published_training(26000);
  run.model_config.n_embed = 156;
  run.model_config.n_head = 12;
  run.model_config.dropout_rate = dropout_rate;
  return run;
}

RunConfig published_learned(bool penalty, double shift_init) {
  RunConfig run = published_training(26000);
  run.model_config.n_embed = 144;
  run.model_config.n_head = 9;
  run.model_config.use_dropout_l1_norm_penalty = penalty;
  run.model_config.l1_norm_penalty_type = L1NormPenalty::squared;
  run.model_config.dropout_l1_norm_coeff_config.max_coeff = 0.1;
  run.model_config.learned_dropout_config = LearnedDropoutConfig{
      .dropout_input_type = DropoutInput::hidden_state,
      .mask_rounding_type = MaskRounding::noise_and_linear,
      .n_head = 9,
      .shift_init = shift_init,
  };
  return run;
}

}  // namespace

TEST_CASE("config: the nine published runs have the published values") {
  CHECK(read_run_config("configs/no_penalty.toml") == published_learned(false, 0));
  CHECK(read_run_config("configs/penalty.toml") == published_learned(true, 0));
  CHECK(read_run_config("configs/shift_pi_2.toml") == published_learned(true, 1.57079));
  CHECK(read_run_config("configs/shift_pi.toml") == published_learned(true, 3.14159));
  CHECK(read_run_config("configs/baseline.toml") == published_baseline(0));
  CHECK(read_run_config("configs/baseline_dropout_0.2.toml") == published_baseline(0.2));
  CHECK(read_run_config("configs/baseline_dropout_0.3.toml") == published_baseline(0.3));
  CHECK(read_run_config("configs/baseline_dropout_0.4.toml") == published_baseline(0.4));

  RunConfig precomputed = published_learned(true, 0);
  precomputed.train_steps = 28000;
  precomputed.model_config.learned_dropout_config->dropout_input_type = DropoutInput::embed;
  precomputed.model_config.learned_dropout_config->use_detached_input = true;
  CHECK(read_run_config("configs/precomputed.toml") == precomputed);
}

// config/train_shakespeare_char.py, and the overrides that nanoGPT's README names for a processor.
TEST_CASE("config: the Shakespeare recipes have nanoGPT's values") {
  RunConfig run;
  run.data = "data/shakespeare_char";
  run.train_steps = run.lr_decay_iters = 5000;
  run.batch_size = 64;
  run.lr = 1e-3;
  run.min_lr = 1e-4;
  run.warmup_iters = 100;
  run.beta1 = 0.9;
  run.beta2 = 0.99;
  run.weight_decay = 0.1;
  run.grad_clip = 1;
  run.est_interval = run.checkpoint_interval = 250;
  run.est_steps = 200;
  ModelConfig& model = run.model_config;
  model.context_size = 256;
  model.n_layer = model.n_head = 6;
  model.n_embed = 384;
  model.dropout_rate = 0.2;
  CHECK(read_run_config("configs/shakespeare.toml") == run);

  run.train_steps = run.lr_decay_iters = 2000;
  run.batch_size = 12;
  run.est_steps = 20;
  model.context_size = 64;
  model.n_layer = model.n_head = 4;
  model.n_embed = 128;
  model.dropout_rate = 0;
  CHECK(read_run_config("configs/shakespeare_cpu.toml") == run);
}

TEST_CASE("config: nanoGPT's grad_clip, off by default, is found under a likely other name") {
  CHECK(read(minimal_with()).grad_clip == 0);
  CHECK(read(minimal_with("lr = 0.01\n", "lr = 0.01\ngrad_clip = 0.5\n")).grad_clip == 0.5);
  CHECK(error_with("lr = 0.01\n", "lr = 0.01\ngradient_clip = 1\n")
            .find("nearest valid key is \"grad_clip\"") != std::string::npos);
  CHECK(error_with("lr = 0.01\n", "lr = 0.01\ngrad_clip = -1\n").find("grad_clip: got -1") !=
        std::string::npos);
}

TEST_CASE("config: every file in configs/ is valid and reads back as itself") {
  for (const auto& entry : std::filesystem::directory_iterator("configs")) {
    CAPTURE(entry.path().string());
    const RunConfig run = read_run_config(entry.path().string());
    CHECK(read(to_toml(run)) == run);
    CHECK(to_toml(read(to_toml(run))) == to_toml(run));
  }
}

TEST_CASE("config: defaults, also those that follow from other keys") {
  const RunConfig run = read(minimal_with());
  CHECK(run.data == "data/gcide");
  CHECK(run.seed == 1337);
  CHECK(run.dtype == usual_dtype);
  CHECK(std::string(usual_dtype) == (std::string(device_name()) == "cuda" ? "bfloat16" : "float32"));
  CHECK(to_toml(run).find(std::string("dtype = \"") + usual_dtype) != std::string::npos);  // for a resume
  CHECK(run.gradient_accumulation_steps == 1);
  CHECK(run.decay_lr);
  CHECK(run.lr_decay_iters == 100);
  CHECK(run.min_lr == 0.01 / 10);
  CHECK(run.est_interval == 500);
  CHECK(run.checkpoint_interval == 500);
  CHECK(read(minimal_with(), {"est_interval=7"}).checkpoint_interval == 7);
  CHECK(run.model_config.alphabet_size == 0);
  CHECK(run.model_config.l1_norm_penalty_type == L1NormPenalty::squared);
  CHECK(run.model_config.dropout_l1_norm_coeff_config.max_coeff == 0.1);
  CHECK(run.model_config.learned_dropout_config->sigmoid_scale == 60);
  CHECK_NOTHROW(run.validate());

  const RunConfig unrounded = read(minimal_with("mask_rounding_type = \"SIGMOID\"\n", ""));
  CHECK(unrounded.model_config.learned_dropout_config->mask_rounding_type == MaskRounding::none);
}

TEST_CASE("config: the coefficient of a penalty, step by step") {
  CoefficientConfig coefficient{.max_coeff = 0.3};
  CHECK(coefficient.at(0) == 0.3);
  CHECK(coefficient.at(1000000) == 0.3);
  coefficient.exp_rate = 0.001;
  CHECK(coefficient.at(0) == 0);
  CHECK(coefficient.at(100) == doctest::Approx(std::exp(0.1) - 1).epsilon(1e-15));
  CHECK(coefficient.at(1000) == 0.3);
  coefficient.min_coeff = 0.05;
  CHECK(coefficient.at(0) == doctest::Approx(0.05).epsilon(1e-15));
  CHECK(coefficient.at(100) == doctest::Approx(std::exp(0.1) - 0.95).epsilon(1e-15));
  CHECK(coefficient.at(std::numeric_limits<int64_t>::max()) == 0.3);  // exp is infinite there
}

TEST_CASE("config: overrides change the file") {
  const RunConfig run =
      read(minimal_with(), {"lr=1e-4", "model_config.n_layer=7", "data=data/other", "seed = 3", "lr=0.5",
                            "model_config.learned_dropout_config.mask_rounding_type=NONE",
                            "model_config.dropout_l1_norm_coeff_config.max_coeff=0.25"});
  CHECK(run.lr == 0.5);  // the last one wins
  CHECK(run.model_config.n_layer == 7);
  CHECK(run.data == "data/other");
  CHECK(run.seed == 3);
  CHECK(run.model_config.learned_dropout_config->mask_rounding_type == MaskRounding::none);
  CHECK(run.model_config.dropout_l1_norm_coeff_config.max_coeff == 0.25);  // in a section the file lacks
  CHECK(read(minimal_with(), {"data=\"a b#c\""}).data == "a b#c");
  CHECK(read(minimal_with(), {"data=a b=c"}).data == "a b=c");
  const std::string value = "model_config.dropout_l1_norm_coeff_config={max_coeff = 0.5}";
  CHECK(read(minimal_with(), {value}).model_config.dropout_l1_norm_coeff_config.max_coeff == 0.5);
}

// Every value differs from its default and from every other, so that none can fill another's field.
TEST_CASE("config: each key fills its own field") {
  RunConfig run;
  run.data = "data/mine";
  run.seed = 21;
  run.dtype = "float64";
  run.train_steps = 22;
  run.batch_size = 23;
  run.gradient_accumulation_steps = 24;
  run.lr = 0.25;
  run.decay_lr = false;
  run.warmup_iters = 26;
  run.lr_decay_iters = 27;
  run.min_lr = 0.0028;
  run.beta1 = 0.29;
  run.beta2 = 0.3;
  run.weight_decay = 0.31;
  run.grad_clip = 0.32;
  run.est_interval = 33;
  run.est_steps = 34;
  run.checkpoint_interval = 35;
  run.sample_tokens = 36;
  ModelConfig& model = run.model_config;
  model.alphabet_size = 37;
  model.context_size = 38;
  model.n_embed = 39 * 40;
  model.n_head = 39;
  model.n_layer = 41;
  model.use_bias = true;
  model.dropout_rate = 0.42;
  model.keep_attention_dropout_in_evaluation = true;
  model.use_dropout_l1_norm_penalty = model.use_dropout_entropy_penalty = true;
  model.l1_norm_penalty_type = L1NormPenalty::linear;
  model.entropy_penalty_type = EntropyPenalty::alternate;
  model.dropout_l1_norm_coeff_config = {.max_coeff = 0.43, .exp_rate = 0.44, .min_coeff = 0.045};
  model.dropout_entropy_coeff_config = {.max_coeff = 0.46, .exp_rate = 0.47, .min_coeff = 0.048};
  LearnedDropoutConfig elementwise;
  elementwise.mask_function = MaskFunction::elementwise;
  elementwise.placement = DropoutPlacement::every_dropout;
  elementwise.mask_rounding_type = MaskRounding::sigmoid_detach;
  elementwise.use_detached_input = true;
  elementwise.sigmoid_scale = 49;
  elementwise.a_init = {.mean = 50, .deviation = 51};
  elementwise.b_init = {.mean = 52, .deviation = 53};
  elementwise.a_lr_factor = 54;
  model.learned_dropout_config = elementwise;
  const std::string common =
      "data = \"data/mine\"\nseed = 21\ndtype = \"float64\"\ntrain_steps = 22\nbatch_size = 23\n"
      "gradient_accumulation_steps = 24\nlr = 0.25\ndecay_lr = false\nwarmup_iters = 26\nlr_decay_iters = 27\n"
      "min_lr = 0.0028\nbeta1 = 0.29\nbeta2 = 0.3\nweight_decay = 0.31\ngrad_clip = 0.32\nest_interval = 33\n"
      "est_steps = 34\ncheckpoint_interval = 35\nsample_tokens = 36\n"
      "[model_config]\nalphabet_size = 37\ncontext_size = 38\nn_embed = 1560\nn_head = 39\nn_layer = 41\n"
      "use_bias = true\ndropout_rate = 0.42\nkeep_attention_dropout_in_evaluation = true\n"
      "use_dropout_l1_norm_penalty = true\nl1_norm_penalty_type = \"LINEAR\"\n"
      "use_dropout_entropy_penalty = true\nentropy_penalty_type = \"ALTERNATE\"\n"
      "[model_config.dropout_l1_norm_coeff_config]\nmax_coeff = 0.43\nexp_rate = 0.44\nmin_coeff = 0.045\n"
      "[model_config.dropout_entropy_coeff_config]\nmax_coeff = 0.46\nexp_rate = 0.47\nmin_coeff = 0.048\n"
      "[model_config.learned_dropout_config]\n";
  model.dropout_rate = 0;  // for there is no Dropout left
  const std::string section =
      "mask_function = \"ELEMENTWISE\"\nplacement = \"EVERY_DROPOUT\"\nmask_rounding_type = \"SIGMOID_DETACH\"\n"
      "use_detached_input = true\nsigmoid_scale = 49\na_init_mean = 50\na_init_std = 51\nb_init_mean = 52\n"
      "b_init_std = 53\na_lr_factor = 54\n";
  CHECK(read(common + section, {"model_config.dropout_rate=0"}) == run);
  model.dropout_rate = 0.42;
  LearnedDropoutConfig attention;
  attention.dropout_input_type = DropoutInput::embed;
  attention.mask_rounding_type = MaskRounding::noise_and_linear;
  attention.n_head = 40;
  attention.shift_init = 0.55;
  attention.use_bias = true;
  attention.use_noise_at_inference = true;
  model.learned_dropout_config = attention;
  CHECK(read(common +
             "mask_function = \"ATTENTION\"\nplacement = \"FEED_FORWARD\"\ndropout_input_type = \"EMBED\"\n"
             "mask_rounding_type = \"NOISE_AND_LINEAR\"\nn_head = 40\nshift_init = 0.55\nuse_bias = true\n"
             "use_noise_at_inference = true\n") == run);
}

TEST_CASE("config: keys and sections can be left out") {
  const std::vector<std::string> section = {"model_config.learned_dropout_config",
                                            "model_config.use_dropout_l1_norm_penalty"};
  const RunConfig with = read(minimal_with()), without = read(minimal_with(), {}, section);
  CHECK(with.model_config.learned_dropout_config.has_value());
  CHECK_FALSE(without.model_config.learned_dropout_config.has_value());
  CHECK(without.model_config.n_layer == with.model_config.n_layer);
  // One that is not there is no error, and what is left out may be set anew.
  CHECK(read(minimal_with(), {}, {{"model_config.dropout_l1_norm_coeff_config.max_coeff"}}) == with);
  CHECK(read(minimal_with(), {"train_steps=77"}, {{"train_steps"}}).train_steps == 77);
  CHECK(error_of(minimal_with(), {}, {{"train_steps"}}).find("train_steps") !=
        std::string::npos);  // it is required
  const std::string message = error_of(minimal_with(), {}, {{"model_config.n_layr"}});
  CHECK(message.starts_with("--unset model_config.n_layr: "));
  CHECK(message.find("n_layer") != std::string::npos);
}

TEST_CASE("config: the resolved config reads back to the last bit") {
  RunConfig run = read(minimal_with());
  run.data = "odd \"name\" \\ with\ttab, \x7f and ü";
  run.dtype = "float64";
  run.model_config.use_dropout_entropy_penalty = true;
  run.model_config.l1_norm_penalty_type = L1NormPenalty::linear;
  run.model_config.dropout_entropy_coeff_config = {
      .max_coeff = 1e300, .exp_rate = 5e-324, .min_coeff = 1e-310};
  run.model_config.learned_dropout_config->sigmoid_scale = 1.0 / 3;
  run.model_config.learned_dropout_config->use_detached_input = true;
  CHECK(read(to_toml(run)) == run);

  std::mt19937_64 random(1);
  for (int trial = 0; trial < 200; ++trial) {
    const double any =
        std::abs(std::bit_cast<double>(random()));  // any bits: huge, tiny and denormal numbers
    if (!std::isfinite(any) || any == 0) continue;
    run.weight_decay = any;
    CAPTURE(to_toml(run));
    CHECK(std::bit_cast<uint64_t>(read(to_toml(run)).weight_decay) == std::bit_cast<uint64_t>(any));
  }
  run.dtype = "float8";
  CHECK_THROWS_WITH_AS(to_toml(run),
                       "dtype: none of its values; set it to one of \"float32\", \"bfloat16\", \"float64\"",
                       Error);
}

TEST_CASE("config: a config made in C++ is checked too") {
  ModelConfig model = read(minimal_with()).model_config;
  CHECK_NOTHROW(model.validate());
  model.n_layer = 0;
  CHECK_THROWS_WITH_AS(model.validate(),
                       "model config: n_layer: got 0; set it to an integer from 1 to 2147483647", Error);
  CHECK_THROWS_WITH_AS(ModelConfig{}.validate(),
                       "model config: context_size: got 0; set it to an integer from 1 to 2147483647", Error);
  model.n_layer = 1;
  model.n_head = 5;
  CHECK_THROWS_WITH_AS(
      model.validate(),
      "model config: n_head: n_embed = 12 is not a multiple of n_head = 5; change one of them", Error);
  RunConfig run = read(minimal_with());
  run.min_lr = 1;
  CHECK_THROWS_WITH_AS(run.validate(),
                       "run config: min_lr: min_lr = 1 is above lr = 0.01; lower min_lr or raise lr", Error);
}

TEST_CASE("config: the list of keys names each key of the resolved config") {
  const std::string list = list_run_config_keys();
  CHECK(list.find("  n_layer: integer from 1 to 2147483647; required\n      L: transformer blocks\n") !=
        std::string::npos);
  CHECK(list.find("[model_config.learned_dropout_config] (optional)") != std::string::npos);
  CHECK(list.find("  sigmoid_scale: number above 0; default 60.0; only with mask_rounding_type") !=
        std::string::npos);
  CHECK(list.find("  checkpoint_interval: integer from 1 to 2147483647; default est_interval") !=
        std::string::npos);
}

TEST_CASE("config: edit distance") {
  CHECK(edit_distance("n_layer", "n_layer") == 0);
  CHECK(edit_distance("N_Layer", "n_layer") == 0);
  CHECK(edit_distance("", "abc") == 3);
  CHECK(edit_distance("n_layr", "n_layer") == 1);
  CHECK(edit_distance("dropuot", "dropout") == 1);  // neighbours swapped
  CHECK(edit_distance("kitten", "sitting") == 3);
  CHECK(nearest("xx", {"lr", "seed"}) == "");
}
