// ration run: one prompt, one answer, one bill.
#include <fmt/format.h>
#include <unistd.h>

#include "app/answer.h"
#include "app/commands.h"
#include "app/exit_code.h"
#include "app/output.h"
#include "base/json.h"
#include "base/text.h"

namespace ration {
namespace {

Result<std::string> prompt_text(const Settings& settings) {
  if (!settings.words.empty() && settings.prompt_file) {
    return Error{Code::kInvalid, "found a prompt and --file, wanted one of them"};
  }
  if (settings.prompt_file) return read_input(*settings.prompt_file);
  if (!settings.words.empty()) return fmt::format("{}", fmt::join(settings.words, " "));
  if (::isatty(STDIN_FILENO) == 1) {
    note("ration: reading the prompt from standard input, end it with Ctrl-D");
  }
  return read_input("-");
}

Result<std::vector<Token>> encode_prompt(const Session& session, const Settings& settings,
                                         const std::string& text) {
  if (settings.raw || !session.model->chat_template()) {
    if (!settings.raw && settings.system) {
      return Error{Code::kUnsupported,
                   fmt::format("--system needs a chat template, and {} has none", session.name)};
    }
    return session.model->encode_text(text);
  }
  Json messages = Json::array();
  if (settings.system) messages.push_back({{"role", "system"}, {"content", *settings.system}});
  messages.push_back({{"role", "user"}, {"content", to_valid_utf8(text)}});
  return session.model->encode_chat(
      {.messages_json = to_text(messages), .now_unix_seconds = unix_seconds()});
}

std::string to_json(const Answer& answer) {
  std::string out = "{\"text\":";
  append_json_string(out, answer.text);
  out += ",\"tokens\":[";
  for (size_t i = 0; i < answer.tokens.size(); ++i) {
    const TokenOutput& token = answer.tokens[i];
    out += fmt::format("{}{{\"id\":{},\"text\":", i ? "," : "", token.token);
    append_json_string(out, token.bytes);
    out += fmt::format(",\"logprob\":{:.6g}}}", token.logprob);
  }
  out += fmt::format("],\"finish_reason\":\"{}\",\"bill\":", finish_name(answer.finish.reason));
  append_json(out, answer.finish.bill);
  return out + "}\n";
}

}  // namespace

Result<int> run_run(const Settings& settings) {
  Result<std::string> text = prompt_text(settings);
  if (!text) return text.error();
  if (text->empty()) return Error{Code::kInvalid, "the prompt is empty"};
  Result<std::unique_ptr<Session>> session = Session::open(settings, {.speculates = true});
  if (!session) return session.error();
  if (!settings.quiet) note("ration: " + (*session)->summary());
  if (!settings.quiet && !settings.raw && !(*session)->model->chat_template()) {
    note("ration: " + (*session)->model->template_problem() + "; continuing the text as it is");
  }
  Result<std::vector<Token>> tokens = encode_prompt(**session, settings, *text);
  if (!tokens) return tokens.error();

  bool reader_gone = false;
  Request request = make_request(settings, std::move(*tokens));
  request.load = (*session)->load;
  Result<Answer> result = answer(**session, std::move(request), [&](std::string_view piece) {
    if (!settings.json) reader_gone |= !print(for_terminal(piece));
  });
  if (!result) return result.error();
  if (settings.json) {
    reader_gone |= !print(to_json(*result));
  } else {
    reader_gone |= !print("\n");
    if (!settings.quiet) note("ration: " + to_text(result->finish.bill));
  }
  if (result->finish.reason == FinishReason::kCancelled) return kInterrupted;
  return reader_gone ? kFailed : kDone;
}

}  // namespace ration
