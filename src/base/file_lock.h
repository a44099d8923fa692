// base/file_lock.h - a lock between processes, on a file.
#pragma once

#include <filesystem>
#include <optional>

#include "base/result.h"

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

}  // namespace ration
