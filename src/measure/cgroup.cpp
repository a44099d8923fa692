#include "measure/cgroup.h"

#include <algorithm>

#include "measure/parse.h"

namespace ration {
namespace {

// One mounted hierarchy and this process's place in it.
struct Hierarchy {
  bool version_2 = false;
  std::string mount;   // "/sys/fs/cgroup/memory"
  std::string folder;  // our group below it: "" or "/a/b"
};

// mountinfo writes spaces and the like as \040.
std::string unescaped(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    int value = 0;
    if (text[i] == '\\' && i + 3 < text.size() &&
        std::from_chars(text.data() + i + 1, text.data() + i + 4, value, 8).ec == std::errc()) {
      out += static_cast<char>(value);
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

bool names_controller(std::string_view list, std::string_view controller) {
  const std::vector<std::string_view> names = split(list, ',');
  return std::find(names.begin(), names.end(), controller) != names.end();
}

// The path of /proc/self/cgroup as seen through a mount whose root is `mount_root`. A container
// without a cgroup namespace shows the host's path, and mounts that very group as its root.
std::string below_mount(std::string_view path, std::string_view mount_root) {
  if (mount_root != "/" && path.starts_with(mount_root)) path.remove_prefix(mount_root.size());
  // "/..": our group lies outside of what is mounted; the mount is the nearest we can see of it.
  if (!path.starts_with('/') || path.starts_with("/..") || path == "/") return "";
  return std::string(path);
}

// The path of our group in the hierarchy that has `controller`; "" as controller means version 2.
std::optional<std::string> group_path(std::string_view cgroup_text, std::string_view controller) {
  for (const std::string_view line : split(cgroup_text, '\n')) {
    const size_t first = line.find(':');
    const size_t second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    const std::string_view controllers = line.substr(first + 1, second - first - 1);
    const bool wanted = controller.empty() ? controllers.empty() && line.starts_with("0:")
                                           : names_controller(controllers, controller);
    if (wanted) return std::string(line.substr(second + 1));
  }
  return std::nullopt;
}

// Every mounted hierarchy that may limit `controller`, ours of version 1 before version 2.
std::vector<Hierarchy> hierarchies(const Files& files, std::string_view controller) {
  std::vector<Hierarchy> found;
  const std::string cgroup_text = files.read("/proc/self/cgroup").text;
  const std::string mounts = files.read("/proc/self/mountinfo").text;
  for (const std::string_view line : split(mounts, '\n')) {
    const size_t dash = line.find(" - ");
    if (dash == std::string_view::npos) continue;
    // "31 23 0:28 ROOT MOUNT OPTIONS - TYPE SOURCE SUPER_OPTIONS"
    const std::vector<std::string_view> before = split(line.substr(0, dash), ' ');
    const std::vector<std::string_view> after = split(line.substr(dash + 3), ' ');
    if (before.size() < 5 || after.empty()) continue;
    const bool version_2 = after[0] == "cgroup2";
    const bool version_1 =
        after[0] == "cgroup" && after.size() >= 3 && names_controller(after[2], controller);
    if (!version_1 && !version_2) continue;
    const auto path = group_path(cgroup_text, version_2 ? std::string_view() : controller);
    if (!path) continue;
    found.push_back({version_2, unescaped(before[4]), below_mount(*path, unescaped(before[3]))});
  }
  return found;
}

// Calls visit(folder) for our group and each one above it, up to the mount.
template <class Visit>
void walk_up(const Hierarchy& hierarchy, Visit visit) {
  std::string folder = hierarchy.folder;
  while (true) {
    visit(hierarchy.mount + folder);
    if (folder.empty()) return;
    folder.erase(folder.rfind('/'));
  }
}

// A number of bytes; null for "max", nonsense, and version 1's "no limit" (near 2^63).
std::optional<Bytes> bytes_in(const Files& files, const std::string& path) {
  const auto number = leading_number<int64_t>(files.read(path).text);
  if (!number || *number < 0 || *number >= (int64_t{1} << 60)) return std::nullopt;
  return Bytes{*number};
}

// A value of a "key value" file such as memory.stat.
int64_t stat_value(std::string_view text, std::string_view key) {
  for (const std::string_view line : split(text, '\n')) {
    const size_t space = line.find(' ');
    if (line.substr(0, space) == key && space != std::string_view::npos) {
      return leading_number<int64_t>(line.substr(space)).value_or(0);
    }
  }
  return 0;
}

std::optional<Bytes> used_memory(const Files& files, const std::string& folder, bool version_2) {
  const auto used =
      bytes_in(files, folder + (version_2 ? "/memory.current" : "/memory.usage_in_bytes"));
  if (!used) return std::nullopt;
  const int64_t droppable = stat_value(files.read(folder + "/memory.stat").text,
                                       version_2 ? "inactive_file" : "total_inactive_file");
  return Bytes{std::max<int64_t>(0, used->count - std::max<int64_t>(0, droppable))};
}

std::optional<double> quota_of(const Files& files, const std::string& folder, bool version_2) {
  std::optional<double> quota;
  std::optional<double> period;
  if (version_2) {
    const std::string text =
        files.read(folder + "/cpu.max").text;  // "150000 100000" or "max 100000"
    const std::vector<std::string_view> words = split(trimmed(text), ' ');
    if (words.size() == 2) {
      quota = leading_number<double>(words[0]);
      period = leading_number<double>(words[1]);
    }
  } else {
    quota = leading_number<double>(files.read(folder + "/cpu.cfs_quota_us").text);
    period = leading_number<double>(files.read(folder + "/cpu.cfs_period_us").text);
  }
  if (!quota || !period || *quota <= 0 || *period <= 0) return std::nullopt;
  return *quota / *period;
}

}  // namespace

CgroupLimits read_cgroup_limits(const Files& files) {
  CgroupLimits limits;
  for (const Hierarchy& hierarchy : hierarchies(files, "memory")) {
    walk_up(hierarchy, [&](const std::string& folder) {
      const auto limit = bytes_in(
          files, folder + (hierarchy.version_2 ? "/memory.max" : "/memory.limit_in_bytes"));
      if (!limit || (limits.memory_limit && *limits.memory_limit <= *limit)) return;
      limits.memory_limit = limit;
      limits.memory_used = used_memory(files, folder, hierarchy.version_2);
    });
  }
  for (const Hierarchy& hierarchy : hierarchies(files, "cpu")) {
    walk_up(hierarchy, [&](const std::string& folder) {
      const auto quota = quota_of(files, folder, hierarchy.version_2);
      if (quota && (!limits.cpus || *quota < *limits.cpus)) limits.cpus = quota;
    });
  }
  return limits;
}

}  // namespace ration
