// tensor/cpu.h - which vector instructions this machine may use.
#pragma once

#include <cstdint>
#include <string>

namespace ration {

// What the processor answers to CPUID, and which registers the operating system saves (XCR0).
struct CpuBits {
  uint32_t leaf1_ecx = 0;
  uint32_t leaf7_ebx = 0;
  uint32_t leaf7_ecx = 0;
  uint32_t leaf7_edx = 0;
  uint64_t saved_registers = 0;
};

CpuBits read_cpu_bits();

// AVX2, FMA and F16C, with the operating system saving the 256-bit registers.
bool has_avx2(const CpuBits& bits);

// The above, and AVX-512 F, BW, DQ, VL and VNNI with the 512-bit and mask registers saved.
bool has_avx512_vnni(const CpuBits& bits);

// The above, and AMX tiles with int8 products, with the tile registers saved.
bool has_amx(const CpuBits& bits);

// Asks Linux for the tile registers, which it gives to a process that asked. For all threads; may
// be called again. Why it does not give them, or "".
std::string request_tiles();

}  // namespace ration
