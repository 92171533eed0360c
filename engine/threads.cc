#include "engine/threads.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "engine/device.h"

namespace ld {

void wait_politely([[maybe_unused]] char** argv) {
#ifdef ENGINE_CPU
  if (std::getenv("GOMP_SPINCOUNT") || std::getenv("OMP_WAIT_POLICY")) return;
  std::error_code error;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", error);  // ps shows the real name so
  if (error) return;
  setenv("GOMP_SPINCOUNT", "1000", 1);
  execv(program.c_str(), argv);  // only returns where that is not possible; then everything is as it was
#endif
}

}  // namespace ld
