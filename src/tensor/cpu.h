// tensor/cpu.h - which vector instructions this machine may use.
#pragma once

#include <cstdint>

namespace ration {

// What the processor answers to CPUID, and which registers the operating system saves (XCR0).
struct CpuBits {
  uint32_t leaf1_ecx = 0;
  uint32_t leaf7_ebx = 0;
  uint32_t leaf7_ecx = 0;
  uint64_t saved_registers = 0;
};

CpuBits read_cpu_bits();

// AVX2, FMA and F16C, with the operating system saving the 256-bit registers.
bool has_avx2(const CpuBits& bits);

// The above, and AVX-512 F, BW, DQ, VL and VNNI with the 512-bit and mask registers saved.
bool has_avx512_vnni(const CpuBits& bits);

}  // namespace ration
