// Numbers as people read them.
#pragma once

#include <cstdint>
#include <string>

namespace ld {

/// "0.3 s", "45 s", "12 min 30 s", "3 h 20 min", "51 days".
std::string duration_text(double seconds);
/// "1,234,567".
std::string grouped(int64_t n);
/// "12.3 MiB".
std::string bytes_text(int64_t bytes);

}  // namespace ld
