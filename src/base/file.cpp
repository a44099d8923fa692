#include "base/file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <system_error>

namespace ration {
namespace {

namespace fs = std::filesystem;

int64_t changed_ns(const struct stat& status) {
  return status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec;
}

Error open_error(const fs::path& path, int error_number) {
  const Code code = error_number == ENOENT || error_number == ENOTDIR ? Code::kNotFound : Code::kIo;
  return Error{code, fmt::format("cannot open {}: {}", path.string(), error_text(error_number))};
}

// The mapped ranges, readable from a signal handler. A slot with begin 0 is free.
struct MappedRange {
  std::atomic<uintptr_t> begin{0};
  std::atomic<uintptr_t> end{0};
  std::array<char, 512> path{};
};
constexpr size_t kRangesMax = 256;
std::array<MappedRange, kRangesMax> mapped_ranges;
int truncation_exit_code = 4;

void remember_range(const std::byte* data, size_t size, const fs::path& path) {
  for (MappedRange& range : mapped_ranges) {
    uintptr_t free_slot = 0;
    if (range.end.load() != 0 || !range.begin.compare_exchange_strong(free_slot, 1)) continue;
    const std::string text = path.string();
    const size_t length = std::min(text.size(), range.path.size() - 1);
    std::memcpy(range.path.data(), text.data(), length);
    range.path[length] = '\0';
    range.begin = reinterpret_cast<uintptr_t>(data);
    range.end = reinterpret_cast<uintptr_t>(data) + size;
    return;
  }
}

void forget_range(const std::byte* data) {
  for (MappedRange& range : mapped_ranges) {
    if (range.begin.load() == reinterpret_cast<uintptr_t>(data)) {
      range.end = 0;
      range.begin = 0;
      return;
    }
  }
}

void on_bus_error(int, siginfo_t* info, void*) {
  const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  for (const MappedRange& range : mapped_ranges) {
    if (address < range.begin.load() || address >= range.end.load()) continue;
    const auto say = [](const char* text) {
      [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text, std::strlen(text));
    };
    say("ration: error: ");
    say(range.path.data());
    say(" was truncated while in use: pull or copy the file again\n");
    ::_exit(truncation_exit_code);
  }
  ::signal(SIGBUS, SIG_DFL);
  ::raise(SIGBUS);
}

}  // namespace

std::string error_text(int error_number) { return std::generic_category().message(error_number); }

Result<MappedFile> MappedFile::open(const fs::path& path) {
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.number < 0) return open_error(path, errno);
  struct stat status{};
  if (::fstat(file.number, &status) != 0) return open_error(path, errno);
  if (!S_ISREG(status.st_mode)) {
    return Error{Code::kInvalid, fmt::format("{} is not a file", path.string())};
  }
  if (status.st_size == 0) {
    return Error{Code::kCorrupt, fmt::format("{} is empty", path.string())};
  }
  const auto size = static_cast<size_t>(status.st_size);
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file.number, 0);
  if (data == MAP_FAILED) {
    return Error{Code::kIo, fmt::format("cannot map {}: {}", path.string(), error_text(errno))};
  }
  MappedFile mapped;
  mapped.path_ = path;
  mapped.data_ = static_cast<const std::byte*>(data);
  mapped.size_ = size;
  mapped.identity_ = {status.st_dev, status.st_ino, changed_ns(status)};
  remember_range(mapped.data_, size, path);
  return mapped;
}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  if (this != &other) {
    close();
    path_ = std::move(other.path_);
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
    identity_ = other.identity_;
  }
  return *this;
}

void MappedFile::close() {
  if (!data_) return;
  forget_range(data_);
  ::munmap(const_cast<std::byte*>(data_), size_);
  data_ = nullptr;
}

Status MappedFile::unchanged() const {
  struct stat status{};
  if (::stat(path_.c_str(), &status) != 0) {
    if (errno == ENOENT) return {};
    return open_error(path_, errno);
  }
  if (status.st_dev != identity_.device || status.st_ino != identity_.inode) {
    return Error{Code::kCorrupt,
                 fmt::format("{} was replaced since it was loaded", path_.string())};
  }
  if (static_cast<size_t>(status.st_size) != size_) {
    return Error{Code::kCorrupt,
                 fmt::format("{} changed since it was loaded: found {} bytes, wanted {}",
                             path_.string(), status.st_size, size_)};
  }
  if (changed_ns(status) != identity_.changed_ns) {
    return Error{Code::kCorrupt,
                 fmt::format("{} was written to since it was loaded", path_.string())};
  }
  return {};
}

void MappedFile::release(std::span<const std::byte> bytes) const {
  constexpr uintptr_t kPage = 4096;
  if (bytes.data() < data_ || bytes.data() + bytes.size() > data_ + size_) return;
  const auto address = reinterpret_cast<uintptr_t>(bytes.data());
  const uintptr_t begin = (address + kPage - 1) / kPage * kPage;
  const uintptr_t end = (address + bytes.size()) / kPage * kPage;
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

void install_truncation_guard(int exit_code) {
  truncation_exit_code = exit_code;
  struct sigaction action{};
  action.sa_sigaction = on_bus_error;
  action.sa_flags = SA_SIGINFO;
  ::sigaction(SIGBUS, &action, nullptr);
}

Result<std::string> read_file(const fs::path& path, Bytes bytes_max) {
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.number < 0) return open_error(path, errno);
  std::string content;
  constexpr size_t kChunk = 64 * 1024;
  while (true) {
    const size_t old_size = content.size();
    if (old_size > static_cast<size_t>(bytes_max.count)) {
      return Error{Code::kInvalid, fmt::format("{} is larger than {}, the most that is read",
                                               path.string(), to_text(bytes_max))};
    }
    content.resize(old_size + kChunk);
    const ssize_t got = ::read(file.number, content.data() + old_size, kChunk);
    const int error_number = errno;
    content.resize(old_size + static_cast<size_t>(std::max<ssize_t>(got, 0)));
    if (got == 0) return content;
    if (got < 0 && error_number != EINTR) {
      return Error{Code::kIo,
                   fmt::format("cannot read {}: {}", path.string(), error_text(error_number))};
    }
  }
}

Status write_all(int descriptor, std::span<const std::byte> bytes, const fs::path& path) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return io_error("write", path, errno);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return {};
}

Status write_file_atomically(const fs::path& path, std::string_view content) {
  std::string temporary = path.string() + ".XXXXXX";
  const Descriptor file{::mkostemp(temporary.data(), O_CLOEXEC)};
  if (file.number < 0) {
    return Error{Code::kIo, fmt::format("cannot write {}: {}", path.string(), error_text(errno))};
  }
  Status written = write_all(file.number, std::as_bytes(std::span(content)), path);
  if (written && ::fsync(file.number) != 0) {
    written = Error{Code::kIo, fmt::format("cannot sync {}: {}", path.string(), error_text(errno))};
  }
  if (written && ::fchmod(file.number, 0644) == 0 &&
      ::rename(temporary.c_str(), path.c_str()) != 0) {
    written =
        Error{Code::kIo, fmt::format("cannot rename to {}: {}", path.string(), error_text(errno))};
  }
  if (!written) ::unlink(temporary.c_str());
  return written;
}

void Descriptor::reset() {
  if (number >= 0) ::close(number);
  number = -1;
}

Error io_error(std::string_view verb, const fs::path& path, int error_number) {
  return Error{Code::kIo,
               fmt::format("cannot {} {}: {}", verb, path.string(), error_text(error_number))};
}

Status make_folder(const fs::path& folder) {
  std::error_code problem;
  if (!folder.empty()) fs::create_directories(folder, problem);
  if (problem) {
    return Error{Code::kIo,
                 fmt::format("cannot make the folder {}: {}", folder.string(), problem.message())};
  }
  return {};
}

Result<Bytes> free_disk(const fs::path& path) {
  fs::path folder = fs::absolute(path);
  std::error_code ignored;
  while (!fs::exists(folder, ignored) && folder.has_relative_path()) folder = folder.parent_path();
  struct statvfs status{};
  if (::statvfs(folder.c_str(), &status) != 0) {
    return Error{Code::kIo, fmt::format("cannot ask for free space of {}: {}", folder.string(),
                                        error_text(errno))};
  }
  return Bytes{static_cast<int64_t>(status.f_bavail) * static_cast<int64_t>(status.f_frsize)};
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

Result<fs::path> cache_folder() {
  const auto from = [](const char* name) -> fs::path {
    const char* value = std::getenv(name);
    return value && *value ? fs::path(value) : fs::path();
  };
  if (const fs::path home = from("RATION_HOME"); !home.empty()) return home;
  if (const fs::path cache = from("XDG_CACHE_HOME"); !cache.empty()) return cache / "ration";
  if (const fs::path home = from("HOME"); !home.empty()) return home / ".cache" / "ration";
  return Error{Code::kInvalid, "none of RATION_HOME, XDG_CACHE_HOME and HOME is set"};
}

}  // namespace ration
