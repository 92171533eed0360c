#include "training/corpus.h"

#include <zlib.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "engine/error.h"

namespace ld {
namespace {

// splitmix64 (Steele, Lea, Flood 2014): a few lines, and the same numbers everywhere, which std::shuffle does
// not promise.
struct SplitMix64 {
  uint64_t state;
  uint64_t next() {
    uint64_t z = state += 0x9E3779B97F4A7C15;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
  }
  // Uniform in [0, n): draws that would favour the low numbers are thrown away.
  uint64_t below(uint64_t n) {
    const uint64_t excess = (0 - n) % n;  // 2^64 mod n
    uint64_t draw = next();
    while (draw < excess) draw = next();
    return draw % n;
  }
};

}  // namespace

std::string read_text(const std::string& path) {
  check(!std::filesystem::is_directory(path), path, ": is a directory; name the text files in it");
  errno = 0;
  gzFile file = gzopen(path.c_str(), "rb");  // hands a file that is not gzip through as it is
  check(file != nullptr, path,
        ": cannot read this text: ", errno ? std::strerror(errno) : "not enough memory",
        "; check its name and your rights");
  gzbuffer(file, 1 << 18);
  std::string text;
  constexpr unsigned block = 1 << 22;
  for (int got = 1; got > 0;) {
    const size_t before = text.size();
    text.resize(before + block);
    got = gzread(file, text.data() + before, block);
    text.resize(before + static_cast<size_t>(std::max(got, 0)));
  }
  int code = Z_OK;
  const std::string message = gzerror(file, &code);
  const int error = errno;
  gzclose(file);
  if (code == Z_BUF_ERROR) fail(path, ": the compressed file ends too early; fetch it again");
  if (code == Z_ERRNO) fail(path, ": ", std::strerror(error));
  check(code == Z_OK || code == Z_STREAM_END, path, ": damaged gzip file (", message, "); fetch it again");
  return text;
}

bool is_dictionary(const std::string& path) { return path.ends_with(".dict.dz") || path.ends_with(".dict"); }

std::vector<std::string> split_documents(std::string_view text) {
  std::vector<std::string> documents;
  std::string document;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.find_first_not_of(" \t\r") != line.npos) {
      if (!document.empty()) document += '\n';
      document += line;
    } else if (!document.empty()) {
      documents.push_back(std::exchange(document, {}));
    }
  }
  if (!document.empty()) documents.push_back(document);
  return documents;
}

void shuffle_documents(std::vector<std::string>& documents, uint64_t seed) {
  SplitMix64 random{seed};
  for (size_t i = documents.size(); i > 1; --i) std::swap(documents[i - 1], documents[random.below(i)]);
}

std::string join_documents(const std::vector<std::string>& documents) {
  std::string text;
  for (const std::string& document : documents) {
    if (!text.empty()) text += "\n\n";
    text += document;
  }
  if (!text.empty()) text += '\n';
  return text;
}

}  // namespace ld
