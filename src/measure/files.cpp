#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/file.h"
#include "measure/measure.h"

namespace ration {
namespace {

Files::State state_of(int error_number) {
  switch (error_number) {
    case ENOENT:
    case ENOTDIR:
      return Files::State::kMissing;
    case EACCES:
    case EPERM:
      return Files::State::kDenied;
    default:
      return Files::State::kFailed;
  }
}

constexpr size_t kReadMax = 4 << 20;  // /proc/cpuinfo of a thousand CPUs is 1.5 MiB

}  // namespace

Files::Text SystemFiles::read(const std::string& path) const {
  const Descriptor file{::open((root_ + path).c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.number < 0) return {state_of(errno), ""};
  Text result{State::kRead, ""};
  // The kernel makes these files as they are read and tells no size in advance.
  while (result.text.size() < kReadMax) {
    const size_t old_size = result.text.size();
    result.text.resize(old_size + 4096);
    const ssize_t got = ::read(file.number, result.text.data() + old_size, 4096);
    const int error_number = errno;
    result.text.resize(old_size + static_cast<size_t>(std::max<ssize_t>(got, 0)));
    if (got == 0) break;
    if (got < 0 && error_number != EINTR) return {state_of(error_number), ""};
  }
  return result;
}

std::vector<std::string> SystemFiles::list(const std::string& folder) const {
  std::vector<std::string> names;
  DIR* open_folder = ::opendir((root_ + folder).c_str());
  if (!open_folder) return names;
  while (const dirent* entry = ::readdir(open_folder)) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  ::closedir(open_folder);
  std::sort(names.begin(), names.end());
  return names;
}

Files::State SystemFiles::write(const std::string& path, std::string_view text) const {
  const Descriptor file{::open((root_ + path).c_str(), O_WRONLY | O_CLOEXEC)};
  if (file.number < 0) return state_of(errno);
  const ssize_t written = ::write(file.number, text.data(), text.size());
  if (written < 0) return state_of(errno);
  return written == static_cast<ssize_t>(text.size()) ? State::kRead : State::kFailed;
}

}  // namespace ration
