#include "serve/engine_loop.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

namespace ration {

// Hears of one answer and writes it into the loop's news.
class EngineLoop::Writer final : public Listener {
 public:
  Writer(EngineLoop& loop, const AnswerOrder& order, Millis waited)
      : loop_(loop),
        key_(order.key),
        model_(*order.model),
        wants_tokens_(order.wants_tokens),
        deadline_(order.request.deadline),
        queued_(std::max(waited - order.request.load, Millis{0})) {}

  void on_token(const TokenOutput& token, std::string_view text) override {
    if (loop_.on_interval_) {
      const int64_t now_ns = loop_.clock_.now_ns();
      if (last_ns_) {
        loop_.on_interval_(model_.index, to_millis(now_ns - *last_ns_));
      }
      last_ns_ = now_ns;
    }
    if (text.empty() && !wants_tokens_) return;
    if (!std::exchange(told_, true)) loop_.urgent_ = true;
    AnswerNews news{.key = key_, .text = std::string(text)};
    if (wants_tokens_) news.tokens.push_back(report(token));
    loop_.news_.push_back(std::move(news));
  }

  void on_prefill(int64_t, int64_t) override { loop_.urgent_ = true; }

  void on_finish(std::string_view text, const Finish& finish) override {
    loop_.urgent_ = true;
    AnswerNews news{.key = key_, .text = std::string(text), .finish = finish};
    news.finish->bill.queue += queued_;
    if (finish.error && finish.error->code == Code::kDeadline && deadline_) {
      // The runner was given what was left of it.
      news.finish->error->message =
          fmt::format("the deadline of {:.0f} ms passed before the first token", deadline_->count);
    }
    loop_.news_.push_back(std::move(news));
    loop_.end(key_);
  }

  void cancel() const { model_.loaded->runner().cancel(id); }
  PooledModel& model() const { return model_; }

  RequestId id = 0;

 private:
  TokenReport report(const TokenOutput& token) const {
    const Tokenizer& tokenizer = model_.served.model.tokenizer();
    TokenReport report{.bytes = token.bytes, .logprob = token.logprob};
    for (const TokenLogprob& other : token.top) {
      report.top.push_back({tokenizer.piece(other.token, true), other.logprob});
    }
    return report;
  }

  EngineLoop& loop_;
  const uint64_t key_;
  PooledModel& model_;  // its seat holds the lease
  const bool wants_tokens_;
  const std::optional<Millis> deadline_;
  const Millis queued_;  // before the runner had it
  bool told_ = false;
  std::optional<int64_t> last_ns_;  // when the last token came
};

EngineLoop::EngineLoop(const Clock& clock, Millis news_every, Deliver deliver,
                       OnInterval on_interval)
    : clock_(clock),
      news_every_(news_every),
      deliver_(std::move(deliver)),
      on_interval_(std::move(on_interval)) {}

EngineLoop::~EngineLoop() = default;

void EngineLoop::order(AnswerOrder order) {
  {
    const std::lock_guard lock(mutex_);
    inbox_.orders.push_back(std::move(order));
  }
  changed_.notify_one();
}

void EngineLoop::cancel(uint64_t key) {
  {
    const std::lock_guard lock(mutex_);
    inbox_.cancels.push_back(key);
  }
  changed_.notify_one();
}

void EngineLoop::stop(Millis grace) {
  const int64_t ns = clock_.now_ns() + static_cast<int64_t>(grace.count * 1e6);
  {
    const std::lock_guard lock(mutex_);
    stop_ns_ = std::min(stop_ns_.value_or(ns), ns);
  }
  changed_.notify_one();
}

void EngineLoop::run() {
  bool busy = false;
  while (true) {
    Inbox inbox;
    std::optional<int64_t> stop_ns;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return busy || !inbox_.empty() || stop_ns_; });
      std::swap(inbox, inbox_);
      stop_ns = stop_ns_;
    }
    if (!inbox.orders.empty()) deliver();
    for (AnswerOrder& order : inbox.orders) begin(std::move(order));
    for (uint64_t key : inbox.cancels) {
      if (const auto writer = writers_.find(key); writer != writers_.end()) {
        writer->second->cancel();
      }
    }
    if (stop_ns && clock_.now_ns() >= *stop_ns) {
      for (const auto& [key, writer] : writers_) writer->cancel();
    }
    busy = step();
    flush();
    if (stop_ns && writers_.empty()) return;
  }
}

// One of each model's.
bool EngineLoop::step() {
  bool busy = false;
  int64_t active = 0;
  int64_t waiting = 0;
  for (const Seat& seat : seats_) {
    Runner& runner = seat.model->loaded->runner();
    busy |= runner.step();
    active += runner.active();
    waiting += runner.waiting();
  }
  active_ = active;
  waiting_ = waiting;
  return busy;
}

EngineLoop::Seat& EngineLoop::seat_of(const ModelLease& model) {
  const auto found = std::ranges::find_if(
      seats_, [&](const Seat& seat) { return seat.model.get() == model.get(); });
  return found != seats_.end() ? *found : seats_.emplace_back(Seat{.model = model});
}

void EngineLoop::begin(AnswerOrder order) {
  if (order.gone && *order.gone) return;
  const Millis waited = clock_.since(order.arrived_ns);
  auto writer = std::make_unique<Writer>(*this, order, waited);
  if (order.request.deadline) *order.request.deadline -= waited;
  Runner& runner = order.model->loaded->runner();
  const Result<RequestId> id = runner.submit(std::move(order.request), *writer);
  if (!id) {
    urgent_ = true;
    news_.push_back({.key = order.key, .refused = id.error()});
    return;
  }
  writer->id = *id;
  ++seat_of(order.model).answers;
  writers_.emplace(order.key, std::move(writer));
}

void EngineLoop::end(uint64_t key) {
  const auto writer = writers_.find(key);
  const auto of_model = [&](const Seat& seat) {
    return seat.model.get() == &writer->second->model();
  };
  --std::ranges::find_if(seats_, of_model)->answers;
  ended_.push_back(std::move(writer->second));
  writers_.erase(writer);
}

void EngineLoop::flush() {
  ended_.clear();
  std::erase_if(seats_, [](const Seat& seat) { return seat.answers == 0; });
  if (urgent_ || clock_.since(delivered_ns_) >= news_every_) deliver();
}

void EngineLoop::deliver() {
  urgent_ = false;
  if (news_.empty()) return;
  delivered_ns_ = clock_.now_ns();
  deliver_(std::exchange(news_, {}));
}

}  // namespace ration
