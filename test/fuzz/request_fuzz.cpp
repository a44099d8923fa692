// Any bytes as the body of a chat request: a request that keeps its promises and that a template
// can read, or a refusal in words a client can show. Never a crash.
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "base/check.h"
#include "base/json.h"
#include "base/text.h"
#include "model/template/template.h"
#include "serve/chat_request.h"

namespace ration {
namespace {

constexpr int32_t kVocabulary = 1000;

void check_refusal(const ApiError& error) {
  CHECK(error.status == 400 && !error.code.empty() && !error.message.empty());
  CHECK(error.message.size() < 2000, error.message);
  CHECK(is_valid_utf8(error.message) && is_valid_utf8(error.param));
  const Result<Json> json = parse_json(to_json(error));
  CHECK(json && (*json)["error"]["message"] == error.message);
}

void check_request(const ChatRequest& chat) {
  CHECK(chat.sampler.check(kVocabulary));
  CHECK(chat.stops.size() <= 16);
  for (const std::string& stop : chat.stops) CHECK(!stop.empty());
  CHECK(!chat.tokens_max || *chat.tokens_max >= 1);
  CHECK(!chat.deadline || chat.deadline->count >= 0);
  const Result<Json> messages = parse_json(chat.messages_json);
  CHECK(messages && messages->is_array() && !messages->empty(), chat.messages_json);
  for (const Json& message : *messages) {
    CHECK(message["role"].is_string() && message["content"].is_string());
  }
  const Result<Prompt> prompt = ChatTemplate::chatml().render(
      {.messages_json = chat.messages_json, .arguments_json = chat.arguments_json});
  if (!prompt) CHECK(prompt.error().code != Code::kCorrupt, prompt.error().message);
}

}  // namespace
}  // namespace ration

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  const auto parsed = ration::parse_chat_request(body, {.vocabulary = ration::kVocabulary});
  if (const auto* error = std::get_if<ration::ApiError>(&parsed)) {
    ration::check_refusal(*error);
  } else {
    ration::check_request(std::get<ration::ChatRequest>(parsed));
  }
  return 0;
}
