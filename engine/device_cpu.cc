// The CPU as a device. Compiled only for DEVICE=cpu.
#include <omp.h>
#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <fstream>

#include "engine/device.h"

namespace ld {

const char* device_name() { return "cpu"; }

std::string device_description() {
  std::string model = "unknown processor";
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.starts_with("model name")) {
      model = line.substr(line.find(':') + 2);
      break;
    }
  return model + ", " + std::to_string(omp_get_max_threads()) + " threads";
}

void require_device() {}

void* device_allocate(size_t bytes) {
  constexpr size_t huge_page = size_t{2} << 20;
  if (bytes < huge_page) return std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  void* memory = std::aligned_alloc(huge_page, (bytes + huge_page - 1) / huge_page * huge_page);
  if (memory) madvise(memory, bytes, MADV_HUGEPAGE);  // a hint: fewer page faults and TLB misses
  return memory;
}
void device_free(void* memory) { std::free(memory); }

// An empty vector's data may be null, which memcpy must not be given even for no bytes.
static void copy(void* to, const void* from, size_t bytes) {
  if (bytes > 0) std::memcpy(to, from, bytes);
}
void copy_to_device(void* device, const void* host, size_t bytes) { copy(device, host, bytes); }
void copy_to_host(void* host, const void* device, size_t bytes) { copy(host, device, bytes); }
void copy_on_device(void* to, const void* from, size_t bytes) { copy(to, from, bytes); }
void fill_bytes(void* device, int byte, size_t bytes) { std::memset(device, byte, bytes); }
void synchronize() {}

}  // namespace ld
