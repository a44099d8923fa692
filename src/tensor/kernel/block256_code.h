// tensor/kernel/block256_code.h - the types with 256 columns a block; block32_code.h says how it
// works.
//
// Each type has two halves: header() gives the scales, piece() hands out the quads of one of
// kPieces, which lie together in the file, one by one to emit(slot, step, vector): quad `step` of
// the subgroup that the piece has in `slot`. So one token can use them in registers and a panel can
// store them, and the code of a piece is there once.
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

// The subgroups of a piece: kSlots of them, kApart from one to the next.
struct PairsOf32 {  // 32 bytes: the low nibbles are one subgroup, the high ones the next
  static constexpr int kPieces = 4, kSlots = 2, kApart = 1;
  static constexpr int first_subgroup(int piece) { return 2 * piece; }
};
struct FoursOf16 {  // 16 bytes of each half's 32: columns l, l + 32, l + 64, l + 96
  static constexpr int kPieces = 4, kSlots = 4, kApart = 2;
  static constexpr int first_subgroup(int piece) { return piece / 2 * 8 + piece % 2; }
};
struct OnesOf32 {
  static constexpr int kPieces = 8, kSlots = 1, kApart = 1;
  static constexpr int first_subgroup(int piece) { return piece; }
};

// The first 16 bytes of a Q4_K or Q5_K block: two F16, then 6-bit scales and minima of 8 subgroups.
template <class L, class Rows>
void unpack_k_header(const Rows& rows, int64_t at, Group256<L>& group) {
  using I = typename L::I;
  I words[4];
  rows.load(at, 0, words);
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
struct TypeQ4_K : PairsOf32 {
  static constexpr int kBits = 4, kBytes = sizeof(BlockQ4_K), kSubgroup = 32, kShift = 0;
  static constexpr bool kMin = true;
  template <class L, class Rows>
  static void header(const Rows& rows, int64_t at, Group256<L>& group) {
    unpack_k_header<L>(rows, at, group);
  }
  template <class L, class Rows, class Emit>
  static void piece(const Rows& rows, int64_t at, int piece, Emit emit) {
    const typename L::I low = L::set8(15);
#pragma clang loop unroll(full)
    for (int half = 0; half < 2; ++half) {
      typename L::I bytes[4];
      rows.load(at, 16 + 32 * piece + 16 * half, bytes);
#pragma clang loop unroll(full)
      for (int j = 0; j < 4; ++j) {
        emit(0, 4 * half + j, L::bit_and(bytes[j], low));
        emit(1, 4 * half + j, L::bit_and(L::template shift_right<4>(bytes[j]), low));
      }
    }
  }
};

struct TypeQ5_K : PairsOf32 {
  static constexpr int kBits = 5, kBytes = sizeof(BlockQ5_K), kSubgroup = 32, kShift = 0;
  static constexpr bool kMin = true;
  template <class L, class Rows>
  static void header(const Rows& rows, int64_t at, Group256<L>& group) {
    unpack_k_header<L>(rows, at, group);
  }
  template <class L, class Rows, class Emit>
  static void piece(const Rows& rows, int64_t at, int piece, Emit emit) {
    using I = typename L::I;
    const I low = L::set8(15), fifth = L::set8(16);
#pragma clang loop unroll(full)
    for (int half = 0; half < 2; ++half) {
      I bytes[4], high[4];
      rows.load(at, 48 + 32 * piece + 16 * half, bytes);
      rows.load(at, 16 + 16 * half, high);
#pragma clang loop unroll(full)
      for (int j = 0; j < 4; ++j) {  // bits 0 and 1 belong to the two subgroups at hand
        const I bits = L::shift_right_by(high[j], 2 * piece);
        emit(0, 4 * half + j,
             L::bit_or(L::bit_and(bytes[j], low),
                       L::bit_and(L::template shift_left<4>(bits), fifth)));
        emit(1, 4 * half + j,
             L::bit_or(L::bit_and(L::template shift_right<4>(bytes[j]), low),
                       L::bit_and(L::template shift_left<3>(bits), fifth)));
      }
    }
  }
};

struct TypeQ6_K : FoursOf16 {
  static constexpr int kBits = 6, kBytes = sizeof(BlockQ6_K), kSubgroup = 16, kShift = 5;
  static constexpr bool kMin = false;
  template <class L, class Rows>
  static void header(const Rows& rows, int64_t at, Group256<L>& group) {
    typename L::I scales[4];
    rows.load(at, 192, scales);
    unpack_signed_scales<L, 0>(scales, group);
    group.scale = rows.halves(at, 208);
  }
  template <class L, class Rows, class Emit>
  static void piece(const Rows& rows, int64_t at, int piece, Emit emit) {
    using I = typename L::I;
    const I low = L::set8(15), top = L::set8(48);
    const int half = piece / 2, part = piece % 2;
    I first[4], second[4], high[4];
    rows.load(at, 64 * half + 16 * part, first);
    rows.load(at, 64 * half + 32 + 16 * part, second);
    rows.load(at, 128 + 32 * half + 16 * part, high);
#pragma clang loop unroll(full)
    for (int j = 0; j < 4; ++j) {
      const I h = high[j];
      emit(0, j,
           L::bit_or(L::bit_and(first[j], low), L::bit_and(L::template shift_left<4>(h), top)));
      emit(1, j,
           L::bit_or(L::bit_and(second[j], low), L::bit_and(L::template shift_left<2>(h), top)));
      emit(2, j,
           L::bit_or(L::bit_and(L::template shift_right<4>(first[j]), low), L::bit_and(h, top)));
      emit(3, j,
           L::bit_or(L::bit_and(L::template shift_right<4>(second[j]), low),
                     L::bit_and(L::template shift_right<2>(h), top)));
    }
  }
};

// Of split panels (tensor/panel.h): `at` counts blocks.
struct TypeSplitQ6_K : FoursOf16 {
  static constexpr int kBits = 6, kBytes = 1, kSubgroup = 16, kShift = 5, kColumns = 256;
  static constexpr int kUpperBytes = 146, kLowerBytes = 64;
  static constexpr bool kMin = false;
  template <class L, class Rows>
  static void header(const Rows& rows, int64_t at, Group256<L>& group) {
    typename L::I scales[4];
    rows.upper.load(at * kUpperBytes, scales);
    unpack_signed_scales<L, 0>(scales, group);
    group.scale = rows.upper.halves(at * kUpperBytes + 144);
  }
  template <class L, class Rows, class Emit>
  static void piece(const Rows& rows, int64_t at, int piece, Emit emit) {
    using I = typename L::I;
    const I four = L::set8(0x3c), two = L::set8(3);
    I first[4], second[4], lower[4];
    rows.upper.load(at * kUpperBytes + 16 + 32 * piece, first);
    rows.upper.load(at * kUpperBytes + 32 + 32 * piece, second);
    rows.lower.load(at * kLowerBytes + 16 * piece, lower);
    const auto join = [&](I nibbles, I rest) {
      return L::bit_or(L::bit_and(nibbles, four), L::bit_and(rest, two));
    };
#pragma clang loop unroll(full)
    for (int j = 0; j < 4; ++j) {
      emit(0, j, join(L::template shift_left<2>(first[j]), lower[j]));
      emit(1, j, join(L::template shift_left<2>(second[j]), L::template shift_right<2>(lower[j])));
      emit(2, j, join(L::template shift_right<2>(first[j]), L::template shift_right<4>(lower[j])));
      emit(3, j, join(L::template shift_right<2>(second[j]), L::template shift_right<6>(lower[j])));
    }
  }
};

struct TypeQ2_K : FoursOf16 {
  static constexpr int kBits = 2, kBytes = sizeof(BlockQ2_K), kSubgroup = 16, kShift = 0;
  static constexpr bool kMin = true;
  template <class L, class Rows>
  static void header(const Rows& rows, int64_t at, Group256<L>& group) {
    using I = typename L::I;
    I words[4];
    rows.load(at, 0, words);
    const I both = rows.ints(at, 80);
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
  template <class L, class Rows, class Emit>
  static void piece(const Rows& rows, int64_t at, int piece, Emit emit) {
    const typename L::I two = L::set8(3);
    typename L::I bytes[4];
    rows.load(at, 16 + 16 * piece, bytes);
#pragma clang loop unroll(full)
    for (int j = 0; j < 4; ++j) {
      emit(0, j, L::bit_and(bytes[j], two));
      emit(1, j, L::bit_and(L::template shift_right<2>(bytes[j]), two));
      emit(2, j, L::bit_and(L::template shift_right<4>(bytes[j]), two));
      emit(3, j, L::bit_and(L::template shift_right<6>(bytes[j]), two));
    }
  }
};

struct TypeQ3_K : FoursOf16 {
  static constexpr int kBits = 3, kBytes = sizeof(BlockQ3_K), kSubgroup = 16, kShift = 2;
  static constexpr bool kMin = false;
  template <class L, class Rows>
  static void header(const Rows& rows, int64_t at, Group256<L>& group) {
    using I = typename L::I;
    const I words[3] = {rows.ints(at, 96), rows.ints(at, 100), rows.ints(at, 104)};
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
    group.scale = rows.halves(at, 108);
  }
  template <class L, class Rows, class Emit>
  static void piece(const Rows& rows, int64_t at, int piece, Emit emit) {
    using I = typename L::I;
    const I two = L::set8(3), third = L::set8(4);
    I bytes[4], high[4];
    rows.load(at, 32 + 16 * piece, bytes);
    rows.load(at, 16 * (piece % 2), high);
#pragma clang loop unroll(full)
    for (int j = 0; j < 4; ++j) {  // bits 0 to 3 belong to the four subgroups at hand
      const I bits = L::shift_right_by(high[j], 4 * (piece / 2));
      emit(
          0, j,
          L::bit_or(L::bit_and(bytes[j], two), L::bit_and(L::template shift_left<2>(bits), third)));
      emit(1, j,
           L::bit_or(L::bit_and(L::template shift_right<2>(bytes[j]), two),
                     L::bit_and(L::template shift_left<1>(bits), third)));
      emit(2, j,
           L::bit_or(L::bit_and(L::template shift_right<4>(bytes[j]), two),
                     L::bit_and(bits, third)));
      emit(3, j,
           L::bit_or(L::bit_and(L::template shift_right<6>(bytes[j]), two),
                     L::bit_and(L::template shift_right<1>(bits), third)));
    }
  }
};

struct TypeIQ4_XS : OnesOf32 {
  static constexpr int kBits = 8, kBytes = sizeof(BlockIQ4_XS), kSubgroup = 32, kShift = 0;
  static constexpr bool kMin = false;
  template <class L, class Rows>
  static void header(const Rows& rows, int64_t at, Group256<L>& group) {
    using I = typename L::I;
    const I first = rows.ints(at, 0);
    const I nibbles = rows.ints(at, 4);
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
  template <class L, class Rows, class Emit>
  static void piece(const Rows& rows, int64_t at, int piece, Emit emit) {
    typename L::I quads[8];
    unpack_nibbles<L>(rows, at, 8 + 16 * piece, quads);
#pragma clang loop unroll(full)
    for (int j = 0; j < 8; ++j) emit(0, j, L::from_signed(L::look_up(kIQ4Values, quads[j])));
  }
};

}  // namespace
}  // namespace ration
