// base/file.h - files that are mapped, read whole, or replaced all at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/unit.h"

namespace ration {

// A read-only view of a whole file. Move-only; the bytes live as long as the object.
//
// A file that is deleted while mapped goes on working. One that is truncated makes the kernel raise
// SIGBUS on the next touch of a lost page: install_truncation_guard() turns that into clear words.
class MappedFile {
 public:
  // kNotFound, kIo; kInvalid for a folder or an empty file.
  static Result<MappedFile> open(const std::filesystem::path& path);

  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept { *this = std::move(other); }
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile() { close(); }

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::filesystem::path& path() const { return path_; }
  // Whether the path still names the very file that was mapped, unchanged (device, inode, size,
  // time of change). A deleted file counts as unchanged: the mapping keeps it. kCorrupt says what
  // differs.
  Status unchanged() const;
  // These bytes are done with for now: their pages stop counting as this process's memory, and come
  // back when they are touched. Nothing happens when they lie outside.
  void release(std::span<const std::byte> bytes) const;

 private:
  void close();

  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
  struct Identity {
    uint64_t device = 0;
    uint64_t inode = 0;
    int64_t changed_ns = 0;
  } identity_;
};

// From now on SIGBUS inside a mapped file prints "FILE was truncated while in use" and exits with
// `exit_code`; anywhere else it crashes as before. Call once from main.
void install_truncation_guard(int exit_code);

// The whole file, at most `bytes_max`. kNotFound, kIo; kInvalid when it is larger.
Result<std::string> read_file(const std::filesystem::path& path, Bytes bytes_max);

// All of the bytes, where the open file stands. kIo names the path and the reason.
Status write_all(int descriptor, std::span<const std::byte> bytes,
                 const std::filesystem::path& path);

// Writes to a temporary name in the same folder, syncs and renames: readers see the old content or
// the new one, never half. kIo names the path and the reason.
Status write_file_atomically(const std::filesystem::path& path, std::string_view content);

// Creates a folder and its parents; "" is the present one. kIo names it.
Status make_folder(const std::filesystem::path& folder);

// Free bytes an unprivileged writer may still use on the disk that holds `path` or its nearest
// existing parent.
Result<Bytes> free_disk(const std::filesystem::path& path);

// kOverBudget with the shortfall when fewer than `wanted` bytes are free where `folder` is.
Status check_free_disk(const std::filesystem::path& folder, Bytes wanted, std::string_view what);

// "$XDG_CACHE_HOME/ration", or "$HOME/.cache/ration"; RATION_HOME wins over both.
// kInvalid when none of the three is set.
Result<std::filesystem::path> cache_folder();

// strerror without the thread trouble.
std::string error_text(int error_number);
// kIo: "cannot VERB PATH: what the system says".
Error io_error(std::string_view verb, const std::filesystem::path& path, int error_number);

// An open file, closed on every way out.
struct Descriptor {
  int number = -1;

  explicit Descriptor(int number_in) : number(number_in) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { reset(); }
  void reset();
};

}  // namespace ration
