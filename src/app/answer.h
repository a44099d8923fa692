// app/answer.h - one answer on the command line: prompt in, text out as it is written.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "app/session.h"

namespace ration {

struct Answer {
  std::string text;
  std::vector<TokenOutput> tokens;
  Finish finish;
};

// The request that the command line's options describe, for this prompt.
Request make_request(const Settings& settings, std::vector<Token> prompt);

// Runs one answer to its end, or until Ctrl-C (then it ends as cancelled, with the text so far).
// `show` gets each piece of text when it may be shown.
Result<Answer> answer(Session& session, Request request,
                      const std::function<void(std::string_view)>& show);

// "stop", "length", "cancelled" or "error", as the chat APIs have it.
std::string_view finish_name(FinishReason reason);

}  // namespace ration
