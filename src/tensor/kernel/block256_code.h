// tensor/kernel/block256_code.h - the types with 256 columns a block; block32_code.h says how it
// works.
//
// Each type has two halves: header() gives the scales, quads() hands out the 64 quads one by one,
// each subgroup's in rising order, to emit(number, vector). So one token can use them in registers
// and a panel can store them.
#pragma once

#include <cstdint>

#include "tensor/block.h"
#include "tensor/kernel/block32_code.h"

namespace ration {
namespace {

// weight = scale * s * (q - kOffset) [- min * m when kMin], s and m one a subgroup of columns
template <class L>
struct Group256 {
  typename L::I quads[64];
  typename L::I scales[16];  // one a subgroup, as L::scale_of() makes them
  typename L::I pairs[8];    // 16-bit pairs to be multiplied by the sums of two subgroups: m, or s
  typename L::F scale;
  typename L::F min;
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
#pragma clang loop unroll(full)
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
#pragma clang loop unroll(full)
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

// kSubgroup: columns that share an integer scale. kShift: the offset is 2^kShift, or none when 0.
struct TypeQ4_K {
  static constexpr int kBits = 4, kBytes = sizeof(BlockQ4_K), kSubgroup = 32, kShift = 0;
  static constexpr bool kMin = true;
  template <class L>
  static void header(const uint8_t* const* rows, int64_t at, Group256<L>& group) {
    unpack_k_header<L>(rows, at, group);
  }
  template <class L, class Emit>
  static void quads(const uint8_t* const* rows, int64_t at, Emit emit) {
    const typename L::I low = L::set8(15);
#pragma clang loop unroll(full)
    for (int piece = 0; piece < 8; ++piece) {  // 16 bytes: half of two subgroups
      typename L::I bytes[4];
      L::load_rows(rows, at + 16 + 16 * piece, bytes);
      const int first = piece / 2 * 16 + piece % 2 * 4;
#pragma clang loop unroll(full)
      for (int j = 0; j < 4; ++j) {
        emit(first + j, L::bit_and(bytes[j], low));
        emit(first + j + 8, L::bit_and(L::template shift_right<4>(bytes[j]), low));
      }
    }
  }
};

struct TypeQ5_K {
  static constexpr int kBits = 5, kBytes = sizeof(BlockQ5_K), kSubgroup = 32, kShift = 0;
  static constexpr bool kMin = true;
  template <class L>
  static void header(const uint8_t* const* rows, int64_t at, Group256<L>& group) {
    unpack_k_header<L>(rows, at, group);
  }
  template <class L, class Emit>
  static void quads(const uint8_t* const* rows, int64_t at, Emit emit) {
    using I = typename L::I;
    I high[8];
    L::load_rows(rows, at + 16, high);
    L::load_rows(rows, at + 32, high + 4);
    const I low = L::set8(15), fifth = L::set8(16);
#pragma clang loop unroll(full)
    for (int piece = 0; piece < 8; ++piece) {
      I bytes[4];
      L::load_rows(rows, at + 48 + 16 * piece, bytes);
      const int first = piece / 2 * 16 + piece % 2 * 4;
#pragma clang loop unroll(full)
      for (int j = 0; j < 4; ++j) {
        // Bits 0 and 1 of `high` belong to the pair of subgroups at hand.
        I& bits = high[piece % 2 * 4 + j];
        emit(first + j, L::bit_or(L::bit_and(bytes[j], low),
                                  L::bit_and(L::template shift_left<4>(bits), fifth)));
        emit(first + j + 8, L::bit_or(L::bit_and(L::template shift_right<4>(bytes[j]), low),
                                      L::bit_and(L::template shift_left<3>(bits), fifth)));
        bits = L::template shift_right<2>(bits);
      }
    }
  }
};

struct TypeQ6_K {
  static constexpr int kBits = 6, kBytes = sizeof(BlockQ6_K), kSubgroup = 16, kShift = 5;
  static constexpr bool kMin = false;
  template <class L>
  static void header(const uint8_t* const* rows, int64_t at, Group256<L>& group) {
    typename L::I scales[4];
    L::load_rows(rows, at + 192, scales);
    unpack_signed_scales<L, 0>(scales, group);
    group.scale = L::load_halves(rows, at + 208);
  }
  template <class L, class Emit>
  static void quads(const uint8_t* const* rows, int64_t at, Emit emit) {
    using I = typename L::I;
    const I low = L::set8(15), top = L::set8(48);
#pragma clang loop unroll(full)
    for (int piece = 0; piece < 4; ++piece) {  // 16 of the 32 columns l of a half
      const int half = piece / 2, part = piece % 2;
      I first[4], second[4], high[4];
      L::load_rows(rows, at + 64 * half + 16 * part, first);
      L::load_rows(rows, at + 64 * half + 32 + 16 * part, second);
      L::load_rows(rows, at + 128 + 32 * half + 16 * part, high);
      const int quad = half * 32 + part * 4;
#pragma clang loop unroll(full)
      for (int j = 0; j < 4; ++j) {
        const I h = high[j];
        emit(quad + j,
             L::bit_or(L::bit_and(first[j], low), L::bit_and(L::template shift_left<4>(h), top)));
        emit(quad + j + 8,
             L::bit_or(L::bit_and(second[j], low), L::bit_and(L::template shift_left<2>(h), top)));
        emit(quad + j + 16,
             L::bit_or(L::bit_and(L::template shift_right<4>(first[j]), low), L::bit_and(h, top)));
        emit(quad + j + 24, L::bit_or(L::bit_and(L::template shift_right<4>(second[j]), low),
                                      L::bit_and(L::template shift_right<2>(h), top)));
      }
    }
  }
};

struct TypeQ2_K {
  static constexpr int kBits = 2, kBytes = sizeof(BlockQ2_K), kSubgroup = 16, kShift = 0;
  static constexpr bool kMin = true;
  template <class L>
  static void header(const uint8_t* const* rows, int64_t at, Group256<L>& group) {
    using I = typename L::I;
    I words[4];
    L::load_rows(rows, at, words);
    const I both = L::load_ints(rows, at + 80);
    group.scale = L::halves_of(L::bit_and(both, L::set32(0xffff)));
    group.min = L::halves_of(L::template shift_right<16>(both));
    const I low = L::set8(15);
#pragma clang loop unroll(full)
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
  template <class L, class Emit>
  static void quads(const uint8_t* const* rows, int64_t at, Emit emit) {
    const typename L::I two = L::set8(3);
#pragma clang loop unroll(full)
    for (int piece = 0; piece < 4; ++piece) {  // 16 bytes: columns l, l + 32, l + 64, l + 96
      typename L::I bytes[4];
      L::load_rows(rows, at + 16 + 16 * piece, bytes);
      const int first = piece / 2 * 32 + piece % 2 * 4;
#pragma clang loop unroll(full)
      for (int j = 0; j < 4; ++j) {
        emit(first + j, L::bit_and(bytes[j], two));
        emit(first + j + 8, L::bit_and(L::template shift_right<2>(bytes[j]), two));
        emit(first + j + 16, L::bit_and(L::template shift_right<4>(bytes[j]), two));
        emit(first + j + 24, L::bit_and(L::template shift_right<6>(bytes[j]), two));
      }
    }
  }
};

struct TypeQ3_K {
  static constexpr int kBits = 3, kBytes = sizeof(BlockQ3_K), kSubgroup = 16, kShift = 2;
  static constexpr bool kMin = false;
  template <class L>
  static void header(const uint8_t* const* rows, int64_t at, Group256<L>& group) {
    using I = typename L::I;
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
  template <class L, class Emit>
  static void quads(const uint8_t* const* rows, int64_t at, Emit emit) {
    using I = typename L::I;
    I high[8];
    L::load_rows(rows, at, high);
    L::load_rows(rows, at + 16, high + 4);
    const I two = L::set8(3), third = L::set8(4);
#pragma clang loop unroll(full)
    for (int piece = 0; piece < 4; ++piece) {  // as Q2_K
      I bytes[4];
      L::load_rows(rows, at + 32 + 16 * piece, bytes);
      const int first = piece / 2 * 32 + piece % 2 * 4;
#pragma clang loop unroll(full)
      for (int j = 0; j < 4; ++j) {
        // Bits 0 .. 3 of `high` belong to the four columns of this half.
        I& bits = high[piece % 2 * 4 + j];
        emit(first + j, L::bit_or(L::bit_and(bytes[j], two),
                                  L::bit_and(L::template shift_left<2>(bits), third)));
        emit(first + j + 8, L::bit_or(L::bit_and(L::template shift_right<2>(bytes[j]), two),
                                      L::bit_and(L::template shift_left<1>(bits), third)));
        emit(first + j + 16, L::bit_or(L::bit_and(L::template shift_right<4>(bytes[j]), two),
                                       L::bit_and(bits, third)));
        emit(first + j + 24, L::bit_or(L::bit_and(L::template shift_right<6>(bytes[j]), two),
                                       L::bit_and(L::template shift_right<1>(bits), third)));
        bits = L::template shift_right<4>(bits);
      }
    }
  }
};

struct TypeIQ4_XS {
  static constexpr int kBits = 8, kBytes = sizeof(BlockIQ4_XS), kSubgroup = 32, kShift = 0;
  static constexpr bool kMin = false;
  template <class L>
  static void header(const uint8_t* const* rows, int64_t at, Group256<L>& group) {
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
#pragma clang loop unroll(full)
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
  }
  template <class L, class Emit>
  static void quads(const uint8_t* const* rows, int64_t at, Emit emit) {
#pragma clang loop unroll(full)
    for (int run = 0; run < 8; ++run) {  // of 32 columns
      typename L::I quads[8];
      unpack_nibbles<L>(rows, at + 8 + 16 * run, quads);
#pragma clang loop unroll(full)
      for (int j = 0; j < 8; ++j) {
        emit(run * 8 + j, L::from_signed(L::look_up(kIQ4Values, quads[j])));
      }
    }
  }
};

}  // namespace
}  // namespace ration
