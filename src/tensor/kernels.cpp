#include "tensor/kernels.h"

#include <array>
#include <vector>

#include "tensor/cpu.h"
#include "tensor/kernel/activation.h"
#include "tensor/kernel/sets.h"
#include "tensor/prove.h"

namespace ration {
namespace {

// Best first.
constexpr std::array kSets{
    SetRow{&kAmxKernels, has_amx, request_tiles},
    SetRow{&kAvx512Kernels, has_avx512_vnni, nullptr},
    SetRow{&kAvx2Kernels, has_avx2, nullptr},
    SetRow{&kReferenceKernels, [](const CpuBits&) { return true; }, nullptr},
};

ProvenSets& proven_sets() {
  static ProvenSets sets(kSets, read_cpu_bits());
  return sets;
}

}  // namespace

int64_t activation_row_bytes(ActivationFormat format, int64_t cols) {
  switch (format) {
    case ActivationFormat::kF32:
      return padded64(cols * 4);
    case ActivationFormat::kInt8x32:
      return int8x32_row_bytes(cols);
    case ActivationFormat::kInt8x256:
      return int8x256_row_bytes(cols);
    case ActivationFormat::kInt8Deep:
      return deep_row_bytes(cols);
  }
  CHECK(false, "found an activation format that no table names");
}

std::span<const Kernels* const> available_kernels() {
  static const std::vector<const Kernels*> kAvailable = proven_sets().available();
  return kAvailable;
}

std::vector<RefusedKernels> refused_kernels() { return proven_sets().refused(); }

Result<const Kernels*> choose_kernels(std::string_view isa) { return proven_sets().choose(isa); }

}  // namespace ration
