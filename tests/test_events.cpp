// TensorBoard's event files: the bytes, and what is cut off when a run goes on from a checkpoint.
#include <doctest/doctest.h>

#include <cstdio>

#include "tests/temporary_directory.h"
#include "training/events.h"

namespace ld {
namespace {

namespace fs = std::filesystem;

std::string hex(std::string_view bytes) {
  std::string text;
  char digits[3];
  for (const char byte : bytes) {
    std::snprintf(digits, sizeof digits, "%02x", static_cast<unsigned char>(byte));
    text += digits;
  }
  return text;
}

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

std::string of_steps(int64_t first, int64_t last) {
  std::string bytes = version_record(1);
  for (int64_t step = first; step <= last; ++step) bytes += scalar_record(2, step, {{"train/loss", 0.5}});
  return bytes;
}

}  // namespace

// Check values from RFC 3720 (iSCSI), appendix B.4.
TEST_CASE("events: crc32c is iSCSI's") {
  CHECK(crc32c("") == 0);
  CHECK(crc32c("123456789") == 0xe3069283u);
  CHECK(crc32c(std::string(32, '\0')) == 0x8a9136aau);
  CHECK(crc32c(std::string(32, '\xff')) == 0x62a8ab43u);
}

// Written by TensorBoard's own writer.
TEST_CASE("events: two records are TensorBoard's to the byte") {
  CHECK(hex(version_record(1700000000.0)) ==
        "1800000000000000a37f4b220900000040fc54d9411a0d627261696e2e4576656e743a32eced8f9d");
  CHECK(hex(scalar_record(1700000001.0, 300, {{"train/loss", 3.5}})) ==
        "2100000000000000017becf60900004040fc54d94110ac022a130a110a0a747261696e2f6c6f737315000060400966ebe7");
}

TEST_CASE("events: several scalars of a step go into one record") {
  const std::string one = scalar_record(1, 7, {{"a", 1}}), two = scalar_record(1, 7, {{"a", 1}, {"b", -2}});
  CHECK(two.size() == one.size() + 2 + 2 + 1 + 1 + 4);  // a value: key, size; key, size, "b"; key, float
  CHECK(hex(two).find("0a080a0161150000803f0a080a016215000000c0") != std::string::npos);
  // Two bytes of length from 128 on: a summary of 20 such values.
  CHECK(hex(scalar_record(1, 7, std::vector<Scalar>(20, {"a", 1}))).find("2ac8010a080a0161") !=
        std::string::npos);
}

TEST_CASE("events: a file appears with its first scalars, and a later one sorts behind it") {
  const TemporaryDirectory directory;
  EventFile first(directory.path), second(directory.path);
  CHECK(names_in(directory.path).empty());
  first.write(1, {{"train/loss", 1}});
  const auto names = names_in(directory.path);
  REQUIRE(names.size() == 1);
  CHECK(is_event_file(names[0]));
  CHECK_FALSE(is_event_file("metrics.jsonl"));
  first.write(2, {{"train/loss", 1}});
  second.write(3, {{"train/loss", 1}});
  REQUIRE(names_in(directory.path).size() == 2);
  CHECK(names_in(directory.path)[0] == names[0]);  // both began in the same second, or nearly so
  const size_t record = scalar_record(0, 1, {{"train/loss", 1}}).size();
  CHECK(file_bytes(directory / names[0]).size() == version_record(0).size() + 2 * record);
}

TEST_CASE("events: cut off where the run is taken up again, and where a kill has left half a record") {
  const TemporaryDirectory directory;
  auto keeps = [](int64_t step, std::string_view) { return step <= 4; };
  const std::string whole = of_steps(1, 4);
  const std::string path = directory.file("events.out.tfevents.1.h.1", "");
  auto after_cut = [&](const std::string& bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
    cut_event_files(directory.path, keeps);
    return fs::exists(path) ? file_bytes(path) : "removed";
  };
  CHECK((after_cut(whole) == whole));
  CHECK((after_cut(of_steps(1, 9)) == whole));
  const std::string last = scalar_record(2, 4, {{"train/loss", 0.5}});
  for (size_t n = 1; n < last.size(); ++n)
    CHECK((after_cut(whole.substr(0, whole.size() - n)) == of_steps(1, 3)));
  for (size_t n = 1; n <= last.size(); ++n) {  // a byte changed anywhere in the last record
    std::string damaged = whole;
    damaged[damaged.size() - n] ^= 1;
    CHECK((after_cut(damaged) == of_steps(1, 3)));
  }
  CHECK(after_cut(of_steps(5, 9)) == "removed");
  CHECK(after_cut(version_record(1)) == "removed");
  CHECK(after_cut("") == "removed");
  const std::string other = directory.file("notes.txt", "mine");
  cut_event_files(directory.path, keeps);
  CHECK(file_bytes(other) == "mine");
}

}  // namespace ld
