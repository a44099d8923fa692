// test/tensor/sets.h - every kernel set the tests can run: this machine's, AVX-512 made by SIMDe,
// and AMX in plain C++.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "tensor/cpu.h"
#include "tensor/kernels.h"

namespace ration {

extern const Kernels kSimdeKernels;     // AVX-512
extern const Kernels kEmulatedKernels;  // AMX

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

// Those with deep products: AMX is AVX-512 but for these.
inline std::vector<NamedSet> deep_sets() {
  std::vector<NamedSet> sets = all_sets();
  std::erase_if(sets, [](const NamedSet& set) { return !set.kernels->deep; });
  if (has_avx2(read_cpu_bits())) sets.push_back({"amx_emulated", &kEmulatedKernels});
  return sets;
}

}  // namespace samples
}  // namespace ration
