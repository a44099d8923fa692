#include "base/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/file.h"

namespace ration {
namespace {

namespace fs = std::filesystem;

// Whether `descriptor` is still the file at `path`: the holder before us may have deleted it.
bool is_current(int descriptor, const fs::path& path) {
  struct stat ours{};
  struct stat named{};
  return ::fstat(descriptor, &ours) == 0 && ::stat(path.c_str(), &named) == 0 &&
         ours.st_ino == named.st_ino && ours.st_dev == named.st_dev;
}

}  // namespace

Result<std::optional<FileLock>> FileLock::take_how(const fs::path& path, int how) {
  if (Status made = make_folder(path.parent_path()); !made) return made.error();
  while (true) {
    const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (descriptor < 0) return io_error("open", path, errno);
    FileLock lock(path, descriptor);
    int outcome = 0;
    do {
      outcome = ::flock(descriptor, how);
    } while (outcome != 0 && errno == EINTR);
    if (outcome != 0 && errno == EWOULDBLOCK) return std::optional<FileLock>();
    if (outcome != 0) return io_error("lock", path, errno);
    if (is_current(descriptor, path)) return std::optional<FileLock>(std::move(lock));
  }
}

Result<std::optional<FileLock>> FileLock::try_take(const fs::path& path) {
  return take_how(path, LOCK_EX | LOCK_NB);
}

Result<FileLock> FileLock::take(const fs::path& path) {
  Result<std::optional<FileLock>> lock = take_how(path, LOCK_EX);
  if (!lock) return lock.error();
  return std::move(**lock);
}

FileLock::FileLock(FileLock&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}

FileLock::~FileLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void FileLock::remove_file() { ::unlink(path_.c_str()); }

}  // namespace ration
