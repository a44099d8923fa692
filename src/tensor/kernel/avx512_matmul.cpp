// The AVX-512 set's matrix products.
#include "tensor/kernel/avx512_lanes.h"
#include "tensor/kernel/set_code.h"
#include "tensor/kernel/sets.h"

namespace ration::avx512 {

ActivationFormat format_of(DType dtype) { return path_of<Avx512>(dtype).format; }

void matmul(const Matrix& w, const Activations& x, int64_t row_begin, int64_t row_end, float* out,
            int64_t out_stride) {
  if (x.format == ActivationFormat::kInt8Deep) {
    return matmul_deep(w, x, row_begin, row_end, out, out_stride);
  }
  ration::matmul<Avx512>(w, x, row_begin, row_end, out, out_stride);
}

void screen(const Matrix& w, const Activations& x, int64_t row_begin, int64_t row_end, float* out,
            int64_t out_stride) {
  ration::screen<Avx512>(w, x, row_begin, row_end, out, out_stride);
}

}  // namespace ration::avx512
