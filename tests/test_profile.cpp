// What ./train --profile tells of a run.
#include <doctest/doctest.h>

#include "tests/small_run.h"
#include "training/profile.h"
#include "training/safe_file.h"

namespace ld {
namespace {

// The calls of `name` of this kind in a trace.
int count(const nlohmann::json& trace, const std::string& name, const std::string& kind) {
  int calls = 0;
  for (const auto& event : trace.at("traceEvents"))
    calls += event.at("name") == name && event.at("cat") == kind;
  return calls;
}

}  // namespace

TEST_CASE("profile: the trace holds every call of whole steps, in order and without overlap") {
  const SmallData data;
  RunConfig config = small_run(data);
  const std::string path = data.folder("trace.json");
  {
    const Profile profile(1);  // one step is more than one call already
    train(config, data.folder("profiled"));
    CHECK(profile.traced_steps() == 1);
    profile.write_trace(path);
    const std::string table = profile.table();
    for (const char* name :
         {"linear", "attention", "linear_cross_entropy", "learned_dropout", "adamw", "batch"})
      CHECK(table.find(name) != table.npos);
  }
  const auto trace = nlohmann::json::parse(read_file(path));
  double end = 0;
  for (const auto& event : trace.at("traceEvents")) {
    CHECK(event.at("ph") == "X");
    CHECK(event.at("ts") >= end);
    CHECK(event.at("dur") >= 0);
    end = event.at("ts").get<double>() + event.at("dur").get<double>();
  }
  // Two micro-batches a step.
  CHECK(count(trace, "linear_cross_entropy", "forward") == 2);
  CHECK(count(trace, "linear_cross_entropy", "backward") == 2);
  CHECK(count(trace, "attention", "forward") == count(trace, "attention", "backward"));
  CHECK(count(trace, "adamw", "other") == 1);
  CHECK(count(trace, "batch", "other") == 2);

  train(config, data.folder("plain"));
  expect_same_end(data.folder("profiled"), data.folder("plain"));  // watching changes nothing
}

}  // namespace ld
