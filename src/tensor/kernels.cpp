#include "tensor/kernels.h"

#include <array>
#include <string>
#include <vector>

#include "tensor/cpu.h"
#include "tensor/kernel/activation.h"
#include "tensor/kernel/sets.h"

namespace ration {
namespace {

// One set: what it is, and whether this processor and operating system can run it.
struct Row {
  const Kernels* kernels;
  bool (*supported)(const CpuBits& bits);
};

// Best first.
constexpr std::array kSets{
    Row{&kAvx512Kernels, has_avx512_vnni},
    Row{&kAvx2Kernels, has_avx2},
    Row{&kReferenceKernels, [](const CpuBits&) { return true; }},
};

}  // namespace

int64_t activation_row_bytes(ActivationFormat format, int64_t cols) {
  switch (format) {
    case ActivationFormat::kF32:
      return padded64(cols * 4);
    case ActivationFormat::kInt8x32:
      return int8x32_row_bytes(cols);
    case ActivationFormat::kInt8x256:
      return int8x256_row_bytes(cols);
  }
  CHECK(false, "found an activation format that no table names");
}

std::span<const Kernels* const> available_kernels() {
  static const std::vector<const Kernels*> kAvailable = [] {
    const CpuBits bits = read_cpu_bits();
    std::vector<const Kernels*> sets;
    for (const Row& row : kSets) {
      if (row.supported(bits)) sets.push_back(row.kernels);
    }
    return sets;
  }();
  return kAvailable;
}

Result<const Kernels*> choose_kernels(std::string_view isa) {
  const std::span<const Kernels* const> sets = available_kernels();
  if (isa.empty()) return sets.front();
  std::string names;
  for (const Kernels* set : sets) {
    if (set->isa == isa) return set;
    names += (names.empty() ? "" : ", ") + std::string(set->isa);
  }
  return Error{Code::kNotFound, "found no kernel set '" + std::string(isa) +
                                    "' on this machine, wanted one of: " + names};
}

}  // namespace ration
