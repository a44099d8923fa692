#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <sstream>

#include "test/tidy/rules.h"

namespace ration::tidy {
namespace {

// A word that has no place in C++ here, unless the file lies under one of the folders (or is the
// file) of `allowed`.
struct Banned {
  std::string_view word;
  bool is_call;  // only where a ( follows
  std::string_view why;
  std::string_view allowed;  // separated by spaces
};
constexpr std::string_view kPrints = "src/app test bench src/base/result.cpp";
constexpr std::string_view kUseLog = "use log() or fmt::format; printing belongs to app/";
constexpr std::string_view kUseRng = "take an Rng& as a parameter";
constexpr std::string_view kTests = "test bench";
constexpr std::string_view kCountBytes = "use a container or unique_ptr, charged to a Budget";
constexpr std::string_view kUsing = "using namespace";
constexpr std::array kBanned{
    Banned{"rand", true, kUseRng, ""},
    Banned{"srand", true, kUseRng, ""},
    Banned{"random_device", false, kUseRng, "src/base"},
    Banned{"mt19937", false, kUseRng, "src/base"},
    Banned{"mt19937_64", false, kUseRng, "src/base"},
    Banned{"system_clock", false, "take a Clock& as a parameter", "src/base"},
    Banned{"printf", true, kUseLog, kPrints},
    Banned{"fprintf", true, kUseLog, kPrints},
    Banned{"sprintf", true, kUseLog, kPrints},
    Banned{"snprintf", true, kUseLog, kPrints},
    Banned{"vprintf", true, kUseLog, kPrints},
    Banned{"vfprintf", true, kUseLog, kPrints},
    Banned{"vsnprintf", true, kUseLog, kPrints},
    Banned{"puts", true, kUseLog, kPrints},
    Banned{"fputs", true, kUseLog, kPrints},
    Banned{"putchar", true, kUseLog, kPrints},
    Banned{"fmt::print", false, kUseLog, kPrints},
    Banned{"cout", false, kUseLog, kPrints},
    Banned{"cerr", false, kUseLog, kPrints},
    Banned{"clog", false, kUseLog, kPrints},
    Banned{"malloc", true, kCountBytes, kTests},
    Banned{"calloc", true, kCountBytes, kTests},
    Banned{"realloc", true, kCountBytes, kTests},
    Banned{"assert", true, "use CHECK for our own bugs, Result for what the world does", ""},
    Banned{"detach", true, "no detached threads: somebody joins every thread", ""},
    Banned{kUsing, false, "write the name, or an alias for the namespace", ""},
    Banned{"#pragma omp", false, "use a Pool&", ""},
    Banned{"omp.h", false, "use a Pool&", ""},
    Banned{"DISABLED_", false, "a test that never runs: mend it or take it out", ""},
    Banned{"EXPECT_TRUE(true)", false, "a test that cannot fail", ""},
    Banned{"ASSERT_TRUE(true)", false, "a test that cannot fail", ""},
    Banned{"SUCCEED", true, "a test that cannot fail", ""},
};

// Names that a library or the C library reads from us before its header; ours are CHECK and DCHECK.
constexpr std::array<std::string_view, 8> kMacros{
    "CHECK",  "DCHECK", "_GNU_SOURCE", "PCRE2_CODE_UNIT_WIDTH",
    "SIMDE_", "BOOST_", "JSON_",       "TOML_"};

bool is_allowed(const File& file, std::string_view places) {
  std::istringstream words{std::string(places)};
  for (std::string place; words >> place;) {
    if (file.path == place || file.under(place)) return true;
  }
  return false;
}

// The code before `at` without the spaces that end it.
std::string_view code_before(const File& file, size_t at) {
  std::string_view before = std::string_view(file.code).substr(0, at);
  while (!before.empty() && (before.back() == ' ' || before.back() == '\n'))
    before.remove_suffix(1);
  return before;
}

// "x"sv can be had in no other way: using namespace std::string_view_literals;
bool opens_literals(const File& file, size_t at) {
  const size_t end = std::min(file.code.find(';', at), file.code.size());
  return trim(std::string_view(file.code).substr(at, end - at)).ends_with("_literals");
}

void check_words(const File& file, Findings& findings) {
  for (const Banned& banned : kBanned) {
    if (is_allowed(file, banned.allowed)) continue;
    for (size_t at : find_word(file.code, banned.word)) {
      if (banned.is_call) {
        const size_t next = file.code.find_first_not_of(" \n", at + banned.word.size());
        if (next == std::string::npos || file.code[next] != '(') continue;
      }
      if (banned.word == kUsing && opens_literals(file, at)) continue;
      findings.push_back({file.path, line_at(file.code, at),
                          fmt::format("found {}: {}", banned.word, banned.why)});
    }
  }
}

// `new` only straight into a smart pointer (a private constructor needs it), `delete` only as "=
// delete".
void check_new_and_delete(const File& file, Findings& findings) {
  const std::string_view code = file.code;
  for (size_t at : find_word(code, "new")) {
    const std::string_view before = code_before(file, at);
    const size_t begin = before.find_last_of(";{}");
    const std::string_view statement =
        before.substr(begin == std::string_view::npos ? 0 : begin + 1);
    const bool is_owned = statement.find("unique_ptr") != std::string_view::npos ||
                          statement.find("shared_ptr") != std::string_view::npos ||
                          statement.ends_with("reset(");
    if (is_owned || before.ends_with("operator") || before.ends_with('<')) continue;
    findings.push_back(
        {file.path, line_at(code, at), "found a naked new: use make_unique or a value"});
  }
  for (size_t at : find_word(code, "delete")) {
    const std::string_view before = code_before(file, at);
    if (before.ends_with('=') || before.ends_with("operator")) continue;
    findings.push_back({file.path, line_at(code, at), "found a naked delete"});
  }
}

// A library's callback may have to throw; then the catch stands in the same file.
void check_throw(const File& file, Findings& findings) {
  if (!file.under("src") || !find_word(file.code, "catch").empty()) return;
  for (size_t at : find_word(file.code, "throw")) {
    findings.push_back({file.path, line_at(file.code, at), "found throw: return an Error"});
  }
}

void check_macros(const File& file, Findings& findings) {
  // Stand-ins for intrinsics are macros in the library they complete.
  if (file.path.starts_with("test/tensor/simde/")) return;
  int number = 0;
  for (std::string_view line : lines_of(file.code)) {
    ++number;
    line = trim(line);
    if (!line.starts_with('#')) continue;
    line = trim(line.substr(1));
    if (!line.starts_with("define")) continue;
    line = trim(line.substr(6));
    const std::string_view name = line.substr(0, line.find_first_of(" ("));
    const bool is_known = std::ranges::any_of(kMacros, [&](std::string_view known) {
      return name == known || (known.ends_with('_') && name.starts_with(known));
    });
    if (is_known) continue;
    findings.push_back(
        {file.path, number, fmt::format("found macro {}: use a function or a constant", name)});
  }
}

// Marks of unfinished work need the number of an issue: MARK(#12). Spelt so that this file has
// none.
void check_marks(const File& file, Findings& findings) {
  for (const char* mark : {"TO"
                           "DO",
                           "FIX"
                           "ME",
                           "XX"
                           "X",
                           "HA"
                           "CK"}) {
    for (size_t at : find_word(file.text, mark)) {
      if (file.text.compare(at + std::string_view(mark).size(), 2, "(#") == 0) continue;
      findings.push_back({file.path, line_at(file.text, at),
                          fmt::format("found a bare {}: do it, or name its issue", mark)});
    }
  }
}

void check_cmake(const File& file, Findings& findings) {
  for (const char* text : {"march="
                           "native",
                           "mtune="
                           "native",
                           "GLOB"}) {
    for (size_t at : find_word(file.text, text)) {
      findings.push_back(
          {file.path, line_at(file.text, at),
           fmt::format("found {}: sources are listed, kernels are chosen at start-up", text)});
    }
  }
}

bool is_build_file(const File& file) {
  return file.path.ends_with("CMakeLists.txt") || file.path.ends_with(".cmake") ||
         file.path == "CMakePresets.json";
}

}  // namespace

Findings check_banned(const Tree& tree) {
  Findings findings;
  for (const auto& [path, file] : tree.files()) {
    // The tidy test's own rule looks for headers, wherever they are.
    if (is_build_file(file) && !file.under("test/tidy")) check_cmake(file, findings);
    if (!file.is_cpp()) continue;
    check_words(file, findings);
    check_new_and_delete(file, findings);
    check_throw(file, findings);
    check_macros(file, findings);
    check_marks(file, findings);
  }
  return findings;
}

Findings check_places(const Tree& tree) {
  // In two halves, so that this file does not name them.
  static const std::array<std::string, 9> kPlaces{
      "/wo"
      "rk/",
      "/fa"
      "rm/",
      "/ro"
      "ot/",
      "/var/tm"
      "p/r/",
      "../sha"
      "red",
      "deb.deb"
      "ian.org",
      "py"
      "pi.org",
      "files.pytho"
      "nhosted",
      "registry.np"
      "mjs"};
  Findings findings;
  for (const auto& [path, file] : tree.files()) {
    for (const std::string& place : kPlaces) {
      for (size_t at = file.text.find(place); at != std::string::npos;
           at = file.text.find(place, at + 1)) {
        // "docs/wo" "rk/x" is a path of ours, "http://host/wo" "rk/" somebody's address.
        if (place.front() == '/' && at > 0 &&
            (is_word(file.text[at - 1]) || file.text[at - 1] == '.')) {
          continue;
        }
        findings.push_back({path, line_at(file.text, at),
                            fmt::format("found '{}': it means nothing on another machine", place)});
      }
    }
  }
  return findings;
}

}  // namespace ration::tidy
