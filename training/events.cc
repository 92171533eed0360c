#include "training/events.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstring>
#include <filesystem>

#include "engine/error.h"
#include "training/safe_file.h"

namespace ld {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view name_start = "events.out.tfevents.";
constexpr size_t length_bytes = 8, crc_bytes = 4, header_bytes = length_bytes + crc_bytes;

// The bytes of a number, little-endian as the machine's own (training/token_file.cc asserts that).
template <class T>
std::string bytes_of(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

template <class T>
T number_at(std::string_view bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

// --- protobuf: a field is its key, number·8 + wire type, then its value ---------------------------------------

constexpr char double_field(int number) { return static_cast<char>(number << 3 | 1); }
constexpr char float_field(int number) { return static_cast<char>(number << 3 | 5); }
constexpr char varint_field(int number) { return static_cast<char>(number << 3); }
constexpr char text_field(int number) { return static_cast<char>(number << 3 | 2); }

// Seven bits a byte, the lowest first; the eighth bit says that more follow.
std::string varint(uint64_t value) {
  std::string bytes;
  for (; value >= 128; value >>= 7) bytes += static_cast<char>(value | 128);
  return bytes + static_cast<char>(value);
}

uint64_t read_varint(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < bytes.size() && i < 10; ++i) {
    value |= static_cast<uint64_t>(bytes[i] & 127) << (7 * i);
    if (!(bytes[i] & 128)) break;
  }
  return value;
}

std::string text(int field, std::string_view bytes) {
  return text_field(field) + varint(bytes.size()) + std::string(bytes);
}

// --- records --------------------------------------------------------------------------------------------------

// TFRecord's masking: data that holds crcs itself must not look like its own crc.
uint32_t masked_crc(std::string_view bytes) {
  const uint32_t crc = crc32c(bytes);
  return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

std::string record(std::string_view data) {
  const std::string length = bytes_of<uint64_t>(data.size());
  return length + bytes_of(masked_crc(length)) + std::string(data) + bytes_of(masked_crc(data));
}

// The data of the record that `bytes` begins with; empty where it is damaged or incomplete.
std::string_view first_data(std::string_view bytes) {
  if (bytes.size() < header_bytes) return {};
  const std::string_view length = bytes.substr(0, length_bytes);
  if (number_at<uint32_t>(bytes.substr(length_bytes)) != masked_crc(length)) return {};
  const auto n = number_at<uint64_t>(length);
  const size_t rest = bytes.size() - header_bytes;
  if (rest < crc_bytes || n > rest - crc_bytes) return {};
  const std::string_view data = bytes.substr(header_bytes, n);
  return number_at<uint32_t>(bytes.substr(header_bytes + n)) == masked_crc(data) ? data : std::string_view{};
}

// Every event of ours begins with its wall time; then comes the step, or, in a version record, something
// else.
int64_t step_of(std::string_view data) {
  constexpr size_t wall_time_bytes = 1 + sizeof(double);
  const bool has_step = data.size() > wall_time_bytes + 1 && data[wall_time_bytes] == varint_field(2);
  return has_step ? static_cast<int64_t>(read_varint(data.substr(wall_time_bytes + 1))) : 0;
}

double now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::vector<fs::path> event_files(const std::string& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder))
    if (is_event_file(entry.path().filename())) files.push_back(entry.path());
  return files;
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  static const auto table = [] {
    constexpr uint32_t polynomial = 0x82f63b78;  // 0x1edc6f41 with its bits in reverse
    std::array<uint32_t, 256> remainders;
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t crc = i;
      for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? polynomial : 0);
      remainders[i] = crc;
    }
    return remainders;
  }();
  uint32_t crc = ~0u;
  for (const char byte : bytes) crc = crc >> 8 ^ table[(crc ^ static_cast<unsigned char>(byte)) & 255];
  return ~crc;
}

std::string version_record(double wall_time) {
  return record(double_field(1) + bytes_of(wall_time) + text(3, "brain.Event:2"));
}

std::string scalar_record(double wall_time, int64_t step, const std::vector<Scalar>& scalars) {
  std::string summary;
  for (const Scalar& scalar : scalars)
    summary += text(1, text(1, scalar.tag) + float_field(2) + bytes_of(static_cast<float>(scalar.value)));
  return record(double_field(1) + bytes_of(wall_time) + varint_field(2) +
                varint(static_cast<uint64_t>(step)) + text(5, summary));
}

bool is_event_file(const std::string& name) { return name.starts_with(name_start); }

void cut_event_files(const std::string& folder,
                     const std::function<bool(int64_t step, std::string_view data)>& keeps) {
  for (const fs::path& path : event_files(folder)) {
    const std::string bytes = read_file(path);
    size_t kept = 0;
    bool has_scalars = false;
    for (std::string_view rest = bytes;;) {
      const std::string_view data = first_data(rest);
      const int64_t step = step_of(data);
      if (data.empty() || !keeps(step, data)) break;
      has_scalars |= step > 0;
      kept += header_bytes + data.size() + crc_bytes;
      rest = std::string_view(bytes).substr(kept);
    }
    if (!has_scalars)
      fs::remove(path);
    else if (kept < bytes.size())
      fs::resize_file(path, kept);
  }
}

void EventFile::open() {
  // TensorBoard reads a folder's files in the order of their names, which begin with the second of their
  // start.
  auto second = static_cast<int64_t>(now());
  for (const fs::path& path : event_files(folder_))
    second = std::max(second, std::strtol(path.filename().c_str() + name_start.size(), nullptr, 10) + 1);
  char host[256] = "localhost";
  gethostname(host, sizeof host - 1);
  path_ = fmt::format("{}/{}{:010}.{}.{}", folder_, name_start, second, host, getpid());
  file_.open(path_, std::ios::binary);
  check(file_.is_open(), path_, ": cannot be created: ", std::strerror(errno),
        "; choose another folder with --out");
  file_ << version_record(now());
}

void EventFile::write(int64_t step, const std::vector<Scalar>& scalars) {
  if (!file_.is_open()) open();
  file_ << scalar_record(now(), step, scalars) << std::flush;
  check(file_.good(), path_, ": cannot be written; is the disk full? Make room, then --resume");
}

}  // namespace ld
