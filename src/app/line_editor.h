// app/line_editor.h - lines from a person: editing keys and a history that outlives the program on
// a terminal, plain reading elsewhere.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

namespace ration {

// single-thread; one at a time.
class LineEditor {
 public:
  // On a terminal libedit does the editing where it is installed; the newest 500 lines are kept in
  // `history_file` (readable by its owner alone). An empty path keeps none.
  explicit LineEditor(const std::filesystem::path& history_file);
  ~LineEditor();

  // The next line without its end. nullopt at the end of input or, with interrupted() set, after
  // Ctrl-C.
  std::optional<std::string> next(const std::string& prompt);

 private:
  struct Terminal;
  std::optional<std::string> next_plain();

  bool terminal_;
  std::unique_ptr<Terminal> editor_;  // null: no editing
  std::string held_;
};

}  // namespace ration
