// tensor/kernel/rows_code.h - how kLanes rows of a matrix are read, in every layout.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "tensor/kernel/block256_code.h"
#include "tensor/kernel/job.h"
#include "tensor/panel.h"

namespace ration {
namespace {

// How panels are walked where the matrix does not say. Types of 32 columns are done with a panel's
// line so soon that one run of addresses leaves memory half idle; but the start of each panel is
// read unasked, so panels are walked side by side only where they are long.
constexpr Walk kWalk32{.ahead_bytes = 1024, .panels = kWalkPanelsMost};
constexpr Walk kWalk256{.ahead_bytes = 4096, .panels = 1};
constexpr int64_t kLongPanelBytes = 16 * 1024;

// kLanes rows as a file holds them: where each starts. Rows past the end repeat the last one.
template <class L>
struct FileRows {
  using I = typename L::I;
  const uint8_t* at[L::kLanes];
  FileRows(const Job& job, int64_t row) {
    for (int i = 0; i < L::kLanes; ++i) {
      const int64_t r = row + i < job.row_end ? row + i : job.row_end - 1;
      at[i] = job.weights + r * job.row_bytes;
    }
  }
  // Of the block that begins at `block` in a row, what is at `offset`: 16 bytes, 4 bytes, an F16,
  // a byte.
  void load(int64_t block, int64_t offset, I* out) const { L::load_rows(at, block + offset, out); }
  I ints(int64_t block, int64_t offset) const { return L::load_ints(at, block + offset); }
  typename L::F halves(int64_t block, int64_t offset) const {
    return L::load_halves(at, block + offset);
  }
  I bytes(int64_t block, int64_t offset) const { return L::load_bytes(at, block + offset); }
};

// kLanes rows of a panel's plane that has kBytes of every block: lanes are neighbours already.
template <class L, int kBytes>
struct PlaneRows {
  using I = typename L::I;
  const uint8_t* at_ints;
  const uint8_t* at_halves;
  const uint8_t* at_bytes;
  int64_t ahead;
  PlaneRows(const uint8_t* plane, const Walk& walk)
      : at_ints(plane), at_halves(plane), at_bytes(plane), ahead(walk.ahead_bytes) {}
  // The rows from `lane` of the panel on.
  PlaneRows lanes_from(int64_t lane) const {
    PlaneRows rows = *this;
    rows.at_ints += 4 * lane;
    rows.at_halves += 2 * lane;
    rows.at_bytes += lane;
    return rows;
  }
  // `at`: bytes into a row's share of the plane.
  void load(int64_t at, I* out) const {
    for (int i = 0; i < 4; ++i) out[i] = ints(at + 4 * i);
  }
  I ints(int64_t at) const {
    // Each load asks for the line of a later one: in the order of use, and never many at once,
    // which would fill the queue of the cache and stop the work.
    __builtin_prefetch(at_ints + kRowsAPanel * at + ahead, 0, 3);
    return L::load_int(at_ints + kRowsAPanel * at);
  }
  typename L::F halves(int64_t at) const {
    return L::load_f16(reinterpret_cast<const std::byte*>(at_halves + kRowsAPanel * at));
  }
  I bytes(int64_t at) const { return L::load_byte(at_bytes + kRowsAPanel * at); }
};

// kLanes rows of a panel (tensor/panel.h).
template <class L, class Type>
struct PanelRows {
  using I = typename L::I;
  PlaneRows<L, Type::kBytes> plane;
  PanelRows(const Job& job, int64_t row)
      : plane(job.weights + (row - row % kRowsAPanel) * job.row_bytes, job.walk) {
    plane = plane.lanes_from(row % kRowsAPanel);
  }
  PanelRows lanes_from(int64_t lane) const {
    PanelRows rows = *this;
    rows.plane = plane.lanes_from(lane);
    return rows;
  }
  void load(int64_t block, int64_t offset, I* out) const { plane.load(block + place(offset), out); }
  I ints(int64_t block, int64_t offset) const { return plane.ints(block + place(offset)); }
  typename L::F halves(int64_t block, int64_t offset) const {
    return plane.halves(block + place(offset));
  }
  I bytes(int64_t block, int64_t offset) const { return plane.bytes(block + place(offset)); }

 private:
  static int64_t place(int64_t offset) {
    return std::is_same_v<Type, TypeQ6_K> ? place_of_q6_k(offset) : offset;
  }
};

// kLanes rows of a split panel. The types name the plane, and count in blocks.
template <class L, class Type>
struct SplitRows {
  PlaneRows<L, Type::kUpperBytes> upper;
  PlaneRows<L, Type::kLowerBytes> lower;
  SplitRows(const Job& job, int64_t row)
      : upper(job.weights + row * (job.cols / Type::kColumns) * Type::kUpperBytes, job.walk),
        lower(job.lower + row * (job.cols / Type::kColumns) * Type::kLowerBytes, job.walk) {}
  SplitRows lanes_from(int64_t lane) const {
    SplitRows rows = *this;
    rows.upper = upper.lanes_from(lane);
    rows.lower = lower.lanes_from(lane);
    return rows;
  }
};

}  // namespace
}  // namespace ration
