#include "serve/routes.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "base/rng.h"
#include "base/text.h"

namespace ration {
namespace {

// A body becomes a tree of values, messages, a prompt and tokens before it is let go: measured for
// long texts, rounded up.
constexpr int64_t kBytesPerBodyByte = 6;
constexpr int kRetrySeconds = 1;
constexpr std::string_view kModelPrefix = "/v1/models/";
constexpr std::string_view kModels = "/v1/models";
constexpr std::string_view kChat = "/v1/chat/completions";

struct Path {
  std::string_view path;
  std::string_view allow;
};
constexpr std::array kPaths{Path{"/", "GET, HEAD"}, Path{"/health", "GET, HEAD"},
                            Path{kModels, "GET, HEAD"}, Path{kChat, "POST"}};

// "[::1]:80" -> "[::1]", "localhost:80" -> "localhost"
std::string_view without_port(std::string_view host) {
  const size_t colon = host.rfind(':');
  if (colon == std::string_view::npos || host.find(']', colon) != std::string_view::npos)
    return host;
  return host.substr(0, colon);
}

bool names_this_machine(std::string_view host) {
  return host.empty() || host == "localhost" || host.ends_with(".localhost") || host == "[::1]" ||
         (host.starts_with("127.") &&
          host.find_first_not_of("0123456789.") == std::string_view::npos);
}

ApiError not_found(std::string_view path) {
  std::vector<std::string> known;
  for (const Path& row : kPaths) known.emplace_back(row.path);
  const std::string shown = to_valid_utf8(path.substr(0, 100));
  std::string hint = did_you_mean(shown, known);
  if (hint.empty()) hint = fmt::format("this server has {}, {} and /health", kChat, kModels);
  return {.status = 404,
          .type = "not_found_error",
          .code = "unknown_path",
          .message = fmt::format("there is no path '{}', {}", shown, hint)};
}

// What the runner or the engine says, once a request is prepared.
ApiError run_error(const Error& error) {
  ApiError out{.message = error.message, .bytes = error.shortfall};
  switch (error.code) {
    case Code::kInvalid:
      out.code = "invalid_value";
      return out;
    case Code::kOverBudget:
      out.status = 503;
      out.code = "insufficient_memory";
      out.retry_after_seconds = kRetrySeconds;
      break;
    case Code::kDeadline:
      out.status = 504;
      out.code = "deadline_exceeded";
      out.param = "ration.max_ms";
      break;
    default:
      out.status = 500;
      out.code = "internal_error";
      break;
  }
  out.type = error_type(out.status);
  return out;
}

ApiError stopping_error() {
  return {.status = 503,
          .type = "unavailable_error",
          .code = "stopping",
          .message = "the server is being stopped",
          .retry_after_seconds = 5};
}

HttpReply event_stream(std::string events) {
  return {.body = std::move(events),
          .type = "text/event-stream",
          .headers = {{"cache-control", "no-cache"}, {"x-accel-buffering", "no"}}};
}

}  // namespace

HttpReply to_reply(const ApiError& error) {
  HttpReply reply{.status = error.status, .body = to_json(error)};
  if (error.retry_after_seconds > 0) {
    reply.headers.emplace_back("retry-after", std::to_string(error.retry_after_seconds));
  }
  return reply;
}

Routes::Routes(RoutesOptions options, RoutesLinks links, Budget& budget, const Clock& clock)
    : options_(std::move(options)),
      links_(std::move(links)),
      budget_(budget),
      clock_(clock),
      start_ns_(clock.now_ns()),
      rng_(random_seed()) {}

// A page in a browser may be made to call this machine: by a name of its own that resolves to it
// (then Host is that name), or across origins (then Origin is not us). Neither gets an answer.
std::optional<ApiError> Routes::check_caller(const HttpRequest& request) const {
  const std::string_view host = without_port(request.host);
  if (options_.loopback && !names_this_machine(host) && host != options_.host) {
    return ApiError{.status = 403,
                    .type = "permission_error",
                    .code = "host_refused",
                    .message = fmt::format("found the host '{}', wanted localhost or the address "
                                           "that is listened on",
                                           to_valid_utf8(host.substr(0, 100)))};
  }
  const bool same = request.origin.empty() || request.origin == "http://" + request.host ||
                    request.origin == "https://" + request.host;
  if (same) return std::nullopt;
  return ApiError{.status = 403,
                  .type = "permission_error",
                  .code = "origin_refused",
                  .message = fmt::format("found the origin '{}', wanted none: pages of other "
                                         "origins are not answered",
                                         to_valid_utf8(request.origin.substr(0, 100)))};
}

void Routes::handle(HttpRequest request, const std::shared_ptr<Exchange>& exchange) {
  if (const std::optional<ApiError> refused = check_caller(request)) {
    return exchange->reply(to_reply(*refused));
  }
  if (request.path.size() > 1 && request.path.ends_with('/')) request.path.pop_back();
  const bool is_model = request.path.starts_with(kModelPrefix);
  const std::string_view path = is_model ? kModels : std::string_view(request.path);
  const auto row = std::ranges::find(kPaths, path, &Path::path);
  if (row == kPaths.end()) return exchange->reply(to_reply(not_found(request.path)));
  const bool allowed = row->allow == "POST" ? request.method == "POST"
                                            : request.method == "GET" || request.method == "HEAD";
  if (!allowed) {
    HttpReply reply =
        to_reply({.status = 405,
                  .code = "method_not_allowed",
                  .message = fmt::format("found the method {}, wanted {}",
                                         to_valid_utf8(request.method.substr(0, 20)), row->allow)});
    reply.headers.emplace_back("allow", row->allow);
    return exchange->reply(std::move(reply));
  }
  route(std::move(request), exchange);
}

void Routes::route(HttpRequest request, const std::shared_ptr<Exchange>& exchange) {
  if (request.path == kChat) return chat(std::move(request), exchange);
  if (request.path == "/health") return health(*exchange);
  if (request.path == kModels) {
    return exchange->reply(
        {.body = fmt::format("{{\"object\":\"list\",\"data\":[{}]}}\n", options_.models_json)});
  }
  if (request.path.starts_with(kModelPrefix)) return model(request, *exchange);
  exchange->reply({.body = fmt::format("Ration {} serves {}: POST {}, GET {}, GET /health\n",
                                       RATION_VERSION, options_.names.front(), kChat, kModels),
                   .type = "text/plain; charset=utf-8"});
}

void Routes::model(const HttpRequest& request, Exchange& exchange) const {
  const std::string name = request.path.substr(kModelPrefix.size());
  if (std::ranges::find(options_.names, name) == options_.names.end()) {
    return exchange.reply(to_reply(unknown_model(name, options_.names)));
  }
  exchange.reply({.body = options_.models_json + "\n"});
}

void Routes::health(Exchange& exchange) const {
  std::string body = fmt::format("{{\"status\":\"{}\",\"model\":", stopping_ ? "stopping" : "ok");
  append_json_string(body, options_.names.front());
  body += fmt::format(",\"uptime_seconds\":{:.0f}{}}}\n", clock_.since(start_ns_).count / 1000,
                      links_.status_json());
  exchange.reply({.status = stopping_ ? 503 : 200, .body = std::move(body)});
}

void Routes::chat(HttpRequest request, const std::shared_ptr<Exchange>& exchange) {
  if (stopping_) return exchange->reply(to_reply(stopping_error()));
  if (answers() >= options_.answers_max) {
    return exchange->reply(
        to_reply({.status = 503,
                  .type = "unavailable_error",
                  .code = "queue_full",
                  .message = fmt::format(
                      "{} answers are under way or waiting, the most that are taken", answers()),
                  .retry_after_seconds = kRetrySeconds}));
  }
  Preparer::Job job{.key = next_key_++, .arrived_ns = clock_.now_ns()};
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
      return exchange->reply(to_reply(error));
    }
    job.memory = std::move(request.memory);
  }
  const uint64_t key = job.key;
  auto gone = std::make_shared<std::atomic<bool>>(false);
  job.gone = gone;
  job.body = std::move(request.body);
  chats_.emplace(key, Chat{.exchange = exchange, .gone = gone});
  exchange->when_gone([this, key] { on_gone(key); });
  links_.prepare(std::move(job));
}

void Routes::on_gone(uint64_t key) {
  const auto chat = chats_.find(key);
  if (chat == chats_.end()) return;
  *chat->second.gone = true;
  links_.cancel(key);
  chats_.erase(chat);
}

void Routes::prepared(uint64_t key, const ChatTraits& traits) {
  const auto found = chats_.find(key);
  if (found == chats_.end()) return;
  Chat& chat = found->second;
  chat.traits = traits;
  chat.writer = std::make_unique<ChatWriter>(
      ChatWriter::Options{.id = fmt::format("chatcmpl-{:016x}{:08x}", rng_.next(), key),
                          .model = options_.names.front(),
                          .created = unix_seconds(),
                          .include_usage = traits.include_usage,
                          .logprobs = traits.logprobs});
  if (traits.stream) {
    chat.exchange->when_silent(options_.ping_every, [this, key] { on_silent(key); });
  }
}

// A stream says that it lives. From then on a failure can only be an event, so this waits as long
// as clients and proxies surely do.
void Routes::on_silent(uint64_t key) {
  const auto chat = chats_.find(key);
  if (chat != chats_.end()) put(chat->second, ": ping\n\n");
}

void Routes::put(Chat& chat, std::string events) {
  if (chat.started) return chat.exchange->send(events);
  chat.started = true;
  chat.exchange->start(event_stream(std::move(events)));
}

void Routes::refuse(uint64_t key, const ApiError& error) {
  const auto chat = chats_.find(key);
  if (chat == chats_.end()) return;
  fail(chat->second, error, "");
  chats_.erase(chat);
}

void Routes::refuse_all() {
  for (auto& [key, chat] : chats_) {
    *chat.gone = true;
    fail(chat, stopping_error(), "");
  }
  chats_.clear();
}

void Routes::on_news(std::vector<AnswerNews> news) {
  for (AnswerNews& item : news) {
    const auto chat = chats_.find(item.key);
    if (chat == chats_.end()) continue;
    if (tell(chat->second, item)) chats_.erase(chat);
  }
}

// True when the answer is over.
bool Routes::tell(Chat& chat, AnswerNews& news) {
  if (news.refused) {
    fail(chat, run_error(*news.refused), "");
    return true;
  }
  std::string events;
  if (!chat.traits.stream) {
    chat.text += news.text;
    std::ranges::move(news.tokens, std::back_inserter(chat.tokens));
  } else if (!news.text.empty() || !news.tokens.empty()) {
    if (!chat.said_role) chat.writer->append_role(events);
    chat.said_role = true;
    chat.writer->append_piece(events, news.text, news.tokens);
  }
  if (news.finish) {
    finish(chat, *news.finish, std::move(events));
    return true;
  }
  if (!events.empty()) put(chat, std::move(events));
  return false;
}

void Routes::finish(Chat& chat, const Finish& finish, std::string events) {
  if (finish.error) return fail(chat, run_error(*finish.error), std::move(events));
  if (finish.reason == FinishReason::kCancelled) {
    return fail(chat, stopping_error(), std::move(events));
  }
  Bill bill = finish.bill;
  bill.dollars = price(bill, options_.tariff);
  if (!chat.traits.stream) {
    return chat.exchange->reply(
        {.body = chat.writer->whole(chat.text, chat.tokens, finish.reason, bill)});
  }
  if (!chat.said_role) chat.writer->append_role(events);
  chat.writer->append_end(events, finish.reason, bill);
  put(chat, std::move(events));
  chat.exchange->end();
}

// Before the first byte a failure is a status; after it, an event and a broken stream.
void Routes::fail(Chat& chat, const ApiError& error, std::string events) {
  if (!chat.started) return chat.exchange->reply(to_reply(error));
  append_error_event(events, to_json(error));
  chat.exchange->send(events);
  chat.exchange->abort();
}

}  // namespace ration
