// Host memory from which a tensor is filled again and again, without anybody waiting for it:
//
//   Staging ids(tensor);
//   fill(ids.open<int32_t>());   // the next contents
//   ids.send();                  // the device has them before the work that is queued from here on
//
// On a GPU that is pinned memory, two buffers that take turns: the next contents can be written while the
// device still copies the last ones. On the CPU it is the tensor's own memory.
#pragma once

#include <array>

#include "engine/tensor.h"

#ifndef ENGINE_CPU
struct CUevent_st;  // CUDA's
#endif

namespace ld {

class Staging {
 public:
  /// Writes to `target`, which is kept.
  explicit Staging(const Tensor& target);
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  /// Where to write the next contents, all of them. T is the tensor's type, or anything else of its size.
  template <class T>
  T* open() {
    return static_cast<T*>(open());
  }
  void send();
  const Tensor& target() const { return target_; }

 private:
  void* open();

  Tensor target_;
#ifndef ENGINE_CPU
  struct Buffer {
    void* memory = nullptr;
    CUevent_st* copied = nullptr;  // recorded after each copy out of it

    Buffer() = default;
    ~Buffer();
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
  };
  std::array<Buffer, 2> buffers_;
  int turn_ = 0;
#endif
};

#ifdef ENGINE_CPU
inline Staging::Staging(const Tensor& target) : target_(target) {}
inline void* Staging::open() { return target_.raw(); }
inline void Staging::send() {}
#endif

}  // namespace ld
