#include "serve/engine_loop.h"

#include <fmt/core.h>

#include <utility>

namespace ration {

// Hears of one answer and writes it into the loop's news.
class EngineLoop::Writer final : public Listener {
 public:
  Writer(EngineLoop& loop, const AnswerOrder& order, Millis waited)
      : loop_(loop),
        key_(order.key),
        wants_tokens_(order.wants_tokens),
        deadline_(order.request.deadline),
        waited_(waited) {}

  void on_token(const TokenOutput& token, std::string_view text) override {
    if (loop_.on_interval_) {
      const int64_t now_ns = loop_.clock_.now_ns();
      if (last_ns_) loop_.on_interval_(Millis{static_cast<double>(now_ns - *last_ns_) * 1e-6});
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
    news.finish->bill.queue += waited_;
    if (finish.error && finish.error->code == Code::kDeadline && deadline_) {
      // The runner was given what was left of it.
      news.finish->error->message =
          fmt::format("the deadline of {:.0f} ms passed before the first token", deadline_->count);
    }
    loop_.news_.push_back(std::move(news));
    loop_.end(key_);
  }

  RequestId id = 0;

 private:
  TokenReport report(const TokenOutput& token) const {
    TokenReport report{.bytes = token.bytes, .logprob = token.logprob};
    for (const TokenLogprob& other : token.top) {
      report.top.push_back({loop_.tokenizer_.piece(other.token, true), other.logprob});
    }
    return report;
  }

  EngineLoop& loop_;
  const uint64_t key_;
  const bool wants_tokens_;
  const std::optional<Millis> deadline_;
  const Millis waited_;  // before the runner had it
  bool told_ = false;
  std::optional<int64_t> last_ns_;  // when the last token came
};

EngineLoop::EngineLoop(Runner& runner, const Tokenizer& tokenizer, const Clock& clock,
                       Millis news_every, Deliver deliver, OnInterval on_interval)
    : runner_(runner),
      tokenizer_(tokenizer),
      clock_(clock),
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
        runner_.cancel(writer->second->id);
      }
    }
    if (stop_ns && clock_.now_ns() >= *stop_ns) {
      for (const auto& [key, writer] : writers_) runner_.cancel(writer->id);
    }
    busy = runner_.step();
    active_ = runner_.active();
    waiting_ = runner_.waiting();
    flush();
    if (stop_ns && writers_.empty()) return;
  }
}

void EngineLoop::begin(AnswerOrder order) {
  if (order.gone && *order.gone) return;
  const Millis waited = clock_.since(order.arrived_ns);
  auto writer = std::make_unique<Writer>(*this, order, waited);
  if (order.request.deadline) *order.request.deadline -= waited;
  const Result<RequestId> id = runner_.submit(std::move(order.request), *writer);
  if (!id) {
    urgent_ = true;
    news_.push_back({.key = order.key, .refused = id.error()});
    return;
  }
  writer->id = *id;
  writers_.emplace(order.key, std::move(writer));
}

void EngineLoop::end(uint64_t key) {
  const auto writer = writers_.find(key);
  ended_.push_back(std::move(writer->second));
  writers_.erase(writer);
}

void EngineLoop::flush() {
  ended_.clear();
  if (urgent_ || clock_.since(delivered_ns_) >= news_every_) deliver();
}

void EngineLoop::deliver() {
  urgent_ = false;
  if (news_.empty()) return;
  delivered_ns_ = clock_.now_ns();
  deliver_(std::exchange(news_, {}));
}

}  // namespace ration
