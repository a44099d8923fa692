// The yardstick's matrix product: weights become F32, activations stay F32, sums are kept in
// double.
#include <algorithm>
#include <cstring>

#include "tensor/kernel/sets.h"

namespace ration::reference {
namespace {

constexpr int64_t kChunk = 256;  // columns decoded at a time: a multiple of every block
constexpr int64_t kTokens = 16;  // tokens that share one decoded chunk
constexpr int64_t kLanes = 8;    // partial sums a token: column c adds to lane c % 8

// sums[c % 8] += w[c] * x[c]; eight sums instead of one so that additions overlap.
void add_products(const float* w, const float* x, int64_t n, double* sums) {
  int64_t c = 0;
  for (; c + kLanes <= n; c += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      sums[lane] += static_cast<double>(w[c + lane]) * static_cast<double>(x[c + lane]);
    }
  }
  for (; c < n; ++c) sums[c % kLanes] += static_cast<double>(w[c]) * static_cast<double>(x[c]);
}

}  // namespace

ActivationFormat format_of(DType dtype) { return ActivationFormat::kF32; }

void quantize(ActivationFormat format, const float* x, int64_t cols, std::byte* out) {
  CHECK(format == ActivationFormat::kF32, "the reference set keeps activations in F32");
  std::memcpy(out, x, static_cast<size_t>(cols) * sizeof(float));
}

void matmul(const Matrix& w, const Activations& x, int64_t row_begin, int64_t row_end, float* out,
            int64_t out_stride) {
  DCHECK(x.format == ActivationFormat::kF32 && x.cols == w.cols);
  DCHECK(row_begin >= 0 && row_end <= w.rows);
  float weights[kChunk];
  double sums[kTokens][kLanes];
  for (int64_t row = row_begin; row < row_end; ++row) {
    for (int64_t first = 0; first < x.tokens; first += kTokens) {
      const int64_t tokens = std::min(kTokens, x.tokens - first);
      std::memset(sums, 0, sizeof sums);
      for (int64_t c = 0; c < w.cols; c += kChunk) {
        const int64_t n = std::min(kChunk, w.cols - c);
        dequantize_columns(w, row, c, n, weights);
        for (int64_t t = 0; t < tokens; ++t) {
          const float* numbers = reinterpret_cast<const float*>(x.row(first + t));
          add_products(weights, numbers + c, n, sums[t]);
        }
      }
      for (int64_t t = 0; t < tokens; ++t) {
        double sum = 0;
        for (double lane : sums[t]) sum += lane;
        out[(first + t) * out_stride + row] = static_cast<float>(sum);
      }
    }
  }
}

}  // namespace ration::reference
