// The checkpoint format: what is written is read back, and nothing damaged is.
#include <doctest/doctest.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "tests/expect.h"
#include "tests/temporary_directory.h"
#include "training/safetensors.h"

namespace ld {
namespace {

using nlohmann::json;

std::vector<NamedTensor> some_tensors() {
  return {{"weight", random_tensor({3, 5}, 1)},
          {"single", cast(random_tensor({7}, 2), DType::float32)},
          {"half", cast(random_tensor({3}, 3), DType::bfloat16)},
          {"scalar", Tensor::scalar(0.1, DType::float64)},
          {"tokens", Tensor::from(std::vector<int32_t>{1, -2, 3}, {3})},
          {"none", Tensor::zeros({0, 4}, DType::float32)}};
}

struct File {
  explicit File(const std::vector<NamedTensor>& tensors = some_tensors(),
                const Metadata& metadata = {{"step", "12"}}) {
    path = directory / "file.safetensors";
    write_safetensors(path, tensors, metadata);
    bytes = file_bytes(path);
  }
  void become(const std::string& other) const { directory.file("file.safetensors", other); }
  std::string error() const {
    return error_of([&] { SafetensorsFile file(path); });
  }
  TemporaryDirectory directory;
  std::string path, bytes;
};

// A file with this header and so many bytes after it.
std::string with_header(const std::string& header, size_t data) {
  const uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + header + std::string(data, 'x');
}

json header_of(const std::string& bytes) {
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof length);
  return json::parse(bytes.substr(sizeof length, length));
}

}  // namespace

TEST_CASE("safetensors: what is written is read back to the last bit") {
  const File file;
  const SafetensorsFile read(file.path);
  CHECK(read.metadata("step") == "12");
  for (const auto& [name, tensor] : some_tensors()) {
    INFO(name);
    const Tensor copy = Tensor::like(tensor);
    read.read_into(name, copy);
    CHECK(same_bits(copy, tensor));
  }
  expect_error([&] { read.read_into("__metadata__", Tensor({1}, DType::float32)); }, {"__metadata__"});
}

TEST_CASE("safetensors: the layout is the format's") {
  for (const char* name : {"a", "ab", "abc", "abcdefgh"}) {  // headers of several lengths
    const File file({{name, random_tensor({3, 5}, 1)}}, {});
    uint64_t length = 0;
    std::memcpy(&length, file.bytes.data(), sizeof length);
    CHECK(length % 8 == 0);  // the data begins aligned
    CHECK(file.bytes.size() == 8 + length + 15 * 8);
    CHECK(file.bytes[8] == '{');
    const json entry = header_of(file.bytes).at(name);
    CHECK(entry == json{{"dtype", "F64"}, {"shape", {3, 5}}, {"data_offsets", {0, 120}}});
    std::vector<double> values(15);
    std::memcpy(values.data(), file.bytes.data() + 8 + length, 120);
    CHECK(values == random_tensor({3, 5}, 1).to_vector());
  }
}

TEST_CASE("safetensors: a file cut off anywhere is refused") {
  const File file;
  for (size_t n = 0; n < file.bytes.size(); ++n) {
    file.become(file.bytes.substr(0, n));
    const std::string message = file.error();
    INFO("the first ", n, " bytes: ", message);
    CHECK(message.starts_with(file.path + ": "));
  }
  file.become(file.bytes);
  CHECK(file.error() == "nothing was thrown");
}

TEST_CASE("safetensors: a file with something behind it is refused") {
  const File file;
  for (size_t n : {1, 7, 8, 4096}) {
    file.become(file.bytes + std::string(n, '\0'));
    CHECK(file.error().find("should have") != std::string::npos);
  }
}

// Whatever a byte of the header becomes, the answer is an Error or a file that can be read: no other
// exception, no crash, no access outside of the file (which the sanitized build would see).
TEST_CASE("safetensors: no damage to the header does harm") {
  const File file;
  uint64_t length = 0;
  std::memcpy(&length, file.bytes.data(), sizeof length);
  for (size_t i = 0; i < 8 + length; ++i)
    for (int change : {0x01, 0x80}) {
      std::string bytes = file.bytes;
      bytes[i] = static_cast<char>(bytes[i] ^ change);
      file.become(bytes);
      INFO("byte ", i, " ^ ", change);
      try {
        const SafetensorsFile read(file.path);
        for (const auto& [name, tensor] : some_tensors()) try {
            read.read_into(name, Tensor::like(tensor));
          } catch (const Error& error) {
            CHECK(std::string(error.what()).starts_with(file.path));
          }
      } catch (const Error& error) {
        CHECK(std::string(error.what()).starts_with(file.path));
      }
    }
}

TEST_CASE("safetensors: what is no safetensors file is refused, with the reason") {
  const File file;
  struct Bad {
    std::string bytes, reason;
  };
  const std::string huge = std::string(7, '\0') + '\x7f';
  for (const Bad& bad :
       {Bad{"", "too few"}, Bad{"PK\3\4", "too few"}, Bad{std::string(100, 'x'), "header should have"},
        Bad{huge + "{}", "header should have"}, Bad{with_header("not json", 0), "not JSON"},
        Bad{with_header("[1, 2]", 0), "not JSON"}, Bad{with_header("{\"a\": 3}", 0), "not that of"},
        Bad{with_header("{\"a\": {\"dtype\": \"F32\"}}", 0), "not that of"},
        Bad{with_header(R"({"__metadata__": {"step": 3}})", 0), "not that of"},
        Bad{with_header(R"({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}})", 4), "offsets"},
        Bad{with_header(R"({"a": {"dtype": "F32", "shape": [1], "data_offsets": [-8, 4]}})", 4), "offsets"},
        Bad{with_header(R"({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0]}})", 4),
            "not that of"}}) {
    file.become(bad.bytes);
    const std::string message = file.error();
    INFO(message);
    CHECK(message.starts_with(file.path));
    CHECK(message.find(bad.reason) != message.npos);
  }
  expect_error([&] { SafetensorsFile missing(file.directory / "none"); }, {"none", "No such file"});
}

TEST_CASE("safetensors: a tensor goes only where it fits") {
  const File file;
  const SafetensorsFile read(file.path);
  auto into = [&](const std::string& name, const Shape& shape, DType dtype) {
    return error_of([&] { read.read_into(name, Tensor::zeros(shape, dtype)); });
  };
  CHECK(into("weight", {3, 5}, DType::float64) == "nothing was thrown");
  for (const std::string& message :
       {into("weight", {5, 3}, DType::float64), into("weight", {15}, DType::float64),
        into("weight", {3, 5}, DType::float32)}) {
    INFO(message);
    CHECK(message.find("tensor weight is F64 (3, 5), the model wants F") != message.npos);
  }
  CHECK(into("wait", {3, 5}, DType::float64).find("has no tensor wait") != std::string::npos);
  expect_error([&] { read.metadata("seed"); }, {file.path, "\"seed\""});
  // A header whose shape promises more than its bytes.
  const std::string header = R"({"a": {"dtype": "F32", "shape": [1000], "data_offsets": [0, 4]}})";
  file.become(with_header(header, 4));
  expect_error([&] { SafetensorsFile(file.path).read_into("a", Tensor::zeros({1000}, DType::float32)); },
               {"tensor a has 4 bytes, expected 4000"});
}

TEST_CASE("safetensors: two tensors of one name are refused before anything is written") {
  const TemporaryDirectory directory;
  const Tensor t = random_tensor({2}, 1);
  expect_error(
      [&] {
        write_safetensors(directory / "file", {{"a", t}, {"a", t}}, {});
      },
      {"two tensors are called a"});
  CHECK(std::filesystem::is_empty(directory.path));
}

}  // namespace ld
