// tensor/kernel/job.h - a matmul as plain numbers, for the kernel files. Private to the tensor
// room.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/matrix.h"

namespace ration {

struct Job {
  const uint8_t* weights;
  const uint8_t* lower;  // of split panels
  bool panels;           // tensor/panel.h; else row after row
  Walk walk;             // of panels, nothing left open
  int64_t row_bytes;
  int64_t cols;
  const std::byte* x;
  int64_t x_bytes;  // from one token to the next
  int64_t tokens;
  int64_t row_begin;
  int64_t row_end;
  float* out;  // token t, row r at t * out_stride + r
  int64_t out_stride;
};

}  // namespace ration
