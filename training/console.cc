#include "training/console.h"

#include <sys/ioctl.h>
#include <unistd.h>

namespace ld {
namespace {

constexpr std::chrono::milliseconds live_interval{50};  // between two rewritings of the live line
constexpr std::chrono::seconds plain_interval{10};      // between two status lines in a file

size_t width_of(std::FILE* terminal) {
  winsize size{};
  return ioctl(fileno(terminal), TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col - 1u : 79u;
}

}  // namespace

Console::Console(std::FILE* stream) : stream_(stream), terminal_(stream && isatty(fileno(stream))) {}
Console::~Console() { clear(); }

void Console::clear() {
  if (!open_) return;
  std::fputs("\r\033[K", stream_);
  std::fflush(stream_);
  open_ = false;
}

void Console::line(const std::string& text) {
  if (!stream_) return;
  clear();
  std::fputs((text + "\n").c_str(), stream_);
  std::fflush(stream_);
  printed_ = Clock::now();
}

void Console::status(const std::string& text) {
  if (terminal_) {
    if (open_ && Clock::now() - printed_ < live_interval) return;
    std::fputs(("\r" + text.substr(0, width_of(stream_)) + "\033[K").c_str(), stream_);
    std::fflush(stream_);
    open_ = true;
    printed_ = Clock::now();
  } else if (Clock::now() - printed_ >= plain_interval) {
    line(text);
  }
}

}  // namespace ld
