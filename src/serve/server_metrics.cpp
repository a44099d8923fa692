#include "serve/server_metrics.h"

#include <array>

namespace ration {
namespace {

enum Series : size_t {
  kRequests,
  kBrokenOff,
  kFirstToken,
  kInterToken,
  kWhole,
  kQueue,
  kLoadWait,
  kPromptTokens,
  kCachedTokens,
  kGeneratedTokens,
  kDraftedTokens,
  kAcceptedTokens,
  kEnergy,
  kEnergyBound,
  kEnergyUnknown,
  kDollars,
  kActive,
  kWaiting,
  kModelState,
  kModelLoad,
  kModelLoads,
  kModelLoadsFailed,
  kModelEvictions,
  kConnections,
  kUptime,
  kMemory,
  kMemoryPeak,
  kMemoryLimit,
  kInfo,
  kFamilies,
};

constexpr MetricKind kCounter = MetricKind::kCounter, kGauge = MetricKind::kGauge,
                     kHistogram = MetricKind::kHistogram;
// Seconds between tokens, finer than waiting.
constexpr double kTokenBounds[] = {0.001, 0.002, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1,
                                   0.15,  0.2,   0.3,   0.5,  0.75, 1,     2,    5,     10};

// In the order of Series.
const std::array<MetricFamily, kFamilies> kTable{{
    {"ration_requests_total", kCounter, "Requests answered or refused.", "model,path,code"},
    {"ration_requests_broken_off_total", kCounter, "Requests whose client left before the end.",
     "model,path"},
    {"ration_ttft_seconds", kHistogram, "From a request's arrival to its first token.", "model",
     kSecondBounds},
    {"ration_inter_token_seconds", kHistogram, "Between two tokens of an answer.", "model",
     kTokenBounds},
    {"ration_e2e_seconds", kHistogram, "From a request's arrival to its answer's end.", "model",
     kSecondBounds},
    {"ration_queue_seconds", kHistogram, "Of an answer before its first step.", "model",
     kSecondBounds},
    {"ration_load_seconds", kHistogram, "Of an answer that waited for its model to be loaded.",
     "model", kSecondBounds},
    {"ration_prompt_tokens_total", kCounter, "Tokens of prompts, cached ones too.", "model"},
    {"ration_cached_prompt_tokens_total", kCounter, "Tokens of prompts that were not computed.",
     "model"},
    {"ration_generated_tokens_total", kCounter, "Tokens of answers.", "model"},
    {"ration_drafted_tokens_total", kCounter, "Tokens that were guessed and run.", "model"},
    {"ration_accepted_tokens_total", kCounter, "Guessed tokens that answers kept.", "model"},
    {"ration_energy_joules_total", kCounter, "Energy of answers, best estimate.", "model,method"},
    {"ration_energy_bound_joules_total", kCounter, "Ends of the interval of that energy.",
     "model,bound"},
    {"ration_energy_unknown_total", kCounter, "Answers whose energy is unknown.", "model"},
    {"ration_cost_dollars_total", kCounter, "Price of answers by the tariff, best estimate.",
     "model"},
    {"ration_answers_active", kGauge, "Answers that share the steps of the engine."},
    {"ration_answers_waiting", kGauge, "Answers that wait or are being read."},
    {"ration_model_state", kGauge, "1 for the state that the model is in, 0 for the others.",
     "model,state"},
    {"ration_model_load_seconds", kHistogram, "Of loading the model.", "model", kSecondBounds},
    {"ration_model_loads_total", kCounter, "Times that the model was loaded.", "model"},
    {"ration_model_load_failures_total", kCounter, "Times that loading it failed.", "model"},
    {"ration_model_evictions_total", kCounter, "Times that it went: for another's room, or idle.",
     "model,reason"},
    {"ration_connections", kGauge, "Connections that are open."},
    {"ration_uptime_seconds", kGauge, "Since the server began to listen."},
    {"ration_memory_bytes", kGauge, "Memory in use by what it is for.", "kind"},
    {"ration_memory_peak_bytes", kGauge, "The most that was in use at any instant."},
    {"ration_memory_budget_bytes", kGauge, "The most that may be in use."},
    {"ration_info", kGauge, "Always 1; which program this is.", "version"},
}};

double seconds(Millis span) { return span.count / 1000; }

}  // namespace

ServerMetrics::ServerMetrics(std::vector<std::string> models)
    : models_(std::move(models)), metrics_(kTable) {
  metrics_.set(kInfo, {RATION_VERSION}, 1);
}

void ServerMetrics::answered(size_t model, std::string_view path, int status) {
  metrics_.add(kRequests, {models_[model], path, std::to_string(status)});
}

void ServerMetrics::broken_off(size_t model, std::string_view path) {
  metrics_.add(kBrokenOff, {models_[model], path});
}

void ServerMetrics::first_token(size_t model, Millis since_arrival) {
  metrics_.observe(kFirstToken, {models_[model]}, seconds(since_arrival));
}

void ServerMetrics::next_token(size_t model, Millis since_last) {
  metrics_.observe(kInterToken, {models_[model]}, seconds(since_last));
}

void ServerMetrics::finished(size_t model, const Bill& bill, Millis since_arrival) {
  const std::string& name = models_[model];
  metrics_.observe(kWhole, {name}, seconds(since_arrival));
  metrics_.observe(kQueue, {name}, seconds(bill.queue));
  if (bill.load.count > 0) metrics_.observe(kLoadWait, {name}, seconds(bill.load));
  const auto count = [&](Series family, int64_t tokens) {
    metrics_.add(family, {name}, static_cast<double>(tokens));
  };
  count(kPromptTokens, bill.prompt_tokens);
  count(kCachedTokens, bill.cached_tokens);
  count(kGeneratedTokens, bill.generated_tokens);
  if (bill.drafts) {
    count(kDraftedTokens, bill.drafts->drafted);
    count(kAcceptedTokens, bill.drafts->accepted);
  }
  if (const std::optional<JouleRange>& joules = bill.energy.joules) {
    metrics_.add(kEnergy, {name, method_name(bill.energy.method)}, joules->best.count);
    metrics_.add(kEnergyBound, {name, "low"}, joules->low.count);
    metrics_.add(kEnergyBound, {name, "high"}, joules->high.count);
  } else {
    count(kEnergyUnknown, 1);
  }
  if (bill.dollars) metrics_.add(kDollars, {name}, bill.dollars->best.count);
}

void ServerMetrics::loaded(size_t model, Millis took) {
  metrics_.observe(kModelLoad, {models_[model]}, seconds(took));
  metrics_.add(kModelLoads, {models_[model]});
}

void ServerMetrics::load_failed(size_t model) { metrics_.add(kModelLoadsFailed, {models_[model]}); }

void ServerMetrics::unloaded(size_t model, std::string_view reason) {
  metrics_.add(kModelEvictions, {models_[model], reason});
}

std::string ServerMetrics::text(const ServerGauges& gauges) {
  for (size_t i = 0; i < gauges.states.size(); ++i) {
    for (const std::string_view state : {"unloaded", "loading", "loaded"}) {
      metrics_.set(kModelState, {models_[i], state}, gauges.states[i] == state ? 1 : 0);
    }
  }
  metrics_.set(kActive, {}, static_cast<double>(gauges.active));
  metrics_.set(kWaiting, {}, static_cast<double>(gauges.waiting));
  metrics_.set(kConnections, {}, static_cast<double>(gauges.connections));
  metrics_.set(kUptime, {}, gauges.uptime_seconds);
  for (int i = 0; i < kTagCount; ++i) {
    metrics_.set(kMemory, {tag_name(static_cast<Tag>(i))},
                 static_cast<double>(gauges.memory.used[static_cast<size_t>(i)].count));
  }
  metrics_.set(kMemoryPeak, {}, static_cast<double>(gauges.memory.peak_total.count));
  metrics_.set(kMemoryLimit, {}, static_cast<double>(gauges.memory_limit.count));
  return metrics_.text();
}

}  // namespace ration
