#include "model/store/partial.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "base/file.h"

namespace ration {
namespace {

namespace fs = std::filesystem;

Error io_error(std::string_view verb, const fs::path& path, int error_number) {
  return Error{Code::kIo,
               fmt::format("cannot {} {}: {}", verb, path.string(), error_text(error_number))};
}

// Whether `descriptor` is still the file at `path`: the holder before us may have deleted it.
bool is_current(int descriptor, const fs::path& path) {
  struct stat ours{};
  struct stat named{};
  return ::fstat(descriptor, &ours) == 0 && ::stat(path.c_str(), &named) == 0 &&
         ours.st_ino == named.st_ino && ours.st_dev == named.st_dev;
}

void sync_folder(const fs::path& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;
  ::fsync(descriptor);
  ::close(descriptor);
}

}  // namespace

Result<std::optional<FileLock>> FileLock::take_how(const fs::path& path, int how) {
  if (Status made = make_folder(path.parent_path()); !made) return made.error();
  while (true) {
    const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
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

Result<Partial> Partial::open(const fs::path& path) {
  if (Status made = make_folder(path.parent_path()); !made) return made.error();
  Result<Sha256> hash = Sha256::start();
  if (!hash) return hash.error();
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (descriptor < 0) return io_error("open", path, errno);
  Partial partial(path, descriptor, Bytes{0}, std::move(*hash));
  struct stat status{};
  if (::fstat(descriptor, &status) != 0) return io_error("open", path, errno);
  partial.found_ = Bytes{status.st_size};
  return partial;
}

Partial::Partial(Partial&& other) noexcept
    : path_(std::move(other.path_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      found_(other.found_),
      size_(other.size_),
      unsynced_(other.unsynced_),
      hash_(std::move(other.hash_)) {}

Partial::~Partial() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Status Partial::adopt(Bytes bytes, const std::function<bool(Bytes)>& keep_going) {
  CHECK(bytes.count >= 0 && bytes <= found_ && size_.count == 0);
  std::vector<std::byte> buffer(static_cast<size_t>(kMiB));
  while (size_ < bytes) {
    const auto wanted = static_cast<size_t>(std::min<int64_t>(kMiB, (bytes - size_).count));
    const ssize_t got = ::pread(descriptor_, buffer.data(), wanted, size_.count);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return io_error("read", path_, errno);
    if (got == 0) return io_error("read", path_, EIO);
    hash_.update(std::span(buffer).first(static_cast<size_t>(got)));
    size_ += Bytes{got};
    if (keep_going && !keep_going(size_)) return Error{Code::kCancelled, "stopped"};
  }
  if (::ftruncate(descriptor_, size_.count) != 0) return io_error("truncate", path_, errno);
  return {};
}

Status Partial::rewind(Bytes bytes, const std::function<bool(Bytes)>& keep_going) {
  CHECK(bytes <= size_);
  const Bytes written = size_;
  Result<Sha256> hash = Sha256::start();
  if (!hash) return hash.error();
  hash_ = std::move(*hash);
  found_ = written;
  size_ = Bytes{0};
  return adopt(bytes, keep_going);
}

Status Partial::sync() {
  unsynced_ = Bytes{0};
  if (::fdatasync(descriptor_) != 0) return write_error(errno);
  return {};
}

Status Partial::restart() {
  Result<Sha256> hash = Sha256::start();
  if (!hash) return hash.error();
  hash_ = std::move(*hash);
  found_ = size_ = unsynced_ = Bytes{0};
  if (::ftruncate(descriptor_, 0) != 0) return io_error("truncate", path_, errno);
  return {};
}

Error Partial::write_error(int error_number) const {
  const bool full = error_number == ENOSPC || error_number == EDQUOT || error_number == EFBIG;
  if (!full) return io_error("write", path_, error_number);
  const char* what = error_number == ENOSPC   ? "the disk is full"
                     : error_number == EDQUOT ? "the disk quota is used up"
                                              : "the file size limit is reached";
  return Error{
      Code::kIo,
      fmt::format("{} after {} of {}: what has arrived is kept, make room and run the same "
                  "command again, or 'ration rm' it",
                  what, to_text(size_), path_.string())};
}

Status Partial::append(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(descriptor_, bytes.data(), bytes.size(), size_.count);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return write_error(errno);
    hash_.update(bytes.first(static_cast<size_t>(written)));
    size_ += Bytes{written};
    unsynced_ += Bytes{written};
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return unsynced_ < kSyncEvery ? Status() : sync();
}

Result<std::string> Partial::finish() {
  if (::fsync(descriptor_) != 0) return write_error(errno);
  return hash_.finish();
}

Status Partial::move_to(const fs::path& target) {
  if (Status made = make_folder(target.parent_path()); !made) return made.error();
  if (::fchmod(descriptor_, 0444) != 0 || ::rename(path_.c_str(), target.c_str()) != 0) {
    return io_error("rename a download to", target, errno);
  }
  sync_folder(target.parent_path());
  return {};
}

Status make_folder(const fs::path& folder) {
  std::error_code problem;
  fs::create_directories(folder, problem);
  if (problem) {
    return Error{Code::kIo,
                 fmt::format("cannot make the folder {}: {}", folder.string(), problem.message())};
  }
  return {};
}

Status check_free_disk(const fs::path& folder, Bytes wanted, std::string_view what) {
  const Result<Bytes> free = free_disk(folder);
  if (!free) return free.error();
  if (*free >= wanted) return {};
  return Error{
      Code::kOverBudget,
      fmt::format("not enough room on the disk for {}: found {} free in {}, wanted {}, {} short",
                  what, to_text(*free), folder.string(), to_text(wanted), to_text(wanted - *free)),
      Shortfall{wanted.count, free->count}};
}

}  // namespace ration
