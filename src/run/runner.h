// run/runner.h - requests in, tokens out: whoever is here shares each step of the engine.
//
// A step holds one token of every answer that is being written, and as much of the prompts as the
// scheduler lets ride along (plan/plan.h). When the cache is full an answer steps back, and is
// computed again later in the same roles: every answer is what it would have been alone.
//
// Prompts that begin like an earlier text, or one that is being written, take over what it computed
// (prefix_cache.h).
//
// In a step that reads no prompt an answer may run guessed tokens behind its newest one. Each of
// their rows is sampled as it would be without them, with the same draw, for as long as what comes
// out is what was guessed: the tokens, whatever the options, are those of no speculation.
// Private to run/; run/run.h hands it on.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/budget.h"
#include "base/clock.h"
#include "measure/measure.h"
#include "plan/plan.h"
#include "run/embedder.h"
#include "run/engine.h"
#include "run/prefix_cache.h"
#include "run/sampler.h"
#include "run/speculate_pace.h"
#include "run/text_stream.h"

namespace ration {

struct Request {
  std::vector<Token> prompt;  // not empty, unless there are texts
  // In its place: texts whose vectors are wanted (embedder.h); nothing is written, and only
  // deadline, key and load count of what follows.
  std::vector<std::vector<Token>> texts{};
  SamplerOptions sampler;
  std::vector<std::string> stops;
  std::optional<int64_t> tokens_max;  // none: until the context is full
  std::optional<Millis> deadline;     // since submit()
  bool ignore_end = false;            // go on after an end token (benchmarks)
  std::vector<Token> shown{};         // control tokens whose text is part of the answer
  int32_t priority = 0;               // higher goes first, and may take a lower one's place
  std::string key;                    // whose it is: keys get equal shares. Empty: nobody's
  Millis load;                        // what loading the model for this request took, for the bill
};

struct TokenOutput {
  Token token = -1;
  std::string bytes;  // may be cut inside a code point
  float logprob = 0;
  std::vector<TokenLogprob> top;
};

enum class FinishReason : uint8_t {
  kStop,       // the model ended, or a stop string was met
  kLength,     // a limit: tokens, context, deadline, memory
  kCancelled,  // the caller went away
  kFailed,     // see the error; nothing was generated that counts
};

struct Finish {
  FinishReason reason = FinishReason::kStop;
  Bill bill;                                  // its stop_cause says which limit or end it was
  std::string stop{};                         // the stop string that was met, or ""
  std::vector<std::vector<float>> vectors{};  // of the request's texts, each of length 1
  std::optional<Error> error;
};

// Hears of one answer, on the thread that calls Runner::step(). May call Runner::cancel().
class Listener {
 public:
  virtual ~Listener() = default;
  // text: what may be shown now, valid UTF-8; it lags behind the tokens by what is held back.
  virtual void on_token(const TokenOutput& token, std::string_view text) = 0;
  // Last call. text: the rest of the answer.
  virtual void on_finish(std::string_view text, const Finish& finish) = 0;
  // Prompt tokens done so far, of all of them.
  virtual void on_prefill(int64_t done, int64_t total) {}
  // It got a place among those that share the steps, or gave it up for others for a while.
  virtual void on_place(bool active) {}
};

using RequestId = uint64_t;

struct RunnerOptions {
  // So many of the engine's logit rows are kept for guessed tokens, and the rest is how many
  // answers are written at once. 0: no speculation.
  int64_t draft_rows = 0;
  // A smaller model of the same vocabulary that guesses where the text so far does not. None: null.
  Engine* draft_engine = nullptr;
  // While answers are being written, a prompt is read in pieces that keep a step below this; where
  // several wait, they may take up to four times as long (SchedulerOptions::crowd_max).
  Millis inter_token{150};
  // What texts that are not being written may hold of the cache, for prompts that begin alike. They
  // are the first to go. 0: nothing is kept.
  Bytes prefix_bytes{0};
  // Where texts are also written down, to be taken over when memory has them no more. None: null.
  PrefixStore* prefix_store = nullptr;
  // What a prompt takes over, it would have computed to the bit: nothing that was generated.
  bool reproducible = false;
  // Prompts take over what was computed for other keys than theirs.
  bool share_prefixes = false;
  // Requests are numbered from here: runners that share an attributor keep apart.
  RequestId first_id = 1;
};

// Rows that are worth keeping: the most guessed tokens of one answer in a step.
inline constexpr int64_t kDraftTokensMax = 15;

// single-thread: submit, cancel and step are called by one thread. Everything given to the
// constructor outlives it. Time is a parameter, so the same object runs on a simulated clock.
class Runner {
 public:
  Runner(Engine& engine, Budget& budget, const Clock& clock, Attributor& attributor,
         RunnerOptions options = {});
  ~Runner();

  // Checks and queues. kInvalid: no prompt, bad sampler options, or a prompt or text longer than
  // the context (both numbers are in the message). kOverBudget: the prompt can never fit the cache.
  // kUnsupported: a prompt for an encoder, which writes nothing.
  // REQUIRES: the listener lives until its on_finish.
  Result<RequestId> submit(Request request, Listener& listener);
  // The answer ends at the next step(); unknown ids are ignored (it may have just finished).
  void cancel(RequestId id);

  // What guessing takes of the budget for one answer of at most so many tokens.
  static Bytes speculation_bytes(int64_t tokens);

  // One step of the engine for all. False when there was nothing to do.
  bool step();

  int64_t waiting() const { return static_cast<int64_t>(waiting_.size()); }
  int64_t active() const { return static_cast<int64_t>(active_.size() + jobs_.size()); }
  // Of the last step: how many answers took part.
  int64_t last_batch() const { return last_batch_; }
  const Scheduler& scheduler() const { return scheduler_; }

 private:
  struct Answer;
  using AnswerPtr = std::unique_ptr<Answer>;

  struct Step;
  struct TextsJob;

  void drop_ended();
  std::vector<ScheduledAnswer> describe() const;
  void schedule();
  AnswerPtr take(size_t described);
  void admit(size_t described);
  void step_back(size_t described);
  Step next_step();
  PrefixSource source_of(const Answer& answer) const;
  PrefixQuery query_of(const Answer& answer) const;
  std::vector<PrefixSource> running() const;
  void reuse(Answer& answer);
  void retire(Answer& answer);
  void keep_prompt(const Answer& answer);
  void draft();
  Proposal guess(Answer& answer);
  void ask_draft_model(Answer& answer);
  bool run_batch();
  Status run_step(const Step& step, double cpu_before);
  void after_step(std::span<const StepItem> items, std::span<Answer* const> answers);
  void write(Answer& answer, int64_t row);
  void write_token(Answer& answer, int64_t row);
  bool late(const Answer& answer) const;
  void account(std::span<const StepItem> items, std::span<Answer* const> answers,
               double cpu_seconds);
  // Texts whose vectors are wanted (runner_texts.cpp).
  Result<RequestId> submit_texts(Request request, Listener& listener);
  bool read_texts();
  void account_texts(int64_t start_ns, double cpu_seconds);
  TextsJob* job_of(uint64_t text);
  void drop_ended_texts();
  void finish_texts(TextsJob& job, FinishReason reason, std::string_view cause,
                    std::optional<Error> error = std::nullopt);
  void finish(Answer& answer, FinishReason reason, std::string_view cause,
              std::optional<Error> error = std::nullopt);

  Engine& engine_;
  Budget& budget_;
  const Clock& clock_;
  Attributor& attributor_;
  const RunnerOptions options_;
  StepCosts costs_;
  Scheduler scheduler_;
  PrefixCache prefixes_;
  std::vector<AnswerPtr> waiting_;  // in order of arrival
  std::vector<AnswerPtr> active_;   // in order of arrival
  Embedder embedder_;
  std::vector<std::unique_ptr<TextsJob>> jobs_;  // in order of arrival
  uint64_t next_text_ = 0;
  RequestId next_id_;
  int64_t last_batch_ = 0;
  double draft_share_ = 0;  // of a step of one token, what one of the draft model takes
};

}  // namespace ration
