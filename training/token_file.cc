#include "training/token_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <utility>

#include "engine/error.h"

namespace ld {
namespace {

static_assert(std::endian::native == std::endian::little, "token files are little-endian and read in place");

constexpr int32_t llmc_magic = 20240520, llmc_version = 1;
constexpr size_t llmc_header_bytes = 256 * sizeof(int32_t);

// In blocks that stay in the cache and that the compiler turns into SIMD maxima; only the first block that
// holds a token too high is looked at token by token.
size_t first_at_least(std::span<const uint16_t> tokens, int64_t limit) {
  constexpr size_t block_size = 1 << 14;
  for (size_t begin = 0; begin < tokens.size(); begin += block_size) {
    const std::span<const uint16_t> block =
        tokens.subspan(begin, std::min(block_size, tokens.size() - begin));
    uint16_t highest = 0;
    for (uint16_t token : block) highest = std::max(highest, token);
    if (highest < limit) continue;
    return begin + static_cast<size_t>(std::find_if(block.begin(), block.end(),
                                                    [&](uint16_t token) { return token >= limit; }) -
                                       block.begin());
  }
  return tokens.size();
}

}  // namespace

TokenFile::TokenFile(const std::string& path, int64_t vocabulary_size, int64_t context_size) : path_(path) {
  try {
    map();
    find_tokens();
    check_tokens(vocabulary_size, context_size);
  } catch (...) {
    if (memory_) munmap(memory_, bytes_);
    throw;
  }
}

TokenFile::~TokenFile() {
  if (memory_) munmap(memory_, bytes_);
}

TokenFile::TokenFile(TokenFile&& other) noexcept
    : path_(std::move(other.path_)),
      memory_(std::exchange(other.memory_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)),
      tokens_(std::exchange(other.tokens_, {})) {}

TokenFile& TokenFile::operator=(TokenFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(memory_, other.memory_);
  std::swap(bytes_, other.bytes_);
  std::swap(tokens_, other.tokens_);
  return *this;
}

void TokenFile::map() {
  const int descriptor = open(path_.c_str(), O_RDONLY | O_CLOEXEC);
  check(descriptor >= 0, path_, ": cannot open this token file: ", std::strerror(errno));
  struct stat status {};
  const bool known = fstat(descriptor, &status) == 0;
  const bool regular = known && S_ISREG(status.st_mode);
  bytes_ = regular ? static_cast<size_t>(status.st_size) : 0;
  int error = 0;
  if (bytes_ > 0) {
    memory_ = mmap(nullptr, bytes_, PROT_READ, MAP_PRIVATE, descriptor, 0);
    error = errno;
    if (memory_ == MAP_FAILED) memory_ = nullptr;
  }
  close(descriptor);
  check(regular, path_, ": is not a regular file; a token file is what ./prepare writes");
  check(bytes_ > 0, path_, ": is empty; prepare it again");
  check(memory_ != nullptr, path_, ": cannot map ", bytes_, " bytes into memory: ", std::strerror(error));
}

void TokenFile::find_tokens() {
  const auto* bytes = static_cast<const char*>(memory_);
  int32_t header[3] = {};
  std::memcpy(header, bytes, std::min(bytes_, sizeof header));
  const bool llmc = bytes_ >= llmc_header_bytes && header[0] == llmc_magic;
  const size_t header_bytes = llmc ? llmc_header_bytes : 0;
  check(bytes_ % 2 == 0, path_, ": has ", bytes_,
        " bytes, an odd number, but tokens have two each; the file is damaged or no token file");
  const size_t count = (bytes_ - header_bytes) / 2;
  if (llmc) {
    check(header[1] == llmc_version, path_, ": has llm.c's header in version ", header[1], "; only version ",
          llmc_version, " (uint16 tokens) can be read");
    check(header[2] >= 0 && static_cast<size_t>(header[2]) == count, path_, ": its header promises ",
          header[2], " tokens, but ", count, " follow; the file is cut off or damaged");
  }
  tokens_ = {reinterpret_cast<const uint16_t*>(bytes + header_bytes), count};
}

void TokenFile::check_tokens(int64_t vocabulary_size, int64_t context_size) const {
  const size_t count = tokens_.size();
  check(static_cast<int64_t>(count) > context_size, path_, ": has ", count, " tokens, but context_size ",
        context_size, " needs at least ", context_size + 1, "; take more text or a shorter context");
  const size_t bad = first_at_least(tokens_, vocabulary_size);
  check(bad == count, path_, ": token ", bad < count ? tokens_[bad] : 0, " at offset ", bad, " of ", count,
        " is not below the vocabulary size ", vocabulary_size,
        "; the file was made with another tokenizer, or is no token file");
}

}  // namespace ld
