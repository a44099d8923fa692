// The typed look-ups of Gguf: from a file's value types to the few that the rest of the house uses.
#include <fmt/core.h>

#include <cstring>

#include "model/gguf.h"
#include "model/gguf_reader.h"

namespace ration {
namespace {

using Type = GgufValue::Type;

// Arrays are widened to 8 bytes an element: narrow ones longer than this would grow past what
// reading a file may allocate.
constexpr uint64_t kNarrowElementsMax = 1 << 20;

template <class T>
T value_of(std::span<const std::byte> bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

Result<double> to_float(const GgufValue& value) {
  if (value.type == Type::kF32) return static_cast<double>(value_of<float>(value.bytes));
  if (value.type == Type::kF64) return value_of<double>(value.bytes);
  if (value.type == Type::kU64) return static_cast<double>(value_of<uint64_t>(value.bytes));
  const Result<int64_t> number = gguf_integer(value);
  if (number) return static_cast<double>(*number);
  return Error{Code::kCorrupt,
               fmt::format("found type {}, wanted a number", type_name(value.type))};
}

Result<int64_t> to_int_or_bool(const GgufValue& value) {
  if (value.type == Type::kBool) return int64_t{value_of<uint8_t>(value.bytes)};
  return gguf_integer(value);
}

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Every element through `convert`. The array's bytes were checked against its count when it was
// read.
template <class T, class Convert>
Result<std::vector<T>> converted(const GgufValue& array, std::string_view wanted, Convert convert) {
  const size_t size = gguf_value_bytes(array.element);
  if (size == 0) {
    return Error{Code::kCorrupt, fmt::format("found an array of type {}, wanted one of {}",
                                             type_name(array.element), wanted)};
  }
  if (size <= 2 && array.count > kNarrowElementsMax) {
    return Error{Code::kUnsupported,
                 fmt::format("found {} elements of type {}, wanted at most {}", array.count,
                             type_name(array.element), kNarrowElementsMax)};
  }
  std::vector<T> out;
  // Nothing is reserved for elements of the wrong type.
  if (array.count > 0) {
    const Result<T> first =
        convert(GgufValue{.type = array.element, .bytes = array.bytes.first(size)});
    if (!first) return first.error();
  }
  out.reserve(array.count);
  for (uint64_t i = 0; i < array.count; ++i) {
    const Result<T> element =
        convert(GgufValue{.type = array.element, .bytes = array.bytes.subspan(i * size, size)});
    if (!element)
      return Error{Code::kCorrupt, fmt::format("element {}: {}", i, element.error().message)};
    out.push_back(*element);
  }
  return out;
}

}  // namespace

Error Gguf::wrong_value(std::string_view key, std::string_view message) const {
  return error(fmt::format("key {}: {}", gguf_quoted(key), message));
}

Result<std::optional<int64_t>> Gguf::find_int(std::string_view key) const {
  const GgufValue* value = find(key);
  if (!value) return std::optional<int64_t>();
  const Result<int64_t> number = gguf_integer(*value);
  if (!number) return wrong_value(key, number.error().message);
  return std::optional(*number);
}

Result<std::optional<double>> Gguf::find_float(std::string_view key) const {
  const GgufValue* value = find(key);
  if (!value) return std::optional<double>();
  const Result<double> number = to_float(*value);
  if (!number) return wrong_value(key, number.error().message);
  return std::optional(*number);
}

Result<std::optional<bool>> Gguf::find_bool(std::string_view key) const {
  const GgufValue* value = find(key);
  if (!value) return std::optional<bool>();
  if (value->type != Type::kBool) {
    return wrong_value(key, fmt::format("found type {}, wanted bool", type_name(value->type)));
  }
  return std::optional(value->bytes.front() != std::byte{0});
}

Result<std::optional<std::string_view>> Gguf::find_string(std::string_view key) const {
  const GgufValue* value = find(key);
  if (!value) return std::optional<std::string_view>();
  if (value->type != Type::kString) {
    return wrong_value(key, fmt::format("found type {}, wanted string", type_name(value->type)));
  }
  return std::optional(text_of(value->bytes));
}

Result<int64_t> Gguf::get_int(std::string_view key) const {
  const Result<std::optional<int64_t>> found = find_int(key);
  if (!found) return found.error();
  if (!*found) return error(fmt::format("key {} is missing", gguf_quoted(key)));
  return **found;
}

Result<double> Gguf::get_float(std::string_view key) const {
  const Result<std::optional<double>> found = find_float(key);
  if (!found) return found.error();
  if (!*found) return error(fmt::format("key {} is missing", gguf_quoted(key)));
  return **found;
}

Result<std::string_view> Gguf::get_string(std::string_view key) const {
  const Result<std::optional<std::string_view>> found = find_string(key);
  if (!found) return found.error();
  if (!*found) return error(fmt::format("key {} is missing", gguf_quoted(key)));
  return **found;
}

Result<const GgufValue*> Gguf::find_array(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value && value->type != Type::kArray) {
    return wrong_value(key, fmt::format("found type {}, wanted array", type_name(value->type)));
  }
  return value;
}

Result<std::vector<std::string_view>> Gguf::get_strings(std::string_view key) const {
  const Result<const GgufValue*> array = find_array(key);
  if (!array) return array.error();
  std::vector<std::string_view> out;
  if (!*array) return out;
  const GgufValue& value = **array;
  if (value.element != Type::kString) {
    return wrong_value(key, fmt::format("found an array of type {}, wanted one of strings",
                                        type_name(value.element)));
  }
  out.reserve(value.count);
  GgufCursor cursor(value.bytes);
  for (uint64_t i = 0; i < value.count; ++i) {
    std::string_view text;
    // Fails only when the file was written to since open() walked it.
    if (!cursor.take_text(&text)) return wrong_value(key, "changed while it was read");
    out.push_back(text);
  }
  return out;
}

Result<std::vector<double>> Gguf::get_floats(std::string_view key) const {
  const Result<const GgufValue*> array = find_array(key);
  if (!array) return array.error();
  if (!*array) return std::vector<double>();
  Result<std::vector<double>> out = converted<double>(**array, "numbers", to_float);
  if (!out) return Error{out.error().code, wrong_value(key, out.error().message).message};
  return out;
}

Result<std::vector<int64_t>> Gguf::get_ints(std::string_view key) const {
  const Result<const GgufValue*> array = find_array(key);
  if (!array) return array.error();
  if (!*array) return std::vector<int64_t>();
  Result<std::vector<int64_t>> out = converted<int64_t>(**array, "integers", to_int_or_bool);
  if (!out) return Error{out.error().code, wrong_value(key, out.error().message).message};
  return out;
}

}  // namespace ration
