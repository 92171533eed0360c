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
    if (signal == SIGHUP) return;  // a terminal that goes sends two
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
  struct sigaction hangup {};
  sigaction(SIGHUP, nullptr, &hangup);
  if (hangup.sa_handler != SIG_IGN) sigaction(SIGHUP, &action, nullptr);  // nohup ignores it
  std::signal(SIGXFSZ, SIG_IGN);  // a file beyond the limit of `ulimit -f` fails to be written, and says so
}

void outlive_readers() { std::signal(SIGPIPE, SIG_IGN); }

bool interrupted() { return pending != 0; }

}  // namespace ld
