#include "app/session.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>

#include "app/interrupt.h"
#include "base/file.h"

namespace ration {
namespace {

// Of the memory that is free, what is used when no limit is stated.
constexpr double kFreeShare = 0.9;
// Stacks, heap and page tables that no tag counts.
constexpr int64_t kUncountedBytes = 4 * kMiB;
// Tokens of one step: smaller ones need less memory, larger ones prefill faster.
constexpr std::array<int64_t, 4> kStepTokens{128, 64, 32, 16};

std::string isa_from_environment() {
  const char* isa = std::getenv("RATION_ISA");
  return isa ? isa : "";
}

Bytes resident_now(const Files& files) {
  const Result<ProcessMemory> memory = read_process_memory(files);
  return memory ? memory->resident : Bytes{16 * kMiB};
}

// The engine options for a context, and the bytes they take.
struct Shape {
  EngineOptions options;
  Bytes bytes;
};

class Planner {
 public:
  Planner(const Network& network, const Kernels& kernels, int threads, const SessionNeeds& needs)
      : network_(network), kernels_(kernels), threads_(threads), needs_(needs) {}

  Shape shape(int64_t context, int64_t step_tokens) const {
    EngineOptions options{.context = context,
                          .kv_tokens = context,
                          .step_tokens_max = std::max(step_tokens, needs_.sequences),
                          .logit_rows_max = std::max(needs_.logit_rows, needs_.sequences)};
    const Bytes workspace = Engine::workspace_bytes(network_, kernels_, threads_, options);
    const int64_t blocks = (context + kKvBlockTokens - 1) / kKvBlockTokens;
    return {options, workspace + Engine::kv_block_bytes(network_) * blocks};
  }

  // The largest context up to `wanted` whose shape fits; 0 when none does.
  int64_t largest(int64_t wanted, int64_t step_tokens, Bytes room) const {
    int64_t low = 0;
    int64_t high = (wanted + kKvBlockTokens - 1) / kKvBlockTokens;
    while (low < high) {
      const int64_t middle = (low + high + 1) / 2;
      const int64_t context = std::min(wanted, middle * kKvBlockTokens);
      if (shape(context, step_tokens).bytes <= room) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    return std::min(wanted, low * kKvBlockTokens);
  }

 private:
  const Network& network_;
  const Kernels& kernels_;
  int threads_;
  const SessionNeeds& needs_;
};

Error does_not_fit(const Session& session, const Planner& planner, int64_t context, Bytes room) {
  const int64_t step_tokens = kStepTokens.back();
  const Bytes needed = planner.shape(context, step_tokens).bytes;
  const Bytes total = session.budget.hard() - room + needed;
  std::string message = fmt::format(
      "{} needs {} for a context of {} tokens, the limit is {}: {} short", session.model->name(),
      to_text(total), context, to_text(session.budget.hard()), to_text(needed - room));
  const int64_t fitting = planner.largest(context, step_tokens, room);
  if (fitting >= kKvBlockTokens) {
    message += fmt::format("; --context {} would fit", fitting);
  } else {
    message += fmt::format("; --memory {}MB would do", (total.count + 999'999) / 1'000'000);
  }
  return {Code::kOverBudget, message,
          Shortfall{.wanted = total.count, .available = session.budget.hard().count}};
}

Result<EngineOptions> plan_engine(const Session& session, const Settings& settings,
                                  const SessionNeeds& needs) {
  const Network& network = session.model->network();
  const Planner planner(network, *session.kernels, session.pool.threads(), needs);
  const Bytes room = session.budget.available() - Bytes{kUncountedBytes};
  const int64_t allowed = network.context_trained;
  if (settings.context > allowed) {
    return Error{Code::kInvalid, fmt::format("found --context {}, wanted at most {}: {} was made "
                                             "for no more",
                                             settings.context, allowed, session.model->name())};
  }
  const int64_t wanted = settings.context > 0        ? settings.context
                         : needs.context_default > 0 ? std::min(allowed, needs.context_default)
                                                     : allowed;
  const int64_t least = settings.context > 0 ? wanted : std::min(wanted, needs.context_min);
  // The longest context first; among equals the longest step.
  Shape best;
  for (int64_t step_tokens : kStepTokens) {
    const int64_t context = planner.largest(wanted, step_tokens, room);
    if (context > best.options.context) best = planner.shape(context, step_tokens);
    if (context >= std::min<int64_t>(wanted, 2048)) break;
  }
  if (best.options.context < least) return does_not_fit(session, planner, least, room);
  EngineOptions options = best.options;
  // What is left holds more conversations.
  const Bytes block = Engine::kv_block_bytes(network);
  const int64_t more = std::max<int64_t>(0, (room - best.bytes).count / block.count);
  options.kv_tokens =
      std::min(needs.sequences * options.context, options.kv_tokens + more * kKvBlockTokens);
  return options;
}

}  // namespace

Session::Session(const Settings& settings, Bytes limit)
    : machine(describe_machine(files)),
      meter(files, machine, {}),
      budget("memory", {.hard = limit}),
      pool(settings.threads > 0 ? settings.threads : machine.cpus_usable) {}

Result<ResolvedModel> resolve_model(const Settings& settings, const Clock& clock) {
  Result<Store> store = Store::open(clock, {.offline = settings.offline});
  if (!store) return store.error();
  ProgressLine line({.terminal = ::isatty(STDERR_FILENO) == 1}, [&](std::string_view text) {
    if (settings.quiet) return;
    [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
  });
  const std::string reference = settings.model.empty() ? Store::default_model() : settings.model;
  Result<ResolvedModel> model = store->resolve(
      reference, {.pull_if_missing = true, .pull = {.progress = line.sink(&interrupted())}});
  line.finish();
  return model;
}

Result<std::unique_ptr<Session>> Session::open(const Settings& settings,
                                               const SessionNeeds& needs) {
  const SystemFiles files;
  Bytes limit{int64_t{1} << 40};
  if (settings.memory) {
    limit = *settings.memory;
  } else if (const std::optional<Bytes> usable = read_machine_memory(files).usable()) {
    limit = Bytes{static_cast<int64_t>(static_cast<double>(usable->count) * kFreeShare)};
  }
  const Bytes program = resident_now(files);
  auto session = std::make_unique<Session>(settings, limit);
  session->memory_stated = settings.memory.has_value();
  Result<const Kernels*> kernels = choose_kernels(isa_from_environment());
  if (!kernels) return kernels.error();
  session->kernels = *kernels;
  Result<ResolvedModel> resolved = resolve_model(settings, session->clock);
  if (!resolved) return resolved.error();

  const int64_t start_ns = session->clock.now_ns();
  const auto over = [&](const Error& error, Bytes needed) {
    return Error{
        Code::kOverBudget,
        fmt::format("{} needs at least {} for its weights alone, the limit is {}: {} short",
                    resolved->name, to_text(program + needed), to_text(limit),
                    to_text(program + needed - limit)),
        error.shortfall};
  };
  Result<Charge> charge = session->budget.reserve(Tag::kScratch, program);
  if (!charge) return over(charge.error(), resolved->bytes);
  session->program = std::move(*charge);
  // Refused before the file is touched: reading its tables alone may pass a small limit.
  charge = session->budget.reserve(Tag::kWeights, resolved->bytes);
  if (!charge) return over(charge.error(), resolved->bytes);
  session->weights = std::move(*charge);
  Result<std::shared_ptr<const Model>> model = Model::load(resolved->files.front());
  if (!model) return model.error();
  session->model = std::move(*model);
  session->name = resolved->origin == Origin::kFile ? session->model->name() : resolved->name;
  charge = session->budget.reserve(Tag::kScratch, session->model->tokenizer().bytes());
  if (!charge) return charge.error();
  session->tables = std::move(*charge);

  Result<EngineOptions> options = plan_engine(*session, settings, needs);
  if (!options) return options.error();
  Result<std::unique_ptr<Engine>> engine =
      Engine::make(session->model, *session->kernels, session->pool, session->budget, *options);
  if (!engine) return engine.error();
  session->engine = std::move(*engine);
  session->attributor =
      std::make_unique<Attributor>(session->meter, session->clock, AttributorOptions{});
  session->runner = std::make_unique<Runner>(*session->engine, session->budget, session->clock,
                                             *session->attributor);
  session->load = session->clock.since(start_ns);
  return session;
}

std::string Session::summary() const {
  const EngineOptions& options = engine->options();
  return fmt::format("{}: context {} of {} tokens, {} of {} in use, {} threads, {}", model->name(),
                     options.context, model->network().context_trained,
                     to_text(budget.report().used_total), to_text(budget.hard()), pool.threads(),
                     kernels->isa);
}

Result<std::string> read_input(const std::string& path) {
  constexpr Bytes kInputMax{64 * kMiB};
  return read_file(path == "-" ? "/dev/stdin" : path, kInputMax);
}

}  // namespace ration
