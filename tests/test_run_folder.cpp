// Whose a folder is, and what is removed from it.
#include <doctest/doctest.h>
#include <unistd.h>

#include "tests/expect.h"
#include "tests/temporary_directory.h"
#include "training/run_folder.h"
#include "training/safe_file.h"

namespace ld {

namespace fs = std::filesystem;

TEST_CASE("run folder: held by one at a time, and free again afterwards") {
  const TemporaryDirectory directory;
  const std::string path = directory / "runs/new";
  for (int i = 0; i < 2; ++i) {
    const RunFolder folder(path, RunStart::fresh);
    CHECK(file_bytes(path + "/lock") == std::to_string(getpid()) + "\n");
    expect_error([&] { RunFolder(path, RunStart::fresh); },
                 {path + ": process " + std::to_string(getpid()) + " is training in this folder", "--out"});
  }
}

TEST_CASE("run folder: a refusal changes nothing and keeps no lock") {
  const TemporaryDirectory directory;
  expect_error([&] { RunFolder(directory / "none", RunStart::resume); }, {"no checkpoint to resume"});
  CHECK_FALSE(fs::exists(directory / "none"));
  directory.file("last.safetensors", "a run");
  directory.file("last.safetensors.12.tmp", "half of one");
  for (int i = 0; i < 2; ++i)
    expect_error([&] { RunFolder(directory.path, RunStart::fresh); }, {"already holds a run", "--resume"});
  CHECK(file_bytes(directory / "last.safetensors") == "a run");
  CHECK(fs::exists(directory / "last.safetensors.12.tmp"));
  const RunFolder resumed(directory.path, RunStart::resume);
  CHECK_FALSE(fs::exists(directory / "last.safetensors.12.tmp"));
}

TEST_CASE("run folder: overwriting removes the run and nothing else") {
  const TemporaryDirectory directory;
  for (const char* name : {"last.safetensors", "best.safetensors", "metrics.jsonl",
                           "events.out.tfevents.1.h.1", "notes.txt", "sample.txt"})
    directory.file(name, "x");
  const RunFolder folder(directory.path, RunStart::overwrite);
  CHECK(fs::exists(directory / "last.safetensors"));
  folder.remove_run();
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory.path)) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  CHECK(names == std::vector<std::string>{"lock", "notes.txt", "sample.txt"});
}

TEST_CASE("safe file: knows the temporary names of a file, whatever process wrote it") {
  CHECK(is_temporary_name("d/a.toml.1.tmp", "d/a.toml"));
  CHECK(is_temporary_name("d/a.toml.123456.tmp", "d/a.toml"));
  for (const char* other : {"d/a.toml", "d/a.toml.tmp", "d/a.toml..tmp", "d/a.toml.x.tmp", "d/a.toml.1x.tmp",
                            "d/a.toml1.tmp", "d/b.toml.1.tmp", "d/a.toml.1.tmp~", ""})
    CHECK_FALSE(is_temporary_name(other, "d/a.toml"));
}

}  // namespace ld
