// tensor/kernel/avx512_lanes.h - the vector operations of the AVX-512 set (F, BW, DQ, VL and VNNI).
//
// The same names as Avx2 has (avx2_lanes.h says what they mean), twice as wide. VNNI multiplies
// unsigned by signed bytes and adds to int32 lanes at once: nothing can overflow, and signed
// weights are stored with 128 added.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace ration {
namespace {

struct Avx512 {
  using F = __m512;
  using I = __m512i;
  static constexpr int kLanes = 16;

  // Tiles that fit 32 registers.
  static constexpr int kFloatRows = 4;
  static constexpr int kFloatTokens = 6;
  static constexpr int kFloatTiles = 4;
  static constexpr int kAttendRows = 12;  // times two vectors
  static constexpr int kGroups = 2;
  static constexpr int kTokens = 6;
  static constexpr int64_t kPanelColumns = 512;

  static F zero() { return _mm512_setzero_ps(); }
  static F set(float x) { return _mm512_set1_ps(x); }
  static F load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, F x) { _mm512_storeu_ps(p, x); }
  static F add(F a, F b) { return _mm512_add_ps(a, b); }
  static F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F div(F a, F b) { return _mm512_div_ps(a, b); }
  static F sqrt(F a) { return _mm512_sqrt_ps(a); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F fnma(F a, F b, F c) { return _mm512_fnmadd_ps(a, b, c); }
  static F fms(F a, F b, F c) { return _mm512_fmsub_ps(a, b, c); }
  static F min(F a, F b) { return _mm512_min_ps(a, b); }
  static F max(F a, F b) { return _mm512_max_ps(a, b); }
  static F abs(F a) { return _mm512_abs_ps(a); }
  static F round(F a) {
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  static F choose_below(F magnitude, float limit, F a, F b) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(magnitude, set(limit), _CMP_LT_OQ), b, a);
  }
  static I to_int(F a) { return _mm512_cvtps_epi32(a); }
  static F to_float(I a) { return _mm512_cvtepi32_ps(a); }
  static F power_of_two(I n) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(n, set32(127)), 23));
  }
  static I halved(I a) { return _mm512_srai_epi32(a, 1); }

  static int32_t round16(const float* x, F factor, std::byte* out) {
    const I quants = to_int(mul(load(x), factor));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm512_cvtsepi32_epi8(quants));
    const __m256i eight =
        _mm256_add_epi32(_mm512_castsi512_si256(quants), _mm512_extracti64x4_epi64(quants, 1));
    const __m128i four =
        _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    const __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
  }

  static __mmask16 mask_of(int64_t n) { return static_cast<__mmask16>((1u << n) - 1); }
  static F load_some(const float* p, int64_t n) { return _mm512_maskz_loadu_ps(mask_of(n), p); }
  static void store_some(float* p, int64_t n, F x) { _mm512_mask_storeu_ps(p, mask_of(n), x); }

  static __m256 upper_half(F a) {
    return _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(a), 1));
  }
  static __m128 four_sums(F a) {
    const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a), upper_half(a));
    return _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  }
  static float sum(F a) {
    const __m128 four = four_sums(a);
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
  }
  static float largest(F a) {
    const __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(a), upper_half(a));
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
  }

  static F load_f16(const std::byte* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static F load_i8(const std::byte* p) {
    return to_float(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }
  static F load_bf16(const std::byte* p) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }
  static void store_f16(uint16_t* p, F x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }

  static void split_pairs(F first, F second, F& evens, F& odds) {
    evens = _mm512_shuffle_ps(first, second, 0x88);
    odds = _mm512_shuffle_ps(first, second, 0xdd);
  }
  static void join_pairs(F evens, F odds, F& first, F& second) {
    first = _mm512_unpacklo_ps(evens, odds);
    second = _mm512_unpackhi_ps(evens, odds);
  }
  static F pair_order(F a) {
    const I order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
    return _mm512_castsi512_ps(_mm512_permutexvar_epi64(order, _mm512_castps_si512(a)));
  }

  static I set32(int32_t x) { return _mm512_set1_epi32(x); }
  static I set8(int8_t x) { return _mm512_set1_epi8(x); }
  static I add32(I a, I b) { return _mm512_add_epi32(a, b); }
  static I sub32(I a, I b) { return _mm512_sub_epi32(a, b); }
  static I bit_and(I a, I b) { return _mm512_and_si512(a, b); }
  static I bit_or(I a, I b) { return _mm512_or_si512(a, b); }
  static I bit_xor(I a, I b) { return _mm512_xor_si512(a, b); }
  template <int kBits>
  static I shift_right(I a) {
    return _mm512_srli_epi32(a, kBits);
  }
  static I shift_right_by(I a, int bits) { return _mm512_srl_epi32(a, _mm_cvtsi32_si128(bits)); }
  template <int kBits>
  static I shift_left(I a) {
    return _mm512_slli_epi32(a, kBits);
  }
  template <int kBits>
  static I shift_right_signed(I a) {
    return _mm512_srai_epi32(a, kBits);
  }
  // In 16-bit parts of lanes, for the requantising of deep products.
  static I add16(I a, I b) { return _mm512_add_epi16(a, b); }
  static I mul16(I a, I b) { return _mm512_mullo_epi16(a, b); }
  template <int kBits>
  static I shift_right16(I a) {
    return _mm512_srli_epi16(a, kBits);
  }
  template <int kBits>
  static I shift_right_signed16(I a) {
    return _mm512_srai_epi16(a, kBits);
  }
  static I pick_bytes(I a, uint32_t pattern) {
    const I lanes = _mm512_broadcast_i32x4(_mm_setr_epi32(0, 0x04040404, 0x08080808, 0x0c0c0c0c));
    return _mm512_shuffle_epi8(a, bit_or(set32(static_cast<int32_t>(pattern)), lanes));
  }
  static I look_up(const int8_t* table, I bytes) {
    const I four_times =
        _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table)));
    return _mm512_shuffle_epi8(four_times, bytes);
  }
  static I sixteen_where(I a, I bits) {
    return _mm512_maskz_mov_epi8(_mm512_test_epi8_mask(a, bits), set8(16));
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
  static I load_int(const void* p) { return _mm512_loadu_si512(p); }
  static I broadcast32(const void* p) { return set32(int_at(p)); }
  static F broadcast_float(const void* p) { return _mm512_castsi512_ps(broadcast32(p)); }

  static I load_byte(const void* p) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)));
  }
  static I max32(I a, I b) { return _mm512_max_epi32(a, b); }
  static F float_of_bits(I a) { return _mm512_castsi512_ps(a); }

  static void load_rows(const uint8_t* const* rows, int64_t offset, I* out) {
    const I a = four_rows(rows, offset);
    const I b = four_rows(rows + 1, offset);
    const I c = four_rows(rows + 2, offset);
    const I d = four_rows(rows + 3, offset);
    const I ab_low = _mm512_unpacklo_epi32(a, b);
    const I ab_high = _mm512_unpackhi_epi32(a, b);
    const I cd_low = _mm512_unpacklo_epi32(c, d);
    const I cd_high = _mm512_unpackhi_epi32(c, d);
    out[0] = _mm512_unpacklo_epi64(ab_low, cd_low);
    out[1] = _mm512_unpackhi_epi64(ab_low, cd_low);
    out[2] = _mm512_unpacklo_epi64(ab_high, cd_high);
    out[3] = _mm512_unpackhi_epi64(ab_high, cd_high);
  }
  // Rows 0, 4, 8 and 12 from `rows` on, 16 bytes each.
  static I four_rows(const uint8_t* const* rows, int64_t offset) {
    I all = _mm512_castsi128_si512(sixteen_bytes(rows[0] + offset));
    all = _mm512_inserti32x4(all, sixteen_bytes(rows[4] + offset), 1);
    all = _mm512_inserti32x4(all, sixteen_bytes(rows[8] + offset), 2);
    return _mm512_inserti32x4(all, sixteen_bytes(rows[12] + offset), 3);
  }
  static __m128i sixteen_bytes(const uint8_t* p) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  }
  static I load_ints(const uint8_t* const* rows, int64_t offset) {
    const auto at = [=](int r) { return int_at(rows[r] + offset); };
    return _mm512_setr_epi32(at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7), at(8), at(9),
                             at(10), at(11), at(12), at(13), at(14), at(15));
  }
  static F load_halves(const uint8_t* const* rows, int64_t offset) {
    const auto at = [=](int r) { return short_at(rows[r] + offset); };
    return _mm512_cvtph_ps(_mm256_setr_epi16(at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7),
                                             at(8), at(9), at(10), at(11), at(12), at(13), at(14),
                                             at(15)));
  }
  static I load_bytes(const uint8_t* const* rows, int64_t offset) {
    const auto at = [=](int r) { return int32_t{rows[r][offset]}; };
    return _mm512_setr_epi32(at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7), at(8), at(9),
                             at(10), at(11), at(12), at(13), at(14), at(15));
  }
  static F halves_of(I a) { return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(a)); }

  template <int kBits>
  static constexpr int kSteps = 8;
  static constexpr int32_t kSignedOffset = 128;
  static I from_signed(I a) { return bit_xor(a, set8(-128)); }
  template <int kBits>
  static I product(I weights, I x) {
    return _mm512_dpbusd_epi32(set32(0), weights, x);
  }
  template <int kBits>
  static I add_product(I sum, I weights, I x) {
    return _mm512_dpbusd_epi32(sum, weights, x);
  }
  static I widen(I sum) { return sum; }
  static I widen_scaled(I sum, I scale) { return _mm512_mullo_epi32(sum, scale); }
  static I scale_of(I both_halves) { return _mm512_srai_epi32(both_halves, 16); }
  static I add_pairs(I sum, I a, I b) { return _mm512_dpwssd_epi32(sum, a, b); }
};

}  // namespace
}  // namespace ration
