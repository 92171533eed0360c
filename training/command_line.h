// What every program does around its work: options, --help, errors.
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace ld {

/// Parses the options, then works; returns what main returns. --help is answered; a wrong option and an
/// exception of `work` become one line on standard error each, and 1.
int run_program(CLI::App& app, int argc, char** argv, const std::function<int()>& work);

}  // namespace ld
