// model/gguf_reader.h - reads the header of one GGUF file (or one part of a split one) out of
// untrusted bytes. Private to gguf.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/gguf.h"

namespace ration {

// Real files stay far below these (a 671B model has 1,100 tensors and 60 keys). They bound what a
// hostile file can make us allocate: a key costs 250 bytes of tables and a tensor 300, both from as
// few as 14 and 33 bytes of file.
inline constexpr uint64_t kGgufKeysMax = 8192;
inline constexpr uint64_t kGgufTensorsMax = 32768;
inline constexpr uint64_t kGgufKeyBytesMax = 65535;  // as the format says
inline constexpr uint64_t kGgufTensorNameBytesMax = 255;
inline constexpr int64_t kGgufAlignmentMax = 1 << 20;

struct GgufEntry {
  std::string key;
  GgufValue value;
};

struct GgufHeader {
  std::vector<GgufEntry> entries;   // in file order, duplicates included
  std::vector<GgufTensor> tensors;  // in file order, duplicates included; bytes inside `file`
};

// kCorrupt, kUnsupported. Everything but duplicates has been checked.
Result<GgufHeader> read_gguf_header(std::span<const std::byte> file);

// The value as a whole number. kCorrupt "found type string, wanted an integer".
Result<int64_t> gguf_integer(const GgufValue& value);

// Bytes of one value; 0 for strings and arrays, whose size varies.
size_t gguf_value_bytes(GgufValue::Type type);

// A file's own text in a message: in quotes, cut at 80 bytes, control and invalid bytes shown as
// \xNN.
std::string gguf_quoted(std::string_view text);

// Reads numbers and texts one after the other from bytes that may end too early.
class GgufCursor {
 public:
  explicit GgufCursor(std::span<const std::byte> bytes) : bytes_(bytes) {}

  size_t position() const { return position_; }
  size_t left() const { return bytes_.size() - position_; }

  // False, and nothing consumed, when fewer bytes are left.
  bool take(uint64_t count, std::span<const std::byte>* out);
  bool take_u32(uint32_t* out);
  bool take_u64(uint64_t* out);
  // A u64 length and as many bytes.
  bool take_text(std::string_view* out);

 private:
  std::span<const std::byte> bytes_;
  size_t position_ = 0;
};

}  // namespace ration
