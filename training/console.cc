#include "training/console.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>

namespace ld {
namespace {

constexpr std::chrono::seconds plain_interval{10};  // between two status lines in a file

size_t terminal_width() {
  winsize size{};
  return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col - 1u : 79u;
}

}  // namespace

Console::Console() : terminal_(isatty(STDOUT_FILENO)) {}
Console::~Console() { clear(); }

void Console::clear() {
  if (!open_) return;
  std::fputs("\r\033[K", stdout);
  std::fflush(stdout);
  open_ = false;
}

void Console::line(const std::string& text) {
  clear();
  std::fputs((text + "\n").c_str(), stdout);
  std::fflush(stdout);
  printed_ = Clock::now();
}

void Console::status(const std::string& text) {
  if (terminal_) {
    std::fputs(("\r" + text.substr(0, terminal_width()) + "\033[K").c_str(), stdout);
    std::fflush(stdout);
    open_ = true;
  } else if (Clock::now() - printed_ >= plain_interval) {
    line(text);
  }
}

std::string duration_text(double seconds) {
  if (!std::isfinite(seconds)) return "?";
  if (seconds < 9.95) return fmt::format("{:.1f} s", seconds);
  const auto s = static_cast<int64_t>(std::lround(seconds));
  if (s < 60) return fmt::format("{} s", s);
  if (s < 3600) return fmt::format("{} min {} s", s / 60, s % 60);
  if (s < 48 * 3600) return fmt::format("{} h {} min", s / 3600, s / 60 % 60);
  return fmt::format("{} days", s / 86400);
}

std::string grouped(int64_t n) {
  std::string digits = std::to_string(n < 0 ? -n : n), out;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) out += ',';
    out += digits[i];
  }
  return n < 0 ? "-" + out : out;
}

std::string bytes_text(int64_t bytes) {
  const auto b = static_cast<double>(bytes);
  if (b < 0x1p20) return fmt::format("{:.1f} KiB", b * 0x1p-10);
  if (b < 0x1p30) return fmt::format("{:.1f} MiB", b * 0x1p-20);
  return fmt::format("{:.2f} GiB", b * 0x1p-30);
}

}  // namespace ld
