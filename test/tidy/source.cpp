#include "test/tidy/source.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <fstream>
#include <iterator>

namespace ration::tidy {
namespace {

constexpr size_t kTextBytesMax = 1 << 20;

// Walks C++ text once and writes spaces over what is not code.
class Blanker {
 public:
  explicit Blanker(std::string_view text) : text_(text), code_(text) {}

  std::string run() {
    while (at_ < text_.size()) step();
    return std::move(code_);
  }

 private:
  void step() {
    if (text_.substr(at_, 2) == "//") return blank_to(line_end(at_));
    if (text_.substr(at_, 2) == "/*") return blank_to(after(text_.find("*/", at_ + 2), 2));
    if (text_[at_] == '"') return at_ > 0 && text_[at_ - 1] == 'R' ? raw_literal() : literal('"');
    if (text_[at_] == '\'' && !separates_digits()) return literal('\'');
    ++at_;
  }

  size_t after(size_t found, size_t length) const {
    return found == std::string_view::npos ? text_.size() : found + length;
  }

  // A line comment goes on after a backslash at the line's end.
  size_t line_end(size_t from) const {
    size_t end = std::min(text_.find('\n', from), text_.size());
    while (end < text_.size() && text_[end - 1] == '\\') {
      end = std::min(text_.find('\n', end + 1), text_.size());
    }
    return end;
  }

  void blank_to(size_t end) {
    for (; at_ < end; ++at_) {
      if (text_[at_] != '\n') code_[at_] = ' ';
    }
  }

  void literal(char quote) {
    size_t end = at_ + 1;
    while (end < text_.size() && text_[end] != quote && text_[end] != '\n') {
      end += text_[end] == '\\' ? 2 : 1;
    }
    ++at_;
    blank_to(std::min(end, text_.size()));
    if (at_ < text_.size()) ++at_;
  }

  void raw_literal() {
    const size_t open = std::min(text_.find('(', at_), text_.size());
    const std::string close = ")" + std::string(text_.substr(at_ + 1, open - at_ - 1)) + "\"";
    const size_t end = after(text_.find(close, open), close.size());
    ++at_;
    blank_to(end - 1);
    at_ = end;
  }

  // The quote in 1'000'000.
  bool separates_digits() const {
    size_t begin = at_;
    while (begin > 0 && (is_word(text_[begin - 1]) || text_[begin - 1] == '\'')) --begin;
    return begin < at_ && std::isdigit(static_cast<unsigned char>(text_[begin]));
  }

  std::string_view text_;
  std::string code_;
  size_t at_ = 0;
};

bool is_skipped_folder(const std::filesystem::path& path) {
  static constexpr std::array<std::string_view, 5> kNames{".git", "build", "node_modules", ".venv",
                                                          "__pycache__"};
  return std::ranges::count(kNames, path.filename().string()) > 0 ||
         std::filesystem::exists(path / "CMakeCache.txt");
}

}  // namespace

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; }

std::string_view trim(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front()))) {
    text.remove_prefix(1);
  }
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) {
    text.remove_suffix(1);
  }
  return text;
}

File make_file(std::string path, std::string text) {
  File file{std::move(path), std::move(text), {}};
  file.code = file.is_cpp() ? Blanker(file.text).run() : file.text;
  return file;
}

Tree Tree::of(std::vector<File> files) {
  Tree tree;
  for (File& file : files) {
    const std::string path = file.path;
    tree.files_.emplace(path, std::move(file));
  }
  return tree;
}

Tree Tree::load(const std::filesystem::path& root) {
  std::vector<File> files;
  std::filesystem::recursive_directory_iterator entry(root), end;
  for (; entry != end; ++entry) {
    if (entry->is_directory() && is_skipped_folder(entry->path()))
      entry.disable_recursion_pending();
    if (!entry->is_regular_file() || entry->path().filename() == ".git") continue;
    std::string text;
    if (entry->file_size() <= kTextBytesMax) {
      std::ifstream stream(entry->path(), std::ios::binary);
      text.assign(std::istreambuf_iterator<char>(stream), {});
    }
    if (text.find('\0') != std::string::npos) text.clear();
    files.push_back(make_file(entry->path().lexically_relative(root).string(), std::move(text)));
  }
  return of(std::move(files));
}

const File* Tree::find(const std::string& path) const {
  const auto found = files_.find(path);
  return found == files_.end() ? nullptr : &found->second;
}

std::string Finding::to_text() const { return fmt::format("{}:{}: {}", path, line, words); }

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    lines.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

int line_at(std::string_view text, size_t offset) {
  return 1 + static_cast<int>(std::ranges::count(text.substr(0, offset), '\n'));
}

std::vector<size_t> find_word(std::string_view text, std::string_view word) {
  std::vector<size_t> found;
  for (size_t at = text.find(word); at != std::string_view::npos; at = text.find(word, at + 1)) {
    const size_t end = at + word.size();
    const bool starts = at == 0 || !is_word(text[at - 1]) || !is_word(word.front());
    const bool ends =
        end == text.size() || !is_word(text[end]) || !is_word(word.back()) || word.ends_with('_');
    if (starts && ends) found.push_back(at);
  }
  return found;
}

std::vector<Include> includes_of(const File& file) {
  std::vector<Include> includes;
  const std::vector<std::string_view> code = lines_of(file.code);
  const std::vector<std::string_view> text = lines_of(file.text);
  for (size_t i = 0; i < code.size(); ++i) {
    // Of the path itself the blanked code keeps only the quotes.
    std::string_view rest = trim(code[i]);
    if (!rest.starts_with('#') || !trim(rest.substr(1)).starts_with("include")) continue;
    const size_t open = text[i].find_first_of("\"<");
    if (open == std::string_view::npos) continue;
    const bool angled = text[i][open] == '<';
    const size_t close = text[i].find(angled ? '>' : '"', open + 1);
    if (close == std::string_view::npos) continue;
    includes.push_back(
        {std::string(text[i].substr(open + 1, close - open - 1)), angled, static_cast<int>(i) + 1});
  }
  return includes;
}

}  // namespace ration::tidy
