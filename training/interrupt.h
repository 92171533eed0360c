// Ctrl-C and SIGTERM: the first asks the run to finish its step, save and stop; the second stops at once.
#pragma once

namespace ld {

/// From here on the two signals are noted instead of ending the program; `note` is what the first one prints
/// on standard error.
void catch_interrupts(const char* note =
                          "\nstopping: this step is finished and saved first; once more stops at once and "
                          "loses the step\n");
bool interrupted();

}  // namespace ld
