// The safetensors format (https://github.com/huggingface/safetensors): eight bytes little-endian length of a
// JSON header {name: {dtype, shape, data_offsets}, "__metadata__": {string: string}}, then the tensors'
// bytes. Of each tensor written here the metadata hold a checksum, under "crc32".
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/tensor.h"

namespace ld {

struct NamedTensor {
  std::string name;
  Tensor tensor;
};

using Metadata = std::map<std::string, std::string>;

/// Writes the file whole or not at all (SafeFile).
void write_safetensors(const std::string& path, const std::vector<NamedTensor>& tensors,
                       const Metadata& metadata);

/// A file opened for reading. The constructor reads and checks the header: a file that is truncated, too long
/// or not of this format is refused with the reason.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::string& path);

  /// The value of a metadata key; an error names the file and the key if it is not there.
  const std::string& metadata(const std::string& key) const;
  /// The same, or `otherwise` if it is not there.
  std::string metadata(const std::string& key, const std::string& otherwise) const;
  /// The same as a number (an integer up to 2⁵³ exactly); an error names the file, the key and what it holds.
  double number(const std::string& key) const;
  bool contains(const std::string& name) const { return entries_.contains(name); }
  /// Copies the named tensor into `tensor`, whose shape and dtype must be the stored ones. Error: they are not, or its
  /// bytes have changed since they were written.
  void read_into(const std::string& name, const Tensor& tensor) const;
  /// The named tensor as it was stored.
  Tensor read(const std::string& name) const;

 private:
  struct Entry {
    std::string dtype;
    Shape shape;
    size_t begin, end;                 // in bytes_
    std::optional<uint32_t> checksum;  // crc32, in a file that we wrote
  };
  std::string path_, bytes_;
  std::map<std::string, Entry> entries_;
  Metadata metadata_;
};

}  // namespace ld
