// test/model/gguf_writer.h - writes small GGUF files for tests: good ones, and ones broken on
// purpose.
//
//   GgufWriter writer;
//   writer.add("general.architecture", "llama");
//   writer.add_u32("llama.block_count", 2);
//   writer.add_tensor("output_norm.weight", DType::kF32, {64}, bytes);
//   writer.write(path);
//
// The raw_ forms and the public fields write things no honest writer would.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "model/gguf.h"

namespace ration::test {

class GgufWriter {
 public:
  using Type = GgufValue::Type;

  std::string magic = "GGUF";
  uint32_t version = 3;
  uint64_t alignment = 32;  // of the data section; add "general.alignment" where it is not 32
  std::optional<uint64_t> key_count;  // written in place of the true count
  std::optional<uint64_t> tensor_count;

  void add(std::string_view key, std::string_view text) {
    begin(key, Type::kString);
    append_text(entries_, text);
  }
  void add(std::string_view key, const char* text) { add(key, std::string_view(text)); }
  void add_u8(std::string_view key, uint8_t value) { add_number(key, Type::kU8, value); }
  void add_i8(std::string_view key, int8_t value) { add_number(key, Type::kI8, value); }
  void add_u16(std::string_view key, uint16_t value) { add_number(key, Type::kU16, value); }
  void add_i16(std::string_view key, int16_t value) { add_number(key, Type::kI16, value); }
  void add_u32(std::string_view key, uint32_t value) { add_number(key, Type::kU32, value); }
  void add_i32(std::string_view key, int32_t value) { add_number(key, Type::kI32, value); }
  void add_u64(std::string_view key, uint64_t value) { add_number(key, Type::kU64, value); }
  void add_i64(std::string_view key, int64_t value) { add_number(key, Type::kI64, value); }
  void add_f32(std::string_view key, float value) { add_number(key, Type::kF32, value); }
  void add_f64(std::string_view key, double value) { add_number(key, Type::kF64, value); }
  void add_bool(std::string_view key, bool value) {
    add_number(key, Type::kBool, static_cast<uint8_t>(value));
  }
  void add_strings(std::string_view key, std::span<const std::string> texts) {
    begin_array(key, Type::kString, texts.size());
    for (const std::string& text : texts) append_text(entries_, text);
  }
  void add_strings(std::string_view key, std::initializer_list<std::string> texts) {
    add_strings(key, std::span(texts.begin(), texts.size()));
  }
  // Of u8, i8, u16, i16, u32, i32, u64, i64, float, double, by T.
  template <class T>
  void add_array(std::string_view key, std::span<const T> values) {
    begin_array(key, type_of<T>(), values.size());
    append(entries_,
           std::string_view(reinterpret_cast<const char*>(values.data()), values.size_bytes()));
  }
  template <class T>
  void add_array(std::string_view key, std::initializer_list<T> values) {
    add_array(key, std::span<const T>(values.begin(), values.size()));
  }

  // data: the tensor's blocks in the file's own format.
  void add_tensor(std::string_view name, DType dtype, std::vector<int64_t> shape,
                  std::span<const std::byte> data) {
    data_.resize((data_.size() + alignment - 1) / alignment * alignment);
    std::vector<uint64_t> extents(shape.begin(), shape.end());
    raw_tensor(name, extents, static_cast<uint32_t>(dtype), data_.size());
    append(data_, std::string_view(reinterpret_cast<const char*>(data.data()), data.size()));
  }
  void add_f32_tensor(std::string_view name, std::vector<int64_t> shape,
                      std::span<const float> values) {
    add_tensor(name, DType::kF32, std::move(shape), std::as_bytes(values));
  }

  // An entry of any type with any bytes as its value.
  void raw_entry(std::string_view key, uint32_t type, std::string_view value) {
    append_text(entries_, key);
    append_number(entries_, type);
    append(entries_, value);
    ++keys_;
  }
  void raw_tensor(std::string_view name, std::span<const uint64_t> shape, uint32_t type,
                  uint64_t offset) {
    append_text(infos_, name);
    append_number(infos_, static_cast<uint32_t>(shape.size()));
    for (const uint64_t extent : shape) append_number(infos_, extent);
    append_number(infos_, type);
    append_number(infos_, offset);
    ++tensors_;
  }
  void raw_tensor(std::string_view name, std::initializer_list<uint64_t> shape, uint32_t type,
                  uint64_t offset) {
    raw_tensor(name, std::span(shape.begin(), shape.size()), type, offset);
  }
  void raw_data(std::string_view bytes) { append(data_, bytes); }

  std::string bytes() const {
    std::string out = magic;
    append_number(out, version);
    append_number(out, tensor_count.value_or(tensors_));
    append_number(out, key_count.value_or(keys_));
    append(out, entries_);
    append(out, infos_);
    if (data_.empty()) return out;
    out.resize((out.size() + alignment - 1) / alignment * alignment);
    append(out, data_);
    return out;
  }

  void write(const std::filesystem::path& path) const {
    const std::string content = bytes();
    std::ofstream(path, std::ios::binary) << content;
  }

  template <class T>
  static void append_number(std::string& out, T value) {
    append(out, std::string_view(reinterpret_cast<const char*>(&value), sizeof value));
  }
  static void append_text(std::string& out, std::string_view text) {
    append_number(out, static_cast<uint64_t>(text.size()));
    append(out, text);
  }

 private:
  static void append(std::string& out, std::string_view bytes) { out.append(bytes); }

  template <class T>
  static constexpr Type type_of() {
    if constexpr (std::is_same_v<T, float>) return Type::kF32;
    if constexpr (std::is_same_v<T, double>) return Type::kF64;
    if constexpr (std::is_same_v<T, uint8_t>) return Type::kU8;
    if constexpr (std::is_same_v<T, int8_t>) return Type::kI8;
    if constexpr (std::is_same_v<T, uint16_t>) return Type::kU16;
    if constexpr (std::is_same_v<T, int16_t>) return Type::kI16;
    if constexpr (std::is_same_v<T, uint32_t>) return Type::kU32;
    if constexpr (std::is_same_v<T, int32_t>) return Type::kI32;
    if constexpr (std::is_same_v<T, uint64_t>) return Type::kU64;
    return Type::kI64;
  }

  void begin(std::string_view key, Type type) {
    append_text(entries_, key);
    append_number(entries_, static_cast<uint32_t>(type));
    ++keys_;
  }
  void begin_array(std::string_view key, Type element, uint64_t count) {
    begin(key, Type::kArray);
    append_number(entries_, static_cast<uint32_t>(element));
    append_number(entries_, count);
  }
  template <class T>
  void add_number(std::string_view key, Type type, T value) {
    begin(key, type);
    append_number(entries_, value);
  }

  std::string entries_;
  std::string infos_;
  std::string data_;
  uint64_t keys_ = 0;
  uint64_t tensors_ = 0;
};

}  // namespace ration::test
