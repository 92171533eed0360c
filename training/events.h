// TensorBoard's event files, as far as curves need them. A file is a sequence of records
//   uint64 length | uint32 masked crc32c of the length | data | uint32 masked crc32c of the data
// (TFRecord, little-endian), each data a protobuf message:
//   Event { double wall_time = 1; int64 step = 2; string file_version = 3; Summary summary = 5; }
//   Summary { repeated Value value = 1; }      Value { string tag = 1; float simple_value = 2; }
// The first record of a file holds the version, "brain.Event:2".
#pragma once

#include <cstdint>
#include <fstream>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace ld {

struct Scalar {
  std::string tag;  // "train/loss"
  double value;
};

/// The bytes of a file's first record.
std::string version_record(double wall_time);
/// The bytes of one record that holds all of `scalars`.
std::string scalar_record(double wall_time, int64_t step, const std::vector<Scalar>& scalars);

/// The cyclic redundancy check with Castagnoli's polynomial, as iSCSI and TFRecord use it.
uint32_t crc32c(std::string_view bytes);

/// True for the name of an event file.
bool is_event_file(const std::string& name);

/// Cuts each event file of a folder off at the first record that is damaged, or that `keeps` (its step and
/// its data, in which tags can be looked for) does not want; a file that holds no scalars then is removed.
void cut_event_files(const std::string& folder,
                     const std::function<bool(int64_t step, std::string_view data)>& keeps);

/// An event file that comes into being with its first scalars, named to sort behind those already there.
class EventFile {
 public:
  explicit EventFile(const std::string& folder) : folder_(folder) {}
  void write(int64_t step, const std::vector<Scalar>& scalars);

 private:
  void open();

  std::string folder_, path_;
  std::ofstream file_;
};

}  // namespace ld
