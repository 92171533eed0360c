// The CPU as a device. Compiled only for DEVICE=cpu.
#include <omp.h>
#include <oneapi/dnnl/dnnl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>

#include "engine/device.h"
#include "engine/device_details.h"

namespace ld {
namespace {

/// What /proc/cpuinfo says of the first processor under `name`.
std::string cpu_info(const std::string& name) {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.starts_with(name) && line.find(": ") != line.npos) return line.substr(line.find(": ") + 2);
  return "unknown";
}

}  // namespace

const char* device_name() { return "cpu"; }

std::string device_description() {
  return cpu_info("model name") + ", " + std::to_string(omp_get_max_threads()) + " threads";
}

std::string device_details() {
  std::istringstream words(cpu_info("flags"));
  const std::set<std::string> flags(std::istream_iterator<std::string>(words), {});
  std::string instructions;
  for (const char* set : {"avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16"})
    if (flags.contains(set)) instructions += std::string(instructions.empty() ? "" : " ") + set;
  const bool bfloat16 = flags.contains("avx512_bf16") || flags.contains("amx_bf16");
  const dnnl_version_t& library = *dnnl_version();
  const double gib = static_cast<double>(sysconf(_SC_PAGESIZE)) * 0x1p-30;
  std::ostringstream out;
  out.precision(3);
  out << "memory        " << gib * static_cast<double>(sysconf(_SC_PHYS_PAGES)) << " GiB, "
      << gib * static_cast<double>(sysconf(_SC_AVPHYS_PAGES)) << " of them free\n"
      << "instructions  " << instructions << "\n"
      << "matrices      oneDNN " << library.major << "." << library.minor << "." << library.patch << "\n"
      << "dtype         float32" << (bfloat16 ? "; bfloat16 matrices are multiplied in hardware too" : "")
      << "\n";
  return out.str();
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
