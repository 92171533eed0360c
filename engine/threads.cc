#include "engine/threads.h"

#include <unistd.h>

#include <cstdlib>

#include "engine/device.h"

namespace ld {

void wait_politely([[maybe_unused]] char** argv) {
#ifdef ENGINE_CPU
  if (std::getenv("GOMP_SPINCOUNT") || std::getenv("OMP_WAIT_POLICY")) return;
  setenv("GOMP_SPINCOUNT", "1000", 1);
  execv("/proc/self/exe", argv);  // only returns where that is not possible; then everything is as it was
#endif
}

}  // namespace ld
