// tensor/kernel/set_code.h - which path each weight type takes, for every set.
#pragma once

#include "tensor/kernel/float_code.h"
#include "tensor/kernel/panel_code.h"

namespace ration {
namespace {

// The integer path of a type, or nulls.
template <class L>
struct IntegerPath {
  ActivationFormat format = ActivationFormat::kF32;
  void (*multiply)(const Job& job) = nullptr;
  int64_t block_bytes = 0;
};

template <class L, class Type>
constexpr IntegerPath<L> path32() {
  return {ActivationFormat::kInt8x32, multiply32<L, Type>, Type::kBytes};
}

template <class L, class Type>
constexpr IntegerPath<L> path256() {
  return {ActivationFormat::kInt8x256, multiply256<L, Type>, Type::kBytes};
}

template <class L>
IntegerPath<L> integer_path(DType dtype) {
  switch (dtype) {
    case DType::kQ4_0:
      return path32<L, TypeQ4_0>();
    case DType::kQ4_1:
      return path32<L, TypeQ4_1>();
    case DType::kQ5_0:
      return path32<L, TypeQ5_0>();
    case DType::kQ5_1:
      return path32<L, TypeQ5_1>();
    case DType::kQ8_0:
      return path32<L, TypeQ8_0>();
    case DType::kIQ4_NL:
      return path32<L, TypeIQ4_NL>();
    case DType::kQ4_K:
      return path256<L, TypeQ4_K>();
    case DType::kQ5_K:
      return path256<L, TypeQ5_K>();
    case DType::kQ6_K:
      return path256<L, TypeQ6_K>();
    default:
      return {};
  }
}

template <class L>
ActivationFormat format_of(DType dtype) {
  return integer_path<L>(dtype).format;
}

template <class L>
void matmul(const Matrix& w, const Activations& x, int64_t row_begin, int64_t row_end, float* out,
            int64_t out_stride) {
  const IntegerPath<L> path = integer_path<L>(w.dtype);
  if (path.multiply != nullptr) {
    const int64_t block_columns = path.format == ActivationFormat::kInt8x32 ? 32 : 256;
    path.multiply({.weights = reinterpret_cast<const uint8_t*>(w.data),
                   .row_bytes = w.cols / block_columns * path.block_bytes,
                   .cols = w.cols,
                   .x = x.data,
                   .x_bytes = x.row_bytes,
                   .tokens = x.tokens,
                   .row_begin = row_begin,
                   .row_end = row_end,
                   .out = out,
                   .out_stride = out_stride});
    return;
  }
  int64_t columns = 1;
  int64_t bytes = 0;
  for (const DTypeInfo& info : kDTypes) {
    if (info.dtype != w.dtype) continue;
    columns = info.block_elements;
    bytes = info.block_bytes;
  }
  const FloatProduct<L> product{w, x, w.cols / columns * bytes, row_end, out, out_stride};
  switch (w.dtype) {
    case DType::kF32:
      return multiply_floats<L, ReadF32<L>>(product, row_begin);
    case DType::kF16:
      return multiply_floats<L, ReadF16<L>>(product, row_begin);
    case DType::kBF16:
      return multiply_floats<L, ReadBF16<L>>(product, row_begin);
    default:
      return multiply_decoded<L>(product, row_begin, columns, bytes);
  }
}

}  // namespace
}  // namespace ration
