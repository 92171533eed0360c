#include "tests/small_run.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "tests/small_model.h"

namespace ld {
namespace {

/// While one lives, what this program prints by stdio is not seen.
class Silence {
 public:
  Silence() : before_(dup(STDOUT_FILENO)) {
    std::fflush(stdout);
    const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    dup2(nowhere, STDOUT_FILENO);
    close(nowhere);
  }
  ~Silence() {
    std::fflush(stdout);
    dup2(before_, STDOUT_FILENO);
    close(before_);
  }
  Silence(const Silence&) = delete;

 private:
  int before_;
};

std::string from_environment(const char* name) {
  const char* value = std::getenv(name);
  check(value != nullptr, name, " is not set: this test case is for ChildRun alone");
  return value;
}

/// Reads a protobuf message, or a file of records, from its start to its end.
struct Reader {
  std::string_view rest;

  std::string_view take(size_t n) {
    check(n <= rest.size(), "event file: cut off");
    const std::string_view bytes = rest.substr(0, n);
    rest.remove_prefix(n);
    return bytes;
  }
  template <class T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }
  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
      const auto byte = number<uint8_t>();
      value |= static_cast<uint64_t>(byte & 127) << shift;
      if (byte < 128) return value;
    }
  }
  void expect(int key) { check(varint() == static_cast<uint64_t>(key), "event file: expected key ", key); }
  std::string_view text(int field) {
    expect(field << 3 | 2);
    return take(varint());
  }
};

std::vector<CurvePoint> points_of(std::string_view event) {
  Reader reader{event};
  reader.expect(1 << 3 | 1);
  reader.number<double>();                        // wall time
  if (reader.rest[0] == (3 << 3 | 2)) return {};  // the version
  reader.expect(2 << 3);
  const auto step = static_cast<int64_t>(reader.varint());
  std::vector<CurvePoint> points;
  for (Reader summary{reader.text(5)}; !summary.rest.empty();) {
    Reader value{summary.text(1)};
    const std::string tag(value.text(1));
    value.expect(2 << 3 | 5);
    points.push_back({step, tag, value.number<float>()});
  }
  return points;
}

}  // namespace

void write_tokens(const std::string& path, int64_t n, uint64_t seed) {
  const NoiseKey key{.seed = seed};
  std::vector<uint16_t> tokens = {static_cast<uint16_t>(seed % 11)};
  for (int64_t i = 1; i < n; ++i) {
    const bool surprise = key.uniform(0, i) < 0.1f;
    tokens.push_back(static_cast<uint16_t>((surprise ? key.bits(1, i) : tokens.back() + 4u) % 11));
  }
  std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(tokens.data()), 2 * n);
}

SmallData::SmallData() {
  write_tokens(prefix() + "_train.bin", 2000, 1);
  write_tokens(prefix() + "_val.bin", 300, 2);
}

RunConfig small_run(const SmallData& data) {
  RunConfig config;
  config.data = data.prefix();
  config.seed = 3;
  config.dtype = "float32";
  config.train_steps = 12;
  config.batch_size = 3;
  config.gradient_accumulation_steps = 2;
  config.lr = 0.01;
  config.warmup_iters = 3;
  config.lr_decay_iters = 12;
  config.min_lr = 0.001;
  config.est_interval = config.checkpoint_interval = 4;
  config.est_steps = 2;
  config.model_config = small_learned(DropoutInput::embed);
  config.model_config.use_dropout_l1_norm_penalty = true;
  return config;
}

RunEnd train(const RunConfig& config, const std::string& folder, RunStart start, int threads) {
  const Threads of_kernels(threads);
  const Silence silence;
  RunConfig resolved = config;
  const Dataset data = open_dataset(resolved);
  Transformer model(resolved.model_config, config.model_dtype(), static_cast<uint64_t>(config.seed));
  return Trainer(resolved, model, data, folder, start).run();
}

std::vector<nlohmann::json> metrics_of(const std::string& folder) {
  std::vector<nlohmann::json> lines;
  std::ifstream in(folder + "/metrics.jsonl");
  for (std::string line; std::getline(in, line);) {
    nlohmann::json entry = nlohmann::json::parse(line);
    entry.erase("seconds");
    lines.push_back(entry);
  }
  return lines;
}

std::vector<CurvePoint> curves_of(const std::string& folder) {
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (is_event_file(entry.path().filename())) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  std::vector<CurvePoint> points;
  for (const std::string& file : files) {
    const std::string bytes = file_bytes(file);
    for (Reader records{bytes}; !records.rest.empty();) {
      const auto length = records.number<uint64_t>();
      records.number<uint32_t>();
      for (const CurvePoint& point : points_of(records.take(length)))
        if (point.tag != "train/seconds") points.push_back(point);
      records.number<uint32_t>();
    }
  }
  return points;
}

std::vector<std::string> history_of(const std::string& folder) {
  std::vector<std::string> history;
  for (const auto& entry : metrics_of(folder))
    history.push_back((entry.contains("val_loss") ? "estimate " : "step ") + entry.at("step").dump());
  return history;
}

void expect_same_end(const std::string& folder, const std::string& expected) {
  for (const char* file : {"/last.safetensors", "/best.safetensors"}) {
    INFO(file);
    const std::string bytes = file_bytes(folder + file);
    CHECK(bytes.size() > 1000);
    CHECK((bytes == file_bytes(expected + file)));  // in parentheses: nobody wants to see them if not
  }
  CHECK(metrics_of(folder) == metrics_of(expected));
  CHECK((curves_of(folder) == curves_of(expected)));
}

ChildRun::ChildRun(const std::string& name, const SmallData& data, const std::string& folder)
    : output_(folder + "_output.txt") {
  setenv("RUN_DATA", data.prefix().c_str(), 1);
  setenv("RUN_FOLDER", folder.c_str(), 1);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, output_.c_str(), O_WRONLY | O_CREAT | O_APPEND,
                                   0600);
  posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
  posix_spawnattr_t attributes;  // signals do what they do by default, even where nohup runs the tests
  posix_spawnattr_init(&attributes);
  sigset_t defaults;
  sigemptyset(&defaults);
  for (int signal : {SIGHUP, SIGINT, SIGPIPE, SIGTERM}) sigaddset(&defaults, signal);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
  std::string program = "tests", filter = "--test-case=" + name, skipped = "--no-skip";
  char* arguments[] = {program.data(), filter.data(), skipped.data(), nullptr};
  const int error = posix_spawn(&process_, "/proc/self/exe", &actions, &attributes, arguments, environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  check(error == 0, "posix_spawn: error ", error);
}

ChildRun::~ChildRun() {
  if (process_ <= 0) return;
  kill(process_, SIGKILL);
  waitpid(process_, nullptr, 0);
}

void ChildRun::wait_for(const std::string& path, const std::string& text, int times) {
  for (int i = 0; i < 30000; ++i) {
    if (std::filesystem::exists(path)) {
      const std::string bytes = file_bytes(path);
      int found = 0;
      for (size_t at = bytes.find(text); at != bytes.npos && found < times; at = bytes.find(text, at + 1))
        ++found;
      if (found >= times) return;
    }
    siginfo_t info{};
    waitid(P_PID, static_cast<id_t>(process_), &info, WEXITED | WNOHANG | WNOWAIT);
    check(info.si_pid == 0, "the child has ended before ", path, " held \"", text, "\" ", times,
          " times: ", file_bytes(output_));
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  fail("waited for a minute for ", path, " to hold \"", text, "\" ", times, " times");
}

void ChildRun::send(int signal) const { kill(process_, signal); }

int ChildRun::end() {
  int status = 0;
  waitpid(process_, &status, 0);
  process_ = 0;
  return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

std::string child_data() { return from_environment("RUN_DATA"); }
std::string child_folder() { return from_environment("RUN_FOLDER"); }

}  // namespace ld
