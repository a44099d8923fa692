#include "run/runner.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "run/kv.h"
#include "run/runner_answer.h"
#include "run/runner_texts.h"

namespace ration {
namespace {

SchedulerOptions scheduler_options(const EngineOptions& limits, const RunnerOptions& options) {
  const int64_t rows = limits.logit_rows_max - options.draft_rows;
  return {.answers_max = std::min(rows, limits.step_tokens_max),
          .step_tokens_max = limits.step_tokens_max,
          .block_tokens = kKvBlockTokens,
          .inter_token = options.inter_token};
}

}  // namespace

Runner::Runner(Engine& engine, Budget& budget, const Clock& clock, Attributor& attributor,
               RunnerOptions options)
    : engine_(engine),
      budget_(budget),
      clock_(clock),
      attributor_(attributor),
      options_(options),
      costs_(engine.options().logit_rows_max),
      scheduler_(scheduler_options(engine.options(), options)),
      prefixes_(engine, budget, options.prefix_bytes, options.prefix_store),
      embedder_(engine, [this] { return prefixes_.shrink(); }),
      next_id_(options.first_id) {
  if (options_.draft_engine) {
    draft_share_ = static_cast<double>(options_.draft_engine->step_weight_bytes().count) /
                   static_cast<double>(engine.step_weight_bytes().count);
  }
  CHECK(options_.draft_rows >= 0 && options_.draft_rows < engine.options().logit_rows_max);
}

Bytes Runner::speculation_bytes(int64_t tokens) { return PromptLookup::bytes(tokens); }

Runner::~Runner() = default;

Result<RequestId> Runner::submit(Request request, Listener& listener) {
  if (!request.texts.empty()) return submit_texts(std::move(request), listener);
  const auto vocabulary = static_cast<int32_t>(engine_.model().network().vocabulary);
  const auto prompt = static_cast<int64_t>(request.prompt.size());
  const int64_t context = engine_.options().context;
  if (prompt == 0) return Error{Code::kInvalid, "the prompt is empty"};
  if (engine_.model().network().sees_later) {
    return Error{Code::kUnsupported,
                 fmt::format("{} makes vectors of texts, and writes none", engine_.model().name())};
  }
  if (prompt > context) {
    return Error{Code::kInvalid,
                 fmt::format("the prompt has {} tokens, the context holds {}", prompt, context)};
  }
  if (kv_blocks_for(prompt) > engine_.kv_blocks_max()) {
    const Bytes block = engine_.kv_block_bytes();
    return Error{Code::kOverBudget,
                 fmt::format("the prompt has {} tokens, the cache holds {}", prompt,
                             engine_.kv_blocks_max() * kKvBlockTokens),
                 Shortfall{.wanted = kv_blocks_for(prompt) * block.count,
                           .available = engine_.kv_blocks_max() * block.count}};
  }
  if (Status checked = request.sampler.check(vocabulary); !checked) return checked.error();
  const RequestId id = next_id_++;
  auto answer = std::make_unique<Answer>(id, std::move(request), listener, vocabulary);
  answer->submitted_ns = clock_.now_ns();
  if (waiting_.empty() && active() == 0) budget_.reset_peaks();
  attributor_.begin(id);
  waiting_.push_back(std::move(answer));
  return id;
}

void Runner::cancel(RequestId id) {
  for (AnswerPtr& answer : waiting_) {
    if (answer->id == id) answer->cancelled = true;
  }
  for (AnswerPtr& answer : active_) {
    if (answer->id == id) answer->cancelled = true;
  }
  for (const auto& job : jobs_) {
    if (job->id == id) job->cancelled = true;
  }
}

bool Runner::step() {
  drop_ended();
  schedule();
  const bool ran = !active_.empty() && run_batch();
  const bool read = read_texts();
  drop_ended();
  return ran || read;
}

bool Runner::late(const Answer& answer) const {
  return answer.request.deadline && clock_.since(answer.submitted_ns) >= *answer.request.deadline;
}

// Ends what was cancelled or is late, and removes what is done.
void Runner::drop_ended() {
  const auto check = [&](Answer& answer) {
    if (answer.done) return;
    if (answer.cancelled) {
      finish(answer, FinishReason::kCancelled, "cancelled");
    } else if (late(answer)) {
      if (answer.generated() > 0) {
        finish(answer, FinishReason::kLength, "deadline");
      } else {
        finish(
            answer, FinishReason::kFailed, "deadline",
            Error{Code::kDeadline, fmt::format("the deadline of {:.0f} ms passed before the first "
                                               "token",
                                               answer.request.deadline->count)});
      }
    }
  };
  for (size_t i = 0; i < waiting_.size(); ++i) check(*waiting_[i]);
  for (size_t i = 0; i < active_.size(); ++i) check(*active_[i]);
  const auto is_done = [](const AnswerPtr& answer) { return answer->done; };
  std::erase_if(waiting_, is_done);
  std::erase_if(active_, is_done);
  drop_ended_texts();
}

// Lets every answer guess, and decides how much of it the next step runs. A step that reads a
// prompt runs none: it is long, and its time says nothing about guesses.
void Runner::draft() {
  const auto writes = [](const AnswerPtr& answer) { return answer->writes(); };
  if (options_.draft_rows == 0 || !std::ranges::all_of(active_, writes)) return;
  const EngineOptions& limits = engine_.options();
  std::vector<Proposal> proposals;
  for (const AnswerPtr& answer : active_) proposals.push_back(guess(*answer));
  const int64_t writers = std::ssize(active_);
  const int64_t rows = std::min(limits.logit_rows_max, limits.step_tokens_max) - writers;
  const std::vector<int64_t> lengths = draft_lengths(costs_, writers, proposals, rows);
  for (size_t i = 0; i < lengths.size(); ++i) {
    active_[i]->drafted = lengths[i];
    if (options_.draft_engine) ask_draft_model(*active_[i]);
  }
}

// From the text so far, or, where that promises less, what the draft model may write.
Proposal Runner::guess(Answer& answer) {
  const int64_t context = engine_.options().context;
  const auto size = static_cast<int64_t>(answer.tokens.size());
  const auto& tokens_max = answer.request.tokens_max;
  const int64_t last =
      tokens_max ? std::min(context, answer.prompt_size() + *tokens_max - 1) : context;
  if (!answer.lookup && last > size) {
    // Without room for it the answer is written as if speculation were off.
    if (auto made = PromptLookup::make(last, budget_)) answer.lookup = std::move(*made);
    if (answer.lookup && !answer.drafts) answer.drafts.emplace();
  }
  const int64_t count_max = std::min(last - size, kDraftTokensMax);
  answer.guess = {answer.tokens.back()};
  answer.by_model = false;
  Proposal proposal{.acceptance = &answer.acceptance};
  if (!answer.lookup) return proposal;
  answer.matched = answer.lookup->propose(answer.tokens, count_max, answer.guess);
  proposal.matched = answer.matched;
  proposal.tokens = static_cast<int64_t>(answer.guess.size()) - 1;
  const Acceptance& acceptance = answer.acceptance;
  if (options_.draft_engine &&
      (proposal.tokens == 0 || acceptance.chance(answer.matched) < acceptance.chance_of_model())) {
    answer.by_model = true;
    proposal.tokens = std::max<int64_t>(count_max, 0);
    proposal.share_each = draft_share_;
  }
  return proposal;
}

// Has the draft model write what was decided to be run.
void Runner::ask_draft_model(Answer& answer) {
  if (!answer.by_model || answer.drafted == 0) {
    answer.by_model = false;
    answer.acceptance.skip_model();
    return;
  }
  if (!answer.model) answer.model = std::make_unique<DraftModel>(*options_.draft_engine);
  answer.guess.resize(1);
  answer.model->propose(answer.tokens, answer.drafted, answer.guess);
  answer.drafted = static_cast<int64_t>(answer.guess.size()) - 1;
}

bool Runner::run_batch() {
  const double cpu_before = process_cpu_seconds();
  draft();
  while (true) {
    const Step step = next_step();
    const Status stepped = run_step(step, cpu_before);
    if (stepped) {
      after_step(step.items, step.answers);
      return true;
    }
    if (stepped.error().code == Code::kOverBudget) {
      if (prefixes_.shrink() || embedder_.give_back()) continue;
      // Guesses give way first: nothing may end or wait because of them.
      bool drafted = false;
      for (Answer* answer : step.answers) {
        drafted |= std::exchange(answer->drafted, 0) > 0;
        drafted |= std::exchange(answer->model, nullptr) != nullptr;
      }
      if (drafted) continue;
      if (const std::optional<size_t> victim = scheduler_.victim(step.described)) {
        step_back(*victim);
        continue;
      }
    }
    for (Answer* answer : step.answers) {
      if (stepped.error().code == Code::kOverBudget && answer->generated() > 0) {
        finish(*answer, FinishReason::kLength, "memory");
      } else {
        finish(*answer, FinishReason::kFailed, "failed", stepped.error());
      }
    }
    return true;
  }
}

Status Runner::run_step(const Step& step, double cpu_before) {
  const bool writes = std::ranges::all_of(step.answers, &Answer::writes);
  const int64_t start_ns = clock_.now_ns();
  if (Status stepped = engine_.step(step.items); !stepped) return stepped;
  const Millis took = clock_.since(start_ns);
  int64_t tokens = 0;
  for (const StepItem& item : step.items) tokens += static_cast<int64_t>(item.tokens.size());
  if (writes) costs_.observe(tokens, took);
  // A step with guesses says nothing about one without.
  const bool drafted = writes && tokens > std::ssize(step.items);
  scheduler_.observe(step.described, step.shares, drafted ? Millis{} : took);
  last_batch_ = std::ssize(step.items);
  account(step.items, step.answers, process_cpu_seconds() - cpu_before);
  return {};
}

void Runner::account(std::span<const StepItem> items, std::span<Answer* const> answers,
                     double cpu_seconds) {
  const int64_t token_bytes = engine_.kv_block_bytes().count / kKvBlockTokens;
  Bytes shared = engine_.last_weight_bytes();
  std::vector<RequestWork> work;
  for (size_t i = 0; i < items.size(); ++i) {
    const auto tokens = static_cast<int64_t>(items[i].tokens.size());
    if (answers[i]->by_model) {
      shared += options_.draft_engine->step_weight_bytes() * answers[i]->drafted;
    }
    work.push_back({.request = answers[i]->id,
                    .tokens = tokens,
                    .own_bytes = Bytes{answers[i]->computed() * token_bytes}});
  }
  attributor_.step({.cpu_seconds = cpu_seconds, .shared_bytes = shared, .requests = work});
}

void Runner::after_step(std::span<const StepItem> items, std::span<Answer* const> answers) {
  int64_t row = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    Answer& answer = *answers[i];
    if (items[i].wants_logits) {
      const int64_t rows = 1 + answer.drafted;
      if (!answer.done && !answer.cancelled) write(answer, row);
      row += rows;
    } else {
      answer.listener.on_prefill(answer.computed(), answer.prompt_size());
    }
  }
}

// The next token, and those after it whose rows were computed on right guesses.
void Runner::write(Answer& answer, int64_t row) {
  const int64_t drafted = std::exchange(answer.drafted, 0);
  const auto guesses = static_cast<int64_t>(answer.guess.size()) - 1;
  if (answer.drafts) answer.drafts->drafted += drafted;
  for (int64_t i = 0;; ++i) {
    if (i > 0) ++answer.drafts->accepted;
    write_token(answer, row + i);
    if (answer.done) return;
    if (i >= guesses) break;
    const bool right = answer.tokens.back() == answer.guess[static_cast<size_t>(i + 1)];
    if (answer.by_model) {
      answer.acceptance.observe_model(right);
    } else {
      answer.acceptance.observe(answer.matched + i, right);
    }
    if (!right || i >= drafted || answer.cancelled || late(answer)) break;
  }
  answer.guess.clear();
  answer.sequence->truncate(static_cast<int64_t>(answer.tokens.size()) - 1);
}

void Runner::write_token(Answer& answer, int64_t row) {
  const Tokenizer& tokenizer = engine_.model().tokenizer();
  if (!answer.first_token_ns) {
    answer.first_token_ns = clock_.now_ns();
    keep_prompt(answer);
  }
  if (answer.request.tokens_max && *answer.request.tokens_max <= 0) {
    return finish(answer, FinishReason::kLength, "tokens");
  }
  Result<Choice> choice = answer.sampler.choose(engine_.logits(row));
  if (!choice) return finish(answer, FinishReason::kFailed, "failed", choice.error());
  if (tokenizer.ends_generation(choice->token) && !answer.request.ignore_end) {
    return finish(answer, FinishReason::kStop, "end");
  }
  answer.tokens.push_back(choice->token);
  const std::vector<Token>& shown = answer.request.shown;
  const bool shows = std::ranges::find(shown, choice->token) != shown.end();
  TokenOutput output{.token = choice->token,
                     .bytes = tokenizer.piece(choice->token, shows),
                     .logprob = choice->logprob,
                     .top = std::move(choice->top)};
  const std::string text = answer.stream.add(output.bytes);
  answer.listener.on_token(output, text);
  if (answer.stream.stopped()) return finish(answer, FinishReason::kStop, "stop");
  if (answer.request.tokens_max && answer.generated() >= *answer.request.tokens_max) {
    return finish(answer, FinishReason::kLength, "tokens");
  }
  if (static_cast<int64_t>(answer.tokens.size()) > engine_.options().context) {
    return finish(answer, FinishReason::kLength, "context");
  }
}

void Runner::finish(Answer& answer, FinishReason reason, std::string_view cause,
                    std::optional<Error> error) {
  answer.done = true;
  const int64_t now_ns = clock_.now_ns();
  const int64_t started_ns = answer.started_ns.value_or(now_ns);
  const int64_t first_ns = answer.first_token_ns.value_or(now_ns);
  Finish result{.reason = reason, .bill = {}, .error = std::move(error)};
  Bill& bill = result.bill;
  bill.prompt_tokens = answer.prompt_size();
  bill.cached_tokens = answer.cached.value_or(0);
  bill.generated_tokens = answer.generated();
  bill.drafts = answer.drafts;
  bill.queue = to_millis(started_ns - answer.submitted_ns);
  bill.load = answer.request.load;
  bill.prefill = to_millis(first_ns - started_ns);
  bill.decode = to_millis(now_ns - first_ns);
  bill.energy = attributor_.end(answer.id);
  bill.stop_cause = cause;
  result.stop = answer.stream.stop();
  set_peaks(bill, budget_.report());
  retire(answer);
  answer.listener.on_finish(answer.stream.finish(), result);
}

}  // namespace ration
