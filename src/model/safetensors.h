// model/safetensors.h - the header of a safetensors file, read out of untrusted bytes.
//
// The format: u64 N, little-endian; N bytes of JSON, an object of
//   name: {"dtype": "F32", "shape": [rows, cols], "data_offsets": [begin, end]}
// and "__metadata__"; then the data, which the offsets are counted from. Private to gguf.cpp and
// the folder's reader.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/unit.h"
#include "model/gguf.h"

namespace ration {

// The headers of real files are below a tenth of this. The JSON takes some ten times as much in
// memory while it is read.
inline constexpr Bytes kSafetensorsHeaderMax{2 * kMiB};

// The tensors in rising order of their bytes, which lie inside `file`, do not overlap, and begin at
// multiples of their numbers' size. Shapes are turned round, as GGUF has them: {cols, rows}.
// Tensors named "*position_ids", which hold 0, 1, 2 ... as integers, are left out.
// kCorrupt says which field, what was found and what was wanted; kUnsupported for a dtype that is
// not F32, F16 or BF16.
Result<std::vector<GgufTensor>> read_safetensors(std::span<const std::byte> file);

}  // namespace ration
