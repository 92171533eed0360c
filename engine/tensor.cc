#include "engine/tensor.h"

namespace ld {
namespace {

template <class T>
void upload(const Tensor& t, const std::vector<double>& values) {
  std::vector<T> host(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    if constexpr (std::is_same_v<T, bfloat16>)
      host[i] = bfloat16(static_cast<float>(values[i]));
    else
      host[i] = static_cast<T>(values[i]);
  }
  copy_to_device(t.raw(), host.data(), host.size() * sizeof(T));
}

template <class T>
std::vector<double> download(const Tensor& t) {
  std::vector<T> host(static_cast<size_t>(t.elements()));
  copy_to_host(host.data(), t.raw(), host.size() * sizeof(T));
  return {host.begin(), host.end()};
}

}  // namespace

const char* name_of(DType dtype) {
  switch (dtype) {
    case DType::float32:
      return "float32";
    case DType::float64:
      return "float64";
    case DType::bfloat16:
      return "bfloat16";
    case DType::int32:
      return "int32";
    case DType::uint16:
      return "uint16";
  }
  return "?";
}

Tensor Tensor::zeros(const Shape& shape, DType dtype) {
  Tensor t(shape, dtype);
  t.fill_zero();
  return t;
}

Tensor Tensor::from(const std::vector<double>& values, const Shape& shape, DType dtype) {
  Tensor t(shape, dtype);
  t.assign(values);
  return t;
}

void Tensor::assign(const std::vector<double>& values) const {
  check(static_cast<int64_t>(values.size()) == elements(), "tensor: ", values.size(),
        " values given for shape ", shape_);
  switch (dtype_) {
    case DType::float32:
      return upload<float>(*this, values);
    case DType::float64:
      return upload<double>(*this, values);
    case DType::bfloat16:
      return upload<bfloat16>(*this, values);
    case DType::int32:
      return upload<int32_t>(*this, values);
    case DType::uint16:
      return upload<uint16_t>(*this, values);
  }
}

Tensor Tensor::from(const std::vector<int32_t>& values, const Shape& shape) {
  check(static_cast<int64_t>(values.size()) == shape.elements(), "tensor: ", values.size(),
        " values given for shape ", shape);
  Tensor t(shape, DType::int32);
  copy_to_device(t.raw(), values.data(), values.size() * sizeof(int32_t));
  return t;
}

Tensor Tensor::reshaped(const Shape& shape) const {
  check(shape.elements() == elements(), "reshape: ", shape_, " has ", elements(), " elements, ", shape,
        " has ", shape.elements());
  Tensor t = *this;
  t.shape_ = shape;
  return t;
}

Tensor Tensor::part(int64_t first, const Shape& shape) const {
  check(first >= 0 && first + shape.elements() <= elements(), "part: ", shape, " from element ", first,
        " of ", shape_, ", which has ", elements());
  Tensor t = *this;
  t.shape_ = shape;
  t.storage_ = {storage_, static_cast<char*>(raw()) + first * size_of(dtype_)};
  return t;
}

Tensor Tensor::clone() const {
  Tensor t(shape_, dtype_);
  t.copy_from(*this);
  return t;
}

void Tensor::copy_from(const Tensor& source) {
  check(shape_ == source.shape_ && dtype_ == source.dtype_, "copy: from ", source.shape_, " ", source.dtype_,
        " to ", shape_, " ", dtype_);
  copy_on_device(raw(), source.raw(), static_cast<size_t>(bytes()));
}

std::vector<double> Tensor::to_vector() const {
  switch (dtype_) {
    case DType::float32:
      return download<float>(*this);
    case DType::float64:
      return download<double>(*this);
    case DType::bfloat16:
      return download<bfloat16>(*this);
    case DType::int32:
      return download<int32_t>(*this);
    case DType::uint16:
      return download<uint16_t>(*this);
  }
  return {};
}

double Tensor::item() const {
  check(elements() == 1, "item: tensor has shape ", shape_, ", expected one element");
  return to_vector()[0];
}

}  // namespace ld
