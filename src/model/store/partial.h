// model/store/partial.h - a download that grows on disk: one file, one running hash.
// Private to the store.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>

#include "base/file_lock.h"
#include "base/result.h"
#include "base/sha256.h"
#include "base/unit.h"

namespace ration {

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

}  // namespace ration
