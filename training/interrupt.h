// Ctrl-C and SIGTERM: the first asks the run to finish its step, save and stop; the second stops at once.
#pragma once

namespace ld {

/// From here on the two signals are noted instead of ending the program.
void catch_interrupts();
bool interrupted();

}  // namespace ld
