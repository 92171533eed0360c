#include "training/safetensors.h"

#include <zlib.h>

#include <cstring>
#include <nlohmann/json.hpp>
#include <sstream>

#include "training/safe_file.h"

namespace ld {
namespace {

using nlohmann::json;

const char* dtype_code(DType dtype) {
  switch (dtype) {
    case DType::float32:
      return "F32";
    case DType::float64:
      return "F64";
    case DType::bfloat16:
      return "BF16";
    case DType::int32:
      return "I32";
    case DType::uint16:
      return "U16";
  }
  return "?";
}

constexpr const char* advice = "; the file is damaged, use another checkpoint";
constexpr const char* checksums_key = "crc32";  // of the metadata: {name: crc32 of the tensor's bytes}

uint32_t checksum(std::string_view bytes) {
  return static_cast<uint32_t>(crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

}  // namespace

void write_safetensors(const std::string& path, const std::vector<NamedTensor>& tensors,
                       const Metadata& metadata) {
  std::string host;
  auto host_bytes = [&](const Tensor& tensor) -> std::string_view {
    host.resize(static_cast<size_t>(tensor.bytes()));
    copy_to_host(host.data(), tensor.raw(), host.size());
    return host;
  };
  json header, checksums = json::object();
  int64_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    check(!header.contains(name), path, ": two tensors are called ", name);
    header[name] = {{"dtype", dtype_code(tensor.dtype())},
                    {"shape", std::vector<int64_t>(tensor.shape().begin(), tensor.shape().end())},
                    {"data_offsets", {offset, offset + tensor.bytes()}}};
    offset += tensor.bytes();
    checksums[name] = checksum(host_bytes(tensor));
  }
  header["__metadata__"] = metadata;
  header["__metadata__"][checksums_key] = checksums.dump();
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // so that the data is aligned
  const uint64_t length = text.size();
  SafeFile file(path);
  file.write({reinterpret_cast<const char*>(&length), sizeof length});
  file.write(text);
  for (const auto& [name, tensor] : tensors) file.write(host_bytes(tensor));
  file.finish();
  file.publish();
}

SafetensorsFile::SafetensorsFile(const std::string& path) : path_(path), bytes_(read_file(path)) {
  uint64_t length = 0;
  check(bytes_.size() >= sizeof length, path_, ": has ", bytes_.size(),
        " bytes, too few for a safetensors file", advice);
  std::memcpy(&length, bytes_.data(), sizeof length);
  check(length <= bytes_.size() - sizeof length, path_, ": its header should have ", length,
        " bytes and the file has ", bytes_.size(), advice);
  const size_t data = sizeof length + length;
  const json header = json::parse(bytes_.begin() + sizeof length,
                                  bytes_.begin() + static_cast<std::ptrdiff_t>(data), nullptr, false);
  check(header.is_object(), path_, ": its header is not JSON", advice);
  size_t end = data;
  try {
    if (header.contains("__metadata__")) metadata_ = header.at("__metadata__").get<Metadata>();
    const json checksums =
        metadata_.contains(checksums_key) ? json::parse(metadata_.at(checksums_key)) : json();
    for (const auto& [name, value] : header.items()) {
      if (name == "__metadata__") continue;
      Entry entry{value.at("dtype"), {}, value.at("data_offsets").at(0), value.at("data_offsets").at(1), {}};
      if (checksums.contains(name)) entry.checksum = checksums.at(name);
      for (int64_t size : value.at("shape")) entry.shape.push_back(size);
      check(entry.begin <= entry.end && entry.end <= (size_t{1} << 62), path_, ": tensor ", name,
            " has bad offsets", advice);
      entry.begin += data;
      entry.end += data;
      end = std::max(end, entry.end);
      entries_.emplace(name, entry);
    }
  } catch (const json::exception& error) {
    fail(path_, ": its header is not that of a safetensors file (", error.what(), ")", advice);
  }
  check(end == bytes_.size(), path_, ": should have ", end, " bytes and has ", bytes_.size(),
        end > bytes_.size() ? " (truncated)" : "", advice);
}

const std::string& SafetensorsFile::metadata(const std::string& key) const {
  auto found = metadata_.find(key);
  check(found != metadata_.end(), path_, ": has no \"", key,
        "\" in its metadata; it is not a checkpoint of this program");
  return found->second;
}

std::string SafetensorsFile::metadata(const std::string& key, const std::string& otherwise) const {
  auto found = metadata_.find(key);
  return found == metadata_.end() ? otherwise : found->second;
}

double SafetensorsFile::number(const std::string& key) const {
  try {
    return std::stod(metadata(key));
  } catch (const std::logic_error&) {
    fail(path_, ": its metadata is damaged (", key, " is \"", metadata(key),
         "\", no number); use another checkpoint");
  }
}

void SafetensorsFile::read_into(const std::string& name, const Tensor& tensor) const {
  auto found = entries_.find(name);
  check(found != entries_.end(), path_, ": has no tensor ", name, "; it belongs to another model");
  const Entry& entry = found->second;
  check(entry.shape == tensor.shape() && entry.dtype == dtype_code(tensor.dtype()), path_, ": tensor ", name,
        " is ", entry.dtype, " ", entry.shape, ", the model wants ", dtype_code(tensor.dtype()), " ",
        tensor.shape(), "; it belongs to another model");
  const std::string_view bytes = std::string_view(bytes_).substr(entry.begin, entry.end - entry.begin);
  check(bytes.size() == static_cast<size_t>(tensor.bytes()), path_, ": tensor ", name, " has ", bytes.size(),
        " bytes, expected ", tensor.bytes());
  check(!entry.checksum || *entry.checksum == checksum(bytes), path_, ": the bytes of tensor ", name,
        " are not those that were written", advice);
  copy_to_device(tensor.raw(), bytes.data(), bytes.size());
  synchronize();
}

Tensor SafetensorsFile::read(const std::string& name) const {
  auto found = entries_.find(name);
  check(found != entries_.end(), path_, ": has no tensor ", name, "; it belongs to another model");
  for (DType dtype : {DType::float32, DType::float64, DType::bfloat16, DType::int32, DType::uint16})
    if (found->second.dtype == dtype_code(dtype)) {
      Tensor tensor(found->second.shape, dtype);
      read_into(name, tensor);
      return tensor;
    }
  fail(path_, ": tensor ", name, " is of dtype ", found->second.dtype, ", which is none of the engine's");
}

}  // namespace ld
