// ration bench: tokens a second of prefill and of decode, as the engine runs them, and the bytes
// they read.
#include <fmt/core.h>

#include <algorithm>

#include "app/commands.h"
#include "app/exit_code.h"
#include "app/interrupt.h"
#include "app/output.h"
#include "app/session.h"
#include "base/rng.h"
#include "base/text.h"

namespace ration {
namespace {

// Seconds of each round.
struct Timings {
  std::vector<double> seconds;

  double median() const {
    std::vector<double> sorted = seconds;
    std::ranges::sort(sorted);
    const size_t n = sorted.size();
    return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
  }
  double least() const { return *std::ranges::min_element(seconds); }
  double most() const { return *std::ranges::max_element(seconds); }
};

class Bench {
 public:
  Bench(Session& session, const Settings& settings)
      : session_(session), settings_(settings), rng_(settings.seed.value_or(1)) {}

  Status run();
  std::string to_json() const;
  std::string to_text() const;

 private:
  std::vector<Token> random_tokens(int64_t count);
  // Feeds a prompt in the largest steps the engine takes.
  Status prefill(Sequence& sequence, int64_t count);
  Status decode_round();
  std::string rates(const Timings& timings, int64_t tokens) const;
  double decode_gigabytes_per_second() const;

  Session& session_;
  const Settings& settings_;
  Rng rng_;
  Timings prefill_;
  Timings decode_;
};

std::vector<Token> Bench::random_tokens(int64_t count) {
  const auto vocabulary = static_cast<uint64_t>(session_.model->network().vocabulary);
  std::vector<Token> tokens(static_cast<size_t>(count));
  for (Token& token : tokens) token = static_cast<Token>(rng_.below(vocabulary));
  return tokens;
}

Status Bench::prefill(Sequence& sequence, int64_t count) {
  const std::vector<Token> tokens = random_tokens(count);
  const int64_t step = session_.engine->options().step_tokens_max;
  for (int64_t begin = 0; begin < count; begin += step) {
    if (interrupted()) return Error{Code::kCancelled, "interrupted"};
    const int64_t size = std::min(step, count - begin);
    const StepItem item{
        .sequence = &sequence,
        .tokens = std::span(tokens).subspan(static_cast<size_t>(begin), static_cast<size_t>(size)),
        .wants_logits = begin + size == count};
    if (Status stepped = session_.engine->step({&item, 1}); !stepped) return stepped;
  }
  return {};
}

Status Bench::decode_round() {
  std::vector<std::unique_ptr<Sequence>> sequences;
  for (int64_t i = 0; i < settings_.sequences; ++i) {
    sequences.push_back(session_.engine->open());
    if (settings_.depth == 0) continue;
    if (Status filled = prefill(*sequences.back(), settings_.depth); !filled) return filled;
  }
  const int64_t start_ns = session_.clock.now_ns();
  for (int64_t i = 0; i < settings_.decode; ++i) {
    if (interrupted()) return Error{Code::kCancelled, "interrupted"};
    const std::vector<Token> tokens = random_tokens(settings_.sequences);
    std::vector<StepItem> items;
    for (size_t s = 0; s < sequences.size(); ++s) {
      items.push_back({.sequence = sequences[s].get(),
                       .tokens = {&tokens[s], 1},
                       .role = Role::kGenerated,
                       .wants_logits = true});
    }
    if (Status stepped = session_.engine->step(items); !stepped) return stepped;
  }
  decode_.seconds.push_back(session_.clock.since(start_ns).count / 1000);
  return {};
}

Status Bench::run() {
  // Touches every page once, so that the first round is not about the disk.
  {
    const std::unique_ptr<Sequence> sequence = session_.engine->open();
    if (Status warm = prefill(*sequence, 1); !warm) return warm;
  }
  for (int64_t round = 0; round < settings_.rounds; ++round) {
    if (settings_.prefill > 0) {
      const std::unique_ptr<Sequence> sequence = session_.engine->open();
      const int64_t start_ns = session_.clock.now_ns();
      if (Status done = prefill(*sequence, settings_.prefill); !done) return done;
      prefill_.seconds.push_back(session_.clock.since(start_ns).count / 1000);
    }
    if (settings_.decode > 0) {
      if (Status done = decode_round(); !done) return done;
    }
  }
  return {};
}

double Bench::decode_gigabytes_per_second() const {
  return static_cast<double>(session_.engine->step_weight_bytes().count) *
         static_cast<double>(settings_.decode) / decode_.median() * 1e-9;
}

std::string Bench::rates(const Timings& timings, int64_t tokens) const {
  if (timings.seconds.empty()) return "null";
  const auto n = static_cast<double>(tokens);
  return fmt::format(
      "{{\"tokens_per_second\":{:.6g},\"min\":{:.6g},\"max\":{:.6g},\"tokens\":{},\"ms\":{:.6g}",
      n / timings.median(), n / timings.most(), n / timings.least(), tokens,
      timings.median() * 1000);
}

std::string Bench::to_json() const {
  const Network& network = session_.model->network();
  std::string out = "{\"model\":";
  append_json_string(out, session_.name);
  out += fmt::format(
      ",\"family\":\"{}\",\"isa\":\"{}\",\"threads\":{},\"settings\":{{\"prefill\":{},\"decode\":{}"
      ","
      "\"sequences\":{},\"depth\":{},\"rounds\":{}}}",
      network.family, session_.kernels->isa, session_.pool.threads(), settings_.prefill,
      settings_.decode, settings_.sequences, settings_.depth, settings_.rounds);
  out += ",\"prefill\":" + rates(prefill_, settings_.prefill);
  if (!prefill_.seconds.empty()) out += "}";
  out += ",\"decode\":" + rates(decode_, settings_.decode * settings_.sequences);
  if (!decode_.seconds.empty()) {
    out += fmt::format(",\"step_ms\":{:.6g},\"gigabytes_per_second\":{:.4g}}}",
                       decode_.median() * 1000 / static_cast<double>(settings_.decode),
                       decode_gigabytes_per_second());
  }
  const Result<ProcessMemory> memory = read_process_memory(session_.files);
  out += fmt::format(
      ",\"bytes\":{{\"file\":{},\"read_per_step\":{},\"peak\":{},\"resident_peak\":{}}}",
      session_.model->file().file_bytes().count, session_.engine->step_weight_bytes().count,
      session_.budget.report().peak_total.count,
      memory ? std::to_string(memory->resident_peak.count) : "null");
  out += ",\"machine\":";
  append_json(out, session_.machine);
  return out + "}\n";
}

std::string Bench::to_text() const {
  std::string out = fmt::format("{} ({}, {} threads)\n", session_.name, session_.kernels->isa,
                                session_.pool.threads());
  if (!prefill_.seconds.empty()) {
    out += fmt::format("prefill {:>5} tokens     {:>9.1f} tok/s\n", settings_.prefill,
                       static_cast<double>(settings_.prefill) / prefill_.median());
  }
  if (!decode_.seconds.empty()) {
    const auto tokens = static_cast<double>(settings_.decode * settings_.sequences);
    out += fmt::format(
        "decode  {:>5} x {:<3} tokens {:>9.1f} tok/s   {:.2f} ms a step   {:.1f} GB/s\n",
        settings_.decode, settings_.sequences, tokens / decode_.median(),
        decode_.median() * 1000 / static_cast<double>(settings_.decode),
        decode_gigabytes_per_second());
  }
  return out;
}

}  // namespace

Result<int> run_bench(const Settings& settings) {
  const int64_t longest = std::max(settings.prefill, settings.depth + settings.decode);
  if (longest < 1) return Error{Code::kInvalid, "nothing to measure: --prefill and --decode are 0"};
  Settings sized = settings;
  if (sized.context == 0) sized.context = std::max<int64_t>(longest, 32);
  Result<std::unique_ptr<Session>> session =
      Session::open(sized, {.sequences = settings.sequences});
  if (!session) return session.error();
  const EngineOptions& options = (*session)->engine->options();
  if (options.context < longest || options.kv_tokens < longest * settings.sequences) {
    return Error{Code::kOverBudget,
                 fmt::format("{} sequences of {} tokens do not fit: the cache holds {} tokens",
                             settings.sequences, longest, options.kv_tokens)};
  }
  Bench bench(**session, settings);
  if (Status done = bench.run(); !done) return done.error();
  return print(settings.json ? bench.to_json() : bench.to_text()) ? kDone : kFailed;
}

}  // namespace ration
