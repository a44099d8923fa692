// Any bytes as a GGUF file: an Error or a file that keeps its promises, never a crash, and never
// more allocated than 16 MiB + 4x the file. Input with a second "GGUF" in it is tried as a split
// model too.
#include <fcntl.h>
#include <sanitizer/allocator_interface.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/check.h"
#include "base/text.h"
#include "base/unit.h"
#include "model/gguf.h"

namespace ration {
namespace {

namespace fs = std::filesystem;

// Bytes asked for on this thread while `counting`; what is given back does not count, so this is an
// upper bound of what was held at any time.
thread_local bool counting = false;
thread_local size_t allocated = 0;
void on_malloc(const volatile void*, size_t size) {
  if (counting) allocated += size;
}
void on_free(const volatile void*) {}

// Runs `work` and checks what it allocated.
template <class Work>
auto bounded(size_t file_bytes, Work work) {
  allocated = 0;
  counting = true;
  auto out = work();
  counting = false;
  CHECK(allocated <= 16 * kMiB + 4 * file_bytes, std::to_string(allocated));
  return out;
}

// Files in memory under names as a split model has them.
struct Scratch {
  fs::path folder;
  int descriptors[2];

  Scratch() {
    __sanitizer_install_malloc_and_free_hooks(on_malloc, on_free);
    std::string name = (fs::temp_directory_path() / "ration_gguf_fuzz.XXXXXX").string();
    CHECK(::mkdtemp(name.data()) != nullptr);
    folder = name;
    for (int i = 0; i < 2; ++i) {
      descriptors[i] = ::memfd_create("gguf", MFD_CLOEXEC);
      CHECK(descriptors[i] >= 0);
      fs::create_symlink("/proc/self/fd/" + std::to_string(descriptors[i]), path(i));
    }
  }
  ~Scratch() {
    std::error_code ignored;
    fs::remove_all(folder, ignored);
  }
  fs::path path(int part) const {
    return folder / (part == 0 ? "m-00001-of-00002.gguf" : "m-00002-of-00002.gguf");
  }
  void write(int part, std::string_view bytes) const {
    CHECK(::ftruncate(descriptors[part], 0) == 0);
    const auto written = ::pwrite(descriptors[part], bytes.data(), bytes.size(), 0);
    CHECK(written == static_cast<ssize_t>(bytes.size()));
  }
};

template <class T>
void check_error(const Result<T>& result) {
  if (result) return;
  const Error& error = result.error();
  CHECK(error.code == Code::kCorrupt || error.code == Code::kUnsupported, error.message);
  CHECK(is_valid_utf8(error.message) && error.message.size() < 1000);
  for (const char c : error.message) CHECK(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f);
}

void check_keys(const Gguf& file, size_t file_bytes) {
  for (const std::string& key : file.keys()) {
    CHECK(file.has(key));
    check_error(file.find_int(key));
    check_error(file.find_float(key));
    check_error(file.find_bool(key));
    check_error(file.get_string(key));
    const auto strings = bounded(file_bytes, [&] { return file.get_strings(key); });
    check_error(strings);
    if (strings) {
      size_t sum = 0;
      for (const std::string_view text : *strings) {
        for (const char c : text) sum += static_cast<unsigned char>(c);
      }
      CHECK(sum < ~size_t{0});
    }
    check_error(bounded(file_bytes, [&] { return file.get_floats(key); }));
    check_error(bounded(file_bytes, [&] { return file.get_ints(key); }));
  }
}

void check_tensors(const Gguf& file) {
  int64_t sum = 0;
  for (const GgufTensor& tensor : file.tensors()) {
    CHECK(file.find_tensor(tensor.name) == &tensor);
    CHECK(tensor.matrix().bytes() == static_cast<int64_t>(tensor.bytes.size()));
    CHECK(reinterpret_cast<uintptr_t>(tensor.bytes.data()) % 8 == 0);
    // Outside the mapping these would fault.
    const volatile std::byte first = tensor.bytes.front();
    const volatile std::byte last = tensor.bytes.back();
    static_cast<void>(first);
    static_cast<void>(last);
    sum += tensor.matrix().bytes();
  }
  // No byte belongs to two tensors.
  CHECK(sum == file.tensor_bytes().count && sum <= file.file_bytes().count);
}

void check_open(const fs::path& path, size_t file_bytes) {
  const Result<Gguf> file = bounded(file_bytes, [&] { return Gguf::open(path); });
  check_error(file);
  if (!file) return;
  check_keys(*file, file_bytes);
  check_tensors(*file);
}

}  // namespace
}  // namespace ration

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace std::string_view_literals;
  static const ration::Scratch scratch;
  if (size == 0) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t second = input.rfind("GGUF"sv);
  const bool split = second != std::string_view::npos && second > 0;
  scratch.write(0, split ? input.substr(0, second) : input);
  scratch.write(1, split ? input.substr(second) : input);
  ration::check_open(scratch.path(0), size);
  if (split) ration::check_open(scratch.path(1), size);
  return 0;
}
