#include "tensor/cpu.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "base/file.h"

namespace ration {
namespace {

constexpr bool bit(uint64_t word, int number) { return ((word >> number) & 1) != 0; }

constexpr int kOsXsave = 27;  // of leaf 1 ECX

// XCR0: 1 the 128-bit registers, 2 their upper halves, 5 .. 7 masks and the 512-bit parts, 17 the
// shapes of tiles, 18 the tiles.
constexpr uint64_t kSaved256 = 0x6;
constexpr uint64_t kSaved512 = 0xe6;
constexpr uint64_t kSavedTiles = 0x60000;

// From Linux's asm/prctl.h, which older headers lack it in.
constexpr int kRequestPermission = 0x1023;
constexpr int kTileData = 18;

}  // namespace

CpuBits read_cpu_bits() {
  CpuBits bits;
  uint32_t eax, ebx, ecx, edx;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0) bits.leaf1_ecx = ecx;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0) {
    bits.leaf7_ebx = ebx;
    bits.leaf7_ecx = ecx;
    bits.leaf7_edx = edx;
  }
  if (bit(bits.leaf1_ecx, kOsXsave)) {
    uint32_t low, high;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    bits.saved_registers = static_cast<uint64_t>(high) << 32 | low;
  }
  return bits;
}

bool has_avx2(const CpuBits& bits) {
  const bool fma = bit(bits.leaf1_ecx, 12);
  const bool avx = bit(bits.leaf1_ecx, 28);
  const bool f16c = bit(bits.leaf1_ecx, 29);
  const bool avx2 = bit(bits.leaf7_ebx, 5);
  return fma && avx && f16c && avx2 && bit(bits.leaf1_ecx, kOsXsave) &&
         (bits.saved_registers & kSaved256) == kSaved256;
}

bool has_avx512_vnni(const CpuBits& bits) {
  const bool foundation = bit(bits.leaf7_ebx, 16);
  const bool dq = bit(bits.leaf7_ebx, 17);
  const bool bw = bit(bits.leaf7_ebx, 30);
  const bool vl = bit(bits.leaf7_ebx, 31);
  const bool vnni = bit(bits.leaf7_ecx, 11);
  return has_avx2(bits) && foundation && dq && bw && vl && vnni &&
         (bits.saved_registers & kSaved512) == kSaved512;
}

bool has_amx(const CpuBits& bits) {
  const bool tiles = bit(bits.leaf7_edx, 24);
  const bool int8 = bit(bits.leaf7_edx, 25);
  return has_avx512_vnni(bits) && tiles && int8 &&
         (bits.saved_registers & kSavedTiles) == kSavedTiles;
}

std::string request_tiles() {
  if (::syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0) return "";
  return "the system does not give the tile registers: " + error_text(errno);
}

}  // namespace ration
