#include "app/open_model.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>

#include "app/output.h"
#include "app/prefix_disk.h"
#include "app/tuning.h"
#include "model/arch/arch.h"
#include "plan/plan.h"

namespace ration {
namespace {

// Of answers longer than this a draft model guesses nothing, unless --context says more.
constexpr int64_t kDraftContext = 4096;

// Smaller models stay in the processor's caches, and are not worth a second file.
constexpr Bytes kPackedLeast{16 * kMiB};

bool has_key_biases(const Model& model) {
  return std::ranges::any_of(model.network().stages, [](const Stage& stage) {
    const auto* attention = std::get_if<AttentionStage>(&stage);
    return attention && attention->key.bias;
  });
}

// A model before a plan is made for it.
struct Planned {
  std::string name;
  const Network& network;
  Bytes weights;
  Bytes tables;
};

// What of a model the plan depends on.
ModelCost cost_of(const Planned& model, const Settings& settings, const SessionNeeds& needs) {
  const Network& network = model.network;
  const auto windows = [&](const Stage& stage) {
    const auto* attention = std::get_if<AttentionStage>(&stage);
    return attention ? attention->window : 0;
  };
  const int64_t window = windows(*std::ranges::max_element(network.stages, {}, windows));
  const bool capped = needs.context_max > 0 && settings.context == 0;
  return {.name = model.name,
          .weights = model.weights,
          .tables = model.tables,
          .layers = network.layers,
          .windowed_layers = std::ranges::count_if(
              network.stages, [&](const Stage& stage) { return windows(stage) > 0; }),
          .window = window,
          .heads = network.heads,
          .kv_heads = network.kv_heads,
          .head_size = network.head_size,
          .kv_type = settings.kv,
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

// others: what is held already, of the limit.
MemoryNeeds memory_needs(const Host& host, const Network& network, const Settings& settings,
                         const SessionNeeds& needs, Bytes limit, Bytes others) {
  const int threads = host.pool.threads();
  const Kernels& kernels = *host.kernels;
  return {.limit = limit,
          .program = others,
          .context = settings.context,
          .sequences = needs.sequences,
          .logit_rows = std::max(needs.logit_rows, needs.sequences),
          .threads = threads,
          .activations = [&network, &kernels, threads](const StepShape& shape) {
            return Engine::workspace_bytes(network, kernels, threads, engine_options(shape));
          }};
}

bool guesses(const Settings& settings, const SessionNeeds& needs) {
  return needs.speculates && settings.speculate != Speculate::kOff;
}

// With room for guessed tokens.
MemoryNeeds with_guesses(MemoryNeeds memory, int64_t context) {
  memory.logit_rows += kDraftTokensMax;
  memory.program += Runner::speculation_bytes(context) * memory.sequences;
  return memory;
}

// Of an encoder the length of a text is known, and little else is to be weighed.
EngineOptions encoder_engine(const Network& network, const Settings& settings) {
  // Said for models that write, a longer context means nothing here.
  const int64_t context = std::min(settings.context, network.context_trained);
  EngineOptions options = encoder_options(network, context);
  options.kv_type = settings.kv;
  return options;
}

// What its engine takes at most.
Bytes encoder_bytes(const Host& host, const Network& network, const Settings& settings) {
  const EngineOptions options = encoder_engine(network, settings);
  const Bytes block = Engine::kv_block_bytes(network, options.kv_type);
  return Engine::workspace_bytes(network, *host.kernels, host.pool.threads(), options) +
         block * (options.kv_tokens / kKvBlockTokens);
}

struct EnginePlan {
  EngineOptions options;
  int64_t draft_rows = 0;  // of the logit rows
};

Result<EnginePlan> plan_engine(const ModelCost& model, MemoryNeeds memory, const Settings& settings,
                               const SessionNeeds& needs) {
  Result<MemoryPlan> plan = plan_memory(model, memory);
  if (!plan) return plan.error();
  int64_t draft_rows = 0;
  if (guesses(settings, needs)) {
    // Only out of memory that is not needed for a good context and full steps.
    const MemoryNeeds more = with_guesses(memory, plan->context);
    const Result<MemoryPlan> with = plan_memory(model, more);
    if (with && with->step_tokens == plan->step_tokens &&
        with->context >= std::min(plan->context, memory.context_good)) {
      draft_rows = kDraftTokensMax;
      plan = with;
      memory = more;
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

// Before anything is opened: the weights alone are more than there is in all.
Error weights_too_large(const Settings& settings, const Host& host, const ResolvedModel& model) {
  const Bytes program = host.resident;
  const Bytes limit = host.budget.hard();
  const Bytes needed = program + model.bytes;
  std::string message = fmt::format(
      "{} needs more than {}: {} of weights and {} of program, the limit is {}: {} short",
      display_name(model), to_text(needed), to_text(model.bytes), to_text(program), to_text(limit),
      to_text(needed - limit));
  // A tenth and the slack of a plan: what a model's other needs come to at the least.
  const Bytes room{(limit - program).count * 9 / 10 - MemoryNeeds{}.slack.count};
  const Result<Store> store = Store::open(host.clock, {.offline = settings.offline});
  if (store) message += fitting_model(*store, room);
  return {Code::kOverBudget, message, Shortfall{.wanted = needed.count, .available = limit.count}};
}

Status take(Budget& budget, Tag tag, Bytes bytes, Charge& out) {
  Result<Charge> charge = budget.reserve(tag, bytes);
  if (!charge) return charge.error();
  out = std::move(*charge);
  return {};
}

Result<std::shared_ptr<const Model>> load_model(const Settings& settings,
                                                const ResolvedModel& resolved,
                                                const ModelPlace& place) {
  Host& host = place.host;
  Packing packing{.deep = settings.deep && host.kernels->deep};
  Charge buffers;
  ProgressLine line = progress_line(settings);
  if (settings.packed && host.kernels->layout == Layout::kPanels &&
      resolved.bytes >= kPackedLeast) {
    packing.path = packed_path(resolved);
    if (take(place.budget, Tag::kScratch, PackedWeights::kBuildBytes, buffers)) {
      packing.pool = &place.pool;
    }
  }
  const Result<Store> store = open_store(settings, host.config, host.clock);
  if (!store) return store.error();
  packing.room = [&](Bytes bytes) {
    return store->disk().make_room(bytes, "packing the weights", packing.path);
  };
  const int64_t start_ns = host.clock.now_ns();
  packing.progress = [&, last_ns = start_ns](Bytes done, Bytes total) mutable {
    if (host.clock.since(last_ns) < Millis{100}) return !place.stops();
    last_ns = host.clock.now_ns();
    line.update({.stage = PullProgress::Stage::kPacking,
                 .name = display_name(resolved),
                 .done = done,
                 .total = total,
                 .elapsed = host.clock.since(start_ns)});
    return !place.stops();
  };
  Tuning tuning = Tuning::open(host.machine, host.kernels->isa, place.pool.threads());
  packing.walk = [&](std::span<const Matrix> matrices) {
    return tuning.walk_for(matrices, *host.kernels, place.pool, host.clock);
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

Bytes draft_bytes(const OpenModel& opened, const Host& host) {
  if (!opened.draft_engine) return Bytes{0};
  const Network& network = opened.draft_model->network();
  const EngineOptions& options = opened.draft_engine->options();
  return opened.draft_weights.bytes() + opened.draft_tables.bytes() +
         Engine::workspace_bytes(network, *host.kernels, host.pool.threads(), options) +
         opened.draft_engine->kv_block_bytes() * opened.draft_engine->kv_blocks_max();
}

}  // namespace

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

Result<Bytes> bytes_beside_others(const Host& host, const ResolvedModel& resolved,
                                  const Settings& settings, const SessionNeeds& needs, Bytes most) {
  const Result<Gguf> file = Gguf::open(resolved.files.front());
  if (!file) return file.error();
  const Result<Network> network = load_network(*file);
  if (!network) return network.error();
  const Result<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::make(*file);
  if (!tokenizer) return tokenizer.error();
  const ModelCost model = cost_of({.name = display_name(resolved),
                                   .network = *network,
                                   .weights = resolved.bytes,
                                   .tables = (*tokenizer)->bytes()},
                                  settings, needs);
  MemoryNeeds memory = memory_needs(host, *network, settings, needs, most, Bytes{0});
  if (network->sees_later) {
    return model.weights + model.tables + encoder_bytes(host, *network, settings) + memory.slack;
  }
  if (settings.context > model.context_max) {
    return Error{Code::kInvalid,
                 fmt::format("found a context of {} tokens, wanted at most {}: {} was made for no "
                             "more",
                             settings.context, model.context_max, model.name)};
  }
  const int64_t context = settings.context > 0 ? settings.context : model.context_max;
  const int64_t step = std::max(memory.step_tokens_max, needs.sequences);
  if (guesses(settings, needs)) memory = with_guesses(memory, context);
  const Bytes good = cost_at(model, memory, context, step, context).total;
  return std::max(std::min(good, most), least_memory(model, memory));
}

Status OpenModel::open(const ResolvedModel& resolved, const Settings& settings,
                       const SessionNeeds& needs, const ModelPlace& place) {
  Host& host = place.host;
  Budget& budget = place.budget;
  const int64_t start_ns = host.clock.now_ns();
  if (host.resident + resolved.bytes > host.budget.hard()) {
    return weights_too_large(settings, host, resolved);
  }
  if (host.program.bytes() == Bytes{0}) {
    if (Status taken = take(host.budget, Tag::kScratch, host.resident, host.program); !taken) {
      return taken;
    }
  }
  if (Status taken = take(budget, Tag::kWeights, resolved.bytes, weights); !taken) return taken;
  Result<std::shared_ptr<const Model>> loaded = load_model(settings, resolved, place);
  if (!loaded) return loaded.error();
  model = std::move(*loaded);
  name = resolved.origin == Origin::kFile ? model->name() : resolved.name;
  if (model->network().sees_later && !needs.encoders) {
    return Error{
        Code::kUnsupported,
        fmt::format("{} makes vectors of texts, and writes none: 'ration embed' uses it", name)};
  }

  if (Status drafts = load_draft(settings, place); !drafts) return drafts;
  if (settings.kv == KvType::kInt8 && !settings.quiet && has_key_biases(*model)) {
    note("the keys of this model have biases: an int8 cache changes its answers noticeably");
  }
  const Network& network = model->network();
  const ModelCost cost = cost_of({.name = name,
                                  .network = network,
                                  .weights = weights.bytes(),
                                  .tables = model->tokenizer().bytes()},
                                 settings, needs);
  // Of a grant everything is the model's own.
  const Bytes others = &budget == &host.budget ? host.program.bytes() : Bytes{0};
  const Result<EnginePlan> plan =
      network.sees_later ? Result<EnginePlan>(EnginePlan{encoder_engine(network, settings)})
                         : plan_engine(cost,
                                       memory_needs(host, network, settings, needs, budget.hard(),
                                                    others + draft_bytes(*this, host)),
                                       settings, needs);
  if (!plan) return plan.error();
  if (Status taken = take(budget, Tag::kScratch, model->tokenizer().bytes(), tables); !taken) {
    return taken;
  }
  Result<std::unique_ptr<Engine>> made =
      Engine::make(model, *host.kernels, host.pool, budget, plan->options);
  if (!made) return made.error();
  engine = std::move(*made);
  if (!host.attributor) {
    host.attributor = std::make_unique<Attributor>(host.meter, host.clock, AttributorOptions{});
  }
  Result<std::unique_ptr<PrefixStore>> store = open_prefix_store(settings, *model, *host.kernels);
  if (!store) return store.error();
  prefix_store = std::move(*store);
  runner = std::make_unique<Runner>(
      *engine, budget, host.clock, *host.attributor,
      RunnerOptions{.draft_rows = plan->draft_rows,
                    .draft_engine = draft_engine.get(),
                    .prefix_bytes = settings.prefix_cache.value_or(budget.hard()),
                    .prefix_store = prefix_store.get(),
                    .reproducible = settings.reproducible,
                    .share_prefixes = settings.share_prefixes,
                    .first_id = place.first_request_id});
  load = host.clock.since(start_ns);
  return {};
}

Status OpenModel::load_draft(const Settings& settings, const ModelPlace& place) {
  Host& host = place.host;
  if (settings.draft.empty()) return {};
  if (settings.speculate != Speculate::kAuto) {
    return Error{Code::kInvalid, "--draft wants --speculate auto"};
  }
  Settings named = settings;
  named.model = settings.draft;
  const Result<ResolvedModel> resolved = resolve_model(named, host.clock);
  if (!resolved) return resolved.error();
  if (Status taken = take(place.budget, Tag::kWeights, resolved->bytes, draft_weights); !taken) {
    return taken;
  }
  Result<std::shared_ptr<const Model>> loaded = load_model(settings, *resolved, place);
  if (!loaded) return loaded.error();
  draft_model = std::move(*loaded);
  if (Status same = check_same_vocabulary(name, *model, display_name(*resolved), *draft_model);
      !same) {
    return same;
  }
  if (Status taken =
          take(place.budget, Tag::kScratch, draft_model->tokenizer().bytes(), draft_tables);
      !taken) {
    return taken;
  }
  const int64_t context = std::min(settings.context > 0 ? settings.context : kDraftContext,
                                   draft_model->network().context_trained);
  Result<std::unique_ptr<Engine>> made =
      Engine::make(draft_model, *host.kernels, host.pool, place.budget,
                   {.context = context, .kv_tokens = context, .step_tokens_max = 64});
  if (!made) return made.error();
  draft_engine = std::move(*made);
  return {};
}

std::string summary(const Host& host, const OpenModel& opened) {
  const EngineOptions& options = opened.engine->options();
  return fmt::format("{}: context {} of {} tokens in {}, {} of {} in use, {} threads, {}",
                     opened.name, options.context, opened.model->network().context_trained,
                     kv_type_name(options.kv_type), to_text(host.budget.report().used_total),
                     to_text(host.budget.hard()), host.pool.threads(), host.kernels->isa);
}

}  // namespace ration
