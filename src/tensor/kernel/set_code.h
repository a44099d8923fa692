// tensor/kernel/set_code.h - which path each weight type takes, for every set.
#pragma once

#include <iterator>

#include "tensor/kernel/float_code.h"
#include "tensor/kernel/panel_code.h"
#include "tensor/kernel/screen_code.h"
#include "tensor/matrix.h"

namespace ration {
namespace {

struct Path {
  DType dtype;
  ActivationFormat format;
  int64_t block_columns;
  int64_t block_bytes;
  void (*multiply)(const Job& job);
};

template <class L, class Type>
constexpr Path path32(DType dtype) {
  return {dtype, ActivationFormat::kInt8x32, 32, Type::kBytes, multiply32<L, Type>};
}

template <class L, class Type>
constexpr Path path256(DType dtype) {
  return {dtype, ActivationFormat::kInt8x256, 256, Type::kBytes, multiply256<L, Type>};
}

template <class L, class Read>
constexpr Path float_path(DType dtype) {
  return {dtype, ActivationFormat::kF32, 1, Read::kBytes, multiply_floats<L, Read>};
}

template <class L>
constexpr Path kPaths[] = {
    float_path<L, ReadF32<L>>(DType::kF32),   float_path<L, ReadF16<L>>(DType::kF16),
    float_path<L, ReadBF16<L>>(DType::kBF16), path32<L, TypeQ4_0>(DType::kQ4_0),
    path32<L, TypeQ4_1>(DType::kQ4_1),        path32<L, TypeQ5_0>(DType::kQ5_0),
    path32<L, TypeQ5_1>(DType::kQ5_1),        path32<L, TypeQ8_0>(DType::kQ8_0),
    path32<L, TypeIQ4_NL>(DType::kIQ4_NL),    path256<L, TypeQ2_K>(DType::kQ2_K),
    path256<L, TypeQ3_K>(DType::kQ3_K),       path256<L, TypeQ4_K>(DType::kQ4_K),
    path256<L, TypeQ5_K>(DType::kQ5_K),       path256<L, TypeQ6_K>(DType::kQ6_K),
    path256<L, TypeIQ4_XS>(DType::kIQ4_XS),   path32<L, TypeMXFP4>(DType::kMXFP4)};

template <class L>
const Path& path_of(DType dtype) {
  static_assert(std::size(kPaths<L>) == kDTypes.size());
  const Path* path = kPaths<L>;
  while (path->dtype != dtype) ++path;  // a DType is one of them
  return *path;
}

constexpr Walk walk_of(const Matrix& w, int64_t block_columns) {
  const Walk usual = block_columns == 256 ? kWalk256 : kWalk32;
  return {.ahead_bytes = w.walk.ahead_bytes > 0 ? w.walk.ahead_bytes : usual.ahead_bytes,
          .panels = w.walk.panels > 0 ? w.walk.panels : usual.panels};
}

inline Job job_of(const Path& path, const Matrix& w, const Activations& x, int64_t row_begin,
                  int64_t row_end, float* out, int64_t out_stride) {
  const int64_t blocks = w.cols / path.block_columns;
  return {.weights = reinterpret_cast<const uint8_t*>(w.data),
          .lower = reinterpret_cast<const uint8_t*>(w.data) +
                   split_places(split_block_of(w.dtype), w.rows, blocks, 0).lower,
          .panels = w.layout == Layout::kPanels,
          .walk = walk_of(w, path.block_columns),
          .row_bytes = blocks * path.block_bytes,
          .cols = w.cols,
          .x = x.data,
          .x_bytes = x.row_bytes,
          .tokens = x.tokens,
          .row_begin = row_begin,
          .row_end = row_end,
          .out = out,
          .out_stride = out_stride};
}

template <class L>
void matmul(const Matrix& w, const Activations& x, int64_t row_begin, int64_t row_end, float* out,
            int64_t out_stride) {
  const Job job = job_of(path_of<L>(w.dtype), w, x, row_begin, row_end, out, out_stride);
  if (w.layout != Layout::kSplitPanels) return path_of<L>(w.dtype).multiply(job);
  if (w.dtype == DType::kQ8_0) return multiply_split32<L, TypeSplitQ8_0>(job);
  multiply_split256<L, TypeSplitQ6_K>(job);
}

template <class L>
void screen(const Matrix& w, const Activations& x, int64_t row_begin, int64_t row_end, float* out,
            int64_t out_stride) {
  const Job job = job_of(path_of<L>(w.dtype), w, x, row_begin, row_end, out, out_stride);
  if (w.dtype == DType::kQ8_0) return screen<L, UpperQ8_0>(job);
  screen<L, UpperQ6_K>(job);
}

}  // namespace
}  // namespace ration
