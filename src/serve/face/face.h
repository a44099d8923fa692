// serve/face/face.h - the protocols that the server speaks: each reads a body into an Ask and
// writes the answer in its own words.
//
// To add a face: a file here that ends with its Face, a line below, and a row in the table of
// routes.cpp.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "model/model.h"
#include "serve/answer.h"
#include "serve/api_error.h"
#include "serve/ask.h"
#include "serve/chat_traits.h"
#include "serve/model_card.h"

namespace ration {

// A model in memory, as faces see it. shared-const.
struct ServedModel {
  const Model& model;
  const ChatTraits& traits;
  const std::vector<std::string>& names;  // the first is its id
  int64_t context = 0;                    // tokens of one conversation
};

struct Face {
  // A refusal's body.
  std::string (*error)(const ApiError& error) = nullptr;
  // Where its clients look for the request's id, besides x-request-id; "": nowhere.
  std::string_view id_header{};

  // For the engine: what is asked, and who writes the answer ...
  std::variant<Ask, ApiError> (*read)(std::string_view body, const AskDefaults& defaults) = nullptr;
  std::unique_ptr<AnswerWriter> (*writer)(AnswerHead head) = nullptr;
  // ... or, in place of the writer, what only wants to know how long the prompt is.
  std::string (*count)(int64_t prompt_tokens) = nullptr;

  // For what needs the model's words and no engine: the whole answer.
  std::variant<std::string, ApiError> (*reply)(std::string_view body,
                                               const ServedModel& served) = nullptr;
  // For what is told of a model that need not be in memory: the whole answer.
  std::variant<std::string, ApiError> (*tell)(std::string_view body,
                                              std::span<const ModelView> models) = nullptr;
};

// 404 model_not_found with the nearest names.
ApiError unknown_model(std::string_view name, const std::vector<std::string>& names);
// Whether it is one of them; Ollama's clients add ":latest".
bool is_model_name(std::string_view name, const std::vector<std::string>& names);
// Which of so many models has the name among its own. 404 with the nearest names of all.
std::variant<size_t, ApiError> find_model(
    std::string_view name, size_t count,
    const std::function<const std::vector<std::string>&(size_t model)>& names_of);
std::variant<const ModelView*, ApiError> find_model(std::string_view name,
                                                    std::span<const ModelView> models);

extern const Face kOpenAiPage;  // GET: only its errors
extern const Face kOpenAiChat;
extern const Face kOpenAiText;
extern const Face kOpenAiResponses;
extern const Face kAnthropicMessages;
extern const Face kAnthropicCount;
extern const Face kOllamaPage;  // GET: only its errors
extern const Face kOllamaChat;
extern const Face kOllamaGenerate;
extern const Face kOllamaShow;
extern const Face kOpenAiEmbeddings;
extern const Face kRerank;
extern const Face kOllamaEmbed;
extern const Face kOllamaEmbeddings;
extern const Face kTokenize;
extern const Face kDetokenize;
extern const Face kApplyTemplate;

// Pages: the whole body, made on the io thread, so they are quick.
std::string openai_models(std::span<const ModelView> models);
std::string openai_model(const ModelView& model);
std::string ollama_tags(std::span<const ModelView> models);
std::string ollama_running(std::span<const ModelView> models);
std::string ollama_version(std::span<const ModelView> models);

}  // namespace ration
