// Any bytes as the body of a request: one that keeps its promises and that a template can read, or
// a refusal in words a client can show. Never a crash. A digit before the body chooses the face.
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "base/check.h"
#include "base/json.h"
#include "base/text.h"
#include "model/template/template.h"
#include "serve/face/face.h"

namespace ration {
namespace {

constexpr int32_t kVocabulary = 1000;

const std::array kFaces{&kOpenAiChat,      &kOpenAiText, &kAnthropicMessages, &kAnthropicCount,
                        &kOpenAiResponses, &kOllamaChat, &kOllamaGenerate,    &kOpenAiEmbeddings,
                        &kOllamaEmbed,     &kRerank};

void check_refusal(const Face& face, const ApiError& error) {
  CHECK(error.status == 400 && !error.code.empty() && !error.message.empty());
  CHECK(error.message.size() < 2000, error.message);
  CHECK(is_valid_utf8(error.message) && is_valid_utf8(error.param));
  CHECK(parse_json(face.error(error)));
}

void check_conversation(const Ask& ask) {
  const Result<Json> messages = parse_json(ask.messages_json);
  CHECK(messages && messages->is_array(), ask.messages_json);
  for (const Json& message : *messages) {
    CHECK(message["role"].is_string() && message["content"].is_string());
  }
  const Result<Prompt> prompt =
      ChatTemplate::chatml().render({.messages_json = ask.messages_json,
                                     .tools_json = ask.tools.json,
                                     .arguments_json = ask.arguments_json});
  if (!prompt) CHECK(prompt.error().code != Code::kCorrupt, prompt.error().message);
}

void check_ask(const Ask& ask) {
  CHECK(ask.sampler.check(kVocabulary));
  CHECK(ask.stops.size() <= 16);
  for (const std::string& stop : ask.stops) CHECK(!stop.empty());
  CHECK(!ask.tokens_max || *ask.tokens_max >= 1);
  CHECK(!ask.deadline || ask.deadline->count >= 0);
  CHECK(ask.choices >= 1);
  const auto prompts = static_cast<int64_t>(std::max<size_t>(1, ask.prompts.size()));
  CHECK(ask.choices * prompts <= kChoicesMax || (ask.vectors && prompts <= 2048));
  for (const AskedPrompt& prompt : ask.prompts) {
    const auto* tokens = std::get_if<std::vector<Token>>(&prompt);
    if (tokens == nullptr) continue;
    for (Token token : *tokens) CHECK(token >= 0 && token < kVocabulary);
  }
  CHECK(ask.tools.json.empty() == ask.tools.names.empty());
  if (!ask.messages_json.empty()) check_conversation(ask);
}

}  // namespace
}  // namespace ration

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view body(reinterpret_cast<const char*>(data), size);
  size_t index = 0;
  if (!body.empty() && body[0] >= '0' && body[0] <= '9') {
    index = static_cast<size_t>(body[0] - '0') % ration::kFaces.size();
    body.remove_prefix(1);
  }
  const ration::Face& face = *ration::kFaces[index];
  const auto read = face.read(body, {.vocabulary = ration::kVocabulary, .context = 4096});
  if (const auto* error = std::get_if<ration::ApiError>(&read)) {
    ration::check_refusal(face, *error);
  } else {
    ration::check_ask(std::get<ration::Ask>(read));
  }
  return 0;
}
