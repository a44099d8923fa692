#include "app/line_editor.h"

#include <histedit.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <clocale>
#include <cstdio>
#include <utility>

#include "app/interrupt.h"
#include "app/output.h"
#include "base/library.h"
#include "base/text.h"

namespace ration {
namespace {

constexpr int kHistoryLines = 500;

// True when there is something to read; false after Ctrl-C.
bool wait_for_input() {
  while (!interrupted()) {
    pollfd input{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
    if (::poll(&input, 1, 100) > 0) return !interrupted();
  }
  return false;
}

// libedit is opened at the first chat, not linked: no other command pays for it.
struct LibEdit {
  decltype(&::el_init) init = nullptr;
  decltype(&::el_end) end = nullptr;
  decltype(&::el_set) set = nullptr;
  decltype(&::el_get) get = nullptr;
  decltype(&::el_gets) gets = nullptr;
  decltype(&::history_init) history_init = nullptr;
  decltype(&::history_end) history_end = nullptr;
  decltype(&::history) history = nullptr;
  bool complete = false;

  LibEdit() {
    SharedLibrary library({"libedit.so.2"});
    library.load(init, "el_init");
    library.load(end, "el_end");
    library.load(set, "el_set");
    library.load(get, "el_get");
    library.load(gets, "el_gets");
    library.load(history_init, "history_init");
    library.load(history_end, "history_end");
    library.load(history, "history");
    complete = library.problem().empty();
  }
};

const LibEdit& lib_edit() {
  static const LibEdit library;
  return library;
}

}  // namespace

struct LineEditor::Terminal {
  Terminal(const LibEdit& lib_in, const std::filesystem::path& history_file)
      : lib(lib_in), file(history_file) {
    editor = lib.init("ration", stdin, stdout, stderr);
    history = lib.history_init();
    HistEvent event;
    lib.history(history, &event, H_SETSIZE, kHistoryLines);
    lib.history(history, &event, H_SETUNIQUE, 1);
    if (!file.empty()) lib.history(history, &event, H_LOAD, file.c_str());
    lib.set(editor, EL_CLIENTDATA, this);
    lib.set(editor, EL_PROMPT, &prompt_of);
    lib.set(editor, EL_EDITOR, "emacs");
    lib.set(editor, EL_HIST, lib.history, history);
    lib.set(editor, EL_GETCFN, &read_character);
    lib.set(editor, EL_BIND, "^R", "em-inc-search-prev", nullptr);
  }
  ~Terminal() {
    HistEvent event;
    if (!file.empty()) {
      const mode_t mask = ::umask(077);
      lib.history(history, &event, H_SAVE, file.c_str());
      ::umask(mask);
    }
    lib.history_end(history);
    lib.end(editor);
  }

  static Terminal* of(EditLine* editor) {
    void* self = nullptr;
    lib_edit().get(editor, EL_CLIENTDATA, &self);
    return static_cast<Terminal*>(self);
  }
  static char* prompt_of(EditLine* editor) { return of(editor)->prompt.data(); }

  // One character from the keyboard; 0 at the end of input and after Ctrl-C.
  static int read_character(EditLine*, wchar_t* character) {
    std::string bytes;
    do {
      char byte = 0;
      if (!wait_for_input() || ::read(STDIN_FILENO, &byte, 1) != 1) return 0;
      bytes += byte;
    } while (incomplete_utf8_tail(bytes) > 0);
    *character = static_cast<wchar_t>(read_code_point(bytes).value);
    return 1;
  }

  std::optional<std::string> next() {
    int length = 0;
    const char* line = lib.gets(editor, &length);
    if (!line || length <= 0 || interrupted()) return std::nullopt;
    std::string text(line, static_cast<size_t>(length));
    HistEvent event;
    if (text.find_first_not_of(" \t\r\n") != std::string::npos) {
      lib.history(history, &event, H_ENTER, text.c_str());
    }
    while (text.ends_with('\n') || text.ends_with('\r')) text.pop_back();
    return text;
  }

  const LibEdit& lib;
  std::filesystem::path file;
  EditLine* editor = nullptr;
  History* history = nullptr;
  std::string prompt;
};

LineEditor::LineEditor(const std::filesystem::path& history_file)
    : terminal_(::isatty(STDIN_FILENO) == 1) {
  if (!terminal_ || ::isatty(STDOUT_FILENO) != 1 || !lib_edit().complete) return;
  std::setlocale(LC_CTYPE, "C.UTF-8");
  editor_ = std::make_unique<Terminal>(lib_edit(), history_file);
}

LineEditor::~LineEditor() = default;

std::optional<std::string> LineEditor::next(const std::string& prompt) {
  if (!editor_) {
    if (terminal_) print(prompt);
    return next_plain();
  }
  editor_->prompt = prompt;
  return editor_->next();
}

std::optional<std::string> LineEditor::next_plain() {
  while (true) {
    if (const size_t end = held_.find('\n'); end != std::string::npos) {
      std::string line = held_.substr(0, end);
      held_.erase(0, end + 1);
      return line;
    }
    if (!wait_for_input()) return std::nullopt;
    char buffer[4096];
    const ssize_t got = ::read(STDIN_FILENO, buffer, sizeof buffer);
    if (got > 0) {
      held_.append(buffer, static_cast<size_t>(got));
      continue;
    }
    if (got == 0 && !held_.empty()) return std::exchange(held_, {});
    return std::nullopt;
  }
}

}  // namespace ration
