// Files that are either whole or not there: written under a temporary name beside their place, brought to the
// disk, then renamed. A crash, a full disk or a killed program leaves the old file as it was.
#pragma once

#include <string>
#include <string_view>

namespace ld {

/// The bytes of the file `path`. Error: PATH: reason.
std::string read_file(const std::string& path);

/// Creates `path` and the directories above it that do not exist. Error: PATH: reason.
void make_directory(const std::string& path);

/// True if `name` is one under which some process, perhaps killed since, was writing the file `path`.
bool is_temporary_name(std::string_view name, std::string_view path);

/// One file being written. Several that belong together: `finish` them all, then `publish` one after the
/// other. One that is destroyed before it is published leaves nothing behind. Every error names the file, the
/// reason (such as "No space left on device") and what to do.
class SafeFile {
 public:
  explicit SafeFile(const std::string& path);
  ~SafeFile();
  SafeFile(SafeFile&& other) noexcept;
  SafeFile& operator=(SafeFile&&) = delete;

  void write(std::string_view bytes);
  void finish();   // brings the bytes to the disk
  void publish();  // gives the finished file its name, in place of an older file
  const std::string& path() const { return path_; }

 private:
  [[noreturn]] void refuse(const char* action) const;
  std::string path_, temporary_;
  int descriptor_ = -1;
  bool waiting_ = false;  // the temporary file exists
};

/// Writes all of a file, as a SafeFile.
void write_file(const std::string& path, std::string_view bytes);

}  // namespace ld
