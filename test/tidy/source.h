// test/tidy/source.h - the tree as text: what the tidy rules read.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace ration::tidy {

// One text file. `code` is `text` with comments and the insides of literals as spaces: same length,
// same line breaks. For files that are not C++ it is `text` itself.
struct File {
  std::string path;  // from the top of the tree, with /
  std::string text;
  std::string code;

  bool is_cpp() const { return path.ends_with(".cpp") || path.ends_with(".h"); }
  bool under(std::string_view folder) const {
    return path.starts_with(folder) && path.size() > folder.size() && path[folder.size()] == '/';
  }
  std::string name() const { return path.substr(path.rfind('/') + 1); }
  std::string folder() const { return path.substr(0, path.find_last_of('/') + 1); }  // "" or "a/b/"
};

File make_file(std::string path, std::string text);

// All files by path. Binary and very large ones are known by name, with no text.
class Tree {
 public:
  static Tree load(const std::filesystem::path& root);
  // For tests: a made-up tree.
  static Tree of(std::vector<File> files);

  const std::map<std::string, File>& files() const { return files_; }
  const File* find(const std::string& path) const;

 private:
  std::map<std::string, File> files_;
};

// What a rule has to say about one line.
struct Finding {
  std::string path;
  int line = 0;  // from 1; 0: the file as a whole
  std::string words;

  std::string to_text() const;
};
using Findings = std::vector<Finding>;

std::vector<std::string_view> lines_of(std::string_view text);
int line_at(std::string_view text, size_t offset);
bool is_word(char c);  // part of an identifier

// Offsets at which `word` stands as a whole word; one that ends with _ may go on.
std::vector<size_t> find_word(std::string_view text, std::string_view word);

// `text` without the spaces around it.
std::string_view trim(std::string_view text);

// Everything an #include line names, with its line number.
struct Include {
  std::string path;
  bool angled = false;
  int line = 0;
};
std::vector<Include> includes_of(const File& file);

}  // namespace ration::tidy
