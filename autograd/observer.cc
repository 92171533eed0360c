#include "autograd/observer.h"

namespace ld {
namespace {

thread_local TapeObserver* current_observer = nullptr;

}  // namespace

TapeObserver::TapeObserver() {
  check(!current_observer, "tape: another observer is watching this thread already; end it first");
  current_observer = this;
}
TapeObserver::~TapeObserver() { current_observer = nullptr; }
TapeObserver* TapeObserver::current() { return current_observer; }

void observed(const char* name) {
  if (current_observer) current_observer->after_other_work(name);
}

ObserverPause::ObserverPause() : paused_(current_observer) { current_observer = nullptr; }
ObserverPause::~ObserverPause() { current_observer = paused_; }

}  // namespace ld
