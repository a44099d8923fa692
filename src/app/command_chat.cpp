// ration chat: a conversation on the terminal.
#include <fmt/core.h>
#include <unistd.h>

#include <filesystem>
#include <optional>

#include "app/answer.h"
#include "app/commands.h"
#include "app/exit_code.h"
#include "app/interrupt.h"
#include "app/line_editor.h"
#include "app/output.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"

namespace ration {
namespace {

constexpr std::string_view kHelp =
    "/help        this list\n"
    "/reset       forget the conversation\n"
    "/system TEXT set the system message and forget the conversation\n"
    "/bye         leave (so does Ctrl-D)\n"
    "\"\"\"          begins and ends a message of several lines\n"
    "Ctrl-C       stops the answer; the arrow keys bring back earlier lines\n";

// Lines typed before, for the arrow keys.
std::filesystem::path history_file() {
  const Result<std::filesystem::path> folder = cache_folder();
  std::error_code error;
  if (!folder || (std::filesystem::create_directories(*folder, error), error)) return {};
  return *folder / "chat_history";
}

class Conversation {
 public:
  Conversation(Session& session, const Settings& settings)
      : session_(session),
        settings_(settings),
        terminal_(::isatty(STDIN_FILENO) == 1),
        reader_(history_file()) {
    reset(settings.system.value_or(""));
  }

  Result<int> run();

 private:
  void reset(const std::string& system) {
    messages_ = Json::array();
    if (!system.empty()) messages_.push_back({{"role", "system"}, {"content", system}});
  }
  std::optional<std::string> read_message();
  bool obey(std::string_view line);
  Status reply(const std::string& text);

  Session& session_;
  const Settings& settings_;
  const bool terminal_;
  LineEditor reader_;
  Json messages_;
  bool leave_ = false;
};

std::optional<std::string> Conversation::read_message() {
  std::optional<std::string> line = reader_.next("> ");
  if (!line || !line->starts_with("\"\"\"")) return line;
  std::string message = line->substr(3);
  while (!message.ends_with("\"\"\"")) {
    line = reader_.next(". ");
    if (!line) return std::nullopt;
    message += "\n" + *line;
  }
  message.resize(message.size() - 3);
  return message;
}

bool Conversation::obey(std::string_view line) {
  if (!line.starts_with('/')) return false;
  if (line == "/bye" || line == "/exit" || line == "/quit") {
    leave_ = true;
  } else if (line == "/reset") {
    const bool has_system = !messages_.empty() && messages_[0]["role"] == "system";
    reset(has_system ? messages_[0]["content"].get<std::string>() : "");
  } else if (line.starts_with("/system ")) {
    reset(std::string(line.substr(8)));
  } else {
    if (line != "/help") note(fmt::format("unknown command '{}'", line));
    note(kHelp);
  }
  return true;
}

Status Conversation::reply(const std::string& text) {
  messages_.push_back({{"role", "user"}, {"content", to_valid_utf8(text)}});
  Result<std::vector<Token>> tokens = session_.model->encode_chat(
      {.messages_json = to_text(messages_), .now_unix_seconds = unix_seconds()});
  Result<Answer> result = tokens
                              ? answer(session_, make_request(settings_, std::move(*tokens)),
                                       [](std::string_view piece) { print(for_terminal(piece)); })
                              : Result<Answer>(tokens.error());
  if (!result) {
    messages_.erase(messages_.size() - 1);
    return result.error();
  }
  print("\n");
  interrupted() = false;
  messages_.push_back({{"role", "assistant"}, {"content", result->text}});
  if (!settings_.quiet) note("ration: " + to_text(result->finish.bill));
  return {};
}

Result<int> Conversation::run() {
  while (!leave_) {
    interrupted() = false;
    const std::optional<std::string> message = read_message();
    if (!message) {
      if (!interrupted()) break;
      note("\n(/bye or Ctrl-D leaves)");
      continue;
    }
    if (message->empty() || obey(*message)) continue;
    if (Status replied = reply(*message); !replied) {
      note("ration: error: " + replied.error().message);
      // A broken file ends the program; a conversation that is too long may be reset.
      if (replied.error().code == Code::kCorrupt) return replied.error();
    }
  }
  if (terminal_) print("\n");
  return kDone;
}

}  // namespace

Result<int> run_chat(const Settings& settings) {
  Result<std::unique_ptr<Session>> session = Session::open(settings, {.speculates = true});
  if (!session) return session.error();
  if (!(*session)->model->chat_template()) {
    return Error{Code::kUnsupported, fmt::format("{} cannot chat: {}", (*session)->name,
                                                 (*session)->model->template_problem())};
  }
  if (!settings.quiet) note("ration: " + (*session)->summary() + "; /help lists commands");
  return Conversation(**session, settings).run();
}

}  // namespace ration
