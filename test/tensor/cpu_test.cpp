#include "tensor/cpu.h"

#include <gtest/gtest.h>

namespace ration {
namespace {

// A machine with everything all sets want.
constexpr CpuBits kFull{.leaf1_ecx = 1u << 12 | 1u << 27 | 1u << 28 | 1u << 29,
                        .leaf7_ebx = 1u << 5 | 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31,
                        .leaf7_ecx = 1u << 11,
                        .leaf7_edx = 1u << 24 | 1u << 25,
                        .saved_registers = 0x600e7};

TEST(Cpu, a_full_machine_has_both_sets_and_an_empty_one_none) {
  EXPECT_TRUE(has_avx2(kFull));
  EXPECT_TRUE(has_avx512_vnni(kFull));
  EXPECT_FALSE(has_avx2({}));
  EXPECT_FALSE(has_avx512_vnni({}));
}

TEST(Cpu, every_missing_bit_of_avx2_takes_both_sets_away) {
  for (int bit : {12, 27, 28, 29}) {
    CpuBits bits = kFull;
    bits.leaf1_ecx &= ~(1u << bit);
    EXPECT_FALSE(has_avx2(bits)) << "leaf 1 bit " << bit;
    EXPECT_FALSE(has_avx512_vnni(bits)) << "leaf 1 bit " << bit;
  }
  CpuBits bits = kFull;
  bits.leaf7_ebx &= ~(1u << 5);
  EXPECT_FALSE(has_avx2(bits));
  EXPECT_FALSE(has_avx512_vnni(bits));
}

TEST(Cpu, every_missing_bit_of_avx512_leaves_avx2) {
  for (int bit : {16, 17, 30, 31}) {
    CpuBits bits = kFull;
    bits.leaf7_ebx &= ~(1u << bit);
    EXPECT_FALSE(has_avx512_vnni(bits)) << "leaf 7 bit " << bit;
    EXPECT_TRUE(has_avx2(bits));
  }
  CpuBits bits = kFull;
  bits.leaf7_ecx = 0;
  EXPECT_FALSE(has_avx512_vnni(bits));
  EXPECT_TRUE(has_avx2(bits));
}

TEST(Cpu, every_missing_bit_of_amx_leaves_avx512) {
  EXPECT_TRUE(has_amx(kFull));
  for (int bit : {24, 25}) {
    CpuBits bits = kFull;
    bits.leaf7_edx &= ~(1u << bit);
    EXPECT_FALSE(has_amx(bits)) << "leaf 7 bit " << bit;
    EXPECT_TRUE(has_avx512_vnni(bits));
  }
  for (uint64_t saved : {0xe7ull, 0x200e7ull, 0x400e7ull}) {
    CpuBits bits = kFull;
    bits.saved_registers = saved;
    EXPECT_FALSE(has_amx(bits)) << saved;
    EXPECT_TRUE(has_avx512_vnni(bits)) << saved;
  }
  CpuBits bits = kFull;
  bits.leaf7_ecx = 0;
  EXPECT_FALSE(has_amx(bits));
}

TEST(Cpu, the_system_gives_tiles_or_says_why_not) {
  if (has_amx(read_cpu_bits())) {
    EXPECT_EQ(request_tiles(), "");
  } else {
    EXPECT_NE(request_tiles().find("tile registers"), std::string::npos);
  }
}

TEST(Cpu, registers_the_system_does_not_save_are_not_used) {
  for (uint64_t saved : {0x0ull, 0x3ull, 0x5ull}) {
    CpuBits bits = kFull;
    bits.saved_registers = saved;
    EXPECT_FALSE(has_avx2(bits)) << saved;
  }
  for (uint64_t saved : {0x7ull, 0x67ull, 0xc7ull}) {
    CpuBits bits = kFull;
    bits.saved_registers = saved;
    EXPECT_TRUE(has_avx2(bits)) << saved;
    EXPECT_FALSE(has_avx512_vnni(bits)) << saved;
  }
}

}  // namespace
}  // namespace ration
