// Ctrl-C, SIGTERM, and SIGHUP, which says that the terminal is gone (and which nohup has ignored): the first of them asks
// the run to finish its step, save and stop; a second Ctrl-C or SIGTERM stops at once.
//
// They are handled by a thread that does nothing else. oneDNN before 2026 keeps the stack pointer in the heap while it
// multiplies float32 matrices; a signal handler that runs there writes its frame over what lies below
// (https://github.com/uxlfoundation/oneDNN/issues/4845): a Ctrl-C could end a run by corrupting its memory.
#pragma once

namespace ld {

/// From here on the three signals come to a thread of their own. Call it before any other thread begins: those inherit
/// that they are spared.
void give_signals_a_thread();

/// From here on the three signals are noted instead of ending the program; `note` is what the first one prints
/// on standard error.
void catch_interrupts(const char* note =
                          "\nstopping: a step under way is finished, an estimate is left to --resume, "
                          "then all is saved; once more stops at once\n");
bool interrupted();

/// From here on a reader of the program's output who leaves, as `tee` does at the Ctrl-C that was meant for both, does
/// not end the program: to write is an error from then on, and no signal.
void outlive_readers();

}  // namespace ld
