// Runs that are told to stop, or are not even asked. Each is this program once more, in a process of its own
// (ChildRun), because signals and a killed process cannot be tried from inside.
#include <doctest/doctest.h>

#include <unistd.h>

#include <atomic>
#include <csignal>
#include <thread>

#include "ops/linear.h"
#include "tests/expect.h"
#include "tests/small_run.h"
#include "training/interrupt.h"

namespace ld {
namespace {

// Half a second: long enough to be met on the way by a parent that the machine keeps waiting. Checkpoints are
// so frequent that a kill can fall anywhere between, before or into the writing of one.
RunConfig long_run(const std::string& data) {
  static const SmallData unused;
  RunConfig config = small_run(unused);
  config.data = data;
  config.train_steps = config.lr_decay_iters = 300;
  config.est_interval = 23;
  config.checkpoint_interval = 5;
  return config;
}

// The reference: never disturbed.
std::string undisturbed(const SmallData& data) {
  train(long_run(data.prefix()), data.folder("whole"));
  return data.folder("whole");
}

std::string metrics(const std::string& folder) { return folder + "/metrics.jsonl"; }

}  // namespace

TEST_CASE("child: trains until it is told to stop" * doctest::skip()) {
  catch_interrupts();
  RunConfig config = long_run(child_data());
  const bool resumes = std::filesystem::exists(child_folder() + "/last.safetensors");
  const RunEnd end = train(config, child_folder(), resumes ? RunStart::resume : RunStart::fresh);
  CHECK(end == (interrupted() ? RunEnd::interrupted : RunEnd::finished));
}

TEST_CASE("child: trains a single step that never ends" * doctest::skip()) {
  catch_interrupts();
  RunConfig config = long_run(child_data());
  config.gradient_accumulation_steps = 1000000;
  train(config, child_folder());
}

TEST_CASE("child: is told to stop in its first step" * doctest::skip()) {
  catch_interrupts();
  RunConfig config = long_run(child_data());
  config.est_interval = 1;
  config.train_steps = 20;
  kill(getpid(), SIGTERM);
  while (!interrupted()) std::this_thread::yield();
  CHECK(train(config, child_folder()) == RunEnd::interrupted);
}

TEST_CASE(
    "trainer signals: SIGTERM and SIGINT end a run with a checkpoint, from which it ends as if undisturbed") {
  const SmallData data;
  const std::string whole = undisturbed(data);
  for (int signal : {SIGTERM, SIGINT}) {
    const std::string folder = data.folder("run" + std::to_string(signal));
    ChildRun child("child: trains until it is told to stop", data, folder);
    child.wait_for(metrics(folder), "cross_entropy", 5);
    child.send(signal);
    CHECK(child.end() == 0);
    child.wait_for(child.output(), "stopping:");
    CHECK(metrics_of(folder).back().at("step") < 300);
    CHECK(std::filesystem::exists(folder + "/last.safetensors"));
    CHECK(train(long_run(data.prefix()), folder, RunStart::resume) == RunEnd::finished);
    expect_same_end(folder, whole);
  }
}

TEST_CASE("trainer signals: a run told to stop leaves the estimate that is due to the resumed run") {
  const SmallData data;
  RunConfig config = long_run(data.prefix());
  config.est_interval = 1;
  config.train_steps = 20;
  train(config, data.folder("whole"));
  ChildRun child("child: is told to stop in its first step", data, data.folder("run"));
  CHECK(child.end() == 0);
  CHECK(history_of(data.folder("run")) == std::vector<std::string>{"step 1"});
  // As if it had been killed after writing the estimate down, and before saving that it is made.
  std::ofstream(metrics(data.folder("run")), std::ios::app) << "{\"step\":1,\"val_loss\":1.0}\n";
  EventFile(data.folder("run")).write(1, {{"val/loss", 1}});
  train(config, data.folder("run"), RunStart::resume);
  expect_same_end(data.folder("run"), data.folder("whole"));
}

TEST_CASE("child: trains while nobody reads" * doctest::skip()) {
  catch_interrupts();
  outlive_readers();
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  close(ends[0]);
  const int output = dup(STDOUT_FILENO);
  dup2(ends[1], STDOUT_FILENO);
  Console(stdout).line(
      "the first write to a pipe without a reader ends a program that has not asked to outlive it");
  dup2(output, STDOUT_FILENO);
  CHECK(train(long_run(child_data()), child_folder()) == RunEnd::interrupted);
}

TEST_CASE(
    "trainer signals: a terminal that is gone, and a reader who left, end no run without a checkpoint") {
  const SmallData data;
  const std::string folder = data.folder("run");
  ChildRun child("child: trains while nobody reads", data, folder);
  child.wait_for(metrics(folder), "cross_entropy", 5);
  child.send(SIGHUP);
  child.wait_for(child.output(), "stopping:");
  child.send(SIGHUP);  // from the shell, and from the system
  CHECK(child.end() == 0);
  CHECK(train(long_run(data.prefix()), folder, RunStart::resume) == RunEnd::finished);
}

// On several threads, with matrices as large as an output layer's.
TEST_CASE("child: multiplies matrices in a hail of signals" * doctest::skip()) {
  catch_interrupts();
  const Tensor x = random_tensor({400, 300}, 1), w = random_tensor({2000, 300}, 2);
  const Var a = cast(x, DType::float32), b = cast(w, DType::float32);
  const Tensor undisturbed = linear(a, b).value();
  std::atomic<bool> done = false;
  std::thread hail([&] {
    while (!done) {
      kill(getpid(), SIGHUP);
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  });
  for (int i = 0; i < 200; ++i) CHECK(same_bits(linear(a, b).value(), undisturbed));
  done = true;
  hail.join();
  CHECK(interrupted());
}

TEST_CASE("trainer signals: they disturb no matrix product") {
  const SmallData data;
  ChildRun child("child: multiplies matrices in a hail of signals", data, data.folder("none"));
  CHECK(child.end() == 0);
}

TEST_CASE("trainer signals: a second SIGTERM ends a run at once") {
  const SmallData data;
  const std::string folder = data.folder("run");
  ChildRun child("child: trains a single step that never ends", data, folder);
  child.wait_for(metrics(folder));  // it has begun, and catches signals since before
  child.send(SIGTERM);
  child.wait_for(child.output(), "stopping:");
  child.send(SIGTERM);
  CHECK(child.end() == -SIGTERM);
  CHECK_FALSE(std::filesystem::exists(folder + "/last.safetensors"));
}

TEST_CASE("trainer signals: two processes cannot train in one folder, and a killed one locks nobody out") {
  const SmallData data;
  const std::string folder = data.folder("run");
  ChildRun child("child: trains a single step that never ends", data, folder);
  child.wait_for(metrics(folder));
  for (RunStart start : {RunStart::fresh, RunStart::overwrite})
    expect_error(
        [&] { train(small_run(data), folder, start); },
        {folder, "process " + std::to_string(child.process()) + " is training in this folder", "--out"});
  child.send(SIGKILL);
  child.end();
  CHECK(train(small_run(data), folder) == RunEnd::finished);
}

TEST_CASE("trainer signals: a run that is killed, wherever and twice, ends as if undisturbed") {
  const SmallData data;
  const std::string whole = undisturbed(data);
  for (int first : {2, 9, 23}) {
    INFO("killed after ", first, " steps");
    const std::string folder = data.folder("run" + std::to_string(first));
    for (int steps : {first, first + 11}) {
      ChildRun child("child: trains until it is told to stop", data, folder);
      child.wait_for(metrics(folder), "cross_entropy", steps);
      child.send(SIGKILL);
      CHECK(child.end() == -SIGKILL);
    }
    const bool resumes = std::filesystem::exists(folder + "/last.safetensors");
    CHECK(train(long_run(data.prefix()), folder, resumes ? RunStart::resume : RunStart::fresh) ==
          RunEnd::finished);
    expect_same_end(folder, whole);
  }
}

}  // namespace ld
