#include "model/gguf.h"

#include <fmt/core.h>

#include <iterator>
#include <utility>

#include "model/gguf_reader.h"
#include "model/safetensors_folder.h"

namespace ration {
namespace {

namespace fs = std::filesystem;

// Parts of one split model; each costs a mapping.
constexpr int64_t kPartsMax = 1024;
// "-00002-of-00003.gguf"
std::string part_suffix(int64_t number, int64_t count) {
  return fmt::format("-{:05}-of-{:05}.gguf", number, count);
}

}  // namespace

std::string model_name(const fs::path& path) {
  if (path.extension() != ".safetensors") return path.stem().string();
  return fs::absolute(path).lexically_normal().parent_path().filename().string();
}

Error Gguf::error(std::string_view message, Code code) const {
  return {code, fmt::format("{}: {}", path().string(), message)};
}

Result<Gguf> Gguf::open_part(const fs::path& path) {
  Result<MappedFile> file = MappedFile::open(path);
  if (!file) return file.error();
  Gguf part;
  part.files_.push_back(*std::move(file));
  Result<GgufHeader> header = read_gguf_header(part.files_.front().bytes());
  if (!header) return part.error(header.error().message, header.error().code);
  if (const Status adopted = part.adopt(*std::move(header)); !adopted) return adopted.error();
  return part;
}

Status Gguf::adopt(GgufHeader header) {
  tensors_ = std::move(header.tensors);
  keys_.reserve(header.entries.size());  // views of the elements stay good
  for (GgufEntry& entry : header.entries) {
    const std::string& key = keys_.emplace_back(std::move(entry.key));
    if (!values_.emplace(key, entry.value).second) {
      return error(fmt::format("key {}: found twice, wanted once", gguf_quoted(key)));
    }
  }
  return {};
}

Result<Gguf> Gguf::open_safetensors(const fs::path& path) {
  Result<MappedFile> file = MappedFile::open(path);
  if (!file) return file.error();
  Gguf whole;
  whole.files_.push_back(*std::move(file));
  Result<ImportedModel> model =
      import_safetensors(whole.files_.front().bytes(), path.parent_path());
  if (!model) return whole.error(model.error().message, model.error().code);
  whole.owned_ = std::move(model->owned);
  if (const Status adopted = whole.adopt(std::move(model->header)); !adopted) {
    return adopted.error();
  }
  if (const Status indexed = whole.index_tensors(); !indexed) return indexed.error();
  return whole;
}

Result<std::vector<fs::path>> Gguf::part_paths() const {
  const Result<std::optional<int64_t>> found = find_int("split.count");
  if (!found) return found.error();
  const int64_t count = found->value_or(0);
  if (count == 0 || count == 1) return std::vector{path()};
  if (count < 0 || count > kPartsMax) {
    return error(fmt::format("key 'split.count': found {}, wanted 0 to {}", count, kPartsMax));
  }
  const Result<int64_t> number = get_int("split.no");
  if (!number) return number.error();
  if (*number < 0 || *number >= count) {
    return error(fmt::format("key 'split.no': found {}, wanted 0 to {}", *number, count - 1));
  }
  const std::string name = path().filename().string();
  const std::string suffix = part_suffix(*number + 1, count);
  if (!name.ends_with(suffix)) {
    return error(fmt::format("found part {} of {} under this name, wanted a name that ends in {}",
                             *number + 1, count, suffix));
  }
  const std::string prefix = name.substr(0, name.size() - suffix.size());
  std::vector<fs::path> paths;
  for (int64_t i = 1; i <= count; ++i) {
    paths.push_back(path().parent_path() / (prefix + part_suffix(i, count)));
  }
  return paths;
}

Status Gguf::check_part(int64_t number, int64_t count) const {
  const Result<int64_t> found_number = get_int("split.no");
  if (!found_number) return found_number.error();
  const Result<int64_t> found_count = get_int("split.count");
  if (!found_count) return found_count.error();
  if (*found_number == number - 1 && *found_count == count) return {};
  return error(fmt::format("found split.no {} and split.count {}, wanted {} and {}", *found_number,
                           *found_count, number - 1, count));
}

Result<Gguf> Gguf::open_parts(std::span<const fs::path> paths) {
  const auto count = static_cast<int64_t>(paths.size());
  std::optional<Gguf> whole;
  for (int64_t number = 1; number <= count; ++number) {
    Result<Gguf> part = open_part(paths[static_cast<size_t>(number - 1)]);
    if (!part) {
      return Error{part.error().code,
                   fmt::format("part {} of {}: {}", number, count, part.error().message)};
    }
    if (const Status checked = part->check_part(number, count); !checked) return checked.error();
    if (!whole) {
      whole = *std::move(part);
      continue;
    }
    if (whole->tensors_.size() + part->tensors_.size() > kGgufTensorsMax) {
      return part->error(fmt::format("found {} tensors up to part {}, wanted at most {}",
                                     whole->tensors_.size() + part->tensors_.size(), number,
                                     kGgufTensorsMax));
    }
    whole->files_.push_back(std::move(part->files_.front()));
    whole->tensors_.insert(whole->tensors_.end(), std::make_move_iterator(part->tensors_.begin()),
                           std::make_move_iterator(part->tensors_.end()));
  }
  const Result<std::optional<int64_t>> wanted = whole->find_int("split.tensors.count");
  if (!wanted) return wanted.error();
  const auto found = static_cast<int64_t>(whole->tensors_.size());
  if (wanted->value_or(found) != found) {
    return whole->error(
        fmt::format("found {} tensors in {} parts, wanted {} (key 'split.tensors.count')", found,
                    count, **wanted));
  }
  return *std::move(whole);
}

Status Gguf::index_tensors() {
  tensor_index_.reserve(tensors_.size());
  for (size_t i = 0; i < tensors_.size(); ++i) {
    const std::string& name = tensors_[i].name;
    if (!tensor_index_.emplace(name, i).second) {
      return error(fmt::format("tensor {}: found twice, wanted once", gguf_quoted(name)));
    }
  }
  return {};
}

Result<Gguf> Gguf::open(const fs::path& path) {
  std::error_code ignored;
  const fs::path weights = path / "model.safetensors";
  if (fs::is_regular_file(weights, ignored)) return open_safetensors(weights);
  if (path.extension() == ".safetensors") return open_safetensors(path);
  Result<Gguf> opened = open_part(path);
  if (!opened) return opened.error();
  const Result<std::vector<fs::path>> paths = opened->part_paths();
  if (!paths) return paths.error();
  if (paths->size() > 1) opened = open_parts(*paths);
  if (!opened) return opened.error();
  if (const Status indexed = opened->index_tensors(); !indexed) return indexed.error();
  return opened;
}

const GgufValue* Gguf::find(std::string_view key) const {
  const auto found = values_.find(key);
  return found == values_.end() ? nullptr : &found->second;
}

const GgufTensor* Gguf::find_tensor(std::string_view name) const {
  const auto found = tensor_index_.find(name);
  return found == tensor_index_.end() ? nullptr : &tensors_[found->second];
}

std::vector<std::filesystem::path> Gguf::paths() const {
  std::vector<std::filesystem::path> paths;
  for (const MappedFile& file : files_) paths.push_back(file.path());
  return paths;
}

void Gguf::release(std::span<const std::byte> bytes) const {
  for (const MappedFile& file : files_) file.release(bytes);
}

void Gguf::release() const {
  for (const MappedFile& file : files_) file.release(file.bytes());
}

Bytes Gguf::file_bytes() const {
  Bytes sum{0};
  for (const MappedFile& file : files_) sum += Bytes{static_cast<int64_t>(file.bytes().size())};
  return sum;
}

Bytes Gguf::tensor_bytes() const {
  Bytes sum{0};
  for (const GgufTensor& tensor : tensors_) sum += Bytes{static_cast<int64_t>(tensor.bytes.size())};
  return sum;
}

Status Gguf::unchanged() const {
  for (const MappedFile& file : files_) {
    if (const Status status = file.unchanged(); !status) return status.error();
  }
  return {};
}

}  // namespace ration
