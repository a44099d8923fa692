#include "app/session.h"

#include <fmt/core.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>

#include "app/interrupt.h"
#include "app/output.h"
#include "app/prefix_disk.h"
#include "app/tuning.h"
#include "base/file.h"
#include "plan/plan.h"

namespace ration {
namespace {

// Of the memory that is free, what is used when no limit is stated.
constexpr double kFreeShare = 0.9;

std::string isa_from_environment() {
  const char* isa = std::getenv("RATION_ISA");
  return isa ? isa : "";
}

// Of answers longer than this a draft model guesses nothing, unless --context says more.
constexpr int64_t kDraftContext = 4096;

// Smaller models stay in the processor's caches, and are not worth a second file.
constexpr Bytes kPackedLeast{16 * kMiB};

Bytes resident_now(const Files& files) {
  const Result<ProcessMemory> memory = read_process_memory(files);
  return memory ? memory->resident : Bytes{16 * kMiB};
}

bool has_key_biases(const Model& model) {
  return std::ranges::any_of(model.network().stages, [](const Stage& stage) {
    const auto* attention = std::get_if<AttentionStage>(&stage);
    return attention && attention->key.bias;
  });
}

// What of a model the plan depends on.
ModelCost cost_of(const Session& session, const SessionNeeds& needs, bool context_stated,
                  KvType kv_type) {
  const Network& network = session.model->network();
  const auto windows = [&](const Stage& stage) {
    const auto* attention = std::get_if<AttentionStage>(&stage);
    return attention ? attention->window : 0;
  };
  const int64_t window = windows(*std::ranges::max_element(network.stages, {}, windows));
  const bool capped = needs.context_max > 0 && !context_stated;
  return {.name = session.name,
          .weights = session.weights.bytes(),
          .tables = session.model->tokenizer().bytes(),
          .layers = network.layers,
          .windowed_layers = std::ranges::count_if(
              network.stages, [&](const Stage& stage) { return windows(stage) > 0; }),
          .window = window,
          .heads = network.heads,
          .kv_heads = network.kv_heads,
          .head_size = network.head_size,
          .kv_type = kv_type,
          .width = network.width,
          .inner = network.inner,
          .vocabulary = network.vocabulary,
          .context_max = capped ? std::min(needs.context_max, network.context_trained)
                                : network.context_trained};
}

EngineOptions engine_options(const StepShape& shape) {
  return {.context = shape.context,
          .kv_tokens = shape.context,
          .step_tokens_max = shape.step_tokens,
          .logit_rows_max = shape.logit_rows};
}

struct EnginePlan {
  EngineOptions options;
  int64_t draft_rows = 0;  // of the logit rows
};

Result<EnginePlan> plan_engine(const Session& session, const Settings& settings,
                               const SessionNeeds& needs) {
  const int threads = session.pool.threads();
  const ModelCost model = cost_of(session, needs, settings.context > 0, settings.kv);
  MemoryNeeds memory{.limit = session.budget.hard(),
                     .program = session.program.bytes() + session.draft_bytes(),
                     .context = settings.context,
                     .sequences = needs.sequences,
                     .logit_rows = std::max(needs.logit_rows, needs.sequences),
                     .threads = threads,
                     .activations = [&](const StepShape& shape) {
                       return Engine::workspace_bytes(session.model->network(), *session.kernels,
                                                      threads, engine_options(shape));
                     }};
  Result<MemoryPlan> plan = plan_memory(model, memory);
  if (!plan) return plan.error();
  int64_t draft_rows = 0;
  if (needs.speculates && settings.speculate != Speculate::kOff) {
    // Only out of memory that is not needed for a good context and full steps.
    memory.logit_rows += kDraftTokensMax;
    memory.program += Runner::speculation_bytes(plan->context) * needs.sequences;
    const Result<MemoryPlan> with = plan_memory(model, memory);
    if (with && with->step_tokens == plan->step_tokens &&
        with->context >= std::min(plan->context, memory.context_good)) {
      draft_rows = kDraftTokensMax;
      plan = with;
    } else {
      memory.logit_rows -= kDraftTokensMax;
    }
  }
  EngineOptions options =
      engine_options({.context = plan->context,
                      .step_tokens = std::max(plan->step_tokens, needs.sequences),
                      .logit_rows = memory.logit_rows});
  options.kv_tokens = plan->kv_tokens;
  options.kv_type = settings.kv;
  return EnginePlan{options, draft_rows};
}

// A model that would fit where this one does not: the largest that is here or in the catalogue.
std::string fitting_model(const Store& store, Bytes room) {
  std::string name;
  Bytes best{0};
  const auto offer = [&](const std::string& candidate, Bytes bytes) {
    if (bytes > best && bytes <= room) {
      name = candidate;
      best = bytes;
    }
  };
  if (const auto here = store.list()) {
    for (const ResolvedModel& model : *here) offer(model.name, model.bytes);
  }
  if (const auto known = store.catalogue()) {
    for (const CatalogueEntry& entry : *known) offer(entry.name, entry.bytes);
  }
  return name.empty() ? "" : fmt::format("; {} ({}) may fit", name, to_text(best));
}

// A file is called by its name, without folders.
std::string display_name(const ResolvedModel& model) {
  return model.origin == Origin::kFile ? model.files.front().filename().string() : model.name;
}

// The weights alone are too much: said before the file is touched, as reading its tables may
// already pass a small limit.
Error weights_too_large(const Settings& settings, const Clock& clock, const ResolvedModel& model,
                        Bytes program, Bytes limit) {
  const Bytes needed = program + model.bytes;
  std::string message = fmt::format(
      "{} needs more than {}: {} of weights and {} of program, the limit is {}: {} short",
      display_name(model), to_text(needed), to_text(model.bytes), to_text(program), to_text(limit),
      to_text(needed - limit));
  // A tenth and the slack of a plan: what a model's other needs come to at the least.
  const Bytes room{(limit - program).count * 9 / 10 - MemoryNeeds{}.slack.count};
  const Result<Store> store = Store::open(clock, {.offline = settings.offline});
  if (store) message += fitting_model(*store, room);
  return {Code::kOverBudget, message, Shortfall{.wanted = needed.count, .available = limit.count}};
}

}  // namespace

Session::Session(const Settings& settings, Config config_in, Bytes limit)
    : config(std::move(config_in)),
      machine(describe_machine(files)),
      meter(files, machine, config.energy),
      budget("memory", {.hard = limit}),
      pool(settings.threads > 0 ? settings.threads : machine.cpus_usable) {}

std::filesystem::path packed_path(const ResolvedModel& model) {
  const std::filesystem::path& file = model.files.front();
  const std::filesystem::path beside = packed_path_beside(file);
  const bool ours = model.origin == Origin::kFile || model.origin == Origin::kStore;
  const std::filesystem::path folder = file.has_parent_path() ? file.parent_path() : ".";
  if (ours && (::access(folder.c_str(), W_OK) == 0 || ::access(beside.c_str(), R_OK) == 0)) {
    return beside;
  }
  const Result<std::filesystem::path> cached = packed_path_in_cache(file);
  return cached ? *cached : std::filesystem::path();
}

ProgressLine progress_line(const Settings& settings) {
  winsize size{};
  const bool terminal = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0;
  const int columns = terminal && size.ws_col > 0 ? size.ws_col : 80;
  return {{.terminal = terminal, .columns = columns}, [&settings](std::string_view text) {
            if (settings.quiet) return;
            [[maybe_unused]] const ssize_t written =
                ::write(STDERR_FILENO, text.data(), text.size());
          }};
}

Result<Store> open_store(const Settings& settings, const Clock& clock) {
  std::optional<Bytes> limit = settings.disk;
  if (!limit) {
    const Result<Config> config = read_config(settings);
    if (!config) return config.error();
    limit = config->disk_limit;
  }
  return Store::open(clock, {.offline = settings.offline, .disk_limit = limit});
}

Result<ResolvedModel> resolve_model(const Settings& settings, const Clock& clock) {
  Result<Store> store = open_store(settings, clock);
  if (!store) return store.error();
  ProgressLine line = progress_line(settings);
  const std::string reference = settings.model.empty() ? Store::default_model() : settings.model;
  Result<ResolvedModel> model = store->resolve(
      reference, {.pull_if_missing = true, .pull = {.progress = line.sink(&interrupted())}});
  line.finish();
  return model;
}

Result<std::unique_ptr<Session>> Session::open(const Settings& settings,
                                               const SessionNeeds& needs) {
  Result<Config> config = read_config(settings);
  if (!config) return config.error();
  const SystemFiles files;
  Bytes limit{int64_t{1} << 40};
  if (settings.memory) {
    limit = *settings.memory;
  } else if (const std::optional<Bytes> usable = read_machine_memory(files).usable()) {
    limit = Bytes{static_cast<int64_t>(static_cast<double>(usable->count) * kFreeShare)};
  }
  const Bytes program = resident_now(files);
  auto session = std::make_unique<Session>(settings, std::move(*config), limit);
  session->memory_stated = settings.memory.has_value();
  Result<const Kernels*> kernels = choose_kernels(isa_from_environment());
  if (!kernels) return kernels.error();
  session->kernels = *kernels;
  for (const RefusedKernels& set : refused_kernels()) {
    if (!settings.quiet) note(fmt::format("the {} kernels are not used: {}", set.isa, set.reason));
  }
  Result<ResolvedModel> resolved = resolve_model(settings, session->clock);
  if (!resolved) return resolved.error();

  const int64_t start_ns = session->clock.now_ns();
  if (program + resolved->bytes > limit) {
    return weights_too_large(settings, session->clock, *resolved, program, limit);
  }
  Result<Charge> charge = session->budget.reserve(Tag::kScratch, program);
  if (!charge) return charge.error();
  session->program = std::move(*charge);
  charge = session->budget.reserve(Tag::kWeights, resolved->bytes);
  if (!charge) return charge.error();
  session->weights = std::move(*charge);
  Result<std::shared_ptr<const Model>> loaded = session->load_model(settings, *resolved);
  if (!loaded) return loaded.error();
  session->model = std::move(*loaded);
  session->name = resolved->origin == Origin::kFile ? session->model->name() : resolved->name;

  if (Status drafts = session->load_draft(settings); !drafts) return drafts.error();
  if (settings.kv == KvType::kInt8 && !settings.quiet && has_key_biases(*session->model)) {
    note("the keys of this model have biases: an int8 cache changes its answers noticeably");
  }
  Result<EnginePlan> plan = plan_engine(*session, settings, needs);
  if (!plan) return plan.error();
  charge = session->budget.reserve(Tag::kScratch, session->model->tokenizer().bytes());
  if (!charge) return charge.error();
  session->tables = std::move(*charge);
  Result<std::unique_ptr<Engine>> engine = Engine::make(
      session->model, *session->kernels, session->pool, session->budget, plan->options);
  if (!engine) return engine.error();
  session->engine = std::move(*engine);
  session->attributor =
      std::make_unique<Attributor>(session->meter, session->clock, AttributorOptions{});
  Result<std::unique_ptr<PrefixStore>> store =
      open_prefix_store(settings, *session->model, *session->kernels);
  if (!store) return store.error();
  session->prefix_store = std::move(*store);
  session->runner = std::make_unique<Runner>(
      *session->engine, session->budget, session->clock, *session->attributor,
      RunnerOptions{.draft_rows = plan->draft_rows,
                    .draft_engine = session->draft_engine.get(),
                    .prefix_bytes = settings.prefix_cache.value_or(limit),
                    .prefix_store = session->prefix_store.get(),
                    .reproducible = settings.reproducible,
                    .share_prefixes = settings.share_prefixes});
  session->load = session->clock.since(start_ns);
  return session;
}

Status Session::load_draft(const Settings& settings) {
  if (settings.draft.empty()) return {};
  if (settings.speculate != Speculate::kAuto) {
    return Error{Code::kInvalid, "--draft wants --speculate auto"};
  }
  Settings named = settings;
  named.model = settings.draft;
  const Result<ResolvedModel> resolved = resolve_model(named, clock);
  if (!resolved) return resolved.error();
  Result<Charge> charge = budget.reserve(Tag::kWeights, resolved->bytes);
  if (!charge) return charge.error();
  draft_weights = std::move(*charge);
  Result<std::shared_ptr<const Model>> loaded = load_model(settings, *resolved);
  if (!loaded) return loaded.error();
  draft_model = std::move(*loaded);
  if (Status same = check_same_vocabulary(name, *model, display_name(*resolved), *draft_model);
      !same) {
    return same;
  }
  charge = budget.reserve(Tag::kScratch, draft_model->tokenizer().bytes());
  if (!charge) return charge.error();
  draft_tables = std::move(*charge);
  const int64_t context = std::min(settings.context > 0 ? settings.context : kDraftContext,
                                   draft_model->network().context_trained);
  Result<std::unique_ptr<Engine>> made =
      Engine::make(draft_model, *kernels, pool, budget,
                   {.context = context, .kv_tokens = context, .step_tokens_max = 64});
  if (!made) return made.error();
  draft_engine = std::move(*made);
  return {};
}

Bytes Session::draft_bytes() const {
  if (!draft_engine) return Bytes{0};
  const Network& network = draft_model->network();
  const EngineOptions& options = draft_engine->options();
  return draft_weights.bytes() + draft_tables.bytes() +
         Engine::workspace_bytes(network, *kernels, pool.threads(), options) +
         Engine::kv_block_bytes(network) * draft_engine->kv_blocks_max();
}

Result<std::shared_ptr<const Model>> Session::load_model(const Settings& settings,
                                                         const ResolvedModel& resolved) {
  Packing packing{.deep = settings.deep && kernels->deep};
  Charge buffers;
  ProgressLine line = progress_line(settings);
  if (settings.packed && kernels->layout == Layout::kPanels && resolved.bytes >= kPackedLeast) {
    packing.path = packed_path(resolved);
    Result<Charge> charge = budget.reserve(Tag::kScratch, PackedWeights::kBuildBytes);
    if (charge) {
      buffers = std::move(*charge);
      packing.pool = &pool;
    }
  }
  const Result<Store> store = open_store(settings, clock);
  if (!store) return store.error();
  packing.room = [&](Bytes bytes) {
    return store->disk().make_room(bytes, "packing the weights", packing.path);
  };
  const int64_t start_ns = clock.now_ns();
  packing.progress = [&, last_ns = start_ns](Bytes done, Bytes total) mutable {
    if (clock.since(last_ns) < Millis{100}) return !interrupted();
    last_ns = clock.now_ns();
    line.update({.stage = PullProgress::Stage::kPacking,
                 .name = display_name(resolved),
                 .done = done,
                 .total = total,
                 .elapsed = clock.since(start_ns)});
    return !interrupted();
  };
  Tuning tuning = Tuning::open(machine, kernels->isa, pool.threads());
  packing.walk = [&](std::span<const Matrix> matrices) {
    return tuning.walk_for(matrices, *kernels, pool, clock);
  };
  Result<std::shared_ptr<const Model>> loaded = Model::load(resolved.files.front(), packing);
  line.finish();
  if (!loaded) return loaded.error();
  if ((*loaded)->packed()) store->disk().remember(packing.path);
  const std::string& problem = (*loaded)->packing_problem();
  if (settings.quiet || problem.empty()) return loaded;
  note("the weights are not packed: " + problem);
  if (!packing.pool) {
    note(fmt::format("packing takes {} of the memory limit, and that much is not left",
                     to_text(PackedWeights::kBuildBytes)));
  }
  return loaded;
}

std::string Session::summary() const {
  const EngineOptions& options = engine->options();
  return fmt::format("{}: context {} of {} tokens in {}, {} of {} in use, {} threads, {}", name,
                     options.context, model->network().context_trained,
                     kv_type_name(options.kv_type), to_text(budget.report().used_total),
                     to_text(budget.hard()), pool.threads(), kernels->isa);
}

Result<std::string> read_input(const std::string& path) {
  constexpr Bytes kInputMax{64 * kMiB};
  if (path != "-") return read_file(path, kInputMax);
  std::string text;
  std::array<char, 64 * kKiB> chunk{};
  while (true) {
    pollfd input{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
    const int ready = ::poll(&input, 1, 100);  // so that Ctrl-C is seen even just before the wait
    if (interrupted()) return Error{Code::kCancelled, "interrupted"};
    if (ready <= 0) continue;
    const ssize_t count = ::read(STDIN_FILENO, chunk.data(), chunk.size());
    if (count == 0) return text;
    if (count < 0 && errno != EINTR && errno != EAGAIN) {
      return Error{Code::kIo, "cannot read standard input: " + error_text(errno)};
    }
    text.append(chunk.data(), static_cast<size_t>(std::max<ssize_t>(count, 0)));
    if (static_cast<int64_t>(text.size()) > kInputMax.count) {
      return Error{Code::kInvalid, fmt::format("found more than {} on standard input, wanted less",
                                               to_text(kInputMax))};
    }
  }
}

}  // namespace ration
