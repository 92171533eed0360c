// Ctrl-C and SIGTERM: the first asks the run to finish its step, save and stop; the second stops at once.
#pragma once

namespace ld {

/// From here on the two signals are noted instead of ending the program; `note` is what the first one prints
/// on standard error.
void catch_interrupts(const char* note =
                          "\nstopping: a step under way is finished, an estimate is left to --resume, "
                          "then all is saved; once more stops at once\n");
bool interrupted();

}  // namespace ld
