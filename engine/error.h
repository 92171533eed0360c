// How everything here fails: one exception type whose message starts with the op (or the file:line:column of
// a config), names both sides, and ends with what to do. Plain iostreams, because nvcc reads this file too
// and Debian's fmt does not compile under it in C++20.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace ld {

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Throws Error with all parts written one after the other.
template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  std::ostringstream message;
  (message << ... << parts);
  throw Error(message.str());
}

/// Throws Error unless `ok`; the parts are only formatted when it does.
///   check(x.rank() == 2, "linear: x has shape ", x.shape(), ", expected (rows, columns)");
template <class... Parts>
void check(bool ok, const Parts&... parts) {
  if (!ok) [[unlikely]]
    fail(parts...);
}

}  // namespace ld
