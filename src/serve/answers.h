// serve/answers.h - the answers under way: from a request that a face can read to the last byte.
// Runs on the io thread only. Private to serve/.
//
// An answer has one choice or several, and each choice is one order to the engine. What goes wrong
// before the first byte is a status in the face's own shape; after it, an event and a broken
// stream, and the other choices are given up.
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
#include "serve/engine_loop.h"
#include "serve/face/face.h"
#include "serve/http.h"
#include "serve/keys.h"
#include "serve/prepare.h"
#include "serve/request_log.h"
#include "serve/server_metrics.h"

namespace ration {

struct AnswersOptions {
  int64_t choices_max = 0;  // under way at once, waiting ones included
  Millis ping_every;
  std::optional<Tariff> tariff;
  bool only_model = true;  // there is no other to name
  ServerMetrics& metrics;
  const RequestLog& log;
  std::vector<std::string> models;  // their names in the log, by index
};

// What is handed on. thread-safe ones.
struct AnswersLinks {
  std::function<void(Preparer::Job)> prepare;
  std::function<void(AnswerOrder)> order;
  std::function<void(uint64_t key)> cancel;
  // No model is awaited for this answer any more.
  std::function<void(uint64_t key)> forget;
  // Adds the headers that every reply has; model: an index.
  std::function<void(HttpReply&, size_t model)> mark;
};

// single-thread: the io thread's.
class Answers {
 public:
  // REQUIRES: budget, clock and metrics outlive it.
  Answers(AnswersOptions options, AnswersLinks links, Budget& budget, const Clock& clock);

  // REQUIRES: the face reads or replies.
  void begin(const Face& face, HttpRequest request, Caller caller,
             const std::shared_ptr<Exchange>& exchange);

  // model: an index; lease: of it, when the answer needs it.
  void prepared(uint64_t key, size_t model, ModelLease lease, Prepared prepared);
  void on_news(std::vector<AnswerNews> news);

  // From now on what begins is refused.
  void begin_stop() { stopping_ = true; }
  // Of answers that end from now on.
  void set_tariff(std::optional<Tariff> tariff) { tariff_ = std::move(tariff); }
  bool stopping() const { return stopping_; }
  // Those that no news will come of any more.
  void refuse_all();

  int64_t choices() const { return choices_; }  // under way; a request that is read counts as one

 private:
  struct Voice {  // of one choice
    explicit Voice(const ChatTraits& traits, OutputOptions options)
        : parser(traits, std::move(options)) {}
    OutputParser parser;
    AnswerChoice choice;  // so far; of a stream only its end
    bool done = false;
  };
  struct Answer {
    std::shared_ptr<Exchange> exchange;
    std::shared_ptr<std::atomic<bool>> gone;
    const Face* face = nullptr;
    std::string id;    // of the request
    std::string path;  // of its route
    std::string body;  // for the log, where that keeps it
    Caller caller;
    int64_t arrived_ns = 0;
    size_t model = 0;                      // the first until it is prepared
    ModelLease lease{};                    // outlives the voices
    std::unique_ptr<AnswerWriter> writer;  // once prepared
    bool stream = false;
    bool named = false;
    bool started = false;               // the stream's first byte is out
    bool said_start = false;            // and its first event
    std::optional<Millis> first_token;  // since it arrived
    std::vector<Voice> voices;
    size_t open = 0;           // voices that are not done
    std::optional<Bill> bill;  // of those that are
  };
  using AnswerMap = std::unordered_map<uint64_t, Answer>;

  void order(uint64_t key, Answer& answer, std::vector<Request> requests, bool logprobs);
  void on_gone(uint64_t key);
  void on_silent(uint64_t key);
  void tell(AnswerMap::iterator found, size_t voice, AnswerNews& news);
  void end_voice(Answer& answer, size_t voice, Finish& finish, std::string& events);
  void end(AnswerMap::iterator found, std::string events);
  void put(Answer& answer, std::string events);
  void mark(const Answer& answer, HttpReply& reply) const;
  void reply(Answer& answer, HttpReply reply, std::string_view error = "") const;
  void record(const Answer& answer, int status, std::string_view error, bool gone) const;
  // The answer is over.
  void fail(AnswerMap::iterator found, const ApiError& error, std::string events);
  void drop(AnswerMap::iterator found, bool cancels);

  const AnswersOptions options_;
  const AnswersLinks links_;
  Budget& budget_;
  const Clock& clock_;
  std::optional<Tariff> tariff_;
  bool stopping_ = false;
  uint64_t next_key_ = 1;
  int64_t choices_ = 0;
  AnswerMap answers_;
};

// A refusal as an HTTP answer of the face.
HttpReply to_reply(const Face& face, const ApiError& error);

}  // namespace ration
