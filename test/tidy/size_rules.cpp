#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "test/tidy/rules.h"

namespace ration::tidy {
namespace {

constexpr int kColumnsMax = 100;
constexpr int kFileLinesMax = 500;
constexpr int kFunctionLinesMax = 70;

bool is_source(const File& file) {
  static constexpr std::array<std::string_view, 8> kEndings{
      ".cpp", ".h", ".cmake", "CMakeLists.txt", ".sh", ".py", ".ts", ".ci/run"};
  return std::ranges::any_of(kEndings,
                             [&](std::string_view end) { return file.path.ends_with(end); });
}

// UTF-8: every byte but the continuations starts a code point.
int columns_of(std::string_view line) {
  return static_cast<int>(std::ranges::count_if(
      line, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

struct Function {
  int line = 0;
  int lines = 0;
};

// Finds the functions of one file by its braces. It looks at namespace and class scope only: a
// lambda is part of the function around it. Written for code as clang-format leaves it; where the
// braces do not add up (a brace in either branch of an #if), `balanced` is false.
class FunctionScanner {
 public:
  explicit FunctionScanner(const File& file) : code_(file.code) { blank_preprocessor(); }

  std::vector<Function> run() {
    for (size_t at = 0; at < code_.size(); ++at) {
      const char c = code_[at];
      if (c == '(') ++parens_;
      if (c == ')') --parens_;
      if (c == '{') {
        at = open(at);
      } else if (c == '}') {
        if (--depth_ < 0) break;
        start_head(at + 1, false);
      } else if (parens_ == 0 && (c == ';' || is_access_label(at))) {
        start_head(at + 1, false);
      }
    }
    return functions_;
  }
  bool balanced() const { return balanced_ && depth_ == 0 && parens_ == 0; }

 private:
  // Returns the offset to go on after.
  size_t open(size_t at) {
    const std::string_view head = trim(std::string_view(code_).substr(head_, at - head_));
    if (parens_ == 0 && opens_scope(head)) {
      ++depth_;
      start_head(at + 1, false);
      return at;
    }
    const size_t close = matching(at);
    if (parens_ > 0) return close;  // a default argument: the head goes on
    const bool goes_on = after_function_ && (head.empty() || head.front() == ',');
    const bool is_function =
        head.find('(') != std::string_view::npos && head.back() != '=' && !head.ends_with("return");
    if (goes_on || is_function) {
      // After the braces of a constructor's initialisers the same function goes on.
      if (!goes_on) functions_.push_back({line_at(code_, code_.find(head, head_)), 0});
      functions_.back().lines = line_at(code_, close) - functions_.back().line + 1;
    }
    start_head(close + 1, goes_on || is_function);
    return close;
  }

  void start_head(size_t at, bool after_function) {
    head_ = at;
    after_function_ = after_function;
  }

  static bool opens_scope(std::string_view head) {
    while (head.starts_with("template")) {
      int angles = 0;
      size_t at = head.find('<');
      do {
        if (at == std::string_view::npos || at >= head.size()) return false;
        angles += head[at] == '<' ? 1 : head[at] == '>' ? -1 : 0;
        ++at;
      } while (angles > 0);
      head = trim(head.substr(at));
    }
    static constexpr std::array<std::string_view, 7> kKeywords{
        "namespace", "class", "struct", "union", "extern", "inline namespace", "typedef struct"};
    return std::ranges::any_of(
               kKeywords,
               [&](std::string_view keyword) {
                 return head.starts_with(keyword) &&
                        (head.size() == keyword.size() || !is_word(head[keyword.size()]));
               }) &&
           !head.ends_with(')') && !head.ends_with('=') &&
           // extern "C" void f() { is a function; so is a head that ends as only functions do.
           !(head.starts_with("extern") && head.find('(') != std::string_view::npos);
  }

  bool is_access_label(size_t at) const {
    if (code_[at] != ':') return false;
    const std::string_view head = trim(std::string_view(code_).substr(head_, at - head_));
    return head == "public" || head == "private" || head == "protected";
  }

  size_t matching(size_t at) {
    int depth = 0;
    for (size_t i = at; i < code_.size(); ++i) {
      if (code_[i] == '{') ++depth;
      if (code_[i] == '}' && --depth == 0) return i;
    }
    balanced_ = false;
    return code_.size() - 1;
  }

  void blank_preprocessor() {
    bool goes_on = false;
    for (size_t at = 0; at < code_.size();) {
      const size_t end = std::min(code_.find('\n', at), code_.size());
      const std::string_view line = trim(std::string_view(code_).substr(at, end - at));
      const bool is_directive = goes_on || line.starts_with('#');
      goes_on = is_directive && line.ends_with('\\');
      if (is_directive)
        std::fill(code_.begin() + static_cast<long>(at), code_.begin() + static_cast<long>(end),
                  ' ');
      at = end + 1;
    }
  }

  std::string code_;
  std::vector<Function> functions_;
  size_t head_ = 0;  // where the text since the last ; { or } begins
  bool after_function_ = false;
  int depth_ = 0;
  int parens_ = 0;
  bool balanced_ = true;
};

// Data that a script wrote says so in its first line, and names the script.
bool is_generated(const Tree& tree, const File& file) {
  static constexpr std::string_view kMark = "// Generated by ";
  if (!file.text.starts_with(kMark)) return false;
  const std::string_view rest = std::string_view(file.text).substr(kMark.size());
  const std::string script(rest.substr(0, rest.find_first_of(" ,:;\n")));
  return tree.find(script) != nullptr;
}

}  // namespace

Findings check_columns(const Tree& tree) {
  Findings findings;
  for (const auto& [path, file] : tree.files()) {
    if (!is_source(file) || path.ends_with(".py")) continue;  // tools keep their own habit
    int number = 0;
    for (std::string_view line : lines_of(file.text)) {
      ++number;
      if (columns_of(line) <= kColumnsMax) continue;
      findings.push_back(
          {path, number,
           fmt::format("found {} columns, wanted at most {}", columns_of(line), kColumnsMax)});
    }
  }
  return findings;
}

Findings check_file_lengths(const Tree& tree) {
  Findings findings;
  for (const auto& [path, file] : tree.files()) {
    if (!is_source(file) || is_generated(tree, file)) continue;
    const int lines = static_cast<int>(lines_of(file.text).size());
    if (lines <= kFileLinesMax) continue;
    findings.push_back(
        {path, 0, fmt::format("found {} lines, wanted at most {}", lines, kFileLinesMax)});
  }
  return findings;
}

Findings check_file_names(const Tree& tree) {
  Findings findings;
  for (const auto& [path, file] : tree.files()) {
    if (!file.is_cpp()) continue;
    const bool is_snake = std::ranges::all_of(path, [](char c) {
      return std::islower(static_cast<unsigned char>(c)) ||
             std::isdigit(static_cast<unsigned char>(c)) || c == '_' || c == '/' || c == '.';
    });
    if (!is_snake) findings.push_back({path, 0, "file and folder names are snake_case"});
  }
  return findings;
}

Findings check_function_lengths(const Tree& tree) {
  Findings findings;
  for (const auto& [path, file] : tree.files()) {
    if (!file.is_cpp()) continue;
    FunctionScanner scanner(file);
    for (const Function& function : scanner.run()) {
      if (function.lines <= kFunctionLinesMax) continue;
      findings.push_back({path, function.line,
                          fmt::format("found a function of {} lines, wanted at most {}",
                                      function.lines, kFunctionLinesMax)});
    }
    if (!scanner.balanced()) {
      findings.push_back({path, 0, "the braces do not add up (one in each branch of an #if?)"});
    }
  }
  return findings;
}

}  // namespace ration::tidy
