// serve/routes.h - what each path answers, and the answers under way. Runs on the io thread only.
// Private to serve/.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/budget.h"
#include "base/clock.h"
#include "base/rng.h"
#include "serve/chat_response.h"
#include "serve/engine_loop.h"
#include "serve/http.h"
#include "serve/prepare.h"

namespace ration {

struct RoutesOptions {
  std::vector<std::string> names;  // of the model; the first is its id
  std::string models_json;         // the object that /v1/models lists
  int64_t answers_max = 0;         // under way at once, waiting ones included
  Millis ping_every;
  std::string host;       // the one that was asked for; it may be in a Host header
  bool loopback = false;  // then the Host header must name this machine
  std::optional<Tariff> tariff;
};

// What the routes hand on. thread-safe ones.
struct RoutesLinks {
  std::function<void(Preparer::Job)> prepare;
  std::function<void(uint64_t key)> cancel;
  std::function<std::string()> status_json;  // ,"memory":{...}... for /health
};

// single-thread: the io thread's.
class Routes {
 public:
  // REQUIRES: budget and clock outlive it.
  Routes(RoutesOptions options, RoutesLinks links, Budget& budget, const Clock& clock);

  void handle(HttpRequest request, const std::shared_ptr<Exchange>& exchange);

  // News of the answers.
  void prepared(uint64_t key, const ChatTraits& traits);
  void refuse(uint64_t key, const ApiError& error);
  void on_news(std::vector<AnswerNews> news);

  // From now on chats are refused and /health says so.
  void begin_stop() { stopping_ = true; }
  // Those that no news will come of any more.
  void refuse_all();

  int64_t answers() const { return static_cast<int64_t>(chats_.size()); }

 private:
  struct Chat {
    std::shared_ptr<Exchange> exchange;
    std::shared_ptr<std::atomic<bool>> gone;
    std::unique_ptr<ChatWriter> writer;  // once prepared
    ChatTraits traits;
    bool started = false;    // the stream's first byte is out
    bool said_role = false;  // and its first event
    std::string text;        // so far, of an answer that is no stream
    std::vector<TokenReport> tokens;
  };

  std::optional<ApiError> check_caller(const HttpRequest& request) const;
  void route(HttpRequest request, const std::shared_ptr<Exchange>& exchange);
  void chat(HttpRequest request, const std::shared_ptr<Exchange>& exchange);
  void model(const HttpRequest& request, Exchange& exchange) const;
  void health(Exchange& exchange) const;
  void on_gone(uint64_t key);
  void on_silent(uint64_t key);
  void put(Chat& chat, std::string events);
  bool tell(Chat& chat, AnswerNews& news);
  void finish(Chat& chat, const Finish& finish, std::string events);
  void fail(Chat& chat, const ApiError& error, std::string events);

  const RoutesOptions options_;
  const RoutesLinks links_;
  Budget& budget_;
  const Clock& clock_;
  const int64_t start_ns_;
  Rng rng_;
  bool stopping_ = false;
  uint64_t next_key_ = 1;
  std::unordered_map<uint64_t, Chat> chats_;
};

// A refusal as an HTTP answer.
HttpReply to_reply(const ApiError& error);

}  // namespace ration
