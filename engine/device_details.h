// What ./train --device-info tells of this machine.
#pragma once

#include <string>

namespace ld {

/// Lines "name  value" about memory, instruction sets or compute capability, libraries, and the dtype to use.
std::string device_details();

}  // namespace ld
