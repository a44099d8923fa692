#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <sstream>

#include "test/tidy/rules.h"

namespace ration::tidy {
namespace {

// The house: a room, and the rooms it may use beside itself.
struct Room {
  std::string_view name;
  std::string_view uses;
  bool has_public_header;  // outsiders include only X/X.h or X/Y/Y.h
};
constexpr std::array kRooms{
    Room{"base", "", false},
    Room{"sim", "base", false},
    Room{"tensor", "base sim", false},
    Room{"model", "base sim tensor", false},
    Room{"measure", "base sim tensor model", true},
    Room{"plan", "base sim tensor model measure", true},
    Room{"run", "base sim tensor model measure plan", true},
    Room{"route", "base sim tensor measure plan", true},
    Room{"serve", "base sim tensor model measure plan run route", true},
    Room{"learn", "base sim tensor model measure plan", true},
    Room{"operate", "base sim tensor measure plan", true},
    Room{"app", "base sim tensor model measure plan run route serve learn operate", true},
};

// Which Debian package brings a third party's header. A header that is not here needs a reason, a
// row, and a line in packages.txt.
struct Brought {
  std::string_view prefix;
  std::string_view package;  // "": none to list (the compiler's own; learn fetches torch itself)
};
constexpr std::array kBrought{
    Brought{"fmt/", "libfmt-dev"},
    Brought{"nlohmann/", "nlohmann-json3-dev"},
    Brought{"CLI/", "libcli11-dev"},
    Brought{"toml++/", "libtomlplusplus-dev"},
    Brought{"sqlite3.h", "libsqlite3-dev"},
    Brought{"boost/", "libboost1.81-dev"},
    Brought{"openssl/", "libssl-dev"},
    Brought{"curl/", "libcurl4-openssl-dev"},
    Brought{"histedit.h", "libedit-dev"},
    Brought{"pcre2.h", "libpcre2-dev"},
    Brought{"utf8proc.h", "libutf8proc-dev"},
    Brought{"simde/", "libsimde-dev"},
    Brought{"liburing.h", "liburing-dev"},
    Brought{"zstd.h", "libzstd-dev"},
    Brought{"xxhash.h", "libxxhash-dev"},
    Brought{"gtest/", "libgtest-dev"},
    Brought{"gmock/", "libgmock-dev"},
    Brought{"benchmark/", "libbenchmark-dev"},
    Brought{"sanitizer/", ""},
    Brought{"torch/", ""},
    Brought{"ATen/", ""},
    Brought{"c10/", ""},
};
// Folders of the C library and the kernel.
constexpr std::array<std::string_view, 7> kSystemFolders{"sys/", "linux/", "netinet/", "arpa/",
                                                         "net/", "asm/",   "bits/"};

const Room* room_named(std::string_view name) {
  const auto found = std::ranges::find(kRooms, name, &Room::name);
  return found == kRooms.end() ? nullptr : &*found;
}

// "base" of "src/base/unit.h".
std::string_view room_of(const File& file) {
  std::string_view path = file.path;
  if (!file.under("src")) return "";
  path.remove_prefix(4);
  return path.substr(0, path.find('/'));
}

template <class Visit>
void for_each_source_include(const Tree& tree, Visit visit) {
  for (const auto& [path, file] : tree.files()) {
    if (!file.is_cpp() || !file.under("src")) continue;
    for (const Include& include : includes_of(file)) visit(file, include);
  }
}

bool is_torch(std::string_view path) {
  return path.starts_with("torch/") || path.starts_with("ATen/") || path.starts_with("c10/");
}

void check_one(const Tree& tree, const File& file, const Include& include, Findings& findings) {
  const auto find = [&](std::string words) {
    findings.push_back({file.path, include.line, std::move(words)});
  };
  const std::string_view from = room_of(file);
  if (include.angled) {
    if (is_torch(include.path) && from != "learn") find("torch headers are for learn/ only");
    return;
  }
  const std::string_view to = std::string_view(include.path).substr(0, include.path.find('/'));
  const Room* user = room_named(from);
  if (user == nullptr) return find(fmt::format("'{}' is no room of the house", from));
  if (room_named(to) == nullptr) {
    return find(
        fmt::format("\"{}\" does not start with a room: write the path from src/", include.path));
  }
  if (tree.find("src/" + include.path) == nullptr) {
    return find(fmt::format("\"{}\" does not exist", include.path));
  }
  if (to != from && find_word(user->uses, to).empty()) {
    find(fmt::format("{} may not use {} (it may use: {})", from, to, user->uses));
  }
}

// What packages.txt says: package -> group.
std::map<std::string, std::string, std::less<>> listed_packages(const Tree& tree) {
  std::map<std::string, std::string, std::less<>> packages;
  const File* list = tree.find("scripts/packages.txt");
  if (list == nullptr) return packages;
  for (std::string_view line : lines_of(list->text)) {
    if (line.starts_with('#')) continue;
    std::istringstream words{std::string(line)};
    std::string group, package;
    if (words >> group >> package) packages[package] = group;
  }
  return packages;
}

}  // namespace

Findings check_include_direction(const Tree& tree) {
  Findings findings;
  for_each_source_include(tree, [&](const File& file, const Include& include) {
    check_one(tree, file, include, findings);
  });
  return findings;
}

Findings check_public_headers(const Tree& tree) {
  Findings findings;
  for_each_source_include(tree, [&](const File& file, const Include& include) {
    if (include.angled) return;
    const std::string_view path = include.path;
    const std::string_view to = path.substr(0, path.find('/'));
    const Room* room = room_named(to);
    if (room == nullptr || !room->has_public_header || to == room_of(file)) return;
    // The header is named for the folder it lies in.
    const std::string_view folder = path.substr(0, path.rfind('/'));
    const std::string_view last = folder.substr(folder.rfind('/') + 1);
    if (path.substr(path.rfind('/') + 1) == fmt::format("{}.h", last)) return;
    findings.push_back(
        {file.path, include.line,
         fmt::format("\"{}\" is private to {}: include \"{}/{}.h\"", path, to, to, to)});
  });
  return findings;
}

Findings check_own_header_first(const Tree& tree) {
  Findings findings;
  for (const auto& [path, file] : tree.files()) {
    if (!file.is_cpp()) continue;
    if (path.ends_with(".h")) {
      if (file.code.find("#pragma once") == std::string::npos) {
        findings.push_back({path, 1, "a header starts with #pragma once"});
      }
      continue;
    }
    const std::string header = path.substr(0, path.size() - 4) + ".h";
    if (!file.under("src") || tree.find(header) == nullptr) continue;
    const std::vector<Include> includes = includes_of(file);
    if (includes.empty() || "src/" + includes.front().path != header) {
      findings.push_back(
          {path, includes.empty() ? 1 : includes.front().line,
           fmt::format("the first include is not the file's own header {}", header)});
    }
  }
  return findings;
}

Findings check_packages(const Tree& tree) {
  Findings findings;
  const auto listed = listed_packages(tree);
  std::set<std::string, std::less<>> used;
  for (const auto& [path, file] : tree.files()) {
    if (!file.is_cpp()) continue;
    for (const Include& include : includes_of(file)) {
      if (!include.angled) continue;
      const auto row = std::ranges::find_if(kBrought, [&](const Brought& brought) {
        return std::string_view(include.path).starts_with(brought.prefix);
      });
      if (row == kBrought.end()) {
        const bool is_system = std::ranges::any_of(kSystemFolders, [&](std::string_view folder) {
          return std::string_view(include.path).starts_with(folder);
        });
        if (include.path.find('/') == std::string::npos || is_system) continue;
        findings.push_back(
            {path, include.line,
             fmt::format("<{}>: no row of kBrought says which package brings it", include.path)});
        continue;
      }
      if (row->package.empty()) continue;
      used.emplace(row->package);
      const auto line = listed.find(row->package);
      const bool is_there = line != listed.end() && (!file.under("src") || line->second == "run");
      if (is_there) continue;
      findings.push_back(
          {path, include.line,
           fmt::format("<{}> needs {} in scripts/packages.txt, group {}", include.path,
                       row->package, file.under("src") ? "run" : "test")});
    }
  }
  for (const Brought& brought : kBrought) {
    if (listed.contains(brought.package) && !used.contains(brought.package)) {
      findings.push_back({"scripts/packages.txt", 0,
                          fmt::format("{} is listed, but nothing includes it", brought.package)});
    }
  }
  return findings;
}

}  // namespace ration::tidy
