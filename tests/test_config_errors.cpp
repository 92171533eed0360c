// Configs: every mistake gets one line that says where it is, what was wanted and what to do.
#include <doctest/doctest.h>

#include <string>

#include "engine/error.h"
#include "tests/config_text.h"
#include "training/run_config.h"

using namespace ld;
using namespace ld::config_text;

TEST_CASE("config: an unknown key is named with the nearest valid one") {
  CHECK(
      error_with("n_layer", "n_layr") ==
      "FILE:9:1: unknown key \"n_layr\" in [model_config]; the nearest valid key is \"n_layer\", rename it");
  CHECK(error_with("batch_size", "Batch_Size") ==
        "FILE:2:1: unknown key \"Batch_Size\" in the top level; the nearest valid key is \"batch_size\", "
        "rename it");
  CHECK(error_with("lr = 0.01\n", "lr = 0.01\nn_layer = 3\n") ==
        "FILE:4:1: unknown key \"n_layer\" in the top level; it belongs in [model_config], move it there");
  CHECK(error_with("n_layer = 3\n", "n_layer = 3\n  seed = 3\n") ==
        "FILE:10:3: unknown key \"seed\" in [model_config]; it belongs in the top level, before the first "
        "section, "
        "move it there");
  CHECK(error_with("lr = 0.01\n", "lr = 0.01\nuse_bias = true\n") ==
        "FILE:4:1: unknown key \"use_bias\" in the top level; it belongs in [model_config] or "
        "[model_config.learned_dropout_config], move it there");
  CHECK(error_with("lr = 0.01\n", "lr = 0.01\ndropuot_rate = 0\n") ==
        "FILE:4:1: unknown key \"dropuot_rate\" in the top level; the nearest valid key is \"dropout_rate\" "
        "and "
        "belongs in [model_config], move it there");
  CHECK(error_with("[model_config.learned_dropout_config]", "[model_config.learned_droput_config]") ==
        "FILE:11:15: unknown key \"learned_droput_config\" in [model_config]; the nearest valid key is "
        "\"learned_dropout_config\", rename it");
  CHECK(error_with("mask_rounding_type", "zzzzzzzzz") ==
        "FILE:13:1: unknown key \"zzzzzzzzz\" in [model_config.learned_dropout_config]; choose one of "
        "mask_function, placement, dropout_input_type, mask_rounding_type, n_head, shift_init, use_bias, "
        "use_detached_input, sigmoid_scale, use_noise_at_inference, a_init_mean, a_init_std, b_init_mean, "
        "b_init_std, a_lr_factor");
  CHECK(error_with("batch_size", "\"b\\nx\"").starts_with("FILE:2:1: unknown key \"b x\" in"));  // one line
  // The first of two in the file's order, and no key hides in quotes.
  CHECK(error_with("n_embed = 12\nn_head", "zz = 12\naa").starts_with("FILE:7:1: unknown key \"zz\""));
  CHECK(error_with("lr = 0.01\n", "lr = 0.01\n\"model_config.n_head\" = 3\n")
            .starts_with("FILE:4:1: unknown key \"model_config.n_head\""));
}

TEST_CASE("config: a value of another type is refused") {
  CHECK(error_with("n_layer = 3", "n_layer = 2.5") ==
        "FILE:9:11: model_config.n_layer: got the number 2.5; set it to an integer from 1 to 2147483647");
  CHECK(error_with("n_layer = 3", "n_layer = \"3\"") ==
        "FILE:9:11: model_config.n_layer: got the string \"3\"; set it to an integer from 1 to 2147483647");
  CHECK(error_with("lr = 0.01", "lr = true") == "FILE:3:6: lr: got true; set it to a number above 0");
  CHECK(error_with("lr = 0.01", "lr = [0.01]") == "FILE:3:6: lr: got an array; set it to a number above 0");
  CHECK(error_with("lr = 0.01", "lr = {}") == "FILE:3:6: lr: got a section; set it to a number above 0");
  CHECK(error_with("lr = 0.01", "lr = 2024-01-01") ==
        "FILE:3:6: lr: got a date or time; set it to a number above 0");
  CHECK(error_with("lr = 0.01", "lr = 0.01\ndecay_lr = 1") ==
        "FILE:4:12: decay_lr: got the integer 1; set it to true or false");
  CHECK(error_with("lr = 0.01", "lr = 0.01\ndata = 1") ==
        "FILE:4:8: data: got the integer 1; set it to a string in quotes");
  CHECK(error_with("\"EMBED\"", "1") ==
        "FILE:12:22: model_config.learned_dropout_config.dropout_input_type: got the integer 1; set it to "
        "one of "
        "\"HIDDEN_STATE\", \"EMBED\"");
  CHECK(error_of("train_steps = 1\nbatch_size = 1\nlr = 1\nmodel_config = 3\n") ==
        "FILE:4:16: model_config: got the integer 3; set it to a section [model_config]");
  CHECK(read(minimal_with("lr = 0.01", "lr = 1")).lr == 1.0);  // an integer is a number
}

TEST_CASE("config: a missing key is named at the section that lacks it") {
  CHECK(error_with("n_layer = 3\n", "") ==
        "FILE:5:1: model_config.n_layer: is missing and has no default; add it (L: transformer blocks)");
  CHECK(error_with("lr = 0.01\n", "") ==
        "FILE:1:1: lr: is missing and has no default; add it (highest learning rate)");
  CHECK(error_with("n_head = 3\n", "") ==
        "FILE:11:1: model_config.learned_dropout_config.n_head: is missing and has no default; add it (heads "
        "of the "
        "mask's attention; must divide n_embed)");
  CHECK(error_of("train_steps = 1\nbatch_size = 1\nlr = 1\n") ==
        "FILE:1:1: model_config: is missing and has no default; add it (the model)");
  CHECK(error_of("") ==
        "FILE:1:1: train_steps: is missing and has no default; add it (steps of the whole run)");
}

TEST_CASE("config: a value out of range is refused") {
  CHECK(error_with("lr = 0.01", "lr = -1") == "FILE:3:6: lr: got -1; set it to a number above 0");
  CHECK(error_with("lr = 0.01", "lr = nan") == "FILE:3:6: lr: got nan; set it to a number above 0");
  CHECK(error_with("lr = 0.01", "lr = inf") == "FILE:3:6: lr: got inf; set it to a number above 0");
  CHECK(error_with("batch_size = 4", "batch_size = 0") ==
        "FILE:2:14: batch_size: got 0; set it to an integer from 1 to 2147483647");
  CHECK(error_with("batch_size = 4", "batch_size = 9000000000") ==
        "FILE:2:14: batch_size: got 9000000000; set it to an integer from 1 to 2147483647");
  CHECK(error_with("lr = 0.01", "lr = 0.01\nbeta2 = 1") ==
        "FILE:4:9: beta2: got 1; set it to a number at least 0 and below 1");
  CHECK(error_with("lr = 0.01", "lr = 0.01\ndata = \"\"") ==
        "FILE:4:8: data: got an empty string; set it or remove the line");
  CHECK(error_with("n_layer = 3", "n_layer = 3\ndropout_rate = 1.0") ==
        "FILE:10:16: model_config.dropout_rate: got 1; set it to a number at least 0 and below 1");
  CHECK(error_with("n_head = 3", "n_head = 3\nshift_init = 3.2") ==
        "FILE:15:14: model_config.learned_dropout_config.shift_init: got 3.2; set it to a number from 0 to "
        "3.141592653589793");
  CHECK(error_with("n_head = 3", "n_head = 3\nsigmoid_scale = 0") ==
        "FILE:15:17: model_config.learned_dropout_config.sigmoid_scale: got 0; set it to a number above 0");
}

TEST_CASE("config: a choice lists what there is to choose") {
  CHECK(error_with("\"EMBED\"", "\"embed\"") ==
        "FILE:12:22: model_config.learned_dropout_config.dropout_input_type: got the string \"embed\"; set "
        "it to one "
        "of \"HIDDEN_STATE\", \"EMBED\" (the nearest is \"EMBED\")");
  CHECK(error_with("\"SIGMOID\"", "\"NOISE_AND_LINER\"") ==
        "FILE:13:22: model_config.learned_dropout_config.mask_rounding_type: got the string "
        "\"NOISE_AND_LINER\"; set "
        "it to one of \"NONE\", \"NOISE_AND_LINEAR\", \"SIGMOID\", \"SIGMOID_DETACH\" (the nearest is "
        "\"NOISE_AND_LINEAR\")");
  CHECK(error_with("lr = 0.01", "lr = 0.01\ndtype = \"int8\"") ==
        "FILE:4:9: dtype: got the string \"int8\"; set it to one of \"float32\", \"bfloat16\", \"float64\"");
}

TEST_CASE("config: keys that contradict each other are refused") {
  CHECK(error_with("lr = 0.01", "lr = 0.01\nmin_lr = 0.02") ==
        "FILE:4:10: min_lr: min_lr = 0.02 is above lr = 0.01; lower min_lr or raise lr");
  CHECK(error_with("warmup_iters = 10", "warmup_iters = 100") ==
        "FILE:4:16: warmup_iters: warmup_iters = 100 is not below lr_decay_iters = 100; lower it or raise "
        "lr_decay_iters");
  CHECK(error_with("warmup_iters = 10", "decay_lr = false\nmin_lr = 1\nwarmup_iters = 100") ==
        "");  // not used
  CHECK(error_with("n_head = 2", "n_head = 5") ==
        "FILE:8:10: model_config.n_head: n_embed = 12 is not a multiple of n_head = 5; change one of them");
  CHECK(error_with("n_head = 3", "n_head = 5") ==
        "FILE:14:10: model_config.learned_dropout_config.n_head: n_embed = 12 is not a multiple of "
        "learned_dropout_config.n_head = 5; change one of them");
  CHECK(
      error_with("\"SIGMOID\"", "\"NOISE_AND_LINEAR\"\nsigmoid_scale = 60") ==
      "FILE:14:17: model_config.learned_dropout_config.sigmoid_scale: has no effect here; remove it, or set "
      "mask_rounding_type = \"SIGMOID\" or \"SIGMOID_DETACH\"");
  CHECK(error_with("\"SIGMOID\"", "\"SIGMOID\"\nuse_noise_at_inference = true") ==
        "FILE:14:26: model_config.learned_dropout_config.use_noise_at_inference: only NOISE_AND_LINEAR "
        "rounds with "
        "noise; set mask_rounding_type to it, or this to false");
  CHECK(error_with("penalty = true", "penalty = false\nl1_norm_penalty_type = \"LINEAR\"") ==
        "FILE:11:24: model_config.l1_norm_penalty_type: has no effect here; remove it, or set "
        "use_dropout_l1_norm_penalty = true");
  const std::string no_learned_dropout =
      minimal_with().substr(0, minimal_with().find("[model_config.learned"));
  CHECK(error_of(no_learned_dropout) ==
        "FILE:10:31: model_config.use_dropout_l1_norm_penalty: there is no LearnedDropout to penalise; add "
        "[model_config.learned_dropout_config], or set it to false");
}

TEST_CASE("config: the penalties' coefficients") {
  const std::string section = minimal_with() + "[model_config.dropout_l1_norm_coeff_config]\n";  // line 15
  const std::string name = "model_config.dropout_l1_norm_coeff_config";
  CHECK(error_of(section + "max_coeff = 0.5\nexp_rate = 0.1\nmin_coeff = 0.2\n") == "");
  CHECK(error_of(section + "max_coeff = 0\n") ==
        "FILE:16:13: " + name + ".max_coeff: got 0; set it to a number above 0");
  CHECK(error_of(section + "exp_rate = 1\n") ==
        "FILE:16:12: " + name + ".exp_rate: got 1; set it to a number above 0 and below 1");
  CHECK(error_of(section + "exp_rate = 0\n") ==
        "FILE:16:12: " + name + ".exp_rate: got 0; set it to a number above 0 and below 1");
  CHECK(error_of(section + "min_coeff = 0.01\n") ==
        "FILE:16:13: " + name +
            ".min_coeff: without exp_rate the coefficient is constant; set exp_rate too, or "
            "remove min_coeff");
  CHECK(error_of(section + "exp_rate = 0.1\nmin_coeff = 0.1\n") ==
        "FILE:17:13: " + name +
            ".min_coeff: min_coeff = 0.1 is not below max_coeff = 0.1; lower min_coeff or raise "
            "max_coeff");
  CHECK(error_of(minimal_with() + "[model_config.dropout_entropy_coeff_config]\n") ==
        "FILE:15:1: model_config.dropout_entropy_coeff_config: has no effect here; remove it, or set "
        "use_dropout_entropy_penalty = true");
  CHECK(error_of(section, {"model_config.use_dropout_l1_norm_penalty=false"}) ==
        "FILE:15:1: " + name + ": has no effect here; remove it, or set use_dropout_l1_norm_penalty = true");
}

TEST_CASE("config: a file that cannot be read or parsed") {
  const auto message = [](const std::string& path) -> std::string {
    try {
      read_run_config(path);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  CHECK(message("configs/no_such.toml") ==
        "configs/no_such.toml: no such file; give the path of a config, for example configs/quickstart.toml");
  CHECK(message("configs") == "configs: is a directory; give the path of a config file inside it");
  const std::string syntax = error_with("lr = 0.01", "lr = = 0.01");
  CAPTURE(syntax);
  CHECK(syntax.starts_with("FILE:3:6: "));
  CHECK(syntax.ends_with("; correct the TOML syntax there"));
  CHECK(syntax.find('\n') == std::string::npos);
  CHECK(error_with("lr = 0.01", "batch_size = 4").starts_with("FILE:3:"));  // the same key twice
}

TEST_CASE("config: errors of an override name the override") {
  const auto error = [](const std::string& assignment) { return error_of(minimal_with(), {assignment}); };
  CHECK(error("lr=-1") == "--set lr=-1: got -1; set it to a number above 0");
  CHECK(error("lr=1e-") == "--set lr=1e-: got the string \"1e-\"; set it to a number above 0");
  CHECK(error("n_layer=3") ==
        "--set n_layer=3: unknown key \"n_layer\" in the top level; it belongs in [model_config], move it "
        "there");
  CHECK(error("model_config.n_layr=3") ==
        "--set model_config.n_layr=3: unknown key \"n_layr\" in [model_config]; the nearest valid key is "
        "\"n_layer\", "
        "rename it");
  CHECK(error("lr.x=3").starts_with("--set lr.x=3: unknown key \"x\" in [lr]"));
  CHECK(
      error("model_config={n_layr=3}").starts_with("--set model_config={n_layr=3}: unknown key \"n_layr\""));
  CHECK(error("model_config=3") ==
        "--set model_config=3: got the integer 3; set it to a section [model_config]");
  // Of two keys that disagree, the one changed last is to blame.
  CHECK(error("model_config.n_embed=13") ==
        "--set model_config.n_embed=13: n_embed = 13 is not a multiple of n_head = 2; change one of them");
  CHECK(error("lr") == "--set lr: no '='; write --set KEY=VALUE");
  CHECK(error("lr=") == "--set lr=: no value after '='; write --set KEY=VALUE");
  CHECK(error("=3").starts_with("--set =3: unknown key \"\""));
  CHECK(error("data=\"open").ends_with("; write the value as in a TOML file"));
  CHECK(error("lr=1\nseed=2") == "--set lr=1 seed=2: a value is one line; write the value as in a TOML file");
  const std::string baseline = minimal_with().substr(0, minimal_with().find("use_dropout_l1"));
  CHECK(error_of(baseline, {"model_config.learned_dropout_config.n_head=2"}) ==
        "--set model_config.learned_dropout_config.n_head=2: "
        "model_config.learned_dropout_config.dropout_input_type: "
        "is missing and has no default; add it (what the masks are computed from)");
}
