#include "training/interrupt.h"

#include <unistd.h>

#include <csignal>
#include <cstring>

namespace ld {
namespace {

volatile std::sig_atomic_t pending = 0;
const char* first_note = "";

// Only what is allowed inside a signal handler: a flag and write(2).
void on_signal(int signal) {
  if (pending) {
    std::signal(signal, SIG_DFL);
    std::raise(signal);
    return;
  }
  pending = 1;
  [[maybe_unused]] auto written = write(STDERR_FILENO, first_note, std::strlen(first_note));
}

}  // namespace

void catch_interrupts(const char* note) {
  first_note = note;
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;  // a write to the disk goes on
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  std::signal(SIGXFSZ, SIG_IGN);  // a file beyond the limit of `ulimit -f` fails to be written, and says so
}

bool interrupted() { return pending != 0; }

}  // namespace ld
