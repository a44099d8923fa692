// test/tensor/simde/immintrin.h - stands in for the compiler's header when the AVX-512 set is built
// for machines without AVX-512: SIMDe (Debian package libsimde-dev) gives the same functions from
// AVX2.
//
// Only the tests are built with this folder in front of the include path.
#pragma once

#include_next <immintrin.h>

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

#include <cstring>

// What SIMDe 0.7.4 lacks, as two halves of 256 bits.
namespace ration_simde {

struct FloatHalves {
  __m256 half[2];
};
struct IntHalves {
  __m256i half[2];
};

template <class To, class From>
To same_bits(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

inline __m512i cvtps_epi32(__m512 a) {
  const auto in = same_bits<FloatHalves>(a);
  return same_bits<__m512i>(
      IntHalves{_mm256_cvtps_epi32(in.half[0]), _mm256_cvtps_epi32(in.half[1])});
}

inline __m512 cvtepi32_ps(__m512i a) {
  const auto in = same_bits<IntHalves>(a);
  return same_bits<__m512>(
      FloatHalves{_mm256_cvtepi32_ps(in.half[0]), _mm256_cvtepi32_ps(in.half[1])});
}

inline __m512 maskz_loadu_ps(unsigned mask, const float* p) {
  float lanes[16] = {};
  for (int i = 0; i < 16; ++i) {
    if ((mask >> i) & 1) lanes[i] = p[i];
  }
  return same_bits<__m512>(lanes);
}

inline void mask_storeu_ps(float* p, unsigned mask, __m512 a) {
  float lanes[16];
  std::memcpy(lanes, &a, sizeof lanes);
  for (int i = 0; i < 16; ++i) {
    if ((mask >> i) & 1) p[i] = lanes[i];
  }
}

inline __m512i srai_epi32(__m512i a, int bits) {
  const auto in = same_bits<IntHalves>(a);
  return same_bits<__m512i>(
      IntHalves{_mm256_srai_epi32(in.half[0], bits), _mm256_srai_epi32(in.half[1], bits)});
}

inline __m512 cvtph_ps(__m256i a) {
  return same_bits<__m512>(FloatHalves{_mm256_cvtph_ps(_mm256_castsi256_si128(a)),
                                       _mm256_cvtph_ps(_mm256_extracti128_si256(a, 1))});
}

// REQUIRES: the rounding asked for is to nearest even.
inline __m256i cvtps_ph(__m512 a) {
  const auto in = same_bits<FloatHalves>(a);
  return _mm256_set_m128i(_mm256_cvtps_ph(in.half[1], _MM_FROUND_TO_NEAREST_INT),
                          _mm256_cvtps_ph(in.half[0], _MM_FROUND_TO_NEAREST_INT));
}

inline __m256i cvtepi32_epi16(__m512i a) {
  int32_t in[16];
  int16_t out[16];
  std::memcpy(in, &a, sizeof in);
  for (int i = 0; i < 16; ++i) out[i] = static_cast<int16_t>(in[i]);
  return same_bits<__m256i>(out);
}

inline __m512i cvtepu16_epi32(__m256i a) {
  return same_bits<__m512i>(IntHalves{_mm256_cvtepu16_epi32(_mm256_castsi256_si128(a)),
                                      _mm256_cvtepu16_epi32(_mm256_extracti128_si256(a, 1))});
}

inline __m512i cvtepu8_epi32(__m128i a) {
  return same_bits<__m512i>(
      IntHalves{_mm256_cvtepu8_epi32(a), _mm256_cvtepu8_epi32(_mm_srli_si128(a, 8))});
}

inline __m512i cvtepi8_epi32(__m128i a) {
  return same_bits<__m512i>(
      IntHalves{_mm256_cvtepi8_epi32(a), _mm256_cvtepi8_epi32(_mm_srli_si128(a, 8))});
}

}  // namespace ration_simde

#undef _mm512_cvtph_ps
#undef _mm512_cvtps_ph
#define _mm512_cvtps_epi32 ration_simde::cvtps_epi32
#define _mm512_cvtepi32_ps ration_simde::cvtepi32_ps
#define _mm512_maskz_loadu_ps ration_simde::maskz_loadu_ps
#define _mm512_mask_storeu_ps ration_simde::mask_storeu_ps
#define _mm512_srai_epi32 ration_simde::srai_epi32
#define _mm512_cvtph_ps ration_simde::cvtph_ps
#define _mm512_cvtps_ph(a, rounding) ration_simde::cvtps_ph(a)
#define _mm512_cvtepi32_epi16 ration_simde::cvtepi32_epi16
#define _mm512_cvtepu16_epi32 ration_simde::cvtepu16_epi32
#define _mm512_cvtepu8_epi32 ration_simde::cvtepu8_epi32
#define _mm512_cvtepi8_epi32 ration_simde::cvtepi8_epi32
