// tensor/kernel/block32_code.h - quantised weights of kLanes rows, unpacked so that a lane is a
// row: the types with 32 columns a block.
//
// Written once for every set: L is Avx2 or Avx512. A Group32 holds 32 columns of kLanes rows, a
// Group256 256. A "quad" is one vector: the 4 bytes of lane r are 4 neighbouring columns of row r,
// so that one integer instruction multiplies them by 4 broadcast activations and no sum ever
// crosses lanes. All integer sums are exact; unsigned quants are used where the type has them, and
// the offset is taken off with the activations' precomputed sums.
//
// Each type below: kBits (8: signed), how many bytes its block has, and unpack().
#pragma once

#include <cstdint>

#include "tensor/block.h"

namespace ration {
namespace {

// weight = scale * (q - kOffset) [+ min when kMin]
template <class L>
struct Group32 {
  typename L::I quads[8];  // columns 4 j .. 4 j + 3
  typename L::F scale;
  typename L::F min;
};

// The low nibbles of 16 bytes are columns 0 .. 15, the high ones 16 .. 31.
template <class L, class Rows>
void unpack_nibbles(const Rows& rows, int64_t at, int64_t offset, typename L::I* quads) {
  typename L::I bytes[4];
  rows.load(at, offset, bytes);
  const typename L::I low = L::set8(15);
  for (int j = 0; j < 4; ++j) {
    quads[j] = L::bit_and(bytes[j], low);
    quads[j + 4] = L::bit_and(L::template shift_right<4>(bytes[j]), low);
  }
}

// Adds the fifth bits: bit i of the 4 bytes at `offset` belongs to column i.
template <class L, class Rows>
void add_fifth_bits(const Rows& rows, int64_t at, int64_t offset, typename L::I* quads) {
  const typename L::I bits = rows.ints(at, offset);
  const typename L::I even = L::set32(0x08040201);
  const typename L::I odd = L::set32(static_cast<int32_t>(0x80402010));
  for (int j = 0; j < 8; ++j) {
    const uint32_t byte = static_cast<uint32_t>(j / 2) * 0x01010101u;
    const typename L::I mine = L::pick_bytes(bits, byte);
    quads[j] = L::bit_or(quads[j], L::sixteen_where(mine, j % 2 == 0 ? even : odd));
  }
}

struct TypeQ4_0 {
  static constexpr int kBits = 4, kBytes = sizeof(BlockQ4_0), kOffset = 8;
  static constexpr bool kMin = false;
  template <class L, class Rows>
  static void unpack(const Rows& rows, int64_t at, Group32<L>& group) {
    unpack_nibbles<L>(rows, at, 2, group.quads);
    group.scale = rows.halves(at, 0);
  }
};

struct TypeQ4_1 {
  static constexpr int kBits = 4, kBytes = sizeof(BlockQ4_1), kOffset = 0;
  static constexpr bool kMin = true;
  template <class L, class Rows>
  static void unpack(const Rows& rows, int64_t at, Group32<L>& group) {
    unpack_nibbles<L>(rows, at, 4, group.quads);
    const typename L::I both = rows.ints(at, 0);
    group.scale = L::halves_of(L::bit_and(both, L::set32(0xffff)));
    group.min = L::halves_of(L::template shift_right<16>(both));
  }
};

struct TypeQ5_0 {
  static constexpr int kBits = 5, kBytes = sizeof(BlockQ5_0), kOffset = 16;
  static constexpr bool kMin = false;
  template <class L, class Rows>
  static void unpack(const Rows& rows, int64_t at, Group32<L>& group) {
    unpack_nibbles<L>(rows, at, 6, group.quads);
    add_fifth_bits<L>(rows, at, 2, group.quads);
    group.scale = rows.halves(at, 0);
  }
};

struct TypeQ5_1 {
  static constexpr int kBits = 5, kBytes = sizeof(BlockQ5_1), kOffset = 0;
  static constexpr bool kMin = true;
  template <class L, class Rows>
  static void unpack(const Rows& rows, int64_t at, Group32<L>& group) {
    unpack_nibbles<L>(rows, at, 8, group.quads);
    add_fifth_bits<L>(rows, at, 4, group.quads);
    const typename L::I both = rows.ints(at, 0);
    group.scale = L::halves_of(L::bit_and(both, L::set32(0xffff)));
    group.min = L::halves_of(L::template shift_right<16>(both));
  }
};

struct TypeQ8_0 {
  static constexpr int kBits = 8, kBytes = sizeof(BlockQ8_0), kOffset = 0;
  static constexpr bool kMin = false;
  template <class L, class Rows>
  static void unpack(const Rows& rows, int64_t at, Group32<L>& group) {
    rows.load(at, 2, group.quads);
    rows.load(at, 18, group.quads + 4);
    for (typename L::I& quad : group.quads) quad = L::from_signed(quad);
    group.scale = rows.halves(at, 0);
  }
};

// Of split panels (tensor/panel.h): `at` counts blocks.
struct TypeSplitQ8_0 {
  static constexpr int kBits = 8, kBytes = 1, kOffset = 0, kColumns = 32;
  static constexpr int kUpperBytes = 18, kLowerBytes = 16;
  static constexpr bool kMin = false;
  template <class L, class Rows>
  static void unpack(const Rows& rows, int64_t at, Group32<L>& group) {
    using I = typename L::I;
    I upper[4], lower[4];
    rows.upper.load(at * kUpperBytes + 2, upper);
    rows.lower.load(at * kLowerBytes, lower);
    const I low = L::set8(15), high = L::set8(-16), sign = L::set8(-128);
    for (int j = 0; j < 4; ++j) {
      const I first = L::bit_or(L::bit_and(L::template shift_left<4>(upper[j]), high),
                                L::bit_and(lower[j], low));
      const I second = L::bit_or(L::bit_and(upper[j], high),
                                 L::bit_and(L::template shift_right<4>(lower[j]), low));
      group.quads[j] = L::from_signed(L::bit_xor(first, sign));
      group.quads[j + 4] = L::from_signed(L::bit_xor(second, sign));
    }
    group.scale = rows.upper.halves(at * kUpperBytes);
  }
};

struct TypeIQ4_NL {
  static constexpr int kBits = 8, kBytes = sizeof(BlockIQ4_NL), kOffset = 0;
  static constexpr bool kMin = false;
  template <class L, class Rows>
  static void unpack(const Rows& rows, int64_t at, Group32<L>& group) {
    unpack_nibbles<L>(rows, at, 2, group.quads);
    for (typename L::I& quad : group.quads) quad = L::from_signed(L::look_up(kIQ4Values, quad));
    group.scale = rows.halves(at, 0);
  }
};

// kMXFP4Values + 16: unsigned, so that the cheaper product will do.
inline constexpr int8_t kRaisedMXFP4Values[16] = {16, 17, 18, 19, 20, 22, 24, 28,
                                                  16, 15, 14, 13, 12, 10, 8,  4};

struct TypeMXFP4 {
  static constexpr int kBits = 5, kBytes = sizeof(BlockMXFP4), kOffset = 16;
  static constexpr bool kMin = false;
  template <class L, class Rows>
  static void unpack(const Rows& rows, int64_t at, Group32<L>& group) {
    unpack_nibbles<L>(rows, at, 1, group.quads);
    for (typename L::I& quad : group.quads) quad = L::look_up(kRaisedMXFP4Values, quad);
    // As bits, 2^(e - 128) is (e - 1) << 23, or (e + 1) << 21 where that is subnormal and larger.
    const typename L::I exponent = rows.bytes(at, 0);
    group.scale =
        L::float_of_bits(L::max32(L::template shift_left<23>(L::sub32(exponent, L::set32(1))),
                                  L::template shift_left<21>(L::add32(exponent, L::set32(1)))));
  }
};

}  // namespace
}  // namespace ration
