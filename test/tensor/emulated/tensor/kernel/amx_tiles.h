// test/tensor/emulated/tensor/kernel/amx_tiles.h - stands in for src/tensor/kernel/amx_tiles.h: the
// same functions in plain C++, for machines without AMX.
//
// Source: the pseudo code of LDTILECFG, TILELOADD, TILESTORED, TILEZERO, TILERELEASE and TDPBSSD in
// the Software Developer's Manual. Where the processor faults, this aborts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/check.h"

namespace ration {
namespace {

struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};
static_assert(sizeof(TileConfig) == 64);
static_assert(offsetof(TileConfig, row_bytes) == 16 && offsetof(TileConfig, rows) == 48);

struct TileState {
  bool configured = false;
  TileConfig config;
  uint8_t tiles[8][16][64] = {};
};
thread_local TileState tile_state;

inline void configure_tiles(const TileConfig& config) {
  CHECK(config.palette == 1 && config.start_row == 0);
  for (const uint8_t byte : config.reserved) CHECK(byte == 0);
  for (int t = 0; t < 16; ++t) {
    const bool used = config.rows[t] != 0 || config.row_bytes[t] != 0;
    CHECK(t < 8 || !used);
    CHECK(config.rows[t] <= 16 && config.row_bytes[t] <= 64);
    CHECK((config.rows[t] != 0) == (config.row_bytes[t] != 0));
  }
  tile_state = {.configured = true, .config = config};
}

inline void release_tiles() { tile_state = {}; }

inline int rows_of(int tile) {
  CHECK(tile_state.configured && tile_state.config.rows[tile] > 0);
  return tile_state.config.rows[tile];
}

template <int kTile>
void zero_tile() {
  rows_of(kTile);
  std::memset(tile_state.tiles[kTile], 0, sizeof tile_state.tiles[kTile]);
}

template <int kTile>
void load_tile(const void* p, int64_t stride) {
  const int rows = rows_of(kTile);
  std::memset(tile_state.tiles[kTile], 0, sizeof tile_state.tiles[kTile]);
  for (int r = 0; r < rows; ++r) {
    std::memcpy(tile_state.tiles[kTile][r], static_cast<const std::byte*>(p) + r * stride,
                tile_state.config.row_bytes[kTile]);
  }
}

template <int kTile>
void store_tile(void* p, int64_t stride) {
  const int rows = rows_of(kTile);
  for (int r = 0; r < rows; ++r) {
    std::memcpy(static_cast<std::byte*>(p) + r * stride, tile_state.tiles[kTile][r],
                tile_state.config.row_bytes[kTile]);
  }
}

template <int kSum, int kA, int kB>
void multiply_tiles() {
  static_assert(kSum != kA && kSum != kB && kA != kB);
  const TileConfig& config = tile_state.config;
  const int rows = rows_of(kSum), columns = config.row_bytes[kSum] / 4;
  const int depth = config.row_bytes[kA] / 4;
  CHECK(rows_of(kA) == rows && rows_of(kB) == depth);
  CHECK(config.row_bytes[kB] == config.row_bytes[kSum] && config.row_bytes[kSum] % 4 == 0 &&
        config.row_bytes[kA] % 4 == 0);
  for (int m = 0; m < rows; ++m) {
    int32_t sums[16];
    std::memcpy(sums, tile_state.tiles[kSum][m], sizeof sums);
    int8_t a[64];
    std::memcpy(a, tile_state.tiles[kA][m], sizeof a);
    for (int k = 0; k < depth; ++k) {
      int8_t b[64];
      std::memcpy(b, tile_state.tiles[kB][k], sizeof b);
      for (int n = 0; n < columns; ++n) {
        for (int i = 0; i < 4; ++i) sums[n] += int32_t{a[4 * k + i]} * int32_t{b[4 * n + i]};
      }
    }
    std::memcpy(tile_state.tiles[kSum][m], sums, sizeof sums);
  }
}

}  // namespace
}  // namespace ration
