#include "training/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "engine/error.h"
#include "training/events.h"
#include "training/safe_file.h"

namespace ld {

namespace fs = std::filesystem;

RunFolder::RunFolder(const std::string& path, RunStart start) : path_(path) {
  check(
      start != RunStart::resume || fs::exists(last()), path_,
      ": holds no checkpoint to resume (last.safetensors); give the folder of another run with --out, or start this "
      "one without --resume");
  make_directory(path_);
  lock();
  try {
    check(start != RunStart::fresh || !fs::exists(last()), path_,
          ": already holds a run; continue it with --resume, replace it with --overwrite, or choose another "
          "folder with --out");
    remove_unfinished();
  } catch (...) {
    close(lock_);
    throw;
  }
}

RunFolder::~RunFolder() { close(lock_); }

// The kernel lets go of the lock when the process ends, however it ends; the file itself stays.
void RunFolder::lock() {
  const std::string file = path_ + "/lock";
  lock_ = open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  check(lock_ >= 0, file, ": cannot create this file: ", std::strerror(errno),
        "; choose another folder with --out");
  if (flock(lock_, LOCK_EX | LOCK_NB) == 0) {
    const std::string process = std::to_string(getpid()) + "\n";
    const bool written =
        ftruncate(lock_, 0) == 0 && pwrite(lock_, process.data(), process.size(), 0) == std::ssize(process);
    if (written) return;
  }
  const int error = errno;
  char process[32] = {};
  if (pread(lock_, process, sizeof process - 1, 0) < 0) process[0] = '\0';
  process[std::strcspn(process, "\n")] = '\0';
  close(lock_);
  check(error != EWOULDBLOCK, path_, ": process ", process,
        " is training in this folder; wait for it to end, or choose another folder with --out");
  fail(file, ": cannot lock this file: ", std::strerror(error), "; choose another folder with --out");
}

void RunFolder::remove_run() const {
  for (const std::string& file : {last(), best(), metrics(), tokenizer()}) fs::remove(file);
  cut_event_files(path_, [](int64_t, std::string_view) { return false; });
}

// SafeFile's temporary names of this folder's own files: NAME.PROCESS.tmp.
void RunFolder::remove_unfinished() const {
  for (const auto& entry : fs::directory_iterator(path_)) {
    const std::string temporary = entry.path().string();
    for (const std::string& file : {config(), metrics(), tokenizer(), last(), best()})
      if (is_temporary_name(temporary, file)) fs::remove(entry.path());
  }
}

}  // namespace ld
