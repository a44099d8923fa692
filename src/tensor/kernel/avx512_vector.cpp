// The AVX-512 set's functions of vectors and its attention, and the tables of it and of AMX, which
// differs in one product.
#include "tensor/kernel/attend_code.h"
#include "tensor/kernel/avx512_lanes.h"
#include "tensor/kernel/probe_code.h"
#include "tensor/kernel/quantize_code.h"
#include "tensor/kernel/sets.h"
#include "tensor/kernel/vector_code.h"

namespace ration {

namespace {

using Matmul = decltype(Kernels::matmul);

constexpr Kernels set_of(std::string_view isa, Matmul matmul) {
  return {
      .isa = isa,
      .layout = Layout::kPanels,
      .deep = true,
      .format_of = avx512::format_of,
      .quantize = quantize<Avx512>,
      .matmul = matmul,
      .screen = avx512::screen,
      .rms_norm = rms_norm<Avx512>,
      .layer_norm = layer_norm<Avx512>,
      .add = add<Avx512>,
      .silu_multiply = silu_multiply<Avx512>,
      .gelu_multiply = gelu_multiply<Avx512>,
      .gelu = gelu<Avx512>,
      .rotate = rotate<Avx512>,
      .to_f16 = to_f16<Avx512>,
      .attend = attend<Avx512>,
      .probes = probes_of<Avx512>(),
  };
}

}  // namespace

constinit const Kernels kAvx512Kernels = set_of("avx512", avx512::matmul);
constinit const Kernels kAmxKernels = set_of("amx", amx::matmul);

}  // namespace ration
