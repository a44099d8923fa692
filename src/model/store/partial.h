// model/store/partial.h - a download that grows on disk: one lock, one file, one running hash.
// Private to the store.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>

#include "base/result.h"
#include "base/sha256.h"
#include "base/unit.h"

namespace ration {

// An exclusive flock on a file of its own, so that two processes never write one download.
// Move-only. A child process that inherits descriptor() keeps the lock when we die.
class FileLock {
 public:
  // nullopt when another holds it. kIo when the file cannot be made.
  static Result<std::optional<FileLock>> try_take(const std::filesystem::path& path);
  // Waits for it; for locks that are held for moments only.
  static Result<FileLock> take(const std::filesystem::path& path);

  FileLock(FileLock&& other) noexcept;
  FileLock& operator=(FileLock&&) = delete;
  ~FileLock();

  int descriptor() const { return descriptor_; }
  // Also deletes the lock's file, while it is still held.
  void remove_file();

 private:
  FileLock(std::filesystem::path path, int descriptor)
      : path_(std::move(path)), descriptor_(descriptor) {}
  static Result<std::optional<FileLock>> take_how(const std::filesystem::path& path, int how);

  std::filesystem::path path_;
  int descriptor_ = -1;
};

// single-thread. REQUIRES: the caller holds the lock of this download.
class Partial {
 public:
  // Opens or creates. kIo.
  static Result<Partial> open(const std::filesystem::path& path);

  Partial(Partial&& other) noexcept;
  Partial& operator=(Partial&&) = delete;
  ~Partial();

  // What the file held when it was opened; nothing of it counts until adopt().
  Bytes found() const { return found_; }
  // Reads back the first `bytes` into the hash and drops what follows. `keep_going` gets the bytes
  // read so far; false ends it with kCancelled. REQUIRES: 0 <= bytes <= found().
  Status adopt(Bytes bytes, const std::function<bool(Bytes)>& keep_going);
  // Goes back to the first `bytes` of what was written, reading them again. REQUIRES: bytes <=
  // size().
  Status rewind(Bytes bytes, const std::function<bool(Bytes)>& keep_going);
  // Everything written so far survives a power cut from here on.
  Status sync();
  // Drops everything.
  Status restart();
  // Writes at the end. At most kSyncEvery bytes are in memory only. A full disk is kIo and says so.
  Status append(std::span<const std::byte> bytes);
  // Bytes adopted and appended so far.
  Bytes size() const { return size_; }
  // The hash of size() bytes; append() is over after this. Syncs the file.
  Result<std::string> finish();
  // Makes the finished file `target`; keeps nothing at the old path.
  Status move_to(const std::filesystem::path& target);

  const std::filesystem::path& path() const { return path_; }

  static constexpr Bytes kSyncEvery{8 * kMiB};

 private:
  Partial(std::filesystem::path path, int descriptor, Bytes found, Sha256 hash)
      : path_(std::move(path)), descriptor_(descriptor), found_(found), hash_(std::move(hash)) {}
  Error write_error(int error_number) const;

  std::filesystem::path path_;
  int descriptor_ = -1;
  Bytes found_{0};
  Bytes size_{0};
  Bytes unsynced_{0};
  Sha256 hash_;
};

// Creates a folder and its parents. kIo names it.
Status make_folder(const std::filesystem::path& folder);

// kOverBudget with the shortfall when fewer than `wanted` bytes are free where `folder` is.
Status check_free_disk(const std::filesystem::path& folder, Bytes wanted, std::string_view what);

}  // namespace ration
