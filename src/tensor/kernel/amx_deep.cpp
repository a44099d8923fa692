// The AMX set's products: the deep ones in tiles, the others as AVX-512 has them.
#include "tensor/kernel/amx_code.h"
#include "tensor/kernel/avx512_lanes.h"
#include "tensor/kernel/sets.h"

namespace ration::amx {

void matmul(const Matrix& w, const Activations& x, int64_t row_begin, int64_t row_end, float* out,
            int64_t out_stride) {
  if (x.format != ActivationFormat::kInt8Deep) {
    return avx512::matmul(w, x, row_begin, row_end, out, out_stride);
  }
  ration::matmul_deep<Avx512, AmxTile<Avx512>>(w, x, row_begin, row_end, out, out_stride);
}

}  // namespace ration::amx
