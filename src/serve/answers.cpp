#include "serve/answers.h"

#include <fmt/core.h>

#include <algorithm>
#include <iterator>
#include <utility>

namespace ration {
namespace {

// A body becomes a tree of values, messages, a prompt and tokens before it is let go: measured for
// long texts, rounded up.
constexpr int64_t kBytesPerBodyByte = 6;

// The engine knows choices by a number of their own: the answer's, and which one of it.
constexpr int kChoiceBits = 8;
static_assert(kChoicesMax <= int64_t{1} << kChoiceBits);
uint64_t order_key(uint64_t key, size_t voice) { return key << kChoiceBits | voice; }
uint64_t answer_key(uint64_t order) { return order >> kChoiceBits; }
size_t voice_of(uint64_t order) { return order & ((uint64_t{1} << kChoiceBits) - 1); }

ApiError full_error(int64_t choices) {
  return {.status = 503,
          .type = "unavailable_error",
          .code = "queue_full",
          .message =
              fmt::format("{} answers are under way or waiting, the most that are taken", choices),
          .retry_after_seconds = kRetrySeconds};
}

Ending ending_of(const Finish& finish, bool called) {
  if (finish.reason == FinishReason::kLength) return Ending::kLength;
  if (called) return Ending::kCalls;
  return finish.stop.empty() ? Ending::kEnd : Ending::kStopString;
}

}  // namespace

HttpReply to_reply(const Face& face, const ApiError& error) {
  HttpReply reply{.status = error.status, .body = face.error(error)};
  if (error.status == 401) reply.headers.emplace_back("www-authenticate", "Bearer");
  if (error.retry_after_seconds > 0) {
    reply.headers.emplace_back("retry-after", std::to_string(error.retry_after_seconds));
  }
  return reply;
}

Answers::Answers(AnswersOptions options, AnswersLinks links, Budget& budget, const Clock& clock)
    : options_(std::move(options)),
      links_(std::move(links)),
      budget_(budget),
      clock_(clock),
      tariff_(options_.tariff) {}

// --------------------------------------------------------------------------------------- to begin

void Answers::begin(const Face& face, HttpRequest request, Caller caller,
                    const std::shared_ptr<Exchange>& exchange) {
  Answer answer{.exchange = exchange,
                .face = &face,
                .id = request.id,
                .path = request.path,
                .body = options_.log.keeps_bodies() ? request.body : "",
                .caller = std::move(caller),
                .arrived_ns = clock_.now_ns()};
  const auto refuse = [&](const ApiError& error) {
    reply(answer, to_reply(face, error), error.code);
  };
  if (stopping_) return refuse(stopping_error());
  if (choices_ >= options_.choices_max) return refuse(full_error(choices_));
  if (const Bytes body = request.memory.bytes(); body.count > 0) {
    const Bytes more = body * (kBytesPerBodyByte - 1);
    if (Status grown = request.memory.grow(more); !grown) {
      request.memory.release();
      ApiError error = run_error(grown.error());
      if (body + more > budget_.hard()) {  // it never will fit
        error.status = 400;
        error.type = error_type(400);
        error.retry_after_seconds = 0;
      }
      return refuse(error);
    }
  }
  answer.gone = std::make_shared<std::atomic<bool>>(false);
  const uint64_t key = next_key_++;
  Preparer::Job job{.key = key,
                    .face = &face,
                    .body = std::move(request.body),
                    .share = answer.caller ? answer.caller->name : std::move(request.credential),
                    .caller = answer.caller,
                    .arrived_ns = answer.arrived_ns,
                    .gone = answer.gone,
                    .memory = std::move(request.memory)};
  answers_.emplace(key, std::move(answer));
  ++choices_;
  exchange->when_gone([this, key] { on_gone(key); });
  links_.prepare(std::move(job));
}

void Answers::prepared(uint64_t key, size_t model, ModelLease lease, Prepared prepared) {
  const auto found = answers_.find(key);
  if (found == answers_.end()) return;
  Answer& answer = found->second;
  answer.model = model;
  answer.lease = std::move(lease);
  if (const ApiError* error = std::get_if<ApiError>(&prepared)) return fail(found, *error, "");
  if (std::string* body = std::get_if<std::string>(&prepared)) {
    reply(answer, {.body = std::move(*body)});
    return drop(found, /*cancels=*/false);
  }
  PreparedAnswer& ready = std::get<PreparedAnswer>(prepared);
  const auto count = static_cast<int64_t>(ready.requests.size());
  if (count > options_.choices_max) {
    return fail(found,
                {.code = "invalid_value",
                 .message = fmt::format("n: found {} answers, wanted at most {}, which is how many "
                                        "are served at once",
                                        count, options_.choices_max),
                 .param = "n"},
                "");
  }
  if (choices_ - 1 + count > options_.choices_max) {
    return fail(found, full_error(choices_ - 1), "");
  }
  answer.stream = ready.stream;
  answer.named = ready.named;
  const bool logprobs = ready.head.logprobs;
  answer.writer = answer.face->writer(std::move(ready.head));
  if (count == 0) {
    reply(answer, {.body = answer.writer->whole({}, Bill{})});
    return drop(found, /*cancels=*/false);
  }
  answer.voices.reserve(ready.requests.size());  // they stay where they are
  for (int64_t i = 0; i < count; ++i) {
    answer.voices.emplace_back(answer.lease->traits, ready.output);
    ++ready.output.id_seed;
  }
  answer.open = answer.voices.size();
  choices_ += count - 1;
  if (answer.stream) {
    answer.exchange->when_silent(options_.ping_every, [this, key] { on_silent(key); });
  }
  order(key, answer, std::move(ready.requests), logprobs);
}

void Answers::order(uint64_t key, Answer& answer, std::vector<Request> requests, bool logprobs) {
  for (size_t i = 0; i < requests.size(); ++i) {
    links_.order({.key = order_key(key, i),
                  .model = answer.lease,
                  .request = std::move(requests[i]),
                  .arrived_ns = answer.arrived_ns,
                  .wants_tokens = logprobs,
                  .gone = answer.gone});
  }
}

// ------------------------------------------------------------------------------------ to be heard

void Answers::on_news(std::vector<AnswerNews> news) {
  for (AnswerNews& item : news) {
    const auto found = answers_.find(answer_key(item.key));
    if (found != answers_.end()) tell(found, voice_of(item.key), item);
  }
}

void Answers::tell(AnswerMap::iterator found, size_t index, AnswerNews& news) {
  if (news.refused) return fail(found, run_error(*news.refused), "");
  Answer& answer = found->second;
  Voice& voice = answer.voices[index];
  if (!answer.first_token && (!news.text.empty() || !news.tokens.empty())) {
    answer.first_token = clock_.since(answer.arrived_ns);
    options_.metrics.first_token(answer.model, *answer.first_token);
  }
  std::vector<AnswerPart> parts;
  voice.parser.write(news.text, parts);
  if (news.finish) voice.parser.finish(parts);
  std::string events;
  if (!answer.stream) {
    for (const AnswerPart& part : parts) voice.choice.add(part);
    std::ranges::move(news.tokens, std::back_inserter(voice.choice.tokens));
  } else if (!parts.empty() || !news.tokens.empty()) {
    if (!std::exchange(answer.said_start, true)) answer.writer->start(events);
    answer.writer->piece(events, static_cast<int64_t>(index), parts, news.tokens);
  }
  if (!news.finish) {
    if (!events.empty()) put(answer, std::move(events));
    return;
  }
  if (news.finish->error) return fail(found, run_error(*news.finish->error), std::move(events));
  if (news.finish->reason == FinishReason::kCancelled) {
    return fail(found, stopping_error(), std::move(events));
  }
  end_voice(answer, index, *news.finish, events);
  if (answer.open == 0) return end(found, std::move(events));
  if (!events.empty()) put(answer, std::move(events));
}

void Answers::end_voice(Answer& answer, size_t index, Finish& finish, std::string& events) {
  Voice& voice = answer.voices[index];
  voice.done = true;
  voice.choice.ending = ending_of(finish, voice.parser.has_calls());
  voice.choice.stop = finish.stop;
  voice.choice.vectors = std::move(finish.vectors);
  --answer.open;
  if (answer.bill) {
    add_bill(*answer.bill, finish.bill);
  } else {
    answer.bill = finish.bill;
  }
  if (!answer.stream) return;
  if (!std::exchange(answer.said_start, true)) answer.writer->start(events);
  answer.writer->end_choice(events, static_cast<int64_t>(index), voice.choice.ending, finish.stop);
}

void Answers::end(AnswerMap::iterator found, std::string events) {
  Answer& answer = found->second;
  answer.bill->dollars = price(*answer.bill, tariff_);
  options_.metrics.finished(answer.model, *answer.bill, clock_.since(answer.arrived_ns));
  if (answer.stream) {
    answer.writer->end(events, *answer.bill);
    put(answer, std::move(events));
    record(answer, 200, "", /*gone=*/false);
    answer.exchange->end();
  } else {
    std::vector<AnswerChoice> choices;
    for (Voice& voice : answer.voices) choices.push_back(std::move(voice.choice));
    reply(answer, {.body = answer.writer->whole(choices, *answer.bill)});
  }
  drop(found, /*cancels=*/false);
}

// --------------------------------------------------------------------------------------- to speak

// A stream says that it lives. From then on a failure can only be an event, so this waits as long
// as clients and proxies surely do.
void Answers::on_silent(uint64_t key) {
  const auto found = answers_.find(key);
  if (found == answers_.end()) return;
  std::string events;
  found->second.writer->ping(events);
  if (!events.empty()) put(found->second, std::move(events));
}

void Answers::put(Answer& answer, std::string events) {
  if (answer.started) return answer.exchange->send(events);
  answer.started = true;
  HttpReply head{.body = std::move(events),
                 .type = std::string(answer.writer->stream_type()),
                 .headers = {{"cache-control", "no-cache"}, {"x-accel-buffering", "no"}}};
  mark(answer, head);
  answer.exchange->start(std::move(head));
}

void Answers::reply(Answer& answer, HttpReply reply, std::string_view error) const {
  mark(answer, reply);
  record(answer, reply.status, error, /*gone=*/false);
  answer.exchange->reply(std::move(reply));
}

void Answers::record(const Answer& answer, int status, std::string_view error, bool gone) const {
  if (gone) {
    options_.metrics.broken_off(answer.model, answer.path);
  } else {
    options_.metrics.answered(answer.model, answer.path, status);
  }
  options_.log.add({.id = answer.id,
                    .key = answer.caller ? std::string_view(answer.caller->name) : "",
                    .path = answer.path,
                    .model = answer.writer ? std::string_view(options_.models[answer.model]) : "",
                    .status = status,
                    .error = error,
                    .gone = gone,
                    .stream = answer.stream,
                    .whole = clock_.since(answer.arrived_ns),
                    .first_token = answer.first_token,
                    .bill = answer.bill ? &*answer.bill : nullptr,
                    .body = answer.body});
}

void Answers::mark(const Answer& answer, HttpReply& reply) const {
  if (answer.writer) {
    const std::string_view unnamed = options_.only_model ? "only-model" : "default";
    reply.headers.emplace_back("x-ration-reason", answer.named ? "named" : unnamed);
  }
  const std::string_view id_header = answer.face->id_header;
  if (!id_header.empty()) reply.headers.emplace_back(id_header, answer.id);
  links_.mark(reply, answer.model);
}

void Answers::fail(AnswerMap::iterator found, const ApiError& error, std::string events) {
  Answer& answer = found->second;
  if (!answer.started) {
    reply(answer, to_reply(*answer.face, error), error.code);
  } else {
    answer.writer->error(events, error);
    answer.exchange->send(events);
    answer.exchange->abort();
    record(answer, 200, error.code, /*gone=*/true);
  }
  drop(found, /*cancels=*/true);
}

// ----------------------------------------------------------------------------------------- to end

void Answers::on_gone(uint64_t key) {
  const auto found = answers_.find(key);
  if (found == answers_.end()) return;
  record(found->second, found->second.started ? 200 : 499, "", /*gone=*/true);
  drop(found, /*cancels=*/true);
}

void Answers::drop(AnswerMap::iterator found, bool cancels) {
  auto& [key, answer] = *found;
  if (cancels) {
    *answer.gone = true;
    if (answer.voices.empty()) links_.forget(key);
    for (size_t i = 0; i < answer.voices.size(); ++i) {
      if (!answer.voices[i].done) links_.cancel(order_key(key, i));
    }
  }
  choices_ -= std::max<int64_t>(1, static_cast<int64_t>(answer.voices.size()));
  answers_.erase(found);
}

void Answers::refuse_all() {
  while (!answers_.empty()) fail(answers_.begin(), stopping_error(), "");
}

}  // namespace ration
