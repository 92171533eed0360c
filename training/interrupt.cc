#include "training/interrupt.h"

#include <unistd.h>

#include <csignal>
#include <cstring>

namespace ld {
namespace {

volatile std::sig_atomic_t pending = 0;

// Only what is allowed inside a signal handler: a flag and write(2).
void on_signal(int signal) {
  if (pending) {
    std::signal(signal, SIG_DFL);
    std::raise(signal);
    return;
  }
  pending = 1;
  constexpr const char* note =
      "\nstopping: a step under way is finished, an estimate is left to --resume, then all is saved; "
      "once more stops at once\n";
  [[maybe_unused]] auto written = write(STDERR_FILENO, note, std::strlen(note));
}

}  // namespace

void catch_interrupts() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;  // a write to the disk goes on
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  std::signal(SIGXFSZ, SIG_IGN);  // a file beyond the limit of `ulimit -f` fails to be written, and says so
}

bool interrupted() { return pending != 0; }

}  // namespace ld
