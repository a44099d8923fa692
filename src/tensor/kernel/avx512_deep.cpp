// The AVX-512 set's deep products.
#include "tensor/kernel/avx512_lanes.h"
#include "tensor/kernel/deep_code.h"
#include "tensor/kernel/sets.h"

namespace ration::avx512 {

void matmul_deep(const Matrix& w, const Activations& x, int64_t row_begin, int64_t row_end,
                 float* out, int64_t out_stride) {
  ration::matmul_deep<Avx512, VnniTile<Avx512>>(w, x, row_begin, row_end, out, out_stride);
}

}  // namespace ration::avx512
