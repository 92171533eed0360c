#include "training/safe_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "engine/error.h"

namespace ld {
namespace {

std::string directory_of(const std::string& path) {
  std::string directory = std::filesystem::path(path).parent_path().string();
  return directory.empty() ? "." : directory;
}

constexpr std::string_view temporary_end = ".tmp";

}  // namespace

bool is_temporary_name(std::string_view name, std::string_view path) {
  if (!name.starts_with(path) || !name.ends_with(temporary_end)) return false;
  name.remove_prefix(path.size());
  name.remove_suffix(temporary_end.size());  // what is left is ".PROCESS"
  return name.size() > 1 && name[0] == '.' &&
         std::all_of(name.begin() + 1, name.end(), [](char digit) { return digit >= '0' && digit <= '9'; });
}

std::string read_file(const std::string& path) {
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  check(descriptor >= 0, path, ": ", std::strerror(errno));
  std::string bytes;
  constexpr size_t block = 1 << 20;
  for (;;) {
    const size_t before = bytes.size();
    bytes.resize(before + block);
    const ssize_t got = read(descriptor, bytes.data() + before, block);
    const int error = errno;
    bytes.resize(before + static_cast<size_t>(std::max<ssize_t>(got, 0)));
    if (got == 0) break;
    if (got > 0 || error == EINTR) continue;
    close(descriptor);
    fail(path, ": ", std::strerror(error));
  }
  close(descriptor);
  return bytes;
}

void make_directory(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  check(!error || std::filesystem::is_directory(path), path,
        ": cannot make this directory: ", error.message(), "; choose another one");
}

SafeFile::SafeFile(const std::string& path)
    : path_(path), temporary_(path + "." + std::to_string(getpid()) + std::string(temporary_end)) {
  descriptor_ = open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (descriptor_ < 0) refuse("create");
  waiting_ = true;
}

SafeFile::SafeFile(SafeFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::move(other.temporary_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      waiting_(std::exchange(other.waiting_, false)) {}

SafeFile::~SafeFile() {
  if (descriptor_ >= 0) close(descriptor_);
  if (waiting_) unlink(temporary_.c_str());
}

void SafeFile::write(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) refuse("write");
    bytes.remove_prefix(static_cast<size_t>(written));
  }
}

void SafeFile::finish() {
  if (fsync(descriptor_) != 0) refuse("write");
  if (close(std::exchange(descriptor_, -1)) != 0) refuse("write");
}

void SafeFile::publish() {
  check(descriptor_ < 0 && waiting_, path_, ": published before it was finished");
  if (rename(temporary_.c_str(), path_.c_str()) != 0) refuse("create");
  waiting_ = false;
  // The new name lasts only once its directory is on the disk too; some file systems cannot do that, and say
  // so.
  if (const int directory = open(directory_of(path_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
      directory >= 0) {
    fsync(directory);
    close(directory);
  }
}

void SafeFile::refuse(const char* action) const {
  const int error = errno;
  const char* advice = error == ENOSPC || error == EDQUOT ? "make room there, or choose another place"
                       : error == ENOENT                  ? "make its directory first"
                                                          : "choose another place";
  fail(path_, ": cannot ", action, " this file: ", std::strerror(error), "; ", advice);
}

void write_file(const std::string& path, std::string_view bytes) {
  SafeFile file(path);
  file.write(bytes);
  file.finish();
  file.publish();
}

}  // namespace ld
