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

void sync_folder(const fs::path& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;
  ::fsync(descriptor);
  ::close(descriptor);
}

}  // namespace

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

}  // namespace ration
