// tensor/kernel/amx_tiles.h - the tile instructions of AMX that we use, one function each.
//
// Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2 (TDPBSSD and
// others). Eight registers of up to 16 rows of 64 bytes. The tests put another header in this one's
// place, which does the same in plain C++, so that all but these lines is tested on any machine.
// REQUIRES: has_amx() and request_tiles(). The state is a thread's own.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace ration {
namespace {

// What LDTILECFG reads: the shape of each tile.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};
static_assert(sizeof(TileConfig) == 64);

// Zeroes all tiles. (Compilers' own function for this may be told that only 8 bytes are read.)
inline void configure_tiles(const TileConfig& config) {
  asm volatile("ldtilecfg %0" : : "m"(config));
}

inline void release_tiles() { asm volatile("tilerelease"); }

template <int kTile>
void zero_tile() {
  _tile_zero(kTile);
}

// Row r is at p + r * stride.
template <int kTile>
void load_tile(const void* p, int64_t stride) {
  _tile_loadd(kTile, p, stride);
}

template <int kTile>
void store_tile(void* p, int64_t stride) {
  _tile_stored(kTile, p, stride);
}

// sum[m][n] += the signed bytes a[m][4 k + i] * b[k][4 n + i], for all k and i; sum is int32.
template <int kSum, int kA, int kB>
void multiply_tiles() {
  _tile_dpbssd(kSum, kA, kB);
}

}  // namespace
}  // namespace ration
