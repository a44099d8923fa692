#include "app/answer.h"

#include "app/interrupt.h"
#include "base/rng.h"

namespace ration {
namespace {

class Collector final : public Listener {
 public:
  explicit Collector(const std::function<void(std::string_view)>& show) : show_(show) {}

  void on_token(const TokenOutput& token, std::string_view text) override {
    answer_.tokens.push_back(token);
    put(text);
  }
  void on_finish(std::string_view text, const Finish& finish) override {
    put(text);
    answer_.finish = finish;
    done_ = true;
  }

  bool done() const { return done_; }
  Answer take() { return std::move(answer_); }

 private:
  void put(std::string_view text) {
    answer_.text += text;
    if (show_ && !text.empty()) show_(text);
  }

  const std::function<void(std::string_view)>& show_;
  Answer answer_;
  bool done_ = false;
};

}  // namespace

Request make_request(const Settings& settings, std::vector<Token> prompt) {
  Request request{.prompt = std::move(prompt),
                  .sampler = settings.sampler,
                  .stops = settings.stop,
                  .tokens_max = settings.max_tokens,
                  .deadline = settings.deadline};
  request.sampler.seed = settings.seed.value_or(random_seed());
  request.sampler.logprobs = settings.json;
  return request;
}

Result<Answer> answer(Session& session, Request request,
                      const std::function<void(std::string_view)>& show) {
  Collector collector(show);
  Result<RequestId> id = session.runner->submit(std::move(request), collector);
  if (!id) return id.error();
  while (!collector.done()) {
    if (interrupted()) session.runner->cancel(*id);
    if (Status same = session.model->file().unchanged(); !same) {
      session.runner->cancel(*id);
      session.runner->step();
      return same.error();
    }
    session.runner->step();
  }
  Answer result = collector.take();
  if (result.finish.error) return *result.finish.error;
  result.finish.bill.dollars = price(result.finish.bill, session.config.tariff);
  return result;
}

std::string_view finish_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kCancelled:
      return "cancelled";
    case FinishReason::kFailed:
      return "error";
  }
  return "error";
}

}  // namespace ration
