#include "serve/prepare.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <limits>

#include "base/json.h"
#include "base/text.h"
#include "serve/fields.h"
#include "serve/prepare_texts.h"

namespace ration {
namespace {

constexpr size_t kTailTokens = 8;  // enough for the mark that opens the reasoning

ApiError template_error(const Error& error) {
  if (error.code == Code::kUnsupported) {
    return {.code = "chat_unsupported", .message = error.message, .param = "model"};
  }
  return {.code = "template_refused",
          .message = "messages: the model's chat template refuses them: " + error.message,
          .param = "messages"};
}

// param: "messages" or "prompt".
std::optional<ApiError> check_length(std::string_view param, size_t size, int64_t context) {
  const auto tokens = static_cast<int64_t>(size);
  if (tokens == 0) {
    return ApiError{.code = param == "messages" ? "template_refused" : "invalid_value",
                    .message = fmt::format("{}: they make an empty prompt", param),
                    .param = std::string(param)};
  }
  if (tokens <= context) return std::nullopt;
  return ApiError{.code = "context_length_exceeded",
                  .message = fmt::format("{}: the prompt has {} tokens, the context holds {}",
                                         param, tokens, context),
                  .param = std::string(param),
                  .tokens = Shortfall{.wanted = tokens, .available = context}};
}

std::optional<ApiError> check_model(const Ask& ask, const ServedModel& served) {
  if (!ask.model.empty() && !is_model_name(ask.model, served.names)) {
    return unknown_model(ask.model, served.names);
  }
  if (Status same = served.model.file().unchanged(); !same) {
    return ApiError{.status = 503,
                    .type = "unavailable_error",
                    .code = "model_changed",
                    .message = same.error().message + "; restart the server to serve it"};
  }
  return std::nullopt;
}

std::optional<ApiError> check_allowed(const ServeKey& key, const std::vector<std::string>& names) {
  const std::vector<std::string>& allowed = key.models;
  const bool may_use = allowed.empty() || std::ranges::any_of(allowed, [&](const auto& name) {
                         return is_model_name(name, names);
                       });
  if (may_use) return std::nullopt;
  return ApiError{.status = 403,
                  .type = "permission_error",
                  .code = "model_not_allowed",
                  .message = fmt::format("model: the key '{}' may not use {}, only {}", key.name,
                                         names.front(), fmt::join(allowed, ", ")),
                  .param = "model"};
}

// What the caller's key allows.
std::optional<ApiError> check_key(Ask& ask, const ServeKey& key, const ServedModel& served) {
  if (auto refused = check_allowed(key, served.names)) return refused;
  if (ask.priority > std::max(0, key.priority_max)) {
    return ApiError{.status = 403,
                    .type = "permission_error",
                    .code = "priority_not_allowed",
                    .message = fmt::format("ration.priority: found {}, the key '{}' may ask for {} "
                                           "at most",
                                           ask.priority, key.name, key.priority_max),
                    .param = "ration.priority"};
  }
  ask.priority = std::min(ask.priority, key.priority_max);
  return std::nullopt;
}

std::optional<ApiError> check_deadline(const Ask& ask, int64_t arrived_ns, const Clock& clock) {
  if (!ask.deadline || clock.since(arrived_ns) < *ask.deadline) return std::nullopt;
  return ApiError{.status = 504,
                  .type = "unavailable_error",
                  .code = "deadline_exceeded",
                  .message = fmt::format("the deadline of {:.0f} ms passed before the answer began",
                                         ask.deadline->count),
                  .param = "ration.max_ms"};
}

// Each choice draws from a stream of its own; the first from the seed itself.
uint64_t seed_of_choice(uint64_t seed, int64_t choice) {
  return choice == 0 ? seed : Rng(seed + static_cast<uint64_t>(choice)).next();
}

// Unlike any other.
std::string answer_id(Rng& rng) {
  return fmt::format("{:016x}{:08x}", rng.next(), rng.next() >> 32);
}

Prepared whole_reply(std::variant<std::string, ApiError> reply) {
  if (ApiError* error = std::get_if<ApiError>(&reply)) return std::move(*error);
  return std::move(std::get<std::string>(reply));
}

std::variant<Prompts, ApiError> prompt_of_chat(Ask& ask, const ServedModel& served) {
  if (std::optional<ApiError> refused = apply_traits(served.traits, ask)) return *refused;
  Result<std::vector<Token>> tokens = served.model.encode_chat(template_input(ask));
  if (!tokens) return template_error(tokens.error());
  if (auto refused = check_length("messages", tokens->size(), served.context)) return *refused;
  return Prompts{std::move(*tokens)};
}

std::variant<Prompts, ApiError> prompts_of_text(Ask& ask, const ServedModel& served) {
  Prompts prompts;
  for (AskedPrompt& asked : ask.prompts) {
    if (std::string* text = std::get_if<std::string>(&asked)) {
      prompts.push_back(served.model.encode_text(*text));
    } else {
      prompts.push_back(std::move(std::get<std::vector<Token>>(asked)));
    }
    if (auto refused = check_length("prompt", prompts.back().size(), served.context)) {
      return *refused;
    }
  }
  return prompts;
}

std::vector<std::string> echoes_of(const Ask& ask, const Prompts& prompts,
                                   const ServedModel& served) {
  std::vector<std::string> echoes;
  for (size_t i = 0; ask.echo && i < ask.prompts.size(); ++i) {
    const std::string* text = std::get_if<std::string>(&ask.prompts[i]);
    echoes.push_back(text ? *text : served.model.tokenizer().decode(prompts[i], true));
  }
  return echoes;
}

OutputOptions output_of_chat(const Ask& ask, const Prompts& prompts, const ServedModel& served) {
  OutputOptions output{.split_thinking = ask.thinking.split && served.traits.thinks(),
                       .tool_names = ask.tools.names,
                       .parallel_calls = ask.tools.parallel};
  if (!output.split_thinking) return output;
  const std::vector<Token>& prompt = prompts.front();
  std::string tail = served.model.tokenizer().decode(
      std::span(prompt).last(std::min(prompt.size(), kTailTokens)), /*show_special=*/true);
  tail.resize(tail.find_last_not_of(" \t\r\n") + 1);
  output.begins_thinking = tail.ends_with(served.traits.think_open);
  return output;
}

std::vector<Request> requests_of(Ask& ask, const Prompts& prompts, const OutputOptions& output,
                                 const ServedModel& served, uint64_t seed) {
  Request request{.sampler = std::move(ask.sampler),
                  .stops = std::move(ask.stops),
                  .tokens_max = ask.tokens_max,
                  .deadline = ask.deadline,
                  .ignore_end = ask.ignore_end,
                  .priority = ask.priority};
  if (output.split_thinking || !output.tool_names.empty()) request.shown = served.traits.marks;
  std::vector<Request> requests;
  for (const std::vector<Token>& prompt : prompts) {
    request.prompt = prompt;
    for (int64_t choice = 0; choice < ask.choices; ++choice) {
      request.sampler.seed = seed_of_choice(seed, static_cast<int64_t>(requests.size()));
      requests.push_back(request);
    }
  }
  return requests;
}

}  // namespace

Preparer::Preparer(const Clock& clock, ModelPool& pool, SamplerOptions sampler, Done done)
    : clock_(clock),
      pool_(pool),
      sampler_(std::move(sampler)),
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
    if (!job.gone || !*job.gone) prepare(std::move(job));
  }
}

void Preparer::prepare(Job job) {
  if (job.face->tell) return end(job, whole_reply(job.face->tell(job.body, pool_.views())));
  if (!job.lease && !find_model(job)) return;
  Prepared result = answer_of(job);
  if (auto* answer = std::get_if<PreparedAnswer>(&result)) {
    for (Request& request : answer->requests) {
      request.key = job.share;
      request.load = job.load;
    }
    if (answer->keep_alive) pool_.set_keep_alive(job.model, *answer->keep_alive);
  }
  end(job, std::move(result));
}

void Preparer::end(Job& job, Prepared result) const {
  std::string().swap(job.body);
  job.memory.release();
  done_(job, std::move(result));
}

// What a request wants of the pool. Read without the model: whatever depends on it is fine here,
// and everything else is refused before anything is loaded for it.
std::variant<Preparer::Wanted, ApiError> Preparer::wanted_of(const Job& job) const {
  if (!job.face->read) {
    std::variant<Json, ApiError> parsed = parse_body(job.body);
    if (ApiError* error = std::get_if<ApiError>(&parsed)) return std::move(*error);
    const Json& object = std::get<Json>(parsed);
    const auto name = object.find("model");
    return Wanted{.model = name != object.end() && name->is_string() ? name->get<std::string>()
                                                                     : std::string()};
  }
  std::variant<Ask, ApiError> read =
      job.face->read(job.body, {.sampler = sampler_,
                                .vocabulary = std::numeric_limits<int32_t>::max(),
                                .context = std::numeric_limits<int32_t>::max()});
  if (ApiError* error = std::get_if<ApiError>(&read)) return std::move(*error);
  Ask& ask = std::get<Ask>(read);
  return Wanted{
      .model = std::move(ask.model),
      .deadline = ask.deadline,
      .unloads = ask.messages_json.empty() && ask.prompts.empty() && ask.keep_alive == Millis{0}};
}

// Whether the job has its lease. If not it is gone from here: refused, answered, or with the pool,
// which brings it back.
bool Preparer::find_model(Job& job) {
  Wanted wanted;
  if (pool_.size() > 1 || !pool_.is_in(0)) {
    std::variant<Wanted, ApiError> read = wanted_of(job);
    if (ApiError* error = std::get_if<ApiError>(&read)) {
      end(job, std::move(*error));
      return false;
    }
    wanted = std::move(std::get<Wanted>(read));
    const std::variant<size_t, ApiError> found = pool_.find(wanted.model);
    if (const ApiError* error = std::get_if<ApiError>(&found)) {
      end(job, *error);
      return false;
    }
    job.model = std::get<size_t>(found);
    if (auto refused = job.caller ? check_allowed(*job.caller, pool_.names(job.model))
                                  : std::optional<ApiError>()) {
      end(job, std::move(*refused));
      return false;
    }
  }
  if (wanted.unloads && !pool_.is_in(job.model)) {
    end(job, unloaded(job.model));
    return false;
  }
  const auto waiting = std::make_shared<Job>(std::move(job));
  const auto resume = [this, waiting](ModelPool::Reply reply) {
    if (ApiError* error = std::get_if<ApiError>(&reply)) return end(*waiting, std::move(*error));
    ModelPool::Ticket& ticket = std::get<ModelPool::Ticket>(reply);
    waiting->lease = std::move(ticket.lease);
    waiting->load = ticket.load;
    add(std::move(*waiting));
  };
  std::optional<ModelPool::Reply> reply =
      pool_.acquire(waiting->model, {.key = waiting->key,
                                     .arrived_ns = waiting->arrived_ns,
                                     .deadline = wanted.deadline,
                                     .then = resume});
  if (!reply) return false;
  if (ApiError* error = std::get_if<ApiError>(&*reply)) {
    end(*waiting, std::move(*error));
    return false;
  }
  job = std::move(*waiting);
  job.lease = std::move(std::get<ModelPool::Ticket>(*reply).lease);
  return true;
}

// The answer to who asks only that a model go that is not there.
PreparedAnswer Preparer::unloaded(size_t model) {
  pool_.set_keep_alive(model, Millis{0});  // it may be on its way in
  PreparedAnswer prepared{.named = true};
  prepared.head = {
      .id = answer_id(rng_), .model = pool_.id(model), .created = unix_seconds(), .unloads = true};
  return prepared;
}

Prepared Preparer::answer_of(const Job& job) {
  const Face& face = *job.face;
  const ServedModel& served = job.lease->served;
  if (face.reply) return whole_reply(face.reply(job.body, served));
  std::variant<Ask, ApiError> read =
      face.read(job.body, {.sampler = sampler_,
                           .vocabulary = static_cast<int32_t>(served.model.network().vocabulary),
                           .context = served.context});
  if (ApiError* error = std::get_if<ApiError>(&read)) return std::move(*error);
  Ask& ask = std::get<Ask>(read);
  if (auto refused = check_model(ask, served)) return std::move(*refused);
  if (job.caller) {
    if (auto refused = check_key(ask, *job.caller, served)) return std::move(*refused);
  }
  const bool chats = !ask.messages_json.empty();
  if (auto refused = check_kind(ask, served)) return std::move(*refused);
  std::variant<Prompts, ApiError> made = ask.vectors ? texts_to_embed(ask, served)
                                         : chats     ? prompt_of_chat(ask, served)
                                                     : prompts_of_text(ask, served);
  if (ApiError* error = std::get_if<ApiError>(&made)) return std::move(*error);
  const Prompts& prompts = std::get<Prompts>(made);
  int64_t prompt_tokens = 0;
  for (const std::vector<Token>& prompt : prompts) {
    prompt_tokens += static_cast<int64_t>(prompt.size());
  }
  if (face.count) return face.count(prompt_tokens);
  if (auto refused = check_deadline(ask, job.arrived_ns, clock_)) return std::move(*refused);
  PreparedAnswer prepared{
      .stream = ask.stream, .named = !ask.model.empty(), .keep_alive = ask.keep_alive};
  if (chats) prepared.output = output_of_chat(ask, prompts, served);
  prepared.output.id_seed = rng_.next();
  prepared.head = {.id = answer_id(rng_),
                   .model = served.names.front(),
                   .created = unix_seconds(),
                   .prompt_tokens = prompt_tokens,
                   .include_usage = ask.include_usage,
                   .logprobs = ask.logprobs,
                   .unloads = prompts.empty() && ask.keep_alive == Millis{0},
                   .repeated_json = std::move(ask.repeated_json),
                   .echoes = echoes_of(ask, prompts, served),
                   .vectors = ask.vectors.value_or(AskedVectors{})};
  const uint64_t seed = ask.seed.value_or(rng_.next());
  prepared.requests = ask.vectors ? request_of_texts(ask, std::move(std::get<Prompts>(made)))
                                  : requests_of(ask, prompts, prepared.output, served, seed);
  prepared.head.choices = static_cast<int64_t>(prepared.requests.size());
  return prepared;
}

}  // namespace ration
