#include "model/gguf_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <numeric>

#include "base/text.h"

namespace ration {
namespace {

static_assert(std::endian::native == std::endian::little, "values are read by memcpy");

using Type = GgufValue::Type;

struct TypeRow {
  std::string_view name;
  uint32_t bytes;  // of one value; 0 where it varies
};
// In the order of the type ids.
constexpr std::array kTypes{
    TypeRow{"u8", 1},     TypeRow{"i8", 1},    TypeRow{"u16", 2}, TypeRow{"i16", 2},
    TypeRow{"u32", 4},    TypeRow{"i32", 4},   TypeRow{"f32", 4}, TypeRow{"bool", 1},
    TypeRow{"string", 0}, TypeRow{"array", 0}, TypeRow{"u64", 8}, TypeRow{"i64", 8},
    TypeRow{"f64", 8},
};

// Tensor types that exist but that we do not read, so that a refusal can say which one it was.
struct ForeignType {
  uint32_t id;
  std::string_view name;
};
constexpr std::array kForeignTypes{
    ForeignType{4, "Q4_2"},      ForeignType{5, "Q4_3"},      ForeignType{9, "Q8_1"},
    ForeignType{15, "Q8_K"},     ForeignType{16, "IQ2_XXS"},  ForeignType{17, "IQ2_XS"},
    ForeignType{18, "IQ3_XXS"},  ForeignType{19, "IQ1_S"},    ForeignType{21, "IQ3_S"},
    ForeignType{22, "IQ2_S"},    ForeignType{24, "I8"},       ForeignType{25, "I16"},
    ForeignType{26, "I32"},      ForeignType{27, "I64"},      ForeignType{28, "F64"},
    ForeignType{29, "IQ1_M"},    ForeignType{31, "Q4_0_4_4"}, ForeignType{32, "Q4_0_4_8"},
    ForeignType{33, "Q4_0_8_8"}, ForeignType{34, "TQ1_0"},    ForeignType{35, "TQ2_0"},
    ForeignType{40, "NVFP4"},    ForeignType{41, "Q1_0"},     ForeignType{42, "Q2_0"},
};

template <class T>
T load(std::span<const std::byte> bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

Error corrupt(std::string message) { return {Code::kCorrupt, std::move(message)}; }

Error too_short(const GgufCursor& cursor, std::string_view field, uint64_t wanted) {
  return corrupt(
      fmt::format("{}: found {} bytes left in the file, wanted {}", field, cursor.left(), wanted));
}

// Why take_text() failed.
Error text_too_short(GgufCursor cursor, std::string_view field) {
  uint64_t length = 0;
  if (!cursor.take_u64(&length)) return too_short(cursor, field, sizeof length);
  return corrupt(fmt::format("{}: found length {}, wanted at most the {} bytes left in the file",
                             field, length, cursor.left()));
}

Result<std::string_view> read_name(GgufCursor& cursor, std::string_view field, uint64_t bytes_max) {
  std::string_view name;
  if (!cursor.take_text(&name)) return text_too_short(cursor, field);
  if (name.empty() || name.size() > bytes_max) {
    return corrupt(
        fmt::format("{}: found {} bytes, wanted 1 to {}", field, name.size(), bytes_max));
  }
  const bool has_control = std::any_of(name.begin(), name.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
  });
  if (has_control || !is_valid_utf8(name)) {
    return corrupt(fmt::format("{}: found {}, wanted UTF-8 without control characters", field,
                               gguf_quoted(name)));
  }
  return name;
}

Status read_fixed(GgufCursor& cursor, std::string_view field, GgufValue& value, Type type) {
  const uint64_t size = gguf_value_bytes(type);
  if (value.count > cursor.left() / size) {
    return corrupt(
        fmt::format("{}: found {} values of {} bytes, wanted at most the {} bytes left in the file",
                    field, value.count, size, cursor.left()));
  }
  CHECK(cursor.take(value.count * size, &value.bytes));
  if (type != Type::kBool) return {};
  for (const std::byte byte : value.bytes) {
    if (byte > std::byte{1}) {
      return corrupt(
          fmt::format("{}: found {} for a bool, wanted 0 or 1", field, static_cast<int>(byte)));
    }
  }
  return {};
}

Status read_array(GgufCursor& cursor, std::string_view field, GgufValue& value) {
  uint32_t element = 0;
  if (!cursor.take_u32(&element)) return too_short(cursor, field, sizeof element);
  if (!cursor.take_u64(&value.count)) return too_short(cursor, field, sizeof value.count);
  if (element >= kTypes.size()) {
    return corrupt(fmt::format("{}: found element type {}, wanted 0 to {}", field, element,
                               kTypes.size() - 1));
  }
  value.element = static_cast<Type>(element);
  if (value.element == Type::kArray) {
    return Error{Code::kUnsupported,
                 fmt::format("{}: found an array of arrays, wanted one of numbers "
                             "or strings",
                             field)};
  }
  if (value.element != Type::kString) return read_fixed(cursor, field, value, value.element);
  if (value.count > cursor.left() / sizeof(uint64_t)) {
    return corrupt(fmt::format("{}: found {} strings, wanted at most the {} bytes left in the file",
                               field, value.count, cursor.left()));
  }
  const GgufCursor start = cursor;
  for (uint64_t i = 0; i < value.count; ++i) {
    std::string_view ignored;
    if (!cursor.take_text(&ignored)) {
      return text_too_short(cursor, fmt::format("{} string {}", field, i));
    }
  }
  GgufCursor whole = start;
  CHECK(whole.take(cursor.position() - start.position(), &value.bytes));
  return {};
}

Result<GgufEntry> read_entry(GgufCursor& cursor, uint64_t index) {
  const Result<std::string_view> key =
      read_name(cursor, fmt::format("name of metadata key {}", index), kGgufKeyBytesMax);
  if (!key) return key.error();
  const std::string field = fmt::format("key {}", gguf_quoted(*key));
  uint32_t type = 0;
  if (!cursor.take_u32(&type)) return too_short(cursor, field, sizeof type);
  if (type >= kTypes.size()) {
    return corrupt(
        fmt::format("{}: found value type {}, wanted 0 to {}", field, type, kTypes.size() - 1));
  }
  GgufEntry entry{std::string(*key), {.type = static_cast<Type>(type), .bytes = {}}};
  if (entry.value.type == Type::kArray) {
    if (const Status read = read_array(cursor, field, entry.value); !read) return read.error();
  } else if (entry.value.type == Type::kString) {
    std::string_view text;
    if (!cursor.take_text(&text)) return text_too_short(cursor, field);
    entry.value.bytes = std::as_bytes(std::span(text));
  } else if (const Status read = read_fixed(cursor, field, entry.value, entry.value.type); !read) {
    return read.error();
  }
  return entry;
}

// The tensor without its bytes, and where they begin in the data section.
struct TensorInfo {
  GgufTensor tensor;
  uint64_t offset = 0;
  uint64_t size = 0;
};

Result<DType> read_dtype(uint32_t id, std::string_view field) {
  if (const DTypeInfo* info = find_dtype(id)) return info->dtype;
  std::string wanted;
  for (const DTypeInfo& info : kDTypes) {
    wanted += wanted.empty() ? "" : " ";
    wanted += info.name;
  }
  const auto* foreign = std::find_if(kForeignTypes.begin(), kForeignTypes.end(),
                                     [&](const ForeignType& row) { return row.id == id; });
  const std::string_view name = foreign == kForeignTypes.end() ? "unknown" : foreign->name;
  return Error{Code::kUnsupported, fmt::format("{}: found tensor type {} ({}), wanted one of {}",
                                               field, id, name, wanted)};
}

// Bytes of the whole tensor; checks each factor on the way.
Result<uint64_t> tensor_size(const GgufTensor& tensor, std::string_view field) {
  const DTypeInfo& info = info_of(tensor.dtype);
  if (tensor.cols() % info.block_elements != 0) {
    return corrupt(fmt::format("{}: found {} columns, wanted a multiple of {} for {}", field,
                               tensor.cols(), info.block_elements, info.name));
  }
  int64_t size = 0;
  bool overflow = __builtin_mul_overflow(tensor.cols() / info.block_elements,
                                         static_cast<int64_t>(info.block_bytes), &size);
  int64_t elements = tensor.cols();
  for (size_t i = 1; i < tensor.shape.size(); ++i) {
    overflow |= __builtin_mul_overflow(size, tensor.shape[i], &size);
    overflow |= __builtin_mul_overflow(elements, tensor.shape[i], &elements);
  }
  if (overflow) {
    return corrupt(fmt::format("{}: found shape [{}], wanted fewer than 2^63 elements and bytes",
                               field, fmt::join(tensor.shape, ", ")));
  }
  return static_cast<uint64_t>(size);
}

Result<TensorInfo> read_tensor_info(GgufCursor& cursor, uint64_t index) {
  const Result<std::string_view> name =
      read_name(cursor, fmt::format("name of tensor {}", index), kGgufTensorNameBytesMax);
  if (!name) return name.error();
  const std::string field = fmt::format("tensor {}", gguf_quoted(*name));
  TensorInfo info;
  info.tensor.name = *name;
  uint32_t dimensions = 0;
  if (!cursor.take_u32(&dimensions)) return too_short(cursor, field, sizeof dimensions);
  if (dimensions < 1 || dimensions > 4) {
    return corrupt(fmt::format("{}: found {} dimensions, wanted 1 to 4", field, dimensions));
  }
  info.tensor.shape.resize(dimensions);
  for (uint32_t i = 0; i < dimensions; ++i) {
    uint64_t extent = 0;
    if (!cursor.take_u64(&extent)) return too_short(cursor, field, sizeof extent);
    if (extent < 1 || extent > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return corrupt(fmt::format("{}: found size {} for dimension {}, wanted 1 to 2^63 - 1", field,
                                 extent, i));
    }
    info.tensor.shape[i] = static_cast<int64_t>(extent);
  }
  uint32_t type = 0;
  if (!cursor.take_u32(&type)) return too_short(cursor, field, sizeof type);
  if (!cursor.take_u64(&info.offset)) return too_short(cursor, field, sizeof info.offset);
  const Result<DType> dtype = read_dtype(type, field);
  if (!dtype) return dtype.error();
  info.tensor.dtype = *dtype;
  const Result<uint64_t> size = tensor_size(info.tensor, field);
  if (!size) return size.error();
  info.size = *size;
  return info;
}

Result<uint64_t> read_alignment(std::span<const GgufEntry> entries) {
  static constexpr std::string_view kKey = "general.alignment";
  const auto found = std::find_if(entries.begin(), entries.end(),
                                  [](const GgufEntry& entry) { return entry.key == kKey; });
  if (found == entries.end()) return uint64_t{32};
  const Result<int64_t> alignment = gguf_integer(found->value);
  if (!alignment) return corrupt(fmt::format("key '{}': {}", kKey, alignment.error().message));
  if (*alignment < 8 || *alignment > kGgufAlignmentMax ||
      !std::has_single_bit(static_cast<uint64_t>(*alignment))) {
    return corrupt(fmt::format("key '{}': found {}, wanted a power of two from 8 to {}", kKey,
                               *alignment, kGgufAlignmentMax));
  }
  return static_cast<uint64_t>(*alignment);
}

// Points each tensor at its bytes. data_begin: where the data section begins in `file`.
Status place(std::span<TensorInfo> infos, std::span<const std::byte> file, uint64_t data_begin,
             uint64_t alignment) {
  for (TensorInfo& info : infos) {
    const std::string field = fmt::format("tensor {}", gguf_quoted(info.tensor.name));
    if (info.offset % alignment != 0) {
      return corrupt(fmt::format("{}: found offset {}, wanted a multiple of {}", field, info.offset,
                                 alignment));
    }
    if (data_begin > file.size() || info.offset >= file.size() - data_begin) {
      return corrupt(
          fmt::format("{}: found offset {} (after {} bytes of header), beyond the file's {} bytes",
                      field, info.offset, data_begin, file.size()));
    }
    const uint64_t begin = data_begin + info.offset;
    if (info.size > file.size() - begin) {
      return corrupt(fmt::format("{}: found {} bytes from byte {}, beyond the file's {} bytes",
                                 field, info.size, begin, file.size()));
    }
    info.tensor.bytes = file.subspan(begin, info.size);
  }
  std::vector<uint32_t> order(infos.size());
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(),
            [&](uint32_t a, uint32_t b) { return infos[a].offset < infos[b].offset; });
  for (size_t i = 1; i < order.size(); ++i) {
    const TensorInfo& before = infos[order[i - 1]];
    const TensorInfo& info = infos[order[i]];
    if (info.offset < before.offset + before.size) {
      return corrupt(fmt::format("tensor {}: found offset {} inside tensor {}, wanted {} or more",
                                 gguf_quoted(info.tensor.name), info.offset,
                                 gguf_quoted(before.tensor.name), before.offset + before.size));
    }
  }
  return {};
}

// Magic and version. Nothing else of the layout differs between versions 2 and 3.
Status read_version(GgufCursor& cursor) {
  std::span<const std::byte> magic;
  if (!cursor.take(4, &magic)) return too_short(cursor, "magic", 4);
  const std::string_view text(reinterpret_cast<const char*>(magic.data()), magic.size());
  if (text != "GGUF")
    return corrupt(fmt::format("magic: found {}, wanted 'GGUF'", gguf_quoted(text)));
  uint32_t version = 0;
  if (!cursor.take_u32(&version)) return too_short(cursor, "version", sizeof version);
  if (version == 2 || version == 3) return {};
  if (version != 0 && (version & 0xffff) == 0) {
    return Error{Code::kUnsupported,
                 fmt::format("byte order: found big-endian (version {}), wanted "
                             "little-endian",
                             __builtin_bswap32(version))};
  }
  return Error{Code::kUnsupported, fmt::format("version: found {}, wanted 2 or 3", version)};
}

}  // namespace

std::string_view type_name(Type type) {
  const auto id = static_cast<size_t>(type);
  return id < kTypes.size() ? kTypes[id].name : "unknown";
}

size_t gguf_value_bytes(Type type) { return kTypes[static_cast<size_t>(type)].bytes; }

std::string gguf_quoted(std::string_view text) {
  constexpr size_t kShown = 80;
  std::string out = "'";
  std::string_view rest = text.substr(0, kShown);
  while (!rest.empty()) {
    const CodePoint point = read_code_point(rest);
    const auto length = static_cast<size_t>(point.length);
    const bool printable =
        point.valid && point.value >= 0x20 && (point.value < 0x7f || point.value > 0x9f);
    if (printable) {
      out += rest.substr(0, length);
    } else {
      for (const char c : rest.substr(0, length)) {
        out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
      }
    }
    rest.remove_prefix(length);
  }
  out += text.size() > kShown ? "...'" : "'";
  return out;
}

Result<int64_t> gguf_integer(const GgufValue& value) {
  switch (value.type) {
    case Type::kU8:
      return int64_t{load<uint8_t>(value.bytes)};
    case Type::kI8:
      return int64_t{load<int8_t>(value.bytes)};
    case Type::kU16:
      return int64_t{load<uint16_t>(value.bytes)};
    case Type::kI16:
      return int64_t{load<int16_t>(value.bytes)};
    case Type::kU32:
      return int64_t{load<uint32_t>(value.bytes)};
    case Type::kI32:
      return int64_t{load<int32_t>(value.bytes)};
    case Type::kI64:
      return load<int64_t>(value.bytes);
    case Type::kU64: {
      const auto number = load<uint64_t>(value.bytes);
      if (number <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        return static_cast<int64_t>(number);
      }
      return corrupt(fmt::format("found {}, wanted at most 2^63 - 1", number));
    }
    default:
      return corrupt(fmt::format("found type {}, wanted an integer", type_name(value.type)));
  }
}

bool GgufCursor::take(uint64_t count, std::span<const std::byte>* out) {
  if (count > left()) return false;
  *out = bytes_.subspan(position_, count);
  position_ += count;
  return true;
}

bool GgufCursor::take_u32(uint32_t* out) {
  std::span<const std::byte> bytes;
  if (!take(sizeof *out, &bytes)) return false;
  *out = load<uint32_t>(bytes);
  return true;
}

bool GgufCursor::take_u64(uint64_t* out) {
  std::span<const std::byte> bytes;
  if (!take(sizeof *out, &bytes)) return false;
  *out = load<uint64_t>(bytes);
  return true;
}

bool GgufCursor::take_text(std::string_view* out) {
  const size_t start = position_;
  uint64_t length = 0;
  std::span<const std::byte> bytes;
  if (take_u64(&length) && take(length, &bytes)) {
    *out = {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    return true;
  }
  position_ = start;
  return false;
}

Result<GgufHeader> read_gguf_header(std::span<const std::byte> file) {
  GgufCursor cursor(file);
  if (const Status version = read_version(cursor); !version) return version.error();
  uint64_t tensor_count = 0;
  uint64_t key_count = 0;
  if (!cursor.take_u64(&tensor_count))
    return too_short(cursor, "tensor count", sizeof tensor_count);
  if (!cursor.take_u64(&key_count)) return too_short(cursor, "key count", sizeof key_count);
  if (tensor_count > kGgufTensorsMax) {
    return corrupt(
        fmt::format("tensor count: found {}, wanted at most {}", tensor_count, kGgufTensorsMax));
  }
  if (key_count > kGgufKeysMax) {
    return corrupt(fmt::format("key count: found {}, wanted at most {}", key_count, kGgufKeysMax));
  }
  GgufHeader header;
  header.entries.reserve(key_count);
  for (uint64_t i = 0; i < key_count; ++i) {
    Result<GgufEntry> entry = read_entry(cursor, i);
    if (!entry) return entry.error();
    header.entries.push_back(*std::move(entry));
  }
  const Result<uint64_t> alignment = read_alignment(header.entries);
  if (!alignment) return alignment.error();
  std::vector<TensorInfo> infos;
  infos.reserve(tensor_count);
  for (uint64_t i = 0; i < tensor_count; ++i) {
    Result<TensorInfo> info = read_tensor_info(cursor, i);
    if (!info) return info.error();
    infos.push_back(*std::move(info));
  }
  const uint64_t data_begin = (cursor.position() + *alignment - 1) / *alignment * *alignment;
  if (const Status placed = place(infos, file, data_begin, *alignment); !placed)
    return placed.error();
  header.tensors.reserve(tensor_count);
  for (TensorInfo& info : infos) header.tensors.push_back(std::move(info.tensor));
  return header;
}

}  // namespace ration
