// The AVX2 set's matrix products.
#include "tensor/kernel/avx2_lanes.h"
#include "tensor/kernel/set_code.h"
#include "tensor/kernel/sets.h"

namespace ration::avx2 {

ActivationFormat format_of(DType dtype) { return path_of<Avx2>(dtype).format; }

void matmul(const Matrix& w, const Activations& x, int64_t row_begin, int64_t row_end, float* out,
            int64_t out_stride) {
  ration::matmul<Avx2>(w, x, row_begin, row_end, out, out_stride);
}

void screen(const Matrix& w, const Activations& x, int64_t row_begin, int64_t row_end, float* out,
            int64_t out_stride) {
  ration::screen<Avx2>(w, x, row_begin, row_end, out, out_stride);
}

}  // namespace ration::avx2
