// tensor/kernel/block_code.h - quantised weights of kLanes rows, unpacked so that a lane is a row.
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

// weight = scale * s * (q - kOffset) [- min * m when kMin], s and m one a subgroup of columns
template <class L>
struct Group256 {
  typename L::I quads[64];
  typename L::I scales[16];  // one a subgroup, as L::scale_of() makes them
  typename L::I pairs[8];    // 16-bit pairs to be multiplied by the sums of two subgroups: m, or s
  typename L::F scale;
  typename L::F min;
};

// The low nibbles of 16 bytes are columns 0 .. 15, the high ones 16 .. 31.
template <class L>
void unpack_nibbles(const uint8_t* const* rows, int64_t offset, typename L::I* quads) {
  typename L::I bytes[4];
  L::load_rows(rows, offset, bytes);
  const typename L::I low = L::set8(15);
  for (int j = 0; j < 4; ++j) {
    quads[j] = L::bit_and(bytes[j], low);
    quads[j + 4] = L::bit_and(L::template shift_right<4>(bytes[j]), low);
  }
}

// Adds the fifth bits: bit i of the 4 bytes at `offset` belongs to column i.
template <class L>
void add_fifth_bits(const uint8_t* const* rows, int64_t offset, typename L::I* quads) {
  const typename L::I bits = L::load_ints(rows, offset);
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
  template <class L>
  static void unpack(const uint8_t* const* rows, int64_t at, Group32<L>& group) {
    unpack_nibbles<L>(rows, at + 2, group.quads);
    group.scale = L::load_halves(rows, at);
  }
};

struct TypeQ4_1 {
  static constexpr int kBits = 4, kBytes = sizeof(BlockQ4_1), kOffset = 0;
  static constexpr bool kMin = true;
  template <class L>
  static void unpack(const uint8_t* const* rows, int64_t at, Group32<L>& group) {
    unpack_nibbles<L>(rows, at + 4, group.quads);
    const typename L::I both = L::load_ints(rows, at);
    group.scale = L::halves_of(L::bit_and(both, L::set32(0xffff)));
    group.min = L::halves_of(L::template shift_right<16>(both));
  }
};

struct TypeQ5_0 {
  static constexpr int kBits = 5, kBytes = sizeof(BlockQ5_0), kOffset = 16;
  static constexpr bool kMin = false;
  template <class L>
  static void unpack(const uint8_t* const* rows, int64_t at, Group32<L>& group) {
    unpack_nibbles<L>(rows, at + 6, group.quads);
    add_fifth_bits<L>(rows, at + 2, group.quads);
    group.scale = L::load_halves(rows, at);
  }
};

struct TypeQ5_1 {
  static constexpr int kBits = 5, kBytes = sizeof(BlockQ5_1), kOffset = 0;
  static constexpr bool kMin = true;
  template <class L>
  static void unpack(const uint8_t* const* rows, int64_t at, Group32<L>& group) {
    unpack_nibbles<L>(rows, at + 8, group.quads);
    add_fifth_bits<L>(rows, at + 4, group.quads);
    const typename L::I both = L::load_ints(rows, at);
    group.scale = L::halves_of(L::bit_and(both, L::set32(0xffff)));
    group.min = L::halves_of(L::template shift_right<16>(both));
  }
};

struct TypeQ8_0 {
  static constexpr int kBits = 8, kBytes = sizeof(BlockQ8_0), kOffset = 0;
  static constexpr bool kMin = false;
  template <class L>
  static void unpack(const uint8_t* const* rows, int64_t at, Group32<L>& group) {
    L::load_rows(rows, at + 2, group.quads);
    L::load_rows(rows, at + 18, group.quads + 4);
    for (typename L::I& quad : group.quads) quad = L::from_signed(quad);
    group.scale = L::load_halves(rows, at);
  }
};

struct TypeIQ4_NL {
  static constexpr int kBits = 8, kBytes = sizeof(BlockIQ4_NL), kOffset = 0;
  static constexpr bool kMin = false;
  template <class L>
  static void unpack(const uint8_t* const* rows, int64_t at, Group32<L>& group) {
    unpack_nibbles<L>(rows, at + 2, group.quads);
    for (typename L::I& quad : group.quads) quad = L::from_signed(L::look_up(kIQ4Values, quad));
    group.scale = L::load_halves(rows, at);
  }
};

// The first 16 bytes of a Q4_K or Q5_K block: two F16, then 6-bit scales and minima of 8 subgroups.
template <class L>
void unpack_k_header(const uint8_t* const* rows, int64_t at, Group256<L>& group) {
  using I = typename L::I;
  I words[4];
  L::load_rows(rows, at, words);
  group.scale = L::halves_of(L::bit_and(words[0], L::set32(0xffff)));
  group.min = L::halves_of(L::template shift_right<16>(words[0]));
  const I six = L::set8(63), four = L::set8(15), top = L::set8(48);
  // Byte g of scales[h] is the scale of subgroup 4 h + g; minima alike.
  const I scales[2] = {
      L::bit_and(words[1], six),
      L::bit_or(L::bit_and(words[3], four), L::bit_and(L::template shift_right<2>(words[1]), top))};
  const I minima[2] = {L::bit_and(words[2], six),
                       L::bit_or(L::bit_and(L::template shift_right<4>(words[3]), four),
                                 L::bit_and(L::template shift_right<2>(words[2]), top))};
  for (int g = 0; g < 8; ++g) {
    const uint32_t byte = static_cast<uint32_t>(g % 4);
    group.scales[g] = L::scale_of(L::pick_bytes(scales[g / 4], 0x80008000u | byte | byte << 16));
  }
  for (int p = 0; p < 4; ++p) {
    const uint32_t byte = static_cast<uint32_t>(p % 2 * 2);
    group.pairs[p] = L::pick_bytes(minima[p / 2], 0x80008000u | byte | (byte + 1) << 16);
  }
}

// The scales and pairs of 16 subgroups from signed bytes: byte b of scales[w] belongs to subgroup
// 4 w + b and is worth its value >> kExtra.
template <class L, int kExtra>
void unpack_signed_scales(const typename L::I* scales, Group256<L>& group) {
  for (int g = 0; g < 16; ++g) {  // a byte in the top half of 16 bits, moved down with its sign
    const uint32_t byte = static_cast<uint32_t>(g % 4);
    const typename L::I both = L::pick_bytes(scales[g / 4], 0x00800080u | byte << 8 | byte << 24);
    group.scales[g] = L::scale_of(L::template shift_right_signed16<8 + kExtra>(both));
  }
  for (int p = 0; p < 8; ++p) {
    const uint32_t byte = static_cast<uint32_t>(p % 2 * 2);
    const uint32_t pattern = 0x00800080u | byte << 8 | (byte + 1) << 24;
    const typename L::I pair = L::pick_bytes(scales[p / 2], pattern);
    group.pairs[p] = L::template shift_right_signed16<8 + kExtra>(pair);
  }
}

// Bytes worth 4 (s - 32) from the four low and two high bits of s.
template <class L>
typename L::I six_bit_scales(typename L::I low, typename L::I high) {
  const typename L::I scaled =
      L::bit_or(L::template shift_left<2>(low), L::template shift_left<6>(high));
  return L::bit_xor(scaled, L::set8(-128));
}

// The two low bits of 256 columns (Q2_K, Q3_K): 32 bytes hold 128 columns, 32 apart.
template <class L>
void unpack_two_bits(const uint8_t* const* rows, int64_t offset, typename L::I* quads) {
  const typename L::I two = L::set8(3);
  for (int piece = 0; piece < 4; ++piece) {  // 16 bytes
    typename L::I bytes[4];
    L::load_rows(rows, offset + 16 * piece, bytes);
    typename L::I* out = quads + piece / 2 * 32 + piece % 2 * 4;
    for (int j = 0; j < 4; ++j) {
      out[j] = L::bit_and(bytes[j], two);
      out[j + 8] = L::bit_and(L::template shift_right<2>(bytes[j]), two);
      out[j + 16] = L::bit_and(L::template shift_right<4>(bytes[j]), two);
      out[j + 24] = L::bit_and(L::template shift_right<6>(bytes[j]), two);
    }
  }
}

// kSubgroup: columns that share an integer scale. kShift: the offset is 2^kShift, or none when 0.
struct TypeQ4_K {
  static constexpr int kBits = 4, kBytes = sizeof(BlockQ4_K), kSubgroup = 32, kShift = 0;
  static constexpr bool kMin = true;
  template <class L>
  static void unpack(const uint8_t* const* rows, int64_t at, Group256<L>& group) {
    unpack_k_header<L>(rows, at, group);
    const typename L::I low = L::set8(15);
    for (int piece = 0; piece < 8; ++piece) {  // 16 bytes: half of two subgroups
      typename L::I bytes[4];
      L::load_rows(rows, at + 16 + 16 * piece, bytes);
      typename L::I* quads = group.quads + piece / 2 * 16 + piece % 2 * 4;
      for (int j = 0; j < 4; ++j) {
        quads[j] = L::bit_and(bytes[j], low);
        quads[j + 8] = L::bit_and(L::template shift_right<4>(bytes[j]), low);
      }
    }
  }
};

struct TypeQ5_K {
  static constexpr int kBits = 5, kBytes = sizeof(BlockQ5_K), kSubgroup = 32, kShift = 0;
  static constexpr bool kMin = true;
  template <class L>
  static void unpack(const uint8_t* const* rows, int64_t at, Group256<L>& group) {
    using I = typename L::I;
    unpack_k_header<L>(rows, at, group);
    I high[8];
    L::load_rows(rows, at + 16, high);
    L::load_rows(rows, at + 32, high + 4);
    const I low = L::set8(15), fifth = L::set8(16);
    for (int piece = 0; piece < 8; ++piece) {
      I bytes[4];
      L::load_rows(rows, at + 48 + 16 * piece, bytes);
      I* quads = group.quads + piece / 2 * 16 + piece % 2 * 4;
      for (int j = 0; j < 4; ++j) {
        // Bits 0 and 1 of `high` belong to the pair of subgroups at hand.
        I& bits = high[piece % 2 * 4 + j];
        quads[j] = L::bit_or(L::bit_and(bytes[j], low),
                             L::bit_and(L::template shift_left<4>(bits), fifth));
        quads[j + 8] = L::bit_or(L::bit_and(L::template shift_right<4>(bytes[j]), low),
                                 L::bit_and(L::template shift_left<3>(bits), fifth));
        bits = L::template shift_right<2>(bits);
      }
    }
  }
};

struct TypeQ6_K {
  static constexpr int kBits = 6, kBytes = sizeof(BlockQ6_K), kSubgroup = 16, kShift = 5;
  static constexpr bool kMin = false;
  template <class L>
  static void unpack(const uint8_t* const* rows, int64_t at, Group256<L>& group) {
    using I = typename L::I;
    const I low = L::set8(15), top = L::set8(48);
    for (int piece = 0; piece < 4; ++piece) {  // 16 of the 32 columns l of a half
      const int half = piece / 2, part = piece % 2;
      I first[4], second[4], high[4];
      L::load_rows(rows, at + 64 * half + 16 * part, first);
      L::load_rows(rows, at + 64 * half + 32 + 16 * part, second);
      L::load_rows(rows, at + 128 + 32 * half + 16 * part, high);
      I* quads = group.quads + half * 32 + part * 4;
      for (int j = 0; j < 4; ++j) {
        const I h = high[j];
        quads[j] =
            L::bit_or(L::bit_and(first[j], low), L::bit_and(L::template shift_left<4>(h), top));
        quads[j + 8] =
            L::bit_or(L::bit_and(second[j], low), L::bit_and(L::template shift_left<2>(h), top));
        quads[j + 16] =
            L::bit_or(L::bit_and(L::template shift_right<4>(first[j]), low), L::bit_and(h, top));
        quads[j + 24] = L::bit_or(L::bit_and(L::template shift_right<4>(second[j]), low),
                                  L::bit_and(L::template shift_right<2>(h), top));
      }
    }
    I scales[4];
    L::load_rows(rows, at + 192, scales);
    group.scale = L::load_halves(rows, at + 208);
    unpack_signed_scales<L, 0>(scales, group);
  }
};

struct TypeQ2_K {
  static constexpr int kBits = 2, kBytes = sizeof(BlockQ2_K), kSubgroup = 16, kShift = 0;
  static constexpr bool kMin = true;
  template <class L>
  static void unpack(const uint8_t* const* rows, int64_t at, Group256<L>& group) {
    using I = typename L::I;
    I words[4];
    L::load_rows(rows, at, words);
    unpack_two_bits<L>(rows, at + 16, group.quads);
    const I both = L::load_ints(rows, at + 80);
    group.scale = L::halves_of(L::bit_and(both, L::set32(0xffff)));
    group.min = L::halves_of(L::template shift_right<16>(both));
    const I low = L::set8(15);
    for (int g = 0; g < 16; ++g) {
      const uint32_t byte = static_cast<uint32_t>(g % 4);
      const I scales = L::bit_and(words[g / 4], low);
      group.scales[g] = L::scale_of(L::pick_bytes(scales, 0x80008000u | byte | byte << 16));
    }
    for (int p = 0; p < 8; ++p) {
      const uint32_t byte = static_cast<uint32_t>(p % 2 * 2);
      const I minima = L::bit_and(L::template shift_right<4>(words[p / 2]), low);
      group.pairs[p] = L::pick_bytes(minima, 0x80008000u | byte | (byte + 1) << 16);
    }
  }
};

struct TypeQ3_K {
  static constexpr int kBits = 3, kBytes = sizeof(BlockQ3_K), kSubgroup = 16, kShift = 2;
  static constexpr bool kMin = false;
  template <class L>
  static void unpack(const uint8_t* const* rows, int64_t at, Group256<L>& group) {
    using I = typename L::I;
    I high[8];
    L::load_rows(rows, at, high);
    L::load_rows(rows, at + 16, high + 4);
    unpack_two_bits<L>(rows, at + 32, group.quads);
    const I one = L::set8(1);
    for (int run = 0; run < 8; ++run) {  // of 32 columns; bit 0 of `high` belongs to this one
      for (int j = 0; j < 8; ++j) {
        I& quad = group.quads[run * 8 + j];
        quad = L::bit_or(quad, L::template shift_left<2>(L::bit_and(high[j], one)));
        high[j] = L::template shift_right<1>(high[j]);
      }
    }
    const I words[3] = {L::load_ints(rows, at + 96), L::load_ints(rows, at + 100),
                        L::load_ints(rows, at + 104)};
    const I low = L::set8(15), two = L::set8(3);
    const I low_bits[4] = {L::bit_and(words[0], low), L::bit_and(words[1], low),
                           L::bit_and(L::template shift_right<4>(words[0]), low),
                           L::bit_and(L::template shift_right<4>(words[1]), low)};
    const I high_bits[4] = {L::bit_and(words[2], two),
                            L::bit_and(L::template shift_right<2>(words[2]), two),
                            L::bit_and(L::template shift_right<4>(words[2]), two),
                            L::bit_and(L::template shift_right<6>(words[2]), two)};
    I scales[4];
    for (int w = 0; w < 4; ++w) scales[w] = six_bit_scales<L>(low_bits[w], high_bits[w]);
    unpack_signed_scales<L, 2>(scales, group);
    group.scale = L::load_halves(rows, at + 108);
  }
};

struct TypeIQ4_XS {
  static constexpr int kBits = 8, kBytes = sizeof(BlockIQ4_XS), kSubgroup = 32, kShift = 0;
  static constexpr bool kMin = false;
  template <class L>
  static void unpack(const uint8_t* const* rows, int64_t at, Group256<L>& group) {
    using I = typename L::I;
    const I first = L::load_ints(rows, at);
    const I nibbles = L::load_ints(rows, at + 4);
    group.scale = L::halves_of(L::bit_and(first, L::set32(0xffff)));
    // Byte b gets nibble b of the 16 high bits: two bits for each of subgroups 2 b and 2 b + 1.
    I high = L::template shift_right<16>(first);
    high = L::bit_and(L::bit_or(high, L::template shift_left<8>(high)), L::set32(0x00ff00ff));
    high = L::bit_and(L::bit_or(high, L::template shift_left<4>(high)), L::set8(15));
    const I low = L::set8(15), two = L::set8(3);
    const I even = six_bit_scales<L>(L::bit_and(nibbles, low), L::bit_and(high, two));
    const I odd = six_bit_scales<L>(L::bit_and(L::template shift_right<4>(nibbles), low),
                                    L::bit_and(L::template shift_right<2>(high), two));
    for (int g = 0; g < 8; ++g) {
      const uint32_t byte = static_cast<uint32_t>(g / 2);
      const I both = L::pick_bytes(g % 2 == 0 ? even : odd, 0x00800080u | byte << 8 | byte << 24);
      group.scales[g] = L::scale_of(L::template shift_right_signed16<10>(both));
    }
    for (int p = 0; p < 4; ++p) {
      const uint32_t byte = static_cast<uint32_t>(p);
      const I pair = L::bit_or(L::pick_bytes(even, 0x80800080u | byte << 8),
                               L::pick_bytes(odd, 0x00808080u | byte << 24));
      group.pairs[p] = L::template shift_right_signed16<10>(pair);
    }
    for (int run = 0; run < 8; ++run) {
      I* quads = group.quads + run * 8;
      unpack_nibbles<L>(rows, at + 8 + 16 * run, quads);
      for (int j = 0; j < 8; ++j) quads[j] = L::from_signed(L::look_up(kIQ4Values, quads[j]));
    }
  }
};

}  // namespace
}  // namespace ration
