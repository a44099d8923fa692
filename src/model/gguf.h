// model/gguf.h - a GGUF file (versions 2 and 3, whole or split), mapped and checked.
//
// A folder with model.safetensors is read too, and looks as a GGUF file of the same model would
// (model/safetensors_folder.h).
//
// Everything in the file is untrusted: every length, offset, count, type and string is validated
// before it is used, and opening never allocates more than 16 MiB + 4x the file. After open()
// succeeds, each tensor's bytes lie inside the mapping, aligned as the file promises.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/file.h"
#include "base/result.h"
#include "tensor/matrix.h"

namespace ration {

// One metadata value. Strings and arrays point into the mapping. A string may hold any bytes (token
// lists do); keys and tensor names are valid UTF-8 without control characters.
struct GgufValue {
  // The values are GGUF's value type ids.
  enum class Type : uint32_t {
    kU8,
    kI8,
    kU16,
    kI16,
    kU32,
    kI32,
    kF32,
    kBool,
    kString,
    kArray,
    kU64,
    kI64,
    kF64,
  };
  Type type = Type::kU8;
  Type element = Type::kU8;  // of an array
  uint64_t count = 1;        // elements of an array
  // Little-endian and not aligned: a scalar's value, a string's characters, or an array's elements
  // (of strings each as u64 length + characters).
  std::span<const std::byte> bytes;
};
// "u32", "string", "array" and so on, for messages.
std::string_view type_name(GgufValue::Type type);

struct GgufTensor {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;  // 1 to 4, fastest first, as in the file: {cols, rows, ...}
  std::span<const std::byte> bytes;

  int64_t cols() const { return shape[0]; }
  int64_t rows() const {
    int64_t product = 1;
    for (size_t i = 1; i < shape.size(); ++i) product *= shape[i];
    return product;
  }
  Matrix matrix() const { return {dtype, Layout::kRowMajor, rows(), cols(), bytes.data()}; }
};

struct GgufHeader;

// What a model is called by its file: the name without folder and ending; of safetensors, the
// folder's.
std::string model_name(const std::filesystem::path& path);

// shared-const after open().
class Gguf {
 public:
  // Opens `path`; of a split file, any part (the others are found beside it by name). A folder, or
  // a file called *.safetensors, is a model with its files beside it.
  // kNotFound, kIo; kCorrupt says which field, what was found and what was wanted; kUnsupported for
  // a version, tensor type or byte order we do not read.
  static Result<Gguf> open(const std::filesystem::path& path);

  // Typed look-ups. The optional forms give nullopt when the key is absent; all give kCorrupt when
  // it has another type. Integers of any width and sign convert when the value fits.
  bool has(std::string_view key) const { return find(key) != nullptr; }
  Result<std::optional<int64_t>> find_int(std::string_view key) const;
  Result<std::optional<double>> find_float(std::string_view key) const;  // integers convert
  Result<std::optional<bool>> find_bool(std::string_view key) const;
  Result<std::optional<std::string_view>> find_string(std::string_view key) const;
  // The required forms: kCorrupt "key X is missing".
  Result<int64_t> get_int(std::string_view key) const;
  Result<double> get_float(std::string_view key) const;
  Result<std::string_view> get_string(std::string_view key) const;
  // Arrays; empty when the key is absent. The strings point into the mapping. kCorrupt when the key
  // is no array of that kind (booleans count as integers here, integers as floats); kUnsupported
  // for more than 2^20 elements of one or two bytes, which find() serves as bytes.
  Result<std::vector<std::string_view>> get_strings(std::string_view key) const;
  Result<std::vector<double>> get_floats(std::string_view key) const;
  Result<std::vector<int64_t>> get_ints(std::string_view key) const;

  // nullptr when absent.
  const GgufValue* find(std::string_view key) const;
  const GgufTensor* find_tensor(std::string_view name) const;
  // Keys in file order, for `show`.
  std::span<const std::string> keys() const { return keys_; }
  std::span<const GgufTensor> tensors() const { return tensors_; }

  const std::filesystem::path& path() const { return files_.front().path(); }
  std::vector<std::filesystem::path> paths() const;  // of all parts, in order
  Bytes file_bytes() const;
  Bytes tensor_bytes() const;
  // As MappedFile::release: of the part that the bytes lie in, and of all parts.
  void release(std::span<const std::byte> bytes) const;
  void release() const;
  // Whether every part is still the file that was opened.
  Status unchanged() const;

 private:
  Gguf() = default;
  static Result<Gguf> open_safetensors(const std::filesystem::path& path);
  // The keys, values and tensors of a header. kCorrupt for a key that is there twice.
  Status adopt(GgufHeader header);
  // One part alone; its tensors are not indexed yet.
  static Result<Gguf> open_part(const std::filesystem::path& path);
  static Result<Gguf> open_parts(std::span<const std::filesystem::path> paths);
  // The files of the model that this one is a part of, in order; only its own path when it is
  // whole.
  Result<std::vector<std::filesystem::path>> part_paths() const;
  // That the file says it is part `number` (from 1) of `count`.
  Status check_part(int64_t number, int64_t count) const;
  Status index_tensors();
  Error error(std::string_view message, Code code = Code::kCorrupt) const;
  // nullptr when absent; kCorrupt when it is no array.
  Result<const GgufValue*> find_array(std::string_view key) const;
  Error wrong_value(std::string_view key, std::string_view message) const;

  std::vector<MappedFile> files_;  // in the order of the parts
  std::deque<std::string> owned_;  // values that no file holds
  std::vector<std::string> keys_;
  std::unordered_map<std::string_view, GgufValue> values_;  // the keys are views of keys_
  std::vector<GgufTensor> tensors_;
  std::unordered_map<std::string_view, size_t> tensor_index_;  // views of the tensors' names
};

}  // namespace ration
