// Ctrl-C, SIGTERM and SIGHUP (the terminal is gone; under nohup it is ignored): the first asks the run to finish its
// step, save and stop; the second stops at once.
#pragma once

namespace ld {

/// From here on the three signals are noted instead of ending the program; `note` is what the first one prints
/// on standard error.
void catch_interrupts(const char* note =
                          "\nstopping: a step under way is finished, an estimate is left to --resume, "
                          "then all is saved; once more stops at once\n");
bool interrupted();

/// From here on a reader of the program's output who leaves, as `tee` does at the Ctrl-C that was meant for both, does
/// not end the program: what it prints is lost and nothing else.
void outlive_readers();

}  // namespace ld
