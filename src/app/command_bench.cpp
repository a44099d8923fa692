// ration bench: how fast prompts are read and answers written, and how near that is to what this
// machine can do.
#include <fmt/core.h>

#include <algorithm>

#include "app/bench_report.h"
#include "app/commands.h"
#include "app/exit_code.h"
#include "app/interrupt.h"
#include "app/output.h"
#include "app/session.h"
#include "base/rng.h"

namespace ration {
namespace {

constexpr int64_t kFirstPrompt = 16;  // tokens before the first token of an answer

// What a step of `network` comes to, by the shapes of its matrices.
struct Arithmetic {
  double parameters = 0;         // multiplied for every token
  double output_parameters = 0;  // and for every token whose logits are wanted
  std::vector<int64_t> windows;  // of the attention stages; 0: none
};

Arithmetic arithmetic_of(const Network& network) {
  Arithmetic sum;
  // times: how often a token meets a row of it, on average
  const auto add = [&](const Matrix& weight, double times = 1) {
    sum.parameters += times * static_cast<double>(weight.rows * weight.cols);
  };
  for (const Stage& stage : network.stages) {
    if (const auto* attention = std::get_if<AttentionStage>(&stage)) {
      for (const Linear* linear :
           {&attention->query, &attention->key, &attention->value, &attention->output}) {
        add(linear->weight);
      }
      sum.windows.push_back(attention->window);
    } else if (const auto* feed_forward = std::get_if<FeedForwardStage>(&stage)) {
      add(feed_forward->gate.weight);
      add(feed_forward->up.weight);
      add(feed_forward->down.weight);
    } else if (const auto* experts = std::get_if<ExpertStage>(&stage)) {
      const double share =
          static_cast<double>(experts->used) / static_cast<double>(experts->experts);
      for (const Matrix* weight : {&experts->gate, &experts->up, &experts->down}) {
        add(*weight, share);
      }
      for (const Matrix* weight : {&experts->router, &experts->shared_gate, &experts->shared_up,
                                   &experts->shared_down, &experts->shared_router}) {
        add(*weight);
      }
    }
  }
  const Matrix& output = network.output.weight;
  sum.output_parameters = static_cast<double>(output.rows * output.cols);
  return sum;
}

// What one kind of work took in all rounds; keeps the energy meter's account of it open.
struct Account {
  uint64_t id = 0;
  int64_t tokens = 0;
  Bytes read{};
};

class Bench {
 public:
  Bench(Session& session, const Settings& settings)
      : session_(session),
        settings_(settings),
        rng_(settings.seed.value_or(1)),
        arithmetic_(arithmetic_of(session.model->network())),
        cached_token_bytes_(
            static_cast<double>(session.engine->kv_block_bytes().count / kKvBlockTokens)) {}

  Result<BenchReport> run();

 private:
  using Sequences = std::vector<std::unique_ptr<Sequence>>;

  std::vector<Token> random_tokens(int64_t count);
  double cache_bytes(int64_t positions) const;
  Status step(std::span<const StepItem> items, Account* account);
  // Feeds a prompt in the largest steps the engine takes.
  Status prefill(Sequence& sequence, int64_t count, Account* account);
  Status first_token(BenchReport& report);
  Status fill(Sequences& sequences, int64_t depth);
  Status prefill_round(BenchWork& work);
  // Every sequence goes on by the tokens to decode, and back again.
  Status decode_round(BenchWork& work, Sequences& sequences, Account& account);
  Status rounds(BenchReport& report);
  BenchWork prefill_work() const;
  BenchWork decode_work(int64_t depth) const;
  void settle(const Account& account, std::optional<BenchWork>& work);
  Energy energy_of(const Account& account);
  BenchReport head() const;

  Session& session_;
  const Settings& settings_;
  Rng rng_;
  const Arithmetic arithmetic_;
  const double cached_token_bytes_;
  Account prefill_account_{.id = 1}, decode_account_{.id = 2}, shallow_account_{.id = 3};
};

std::vector<Token> Bench::random_tokens(int64_t count) {
  const auto vocabulary = static_cast<uint64_t>(session_.model->network().vocabulary);
  std::vector<Token> tokens(static_cast<size_t>(count));
  for (Token& token : tokens) token = static_cast<Token>(rng_.below(vocabulary));
  return tokens;
}

// What attention reads for a token that sees `positions` of them.
double Bench::cache_bytes(int64_t positions) const {
  double seen = 0;
  for (int64_t window : arithmetic_.windows) {
    seen += static_cast<double>(window > 0 ? std::min(window, positions) : positions);
  }
  return seen / static_cast<double>(arithmetic_.windows.size()) * cached_token_bytes_;
}

Status Bench::step(std::span<const StepItem> items, Account* account) {
  if (interrupted()) return Error{Code::kCancelled, "interrupted"};
  const double start_seconds = process_cpu_seconds();
  if (Status stepped = session_.engine->step(items); !stepped) return stepped;
  if (!account) return {};
  RequestWork work{.request = account->id};
  for (const StepItem& item : items) {
    work.tokens += static_cast<int64_t>(item.tokens.size());
    work.own_bytes += Bytes{static_cast<int64_t>(cache_bytes(item.sequence->length()))};
  }
  account->tokens += work.tokens;
  account->read += session_.engine->last_weight_bytes() + work.own_bytes;
  session_.attributor->step({.cpu_seconds = process_cpu_seconds() - start_seconds,
                             .shared_bytes = session_.engine->last_weight_bytes(),
                             .requests = {&work, 1}});
  return {};
}

Status Bench::prefill(Sequence& sequence, int64_t count, Account* account) {
  const std::vector<Token> tokens = random_tokens(count);
  const int64_t most = session_.engine->options().step_tokens_max;
  for (int64_t begin = 0; begin < count; begin += most) {
    const int64_t size = std::min(most, count - begin);
    const StepItem item{
        .sequence = &sequence,
        .tokens = std::span(tokens).subspan(static_cast<size_t>(begin), static_cast<size_t>(size)),
        .wants_logits = begin + size == count};
    if (Status stepped = step({&item, 1}, account); !stepped) return stepped;
  }
  return {};
}

// Touches every page once, so that the first round is not about the disk.
Status Bench::first_token(BenchReport& report) {
  report.load = session_.load;
  report.first_prompt = std::min(kFirstPrompt, session_.engine->options().context);
  const int64_t start_ns = session_.clock.now_ns();
  const std::unique_ptr<Sequence> sequence = session_.engine->open();
  Status done = prefill(*sequence, report.first_prompt, nullptr);
  report.first_token = report.load + session_.clock.since(start_ns);
  return done;
}

Status Bench::fill(Sequences& sequences, int64_t depth) {
  for (int64_t i = 0; i < settings_.sequences; ++i) {
    sequences.push_back(session_.engine->open());
    if (depth == 0) continue;
    if (Status filled = prefill(*sequences.back(), depth, nullptr); !filled) return filled;
  }
  return {};
}

Status Bench::prefill_round(BenchWork& work) {
  const std::unique_ptr<Sequence> sequence = session_.engine->open();
  const int64_t start_ns = session_.clock.now_ns();
  Status done = prefill(*sequence, settings_.prefill, &prefill_account_);
  work.rounds.push_back(session_.clock.since(start_ns));
  return done;
}

Status Bench::decode_round(BenchWork& work, Sequences& sequences, Account& account) {
  Sequences forks;  // the beginnings stay for the next round
  for (const auto& sequence : sequences) {
    Result<std::unique_ptr<Sequence>> fork = session_.engine->fork(*sequence, sequence->length());
    if (!fork) return fork.error();
    forks.push_back(std::move(*fork));
  }
  std::vector<Token> tokens = random_tokens(settings_.sequences);
  const int64_t start_ns = session_.clock.now_ns();
  for (int64_t i = 0; i < settings_.decode; ++i) {
    std::vector<StepItem> items;
    for (size_t s = 0; s < forks.size(); ++s) {
      items.push_back({.sequence = forks[s].get(),
                       .tokens = {&tokens[s], 1},
                       .role = Role::kGenerated,
                       .wants_logits = true,
                       .best_logits = 1});
    }
    if (Status stepped = step(items, &account); !stepped) return stepped;
    for (size_t s = 0; s < tokens.size(); ++s) {
      tokens[s] = best_logit(session_.engine->logits(static_cast<int64_t>(s))).token;
    }
  }
  work.rounds.push_back(session_.clock.since(start_ns));
  return {};
}

BenchWork Bench::prefill_work() const {
  const int64_t tokens = settings_.prefill;
  const int64_t most = session_.engine->options().step_tokens_max;
  BenchWork work{.name = fmt::format("prefill {}", tokens),
                 .tokens = tokens,
                 .steps = (tokens + most - 1) / most};
  work.operations =
      2 * (arithmetic_.parameters * static_cast<double>(tokens) + arithmetic_.output_parameters);
  return work;
}

BenchWork Bench::decode_work(int64_t depth) const {
  const int64_t sequences = settings_.sequences;
  BenchWork work{.name = fmt::format("decode {}", settings_.decode),
                 .tokens = settings_.decode * sequences,
                 .steps = settings_.decode};
  if (sequences > 1) work.name += fmt::format(" x {}", sequences);
  if (settings_.depth > 0) work.name += fmt::format(" at {}", depth);
  work.operations = 2 * (arithmetic_.parameters + arithmetic_.output_parameters) *
                    static_cast<double>(work.tokens);
  return work;
}

Status Bench::rounds(BenchReport& report) {
  Sequences deep;
  if (settings_.prefill > 0) report.prefill = prefill_work();
  if (settings_.decode > 0) {
    report.decode = decode_work(settings_.depth);
    if (settings_.depth > 0) report.shallow = decode_work(0);
    if (Status filled = fill(deep, settings_.depth); !filled) return filled;
  }
  for (int64_t round = 0; round < settings_.rounds; ++round) {
    if (report.prefill) {
      if (Status done = prefill_round(*report.prefill); !done) return done;
    }
    if (report.shallow) {
      Sequences empty;
      if (Status filled = fill(empty, 0); !filled) return filled;
      Status done = decode_round(*report.shallow, empty, shallow_account_);
      if (!done) return done;
    }
    if (report.decode) {
      Status done = decode_round(*report.decode, deep, decode_account_);
      if (!done) return done;
    }
  }
  return {};
}

void Bench::settle(const Account& account, std::optional<BenchWork>& work) {
  if (!work) return;
  work->read_bytes =
      static_cast<double>(account.read.count) / static_cast<double>(settings_.rounds);
  work->energy = energy_of(account);
}

Energy Bench::energy_of(const Account& account) {
  Energy energy = session_.attributor->end(account.id);
  if (!energy.joules || account.tokens == 0) return {};
  const double share = 1 / static_cast<double>(account.tokens);
  JouleRange& range = *energy.joules;
  range = {range.low * share, range.best * share, range.high * share};
  return energy;
}

BenchReport Bench::head() const {
  return {.model = session_.name,
          .family = session_.model->network().family,
          .isa = std::string(session_.kernels->isa),
          .threads = session_.pool.threads(),
          .prefill_tokens = settings_.prefill,
          .decode_tokens = settings_.decode,
          .sequences = settings_.sequences,
          .depth = settings_.depth,
          .rounds = settings_.rounds,
          .file = session_.model->file().file_bytes(),
          .step_weights = session_.engine->step_weight_bytes(),
          .machine = session_.machine};
}

Result<BenchReport> Bench::run() {
  BenchReport report = head();
  for (const Account* account : {&prefill_account_, &decode_account_, &shallow_account_}) {
    session_.attributor->begin(account->id);
  }
  if (Status done = first_token(report); !done) return done.error();
  if (Status done = rounds(report); !done) return done.error();
  settle(prefill_account_, report.prefill);
  settle(decode_account_, report.decode);
  settle(shallow_account_, report.shallow);
  report.peak = session_.budget.report().peak_total;
  if (const Result<ProcessMemory> memory = read_process_memory(session_.files)) {
    report.resident = memory->resident;
    report.resident_peak = memory->resident_peak;
  }
  // Last, so that its buffer is in none of the figures above.
  report.roofs = measure_roofs(*session_.kernels, session_.pool, session_.clock, session_.budget,
                               session_.machine);
  return report;
}

}  // namespace

Result<int> run_bench(const Settings& settings) {
  const int64_t sequences = settings.sequences;
  const int64_t longest = std::max(settings.prefill, settings.depth + settings.decode);
  if (longest < 1) return Error{Code::kInvalid, "nothing to measure: --prefill and --decode are 0"};
  Settings sized = settings;
  if (sized.context == 0) sized.context = std::max<int64_t>(longest, 32);
  // Deep sequences keep their tokens while the others are measured, whose blocks are not full.
  const int64_t beside = settings.depth > 0 ? settings.prefill + 2 * sequences * kKvBlockTokens : 0;
  Result<std::unique_ptr<Session>> session =
      Session::open(sized, {.sequences = sequences + (beside + longest - 1) / longest});
  if (!session) return session.error();
  const EngineOptions& options = (*session)->engine->options();
  if (options.context < longest || options.kv_tokens < longest * sequences + beside) {
    return Error{Code::kOverBudget,
                 fmt::format("{} sequences of {} tokens do not fit: the cache holds {} tokens",
                             sequences, longest, options.kv_tokens)};
  }
  const Result<BenchReport> report = Bench(**session, settings).run();
  if (!report) return report.error();
  return print(settings.json ? to_json(*report) : to_text(*report)) ? kDone : kFailed;
}

}  // namespace ration
