#include "training/interrupt.h"

#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstring>
#include <thread>

namespace ld {
namespace {

std::atomic<bool> pending = false;  // of a kind that a signal handler may write
static_assert(std::atomic<bool>::is_always_lock_free);
const char* first_note = "";

// Only what is allowed inside a signal handler: a flag and write(2).
void on_signal(int signal) {
  if (pending) {
    if (signal == SIGHUP) return;  // a terminal that goes sends two
    std::signal(signal, SIG_DFL);
    std::raise(signal);
    return;
  }
  pending = true;
  [[maybe_unused]] auto written = write(STDERR_FILENO, first_note, std::strlen(first_note));
}

sigset_t caught_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&signals, signal);
  return signals;
}

}  // namespace

void give_signals_a_thread() {
  const sigset_t signals = caught_signals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::thread([signals] {
    pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
    for (;;) pause();
  }).detach();
}

void catch_interrupts(const char* note) {
  first_note = note;
  struct sigaction action {};
  action.sa_handler = on_signal;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  struct sigaction hangup {};
  sigaction(SIGHUP, nullptr, &hangup);
  if (hangup.sa_handler != SIG_IGN) sigaction(SIGHUP, &action, nullptr);  // nohup ignores it
  std::signal(SIGXFSZ, SIG_IGN);  // a file beyond the limit of `ulimit -f` fails to be written, and says so
}

void outlive_readers() { std::signal(SIGPIPE, SIG_IGN); }

bool interrupted() { return pending; }

}  // namespace ld
