#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "test/tidy/rules.h"

namespace ration::tidy {
namespace {

constexpr std::string_view kMethodsHead =
    "| id | method | source | file | test | bench | measured | state |";
// How a method is offered: on unless switched off, off unless asked for, or still being judged.
constexpr std::array<std::string_view, 3> kStates{"default", "option", "experiment"};
constexpr size_t kMethodCells = 8;

struct MethodRow {
  int line = 0;
  std::string id, method, source, file, test, bench, measured, state;
};

std::vector<std::string> cells_of(std::string_view line) {
  std::vector<std::string> cells;
  line = trim(line);
  if (line.starts_with('|')) line.remove_prefix(1);
  while (!line.empty()) {
    const size_t end = std::min(line.find('|'), line.size());
    cells.emplace_back(trim(line.substr(0, end)));
    line.remove_prefix(std::min(end + 1, line.size()));
  }
  return cells;
}

// `src/x.cpp` of "`src/x.cpp`".
std::string without_ticks(std::string cell) {
  std::erase(cell, '`');
  return cell;
}

std::vector<MethodRow> method_rows(const Tree& tree, Findings& findings) {
  std::vector<MethodRow> rows;
  const File* file = tree.find("METHODS.md");
  if (file == nullptr) return rows;
  bool is_in_table = false;
  int number = 0;
  for (std::string_view line : lines_of(file->text)) {
    ++number;
    line = trim(line);
    if (line == kMethodsHead) {
      is_in_table = true;
      continue;
    }
    if (!line.starts_with('|')) is_in_table = false;
    if (!is_in_table || line.starts_with("| ---")) continue;
    std::vector<std::string> cells = cells_of(line);
    if (cells.size() != kMethodCells || std::ranges::count(cells, "") > 0) {
      findings.push_back(
          {file->path, number,
           fmt::format("found {} cells, wanted {}, none empty", cells.size(), kMethodCells)});
      continue;
    }
    rows.push_back({number, cells[0], cells[1], cells[2], without_ticks(cells[3]),
                    without_ticks(cells[4]), without_ticks(cells[5]), cells[6], cells[7]});
  }
  if (number > 0 && rows.empty()) {
    findings.push_back({file->path, 0, fmt::format("found no row under '{}'", kMethodsHead)});
  }
  return rows;
}

// The comment that a file begins with, as "Source" -> what follows it.
std::map<std::string, std::string> head_of(const File& file) {
  std::map<std::string, std::string> head;
  for (std::string_view line : lines_of(file.text)) {
    if (!line.starts_with("//")) break;
    line = trim(line.substr(2));
    const size_t end = line.find(' ');
    if (end != std::string_view::npos) {
      head.emplace(std::string(line.substr(0, end)), std::string(trim(line.substr(end))));
    }
  }
  return head;
}

std::string stem_of(const std::string& path) {
  const std::string name = path.substr(path.rfind('/') + 1);
  return name.substr(0, name.rfind('.'));
}

void check_policy(const Tree& tree, const File& file, bool is_in_table,
                  const std::set<std::string>& method_files, Findings& findings) {
  const auto find = [&](std::string words) {
    findings.push_back({file.path, 1, std::move(words)});
  };
  const std::map<std::string, std::string> head = head_of(file);
  for (const char* field : {"Source", "Computes", "Departs", "Costs", "Proved"}) {
    if (!head.contains(field)) {
      find(fmt::format("the head has no line '// {}': \"nothing\" is an answer", field));
    }
  }
  if (const auto proved = head.find("Proved"); proved != head.end()) {
    const std::string test = proved->second.substr(0, proved->second.find(' '));
    if (tree.find(test) == nullptr) find(fmt::format("its test '{}' does not exist", test));
  }
  if (!is_in_table) find("the folder's table has no row for it");
  if (!method_files.contains(file.path)) find("METHODS.md has no row for it");
}

// "a/x.cpp" does not name "x.cpp".
bool names_path(const File& rule, const std::string& path) {
  return std::ranges::any_of(find_word(rule.text, path), [&](size_t at) {
    return at == 0 || std::string_view(" \n(\"").find(rule.text[at - 1]) != std::string_view::npos;
  });
}

// Programs that link somebody else's tree are built by a script that lies beside them.
bool is_built_by_script(const Tree& tree, const File& file) {
  return std::ranges::any_of(tree.files(), [&](const auto& entry) {
    const File& other = entry.second;
    return other.path.ends_with(".sh") && other.folder() == file.folder() &&
           !find_word(other.text, file.name()).empty();
  });
}

}  // namespace

Findings check_dead_files(const Tree& tree) {
  Findings findings;
  for (const auto& [path, file] : tree.files()) {
    if (!path.ends_with(".cpp") || path == "src/model/model.cpp") continue;  // waits for its parts
    if (!file.under("src") && !file.under("test") && !file.under("bench")) continue;
    const File* rule = nullptr;
    std::string folder = file.folder();
    while (true) {
      rule = tree.find(folder + "CMakeLists.txt");
      if (rule != nullptr || folder.empty()) break;
      folder.pop_back();
      folder.erase(folder.rfind('/') + 1);
    }
    const std::string name = path.substr(folder.size());
    if ((rule != nullptr && names_path(*rule, name)) || is_built_by_script(tree, file)) continue;
    findings.push_back({path, 0,
                        fmt::format("no build rule names it (looked for '{}' in {})", name,
                                    folder + "CMakeLists.txt")});
  }
  return findings;
}

Findings check_depth(const Tree& tree) {
  Findings findings;
  for (const auto& [path, file] : tree.files()) {
    // src/room/family/file.cpp
    if (!file.is_cpp() || !file.under("src") || std::ranges::count(path, '/') <= 3) continue;
    findings.push_back({path, 0, "a room has families, a family has no folders"});
  }
  return findings;
}

Findings check_methods(const Tree& tree) {
  Findings findings;
  std::set<std::string> ids;
  for (const MethodRow& row : method_rows(tree, findings)) {
    const auto find = [&](std::string words) {
      findings.push_back({"METHODS.md", row.line, std::move(words)});
    };
    if (!ids.insert(row.id).second) find(fmt::format("id {} appears twice", row.id));
    if (tree.find(row.file) == nullptr) find(fmt::format("file '{}' does not exist", row.file));
    if (tree.find(row.test) == nullptr) find(fmt::format("test '{}' does not exist", row.test));
    if (row.bench != "-" && tree.find(row.bench) == nullptr) {
      find(fmt::format("bench '{}' does not exist", row.bench));
    }
    if (std::ranges::count(kStates, row.state) == 0) {
      find(fmt::format("found state '{}', wanted one of: {}", row.state, fmt::join(kStates, ", ")));
    }
  }
  return findings;
}

Findings check_policies(const Tree& tree, const std::vector<std::string>& folders) {
  Findings findings;
  Findings ignored;  // check_methods reports them
  std::set<std::string> method_files;
  for (const MethodRow& row : method_rows(tree, ignored)) method_files.insert(row.file);
  for (const std::string& folder : folders) {
    const std::string table_path = folder + "/" + stem_of(folder) + ".cpp";
    const File* table = tree.find(table_path);
    if (table == nullptr) {
      findings.push_back({table_path, 0, "a folder of policies has a table of its own name"});
      continue;
    }
    for (const auto& [path, file] : tree.files()) {
      if (file.folder() != folder + "/" || !path.ends_with(".cpp") || path == table_path) continue;
      // What is in the table or cites a source is a policy; the rest is what moves the bytes for
      // them.
      const bool is_in_table =
          table->text.find(fmt::format("{{\"{}\"", stem_of(path))) != std::string::npos;
      if (!is_in_table && !head_of(file).contains("Source")) continue;
      check_policy(tree, file, is_in_table, method_files, findings);
    }
  }
  return findings;
}

}  // namespace ration::tidy
