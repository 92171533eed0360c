// Many numbers of the generator (engine/random.h) at a time, on the CPU.
#pragma once

#include "engine/random.h"

namespace ld {

/// Numbers `first` to `first + n` of a sample, as key.uniform gives them. Every block of the generator holds four of
/// them and is made once here, instead of four times by four calls. The memory is this thread's, and the next call's
/// too.
const float* uniform_line(const NoiseKey& key, int64_t sample, int64_t first, int64_t n);

}  // namespace ld
