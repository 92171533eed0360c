// Text that arrives in pieces of any bytes, as tokens do, and leaves as whole UTF-8 characters: the bytes of
// a character that is not complete wait for the next piece. A byte that cannot belong to a character leaves
// as U+FFFD, the replacement character, so that whatever reads the output reads valid UTF-8.
#pragma once

#include <string>
#include <string_view>

namespace ld {

class Utf8Stream {
 public:
  /// What can be shown after these bytes.
  std::string push(std::string_view bytes);
  /// The end: what still waits is no character any more.
  std::string finish();

 private:
  std::string waiting_;
};

}  // namespace ld
