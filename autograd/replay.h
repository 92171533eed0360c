// How gradcheck sees what backward is meant to see of detach, of comparisons and of rounding.
//
// A finite difference moves an input and watches the output; detach, a comparison or a rounded value would
// move too, though their derivative is declared to be zero. So the base run records every value that is held
// constant by declaration, and each perturbed run is given the recorded one instead. Noise needs nothing: it
// is a function of its NoiseKey (engine/random.h).
#pragma once

#include <optional>
#include <vector>

#include "engine/tensor.h"

namespace ld {

class Replay {
 public:
  Replay();  // records from here on, on this thread
  ~Replay();
  Replay(const Replay&) = delete;
  Replay& operator=(const Replay&) = delete;

  /// From here on, and again at every call, the recorded values are handed out from the first one on.
  void rewind();

  /// Returns `now` in an ordinary run and while recording, the recorded value while replaying.
  static Tensor held_constant(const Tensor& now);
  /// Its two halves, for an op that makes the value and uses it in one kernel. First `next_recorded`: the next
  /// recorded value while replaying, to be used instead; nothing in an ordinary run and while recording. Then,
  /// if that was nothing, `record` with the value.
  static std::optional<Tensor> next_recorded(const Shape& shape, DType dtype);
  static void record(const Tensor& now);

 private:
  bool replaying_ = false;
  size_t next_ = 0;
  std::vector<Tensor> values_;
};

}  // namespace ld
