#include "model/store/disk.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>

#include "base/file.h"
#include "base/sha256.h"
#include "model/packed_name.h"

namespace ration {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kLink = ".beside";

// Regular files below a folder, and links as what they are.
template <class Visit>
void visit_files(const fs::path& folder, Visit visit) {
  std::error_code problem;
  for (fs::recursive_directory_iterator entry(folder, problem), end; !problem && entry != end;
       entry.increment(problem)) {
    std::error_code gone;
    const fs::file_status status = entry->symlink_status(gone);
    if (!gone && !fs::is_directory(status)) visit(*entry, fs::is_symlink(status));
  }
}

Bytes size_of(const fs::path& path) {
  std::error_code gone;
  const auto bytes = fs::file_size(path, gone);
  return Bytes{gone ? 0 : static_cast<int64_t>(bytes)};
}

bool is_packed_name(const fs::path& path) {
  const std::string name = path.filename().string();
  return name.ends_with(kPackedEnding) || name.ends_with(std::string(kPackedEnding) + ".part");
}

// Packed weights that nobody uses: the lock keeps others from opening them until it is gone.
struct Unused {
  fs::path path;
  Bytes bytes{0};
  timespec used{};
  std::unique_ptr<Descriptor> lock;
};

std::optional<Unused> take_unused(const fs::path& path) {
  Unused unused{.path = path,
                .lock = std::make_unique<Descriptor>(
                    ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOATIME))};
  const int file = unused.lock->number;
  struct stat status{};
  std::array<char, kPackedMagic.size()> magic{};
  if (file < 0 || ::fstat(file, &status) != 0 || !S_ISREG(status.st_mode) ||
      status.st_uid != ::geteuid() ||
      ::pread(file, magic.data(), magic.size(), 0) != static_cast<ssize_t>(magic.size()) ||
      magic != kPackedMagic || ::flock(file, LOCK_EX | LOCK_NB) != 0) {
    return std::nullopt;
  }
  unused.bytes = Bytes{status.st_size};
  unused.used = status.st_atim;
  return unused;
}

// Least recently used first.
std::vector<Unused> take_all_unused(const std::vector<fs::path>& paths, const fs::path& keep) {
  std::vector<Unused> all;
  for (const fs::path& path : paths) {
    std::error_code ignored;
    if (!path.string().ends_with(kPackedEnding) || fs::equivalent(path, keep, ignored)) continue;
    if (std::optional<Unused> unused = take_unused(path)) all.push_back(std::move(*unused));
  }
  std::ranges::sort(all, [](const Unused& a, const Unused& b) {
    return std::pair(a.used.tv_sec, a.used.tv_nsec) < std::pair(b.used.tv_sec, b.used.tv_nsec);
  });
  return all;
}

Bytes sum_of(const std::vector<Unused>& files) {
  Bytes sum{0};
  for (const Unused& file : files) sum += file.bytes;
  return sum;
}

}  // namespace

std::vector<fs::path> Disk::packed_files() const {
  std::vector<fs::path> files;
  for (const char* folder : {"blobs", "models", "packed"}) {
    visit_files(home_ / folder, [&](const fs::directory_entry& entry, bool is_link) {
      if (!is_link && is_packed_name(entry.path())) files.push_back(entry.path());
      if (!is_link || entry.path().extension() != kLink) return;
      std::error_code problem;
      const fs::path target = fs::read_symlink(entry.path(), problem);
      if (fs::is_regular_file(target, problem) && is_packed_name(target)) {
        files.push_back(target);
      } else {
        fs::remove(entry.path(), problem);  // it was deleted
      }
    });
  }
  return files;
}

DiskUse Disk::use() const {
  DiskUse use;
  for (const fs::path& file : packed_files()) use.packed += size_of(file);
  for (const char* folder : {"blobs", "models", "incoming"}) {
    visit_files(home_ / folder, [&](const fs::directory_entry& entry, bool is_link) {
      if (!is_link && !is_packed_name(entry.path())) use.models += size_of(entry.path());
    });
  }
  return use;
}

std::optional<Bytes> Disk::room() const {
  if (!limit_) return std::nullopt;
  return *limit_ - use().total() + sum_of(take_all_unused(packed_files(), {}));
}

Status Disk::make_room(Bytes wanted, std::string_view what, const fs::path& keep) const {
  if (!limit_) return {};
  const Bytes used = use().total() - (keep.empty() ? Bytes{0} : size_of(keep));
  if (used + wanted <= *limit_) return {};
  const std::vector<Unused> unused = take_all_unused(packed_files(), keep);
  const Bytes staying = used - sum_of(unused);
  if (staying + wanted > *limit_) {
    const Bytes available = std::max(Bytes{0}, *limit_ - staying);
    return Error{Code::kOverBudget,
                 fmt::format("{} needs {} more on the disk, the limit is {} and {} are in use: {} "
                             "short",
                             what, to_text(wanted), to_text(*limit_), to_text(staying),
                             to_text(staying + wanted - *limit_)),
                 Shortfall{.wanted = wanted.count, .available = available.count}};
  }
  Bytes left = used;
  for (const Unused& file : unused) {
    if (left + wanted <= *limit_) break;
    if (::unlink(file.path.c_str()) != 0) return io_error("delete", file.path, errno);
    left -= file.bytes;
  }
  return {};
}

void Disk::remember(const fs::path& packed) const {
  std::error_code problem;
  const fs::path whole = fs::weakly_canonical(packed, problem);
  const fs::path inside = whole.lexically_relative(fs::weakly_canonical(home_, problem));
  if (problem || (!inside.empty() && *inside.begin() != "..")) return;
  const Result<std::string> digest = sha256_of(whole.string());
  if (!digest || !make_folder(home_ / "packed")) return;
  const std::string name = whole.stem().stem().string() + "-" + digest->substr(0, 16);
  fs::create_symlink(whole, home_ / "packed" / (name + std::string(kLink)), problem);
}

}  // namespace ration
