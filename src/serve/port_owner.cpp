#include "serve/port_owner.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <set>
#include <sstream>
#include <string_view>

#include "base/file.h"

namespace ration {
namespace {

namespace fs = std::filesystem;

constexpr Bytes kTableMax{16 * kMiB};
constexpr std::string_view kListening = "0A";

// Columns of a row: number, local address "0100007F:2CEC", remote address, state, four that do not
// matter here, the user's id, a timeout, the inode of the socket.
void add_inodes(const std::string& table, int port, std::set<std::string>& inodes) {
  std::istringstream lines(table);
  std::string line;
  while (std::getline(lines, line)) {
    std::istringstream row(line);
    std::string number, local, remote, state, skipped, inode;
    row >> number >> local >> remote >> state;
    for (int i = 0; i < 5; ++i) row >> skipped;
    row >> inode;
    const size_t colon = local.rfind(':');
    if (state != kListening || colon == std::string::npos || inode.empty()) continue;
    int found = -1;
    std::from_chars(local.data() + colon + 1, local.data() + local.size(), found, 16);
    if (found == port) inodes.insert(inode);
  }
}

bool holds(const fs::path& process, const std::set<std::string>& inodes) {
  std::error_code error;
  for (fs::directory_iterator entry(process / "fd", error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code unreadable;
    const std::string target = fs::read_symlink(entry->path(), unreadable).string();
    constexpr std::string_view kPrefix = "socket:[";
    if (unreadable || !target.starts_with(kPrefix) || !target.ends_with(']')) continue;
    if (inodes.contains(target.substr(kPrefix.size(), target.size() - kPrefix.size() - 1))) {
      return true;
    }
  }
  return false;
}

}  // namespace

std::optional<std::string> port_owner(int port, const fs::path& proc) {
  std::set<std::string> inodes;
  for (const char* table : {"net/tcp", "net/tcp6"}) {
    const Result<std::string> text = read_file(proc / table, kTableMax);
    if (text) add_inodes(*text, port, inodes);
  }
  if (inodes.empty()) return std::nullopt;
  std::error_code error;
  for (fs::directory_iterator entry(proc, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string id = entry->path().filename().string();
    if (!std::ranges::all_of(id, [](char c) { return c >= '0' && c <= '9'; })) continue;
    if (!holds(entry->path(), inodes)) continue;
    Result<std::string> name = read_file(entry->path() / "comm", Bytes{4 * kKiB});
    std::string words = name ? *name : "a program";
    words.erase(words.find_last_not_of('\n') + 1);
    return fmt::format("{} (process {})", words, id);
  }
  return std::nullopt;
}

}  // namespace ration
