#include "serve/prepare.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/rng.h"
#include "base/text.h"
#include "serve/chat_request.h"

namespace ration {
namespace {

ApiError template_error(const Error& error) {
  if (error.code == Code::kUnsupported) {
    return {.code = "chat_unsupported", .message = error.message, .param = "model"};
  }
  return {.code = "template_refused",
          .message = "messages: the model's chat template refuses them: " + error.message,
          .param = "messages"};
}

ApiError too_long(int64_t tokens, int64_t context) {
  return {.code = "context_length_exceeded",
          .message = fmt::format("messages: the prompt has {} tokens, the context holds {}", tokens,
                                 context),
          .param = "messages",
          .tokens = Shortfall{.wanted = tokens, .available = context}};
}

}  // namespace

ApiError unknown_model(std::string_view name, const std::vector<std::string>& names) {
  const std::string shown = to_valid_utf8(name.substr(0, 100));
  std::string hint = did_you_mean(shown, names);
  if (hint.empty()) hint = fmt::format("this server has '{}'", names.front());
  return {.status = 404,
          .type = "not_found_error",
          .code = "model_not_found",
          .message = fmt::format("there is no model '{}', {}", shown, hint),
          .param = "model"};
}

std::variant<PreparedChat, ApiError> prepare_chat(std::string_view body, int64_t arrived_ns,
                                                  const Model& model, const Clock& clock,
                                                  const PrepareOptions& options, Rng& rng) {
  std::variant<ChatRequest, ApiError> parsed = parse_chat_request(
      body,
      {.sampler = options.sampler, .vocabulary = static_cast<int32_t>(model.network().vocabulary)});
  if (ApiError* error = std::get_if<ApiError>(&parsed)) return std::move(*error);
  ChatRequest& chat = std::get<ChatRequest>(parsed);
  if (!chat.model.empty() && std::ranges::find(options.names, chat.model) == options.names.end()) {
    return unknown_model(chat.model, options.names);
  }
  if (Status same = model.file().unchanged(); !same) {
    return ApiError{.status = 503,
                    .type = "unavailable_error",
                    .code = "model_changed",
                    .message = same.error().message + "; restart the server to serve it"};
  }
  Result<std::vector<Token>> tokens =
      model.encode_chat({.messages_json = std::move(chat.messages_json),
                         .arguments_json = std::move(chat.arguments_json),
                         .now_unix_seconds = unix_seconds()});
  if (!tokens) return template_error(tokens.error());
  const auto count = static_cast<int64_t>(tokens->size());
  if (count > options.context) return too_long(count, options.context);
  if (count == 0) {
    return ApiError{.code = "template_refused",
                    .message = "messages: the model's chat template makes an empty prompt of them",
                    .param = "messages"};
  }
  PreparedChat prepared{.traits = {.stream = chat.stream,
                                   .include_usage = chat.include_usage,
                                   .logprobs = chat.logprobs},
                        .request = {.prompt = std::move(*tokens),
                                    .sampler = std::move(chat.sampler),
                                    .stops = std::move(chat.stops),
                                    .tokens_max = chat.tokens_max,
                                    .ignore_end = chat.ignore_end}};
  prepared.request.sampler.logprobs = chat.logprobs;
  prepared.request.sampler.seed = chat.seed.value_or(rng.next());
  if (chat.deadline) {
    prepared.request.deadline = chat.deadline;
    if (clock.since(arrived_ns) >= *chat.deadline) {
      return ApiError{.status = 504,
                      .type = "unavailable_error",
                      .code = "deadline_exceeded",
                      .message = fmt::format("the deadline of {:.0f} ms passed before the answer "
                                             "began",
                                             chat.deadline->count),
                      .param = "ration.max_ms"};
    }
  }
  return prepared;
}

Preparer::Preparer(const Model& model, const Clock& clock, PrepareOptions options, Done done)
    : model_(model),
      clock_(clock),
      options_(std::move(options)),
      done_(std::move(done)),
      rng_(random_seed()),
      thread_([this] { work(); }) {}

Preparer::~Preparer() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void Preparer::add(Job job) {
  {
    const std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(job));
  }
  changed_.notify_one();
}

void Preparer::work() {
  while (true) {
    Job job;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return stop_ || !jobs_.empty(); });
      if (stop_) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    if (job.gone && *job.gone) continue;
    std::variant<PreparedChat, ApiError> result =
        prepare_chat(job.body, job.arrived_ns, model_, clock_, options_, rng_);
    std::string().swap(job.body);
    job.memory.release();
    done_(job, std::move(result));
  }
}

}  // namespace ration
