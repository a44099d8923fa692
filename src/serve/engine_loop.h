// serve/engine_loop.h - the thread that steps the runners: orders in, news of answers out.
//
// An order brings its model. Models that have answers under way take a step each in turn; others
// cost nothing, and may be unloaded. Sleeps when there is nothing to do. News of one step travel
// together, and those of quick steps wait for each other as long as nobody notices: a wake-up of
// the io thread takes time from the
// engine where every core is busy. Nothing waits for a prompt to be read. Private to serve/.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "run/run.h"
#include "serve/answer.h"
#include "serve/model_pool.h"

namespace ration {

struct AnswerOrder {
  uint64_t key = 0;  // the caller's name for the answer
  ModelLease model;
  Request request;  // its deadline counts from arrived_ns
  // On the loop's clock. What passed before the runner has the request, and was no loading, is
  // queueing: on the bill.
  int64_t arrived_ns = 0;
  bool wants_tokens = false;  // with their log-probabilities
  // Set by the caller before cancel(): then an order that is still on its way is not begun.
  std::shared_ptr<const std::atomic<bool>> gone;
};

struct AnswerNews {
  uint64_t key = 0;
  std::string text;  // since the last news
  std::vector<TokenReport> tokens;
  std::optional<Error> refused;  // by the runner, at the beginning
  std::optional<Finish> finish;  // these are the last news
};

// thread-safe, except run().
class EngineLoop {
 public:
  using Deliver = std::function<void(std::vector<AnswerNews>)>;
  // Hears of the time between two tokens of an answer of a model, on the thread of run().
  using OnInterval = std::function<void(size_t model, Millis)>;

  // `deliver` is called by the thread of run(), while tokens come about every `news_every`.
  // REQUIRES: the clock outlives the loop.
  EngineLoop(const Clock& clock, Millis news_every, Deliver deliver, OnInterval on_interval = {});
  ~EngineLoop();

  void order(AnswerOrder order);
  // No news of this answer are wanted any more. Unknown keys are ignored.
  void cancel(uint64_t key);
  // Lets run() end: when nothing is left to do, or after the grace by cancelling the rest. Again
  // with a shorter grace: cuts it.
  void stop(Millis grace);

  // Works until stopped.
  void run();

  int64_t active() const { return active_; }    // answers in the engines
  int64_t waiting() const { return waiting_; }  // answers that the runners keep waiting

 private:
  class Writer;
  struct Inbox {
    std::vector<AnswerOrder> orders;
    std::vector<uint64_t> cancels;
    bool empty() const { return orders.empty() && cancels.empty(); }
  };

  // A model with answers under way.
  struct Seat {
    ModelLease model;
    int64_t answers = 0;
  };

  void begin(AnswerOrder order);
  bool step();
  Seat& seat_of(const ModelLease& model);
  void end(uint64_t key);
  void flush();
  void deliver();

  const Clock& clock_;
  const Millis news_every_;
  const Deliver deliver_;
  const OnInterval on_interval_;
  std::atomic<int64_t> active_ = 0;
  std::atomic<int64_t> waiting_ = 0;

  std::mutex mutex_;
  std::condition_variable changed_;
  Inbox inbox_;                     // under the mutex
  std::optional<int64_t> stop_ns_;  // under the mutex: when the grace ends

  // Of the thread that runs.
  std::vector<Seat> seats_;
  std::unordered_map<uint64_t, std::unique_ptr<Writer>> writers_;
  std::vector<std::unique_ptr<Writer>> ended_;  // until no call of theirs is on the stack
  std::vector<AnswerNews> news_;
  bool urgent_ = false;  // the first or last news of an answer, or a long step ahead
  int64_t delivered_ns_ = 0;
};

}  // namespace ration
