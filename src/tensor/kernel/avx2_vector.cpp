// The AVX2 set's functions of vectors and its attention, and the table of the set.
#include "tensor/kernel/attend_code.h"
#include "tensor/kernel/avx2_lanes.h"
#include "tensor/kernel/probe_code.h"
#include "tensor/kernel/quantize_code.h"
#include "tensor/kernel/sets.h"
#include "tensor/kernel/vector_code.h"

namespace ration {

const Kernels kAvx2Kernels{
    .isa = "avx2",
    .layout = Layout::kPanels,
    .format_of = avx2::format_of,
    .quantize = quantize<Avx2>,
    .matmul = avx2::matmul,
    .screen = avx2::screen,
    .rms_norm = rms_norm<Avx2>,
    .layer_norm = layer_norm<Avx2>,
    .add = add<Avx2>,
    .silu_multiply = silu_multiply<Avx2>,
    .gelu_multiply = gelu_multiply<Avx2>,
    .gelu = gelu<Avx2>,
    .rotate = rotate<Avx2>,
    .to_f16 = to_f16<Avx2>,
    .attend = attend<Avx2>,
    .probes = probes_of<Avx2>(),
};

}  // namespace ration
