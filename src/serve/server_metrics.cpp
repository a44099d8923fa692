#include "serve/server_metrics.h"

#include <array>

namespace ration {
namespace {

enum Family : size_t {
  kRequests,
  kBrokenOff,
  kFirstToken,
  kInterToken,
  kWhole,
  kQueue,
  kLoad,
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

// In the order of Family.
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
    {"ration_connections", kGauge, "Connections that are open."},
    {"ration_uptime_seconds", kGauge, "Since the server began to listen."},
    {"ration_memory_bytes", kGauge, "Memory in use by what it is for.", "kind"},
    {"ration_memory_peak_bytes", kGauge, "The most that was in use at any instant."},
    {"ration_memory_budget_bytes", kGauge, "The most that may be in use."},
    {"ration_info", kGauge, "Always 1; which program this is.", "version"},
}};

double seconds(Millis span) { return span.count / 1000; }

}  // namespace

ServerMetrics::ServerMetrics(std::string model) : model_(std::move(model)), metrics_(kTable) {
  metrics_.set(kInfo, {RATION_VERSION}, 1);
}

void ServerMetrics::answered(std::string_view path, int status) {
  metrics_.add(kRequests, {model_, path, std::to_string(status)});
}

void ServerMetrics::broken_off(std::string_view path) { metrics_.add(kBrokenOff, {model_, path}); }

void ServerMetrics::first_token(Millis since_arrival) {
  metrics_.observe(kFirstToken, {model_}, seconds(since_arrival));
}

void ServerMetrics::next_token(Millis since_last) {
  metrics_.observe(kInterToken, {model_}, seconds(since_last));
}

void ServerMetrics::finished(const Bill& bill, Millis since_arrival) {
  metrics_.observe(kWhole, {model_}, seconds(since_arrival));
  metrics_.observe(kQueue, {model_}, seconds(bill.queue));
  if (bill.load.count > 0) metrics_.observe(kLoad, {model_}, seconds(bill.load));
  const auto count = [&](Family family, int64_t tokens) {
    metrics_.add(family, {model_}, static_cast<double>(tokens));
  };
  count(kPromptTokens, bill.prompt_tokens);
  count(kCachedTokens, bill.cached_tokens);
  count(kGeneratedTokens, bill.generated_tokens);
  if (bill.drafts) {
    count(kDraftedTokens, bill.drafts->drafted);
    count(kAcceptedTokens, bill.drafts->accepted);
  }
  if (const std::optional<JouleRange>& joules = bill.energy.joules) {
    metrics_.add(kEnergy, {model_, method_name(bill.energy.method)}, joules->best.count);
    metrics_.add(kEnergyBound, {model_, "low"}, joules->low.count);
    metrics_.add(kEnergyBound, {model_, "high"}, joules->high.count);
  } else {
    count(kEnergyUnknown, 1);
  }
  if (bill.dollars) metrics_.add(kDollars, {model_}, bill.dollars->best.count);
}

std::string ServerMetrics::text(const ServerGauges& gauges) {
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
