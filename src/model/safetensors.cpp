#include "model/safetensors.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/text.h"
#include "model/gguf_reader.h"

namespace ration {
namespace {

struct SafetensorsType {
  std::string_view name;
  DType dtype;
};
constexpr std::array kSafetensorsTypes{SafetensorsType{"F32", DType::kF32},
                                       SafetensorsType{"F16", DType::kF16},
                                       SafetensorsType{"BF16", DType::kBF16}};

constexpr int64_t kColonsMax = 4 * 4096;  // a tensor's entry has four

Error broken(std::string message) { return {Code::kCorrupt, std::move(message)}; }

// The JSON text, and with it where the data begins.
Result<std::string_view> header_text(std::span<const std::byte> file) {
  uint64_t length = 0;
  if (file.size() < sizeof length) {
    return broken(fmt::format("found {} bytes, wanted at least {}", file.size(), sizeof length));
  }
  std::memcpy(&length, file.data(), sizeof length);
  const uint64_t most = std::min<uint64_t>(file.size() - sizeof length,
                                           static_cast<uint64_t>(kSafetensorsHeaderMax.count));
  if (length < 2 || length > most) {
    return broken(fmt::format("header: found a length of {}, wanted 2 to {}", length, most));
  }
  return std::string_view(reinterpret_cast<const char*>(file.data()) + sizeof length,
                          static_cast<size_t>(length));
}

// A whole number of the header, at most 2^53: beyond that JSON's writers disagree.
std::optional<int64_t> size_in(const Json& value) {
  if (!value.is_number_integer()) return std::nullopt;
  const int64_t number = value.is_number_unsigned() && value.get<uint64_t>() > (uint64_t{1} << 53)
                             ? -1
                             : value.get<int64_t>();
  if (number < 0 || number > (int64_t{1} << 53)) return std::nullopt;
  return number;
}

// One entry; `data`: what the offsets count in.
class EntryReader {
 public:
  EntryReader(const std::string& name, const Json& entry, std::span<const std::byte> data)
      : name_(name), entry_(entry), data_(data) {}

  Result<GgufTensor> read() {
    GgufTensor tensor{.name = name_, .shape = {}, .bytes = {}};
    if (!entry_.is_object() || name_.empty() || name_.size() > kGgufTensorNameBytesMax) {
      return refuse("found something else, wanted a name and an object");
    }
    if (Status read = read_type(tensor); !read) return read.error();
    if (Status read = read_shape(tensor); !read) return read.error();
    if (Status read = place(tensor); !read) return read.error();
    return tensor;
  }

 private:
  Error refuse(std::string_view why, Code code = Code::kCorrupt) const {
    return {code, fmt::format("tensor {}: {}", gguf_quoted(name_), why)};
  }

  Status read_type(GgufTensor& tensor) const {
    const auto dtype = entry_.find("dtype");
    if (dtype == entry_.end() || !dtype->is_string()) return refuse("'dtype' is missing");
    const std::string text = dtype->get<std::string>();
    for (const SafetensorsType& type : kSafetensorsTypes) {
      if (type.name != text) continue;
      tensor.dtype = type.dtype;
      return {};
    }
    return refuse(fmt::format("found dtype {}, wanted F32, F16 or BF16", gguf_quoted(text)),
                  Code::kUnsupported);
  }

  Status read_shape(GgufTensor& tensor) {
    const auto shape = entry_.find("shape");
    if (shape == entry_.end() || !shape->is_array() || shape->empty() || shape->size() > 4) {
      return refuse("'shape' is not a list of 1 to 4 numbers");
    }
    bytes_ = row_bytes(tensor.dtype, 1);
    for (auto extent = shape->rbegin(); extent != shape->rend(); ++extent) {
      const std::optional<int64_t> size = size_in(*extent);
      if (!size || *size < 1 || __builtin_mul_overflow(bytes_, *size, &bytes_)) {
        return refuse("'shape' holds something that is no size, or too large");
      }
      tensor.shape.push_back(*size);
    }
    return {};
  }

  Status place(GgufTensor& tensor) const {
    const auto offsets = entry_.find("data_offsets");
    if (offsets == entry_.end() || !offsets->is_array() || offsets->size() != 2) {
      return refuse("'data_offsets' is not a list of two numbers");
    }
    const std::optional<int64_t> begin = size_in((*offsets)[0]), end = size_in((*offsets)[1]);
    const auto most = static_cast<int64_t>(data_.size());
    if (!begin || !end || *begin > *end || *end > most) {
      return refuse(fmt::format("'data_offsets': wanted a beginning and an end within {}", most));
    }
    if (*end - *begin != bytes_) {
      return refuse(fmt::format("'data_offsets': found {} bytes, wanted {} for the shape",
                                *end - *begin, bytes_));
    }
    tensor.bytes = data_.subspan(static_cast<size_t>(*begin), static_cast<size_t>(bytes_));
    const auto size = static_cast<uintptr_t>(row_bytes(tensor.dtype, 1));
    if (reinterpret_cast<uintptr_t>(tensor.bytes.data()) % size != 0) {
      return refuse(fmt::format("found it at no multiple of {}", size), Code::kUnsupported);
    }
    return {};
  }

  const std::string& name_;
  const Json& entry_;
  const std::span<const std::byte> data_;
  int64_t bytes_ = 0;
};

}  // namespace

Result<std::vector<GgufTensor>> read_safetensors(std::span<const std::byte> file) {
  const Result<std::string_view> text = header_text(file);
  if (!text) return text.error();
  // Every key has a colon, and keys are looked up one by one while the object is built.
  if (std::ranges::count(*text, ':') > kColonsMax) {
    return broken(fmt::format("header: found more than {} tensors", kColonsMax / 4));
  }
  const Result<Json> header = parse_json(*text, /*depth_max=*/4);
  if (!header) return broken("header: " + to_valid_utf8(header.error().message));
  if (!header->is_object()) return broken("header: found no object");
  const std::span<const std::byte> data = file.subspan(sizeof(uint64_t) + text->size());
  std::vector<GgufTensor> tensors;
  for (const auto& [name, entry] : header->items()) {
    if (name == "__metadata__" || name.ends_with("position_ids")) continue;
    Result<GgufTensor> tensor = EntryReader(name, entry, data).read();
    if (!tensor) return tensor.error();
    tensors.push_back(std::move(*tensor));
  }
  std::ranges::sort(tensors, {}, [](const GgufTensor& tensor) { return tensor.bytes.data(); });
  for (size_t i = 1; i < tensors.size(); ++i) {
    const GgufTensor& before = tensors[i - 1];
    if (tensors[i].bytes.data() >= before.bytes.data() + before.bytes.size()) continue;
    return broken(fmt::format("tensor {}: found it inside tensor {}", gguf_quoted(tensors[i].name),
                              gguf_quoted(before.name)));
  }
  return tensors;
}

}  // namespace ration
