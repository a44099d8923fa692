// test/tensor/sets.h - every kernel set the tests can run: this machine's, and AVX-512 made by
// SIMDe.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "tensor/cpu.h"
#include "tensor/kernels.h"

namespace ration {

extern const Kernels kSimdeKernels;

namespace samples {

struct NamedSet {
  std::string name;
  const Kernels* kernels;
};

inline void PrintTo(const NamedSet& set, std::ostream* out) { *out << set.name; }

inline std::vector<NamedSet> all_sets() {
  std::vector<NamedSet> sets;
  for (const Kernels* set : available_kernels()) sets.push_back({std::string(set->isa), set});
  // SIMDe makes AVX-512 from AVX2.
  if (has_avx2(read_cpu_bits())) sets.push_back({"avx512_by_simde", &kSimdeKernels});
  return sets;
}

}  // namespace samples
}  // namespace ration
