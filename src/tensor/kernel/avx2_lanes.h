// tensor/kernel/avx2_lanes.h - the vector operations of the AVX2 set (with FMA and F16C).
//
// The *_code.h files are written once against these names; Avx512 has the same. Everything is in an
// unnamed namespace: a function compiled for a wide machine must never be the copy that the linker
// keeps for a narrow one (test/tensor/symbols.cmake looks).
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace ration {
namespace {

struct Avx2 {
  using F = __m256;   // kLanes F32
  using I = __m256i;  // kLanes int32, or bytes and 16-bit numbers inside them
  static constexpr int kLanes = 8;

  // Tiles that fit 16 registers.
  static constexpr int kFloatRows = 4;
  static constexpr int kFloatTokens = 3;
  static constexpr int kFloatTiles = 4;
  static constexpr int kAttendRows = 6;  // times two vectors
  static constexpr int kGroups = 2;      // kLanes rows each
  static constexpr int kTokens = 4;
  static constexpr int64_t kPanelColumns = 1024;

  static F zero() { return _mm256_setzero_ps(); }
  static F set(float x) { return _mm256_set1_ps(x); }
  static F load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, F x) { _mm256_storeu_ps(p, x); }
  static F add(F a, F b) { return _mm256_add_ps(a, b); }
  static F sub(F a, F b) { return _mm256_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F div(F a, F b) { return _mm256_div_ps(a, b); }
  static F sqrt(F a) { return _mm256_sqrt_ps(a); }
  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }    // a b + c
  static F fnma(F a, F b, F c) { return _mm256_fnmadd_ps(a, b, c); }  // c - a b
  static F fms(F a, F b, F c) { return _mm256_fmsub_ps(a, b, c); }    // a b - c
  // The second operand when either is a NaN.
  static F min(F a, F b) { return _mm256_min_ps(a, b); }
  static F max(F a, F b) { return _mm256_max_ps(a, b); }
  static F abs(F a) { return _mm256_andnot_ps(set(-0.0f), a); }
  static F round(F a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  // where |magnitude| < limit: a, else b
  static F choose_below(F magnitude, float limit, F a, F b) {
    return _mm256_blendv_ps(b, a, _mm256_cmp_ps(magnitude, set(limit), _CMP_LT_OQ));
  }
  static I to_int(F a) { return _mm256_cvtps_epi32(a); }  // nearest, ties to even
  static F to_float(I a) { return _mm256_cvtepi32_ps(a); }
  // 2^n. REQUIRES: -126 <= n <= 127.
  static F power_of_two(I n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, set32(127)), 23));
  }

  static I halved(I a) { return _mm256_srai_epi32(a, 1); }

  // Rounds 16 numbers times `factor` to int8 (REQUIRES: they fit); returns their sum.
  static int32_t round16(const float* x, F factor, std::byte* out) {
    const I first = to_int(mul(load(x), factor));
    const I second = to_int(mul(load(x + 8), factor));
    const I sixteen = _mm256_permute4x64_epi64(_mm256_packs_epi32(first, second), 0xd8);
    const __m128i bytes =
        _mm_packs_epi16(_mm256_castsi256_si128(sixteen), _mm256_extracti128_si256(sixteen, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), bytes);
    const I pairs = _mm256_madd_epi16(sixteen, _mm256_set1_epi16(1));
    const __m128i four =
        _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
    const __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
  }

  // The first n (< kLanes) numbers, the rest zero.
  static I mask_of(int64_t n) {
    const I lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(set32(static_cast<int32_t>(n)), lane);
  }
  static F load_some(const float* p, int64_t n) { return _mm256_maskload_ps(p, mask_of(n)); }
  static void store_some(float* p, int64_t n, F x) { _mm256_maskstore_ps(p, mask_of(n), x); }

  // The lanes, added up to four sums.
  static __m128 four_sums(F a) {
    return _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  }
  static float sum(F a) {
    const __m128 four = four_sums(a);
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
  }
  static float largest(F a) {
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
  }

  // kLanes numbers of two bytes at any address.
  static F load_f16(const std::byte* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  // kLanes signed bytes at any address.
  static F load_i8(const std::byte* p) { return to_float(_mm256_cvtepi8_epi32(_mm_loadu_si64(p))); }
  static F load_bf16(const std::byte* p) {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
  }
  static void store_f16(uint16_t* p, F x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                     _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }

  // (a0 b0 a1 b1 ..) -> evens, odds and back, for pairs that lie side by side.
  static void split_pairs(F first, F second, F& evens, F& odds) {
    evens = _mm256_shuffle_ps(first, second, 0x88);  // in an order that join_pairs() undoes
    odds = _mm256_shuffle_ps(first, second, 0xdd);
  }
  static void join_pairs(F evens, F odds, F& first, F& second) {
    first = _mm256_unpacklo_ps(evens, odds);
    second = _mm256_unpackhi_ps(evens, odds);
  }
  // Puts kLanes numbers in the order of evens and odds above.
  static F pair_order(F a) {
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(a), 0xd8));
  }

  static I set32(int32_t x) { return _mm256_set1_epi32(x); }
  static I set8(int8_t x) { return _mm256_set1_epi8(x); }
  static I add32(I a, I b) { return _mm256_add_epi32(a, b); }
  static I sub32(I a, I b) { return _mm256_sub_epi32(a, b); }
  static I bit_and(I a, I b) { return _mm256_and_si256(a, b); }
  static I bit_or(I a, I b) { return _mm256_or_si256(a, b); }
  static I bit_xor(I a, I b) { return _mm256_xor_si256(a, b); }
  template <int kBits>
  static I shift_right(I a) {
    return _mm256_srli_epi32(a, kBits);
  }
  static I shift_right_by(I a, int bits) { return _mm256_srl_epi32(a, _mm_cvtsi32_si128(bits)); }
  template <int kBits>
  static I shift_left(I a) {
    return _mm256_slli_epi32(a, kBits);
  }
  template <int kBits>
  static I shift_right_signed16(I a) {
    return _mm256_srai_epi16(a, kBits);
  }
  // In every 4-byte lane, byte i becomes the lane's byte (pattern >> 8 i) & 255, or 0 when that is
  // 128.
  static I pick_bytes(I a, uint32_t pattern) {
    const I lanes = _mm256_setr_epi32(0, 0x04040404, 0x08080808, 0x0c0c0c0c, 0, 0x04040404,
                                      0x08080808, 0x0c0c0c0c);
    return _mm256_shuffle_epi8(a, bit_or(set32(static_cast<int32_t>(pattern)), lanes));
  }
  // table[byte] for every byte, which is below 16.
  static I look_up(const int8_t* table, I bytes) {
    const I both =
        _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table)));
    return _mm256_shuffle_epi8(both, bytes);
  }
  // 16 in the bytes where a has a bit of `bits`, else 0. `bits` has one bit in a byte.
  static I sixteen_where(I a, I bits) {
    return bit_and(_mm256_cmpeq_epi8(bit_and(a, bits), bits), set8(16));
  }

  static int32_t int_at(const void* p) {
    int32_t x;
    std::memcpy(&x, p, sizeof x);
    return x;
  }
  static int16_t short_at(const void* p) {
    int16_t x;
    std::memcpy(&x, p, sizeof x);
    return x;
  }
  static I load_int(const void* p) { return _mm256_loadu_si256(reinterpret_cast<const I*>(p)); }
  static I broadcast32(const void* p) { return set32(int_at(p)); }
  static F broadcast_float(const void* p) { return _mm256_castsi256_ps(broadcast32(p)); }

  // kLanes bytes, one a lane.
  static I load_byte(const void* p) { return _mm256_cvtepu8_epi32(_mm_loadu_si64(p)); }
  static I max32(I a, I b) { return _mm256_max_epi32(a, b); }
  static F float_of_bits(I a) { return _mm256_castsi256_ps(a); }

  // Lane r of out[i] is the 4 bytes at rows[r] + offset + 4 i.
  static void load_rows(const uint8_t* const* rows, int64_t offset, I* out) {
    const I a = two_rows(rows[0] + offset, rows[4] + offset);
    const I b = two_rows(rows[1] + offset, rows[5] + offset);
    const I c = two_rows(rows[2] + offset, rows[6] + offset);
    const I d = two_rows(rows[3] + offset, rows[7] + offset);
    const I ab_low = _mm256_unpacklo_epi32(a, b);
    const I ab_high = _mm256_unpackhi_epi32(a, b);
    const I cd_low = _mm256_unpacklo_epi32(c, d);
    const I cd_high = _mm256_unpackhi_epi32(c, d);
    out[0] = _mm256_unpacklo_epi64(ab_low, cd_low);
    out[1] = _mm256_unpackhi_epi64(ab_low, cd_low);
    out[2] = _mm256_unpacklo_epi64(ab_high, cd_high);
    out[3] = _mm256_unpackhi_epi64(ab_high, cd_high);
  }
  static I two_rows(const uint8_t* low, const uint8_t* high) {
    return _mm256_inserti128_si256(
        _mm256_castsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(low))),
        _mm_loadu_si128(reinterpret_cast<const __m128i*>(high)), 1);
  }
  // Lane r is the 4 bytes at rows[r] + offset.
  static I load_ints(const uint8_t* const* rows, int64_t offset) {
    return _mm256_setr_epi32(int_at(rows[0] + offset), int_at(rows[1] + offset),
                             int_at(rows[2] + offset), int_at(rows[3] + offset),
                             int_at(rows[4] + offset), int_at(rows[5] + offset),
                             int_at(rows[6] + offset), int_at(rows[7] + offset));
  }
  // Lane r is the F16 at rows[r] + offset.
  static F load_halves(const uint8_t* const* rows, int64_t offset) {
    return _mm256_cvtph_ps(_mm_setr_epi16(short_at(rows[0] + offset), short_at(rows[1] + offset),
                                          short_at(rows[2] + offset), short_at(rows[3] + offset),
                                          short_at(rows[4] + offset), short_at(rows[5] + offset),
                                          short_at(rows[6] + offset), short_at(rows[7] + offset)));
  }
  // Lane r is the byte at rows[r] + offset.
  static I load_bytes(const uint8_t* const* rows, int64_t offset) {
    return _mm256_setr_epi32(rows[0][offset], rows[1][offset], rows[2][offset], rows[3][offset],
                             rows[4][offset], rows[5][offset], rows[6][offset], rows[7][offset]);
  }
  // The F16 in the low half of each lane. REQUIRES: the high halves are zero.
  static F halves_of(I a) {
    return _mm256_cvtph_ps(
        _mm_packus_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1)));
  }

  // Dot products of 4 weight bytes a lane with 4 activation bytes (the same in every lane). A
  // running sum of such products is an I whose 16-bit halves must not overflow: |sum| <= 32767 for
  // kSteps steps of weights below 2^bits. widen() makes it int32 lanes. `Bits` 8 means signed
  // weights.
  template <int kBits>
  static constexpr int kSteps = kBits <= 4   ? 8
                                : kBits == 5 ? 4
                                : kBits == 6 ? 2
                                             : 1;
  static constexpr int32_t kSignedOffset = 0;  // what is added to signed weights to store them
  static I from_signed(I a) { return a; }
  template <int kBits>
  static I product(I weights, I x) {
    if constexpr (kBits == 8) {
      return _mm256_maddubs_epi16(_mm256_sign_epi8(weights, weights), _mm256_sign_epi8(x, weights));
    } else {
      return _mm256_maddubs_epi16(weights, x);
    }
  }
  template <int kBits>
  static I add_product(I sum, I weights, I x) {
    return _mm256_add_epi16(sum, product<kBits>(weights, x));
  }
  static I widen(I sum) { return _mm256_madd_epi16(sum, _mm256_set1_epi16(1)); }
  // widen(sum) * scale, with scale as scale_of() made it.
  static I widen_scaled(I sum, I scale) { return _mm256_madd_epi16(sum, scale); }
  // Signed 16-bit lanes' low halves repeated -> the form widen_scaled() wants.
  static I scale_of(I both_halves) { return both_halves; }
  // Sum of the products of the 16-bit halves, added to `sum`.
  static I add_pairs(I sum, I a, I b) { return add32(sum, _mm256_madd_epi16(a, b)); }
};

}  // namespace
}  // namespace ration
