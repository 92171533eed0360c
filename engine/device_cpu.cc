// The CPU as a device. Compiled only for DEVICE=cpu.
#include <omp.h>
#include <oneapi/dnnl/dnnl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <sstream>
#include <utility>

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

constexpr size_t huge_page = size_t{2} << 20;

/// Memory that begins at a huge page and asks to be made of huge pages: fewer page faults, and fewer misses of the
/// buffer that translates addresses.
char* allocate_huge(size_t bytes) {
  auto* memory =
      static_cast<char*>(std::aligned_alloc(huge_page, (bytes + huge_page - 1) / huge_page * huge_page));
  if (memory) madvise(memory, bytes, MADV_HUGEPAGE);  // a hint
  return memory;
}

/// Blocks that are smaller than a huge page, cut from slabs of several, so that they lie on huge pages too. A slab is
/// given back with the last of its blocks; until then nobody gets what is free in it. Not for two threads at once:
/// the pool's lock sees to that.
class Slabs {
 public:
  void* allocate(size_t bytes) {
    if (left_ < bytes) {
      char* slab = allocate_huge(slab_bytes);
      if (!slab) return nullptr;
      next_ = slab;
      left_ = slab_bytes;
      blocks_[slab] = 0;
    }
    ++std::prev(blocks_.upper_bound(next_))->second;
    left_ -= bytes;
    return std::exchange(next_, next_ + bytes);
  }

  /// Whether the block was one of these; if so, it is free.
  bool free(void* block) {
    auto slab = blocks_.upper_bound(static_cast<char*>(block));
    if (slab == blocks_.begin()) return false;
    --slab;
    if (block >= slab->first + slab_bytes) return false;
    if (--slab->second > 0) return true;
    if (slab->first + slab_bytes == next_ + left_) left_ = 0;  // nothing more is cut from it
    std::free(slab->first);
    blocks_.erase(slab);
    return true;
  }

 private:
  static constexpr size_t slab_bytes = 16 * huge_page;
  std::map<char*, int64_t> blocks_;  // the beginning of each slab, and how many of its blocks are in use
  char* next_ = nullptr;             // the next block comes from here
  size_t left_ = 0;                  // bytes from there to the end of the slab
};

// Never destroyed, like the pool.
Slabs& slabs() {
  static Slabs* instance = new Slabs;
  return *instance;
}

#ifdef __SANITIZE_ADDRESS__
constexpr bool uses_slabs = false;  // a block of its own is watched to its ends
#else
constexpr bool uses_slabs = true;
#endif

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
  if (bytes >= huge_page) return allocate_huge(bytes);
  bytes = (bytes + 255) / 256 * 256;
  return uses_slabs ? slabs().allocate(bytes) : std::aligned_alloc(256, bytes);
}
void device_free(void* memory) {
  if (!uses_slabs || !slabs().free(memory)) std::free(memory);
}

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
