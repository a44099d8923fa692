#include "serve/prepare_texts.h"

#include <fmt/core.h>

#include <utility>

namespace ration {

std::optional<ApiError> check_kind(const Ask& ask, const ServedModel& served) {
  const bool writes = !ask.vectors && (!ask.messages_json.empty() || !ask.prompts.empty());
  if (!writes || !served.model.network().sees_later) return std::nullopt;
  return ApiError{.code = ask.messages_json.empty() ? "completion_unsupported" : "chat_unsupported",
                  .message = fmt::format("{} makes vectors of texts, and writes none: "
                                         "/v1/embeddings asks for them",
                                         served.names.front()),
                  .param = "model"};
}

std::variant<Prompts, ApiError> texts_to_embed(Ask& ask, const ServedModel& served) {
  const Network& network = served.model.network();
  if (ask.vectors->dimensions && *ask.vectors->dimensions > network.width) {
    return ApiError{
        .code = "invalid_value",
        .message = fmt::format("dimensions: found {}, wanted at most {}, which {} has",
                               *ask.vectors->dimensions, network.width, served.names.front()),
        .param = "dimensions"};
  }
  Prompts texts;
  for (size_t i = 0; i < ask.prompts.size(); ++i) {
    std::vector<Token> tokens;
    if (const std::string* text = std::get_if<std::string>(&ask.prompts[i])) {
      tokens = served.model.encode_for_embedding(*text);
    } else {
      tokens = std::move(std::get<std::vector<Token>>(ask.prompts[i]));
    }
    if (ask.vectors->truncates) {
      tokens = truncate_text(std::move(tokens), served.context, served.model.tokenizer());
    }
    const auto count = static_cast<int64_t>(tokens.size());
    if (count == 0) {
      return ApiError{
          .code = "invalid_value",
          .message = fmt::format("text {} of {}: it is empty", i + 1, ask.prompts.size()),
          .param = "input"};
    }
    if (count > served.context) {
      return ApiError{
          .code = "context_length_exceeded",
          .message = fmt::format("text {} of {}: it has {} tokens, the context holds {}", i + 1,
                                 ask.prompts.size(), count, served.context),
          .param = "input",
          .tokens = Shortfall{.wanted = count, .available = served.context}};
    }
    texts.push_back(std::move(tokens));
  }
  return texts;
}

std::vector<Request> request_of_texts(const Ask& ask, Prompts texts) {
  std::vector<Request> requests;
  if (texts.empty()) return requests;
  Request& request = requests.emplace_back();
  request.texts = std::move(texts);
  request.deadline = ask.deadline;
  return requests;
}

}  // namespace ration
