// Who pays for which joule. Two accounts run side by side, the counter's and the model's; a
// request's bill takes the counter's if it covered the request, else the model's, and never adds
// the two.
#include <fmt/core.h>

#include <algorithm>

#include "measure/measure.h"

namespace ration {
namespace {

// A reading is good for 5 % when the window is this many counter updates long.
constexpr double kUpdatesMin = 20;
// The counter's share of a request's time below which its figure is not used.
constexpr double kCoverageMin = 0.9;
// A gap between requests has to be this long to teach us the idle watts.
constexpr double kIdleGapSecondsMin = 0.2;
// Other programs, or other requests in the batch, that used more than this made the figure a split.
constexpr double kAloneTolerance = 0.05;
constexpr double kCounterWidth = 0.05;
constexpr double kAmortisedWidth = 0.15;
// The key by which a counter is split on a CPU without a model; only the ratio matters.
constexpr double kFallbackWattsBusy = 2.0;
constexpr double kFallbackPicojoules = 150;

struct Open {
  uint64_t id = 0;
  double counter_joules = 0;
  double model_joules = 0;
  double seconds = 0;          // of the steps it took part in
  double covered_seconds = 0;  // of those, with counter data
  double batch_seconds = 0;    // sum of seconds * requests in the step
  double outside_seconds = 0;  // sum of covered seconds * other programs' share
  double pending_weight = 0;   // work in the counter window that is still open
  double pending_seconds = 0;
  bool idle_known = true;  // every window had an idle figure to take out
};

// The stretch of time since the counter was last read.
struct Window {
  int64_t start_ns = 0;
  std::optional<double> busy_seconds;  // of the whole machine, at the start
  double weight = 0;                   // all work in it
  double cpu_seconds = 0;              // ours
  double settled = 0;                  // joules already billed to requests that ended in it
  double dropped_weight = 0;           // work of requests that ended in it without a counter figure
};

double seconds_between(int64_t start_ns, int64_t end_ns) {
  return static_cast<double>(end_ns - start_ns) * 1e-9;
}

}  // namespace

struct Attributor::State {
  EnergyMeter& meter;
  const Clock& clock;
  const AttributorOptions options;
  const EnergyModel model;
  double watts_busy;
  double joules_per_byte;
  double updates_min_seconds;

  std::vector<Open> open;
  Window window;
  int64_t last_step_ns = 0;
  std::optional<double> idle_watts;  // the least seen while no request was open
  double other_cpu_carry = 0;        // rounding of the machine's 10 ms ticks, carried over
  // What work has cost so far, for requests that end inside a window.
  double history_joules = 0;
  double history_weight = 0;
  double history_seconds = 0;
  EnergyAccount counter;
  EnergyAccount modelled;

  State(EnergyMeter& meter_in, const Clock& clock_in, AttributorOptions options_in)
      : meter(meter_in),
        clock(clock_in),
        options(options_in),
        model(meter_in.model()),
        watts_busy(model.method == Method::kUnknown ? kFallbackWattsBusy : model.watts_busy),
        joules_per_byte(1e-12 * (model.method == Method::kUnknown ? kFallbackPicojoules
                                                                  : model.picojoules_per_byte)),
        updates_min_seconds(kUpdatesMin * meter_in.counter_update().count * 1e-3) {
    open.reserve(64);
    const int64_t now = clock.now_ns();
    static_cast<void>(meter.counter_delta(now));  // the reading to start from
    start_window(now);
    last_step_ns = now;
  }

  bool has_model() const { return model.method != Method::kUnknown; }

  Open& find(uint64_t id) {
    const auto found =
        std::find_if(open.begin(), open.end(), [&](const Open& o) { return o.id == id; });
    CHECK(found != open.end(), fmt::format("request {} is not open", id));
    return *found;
  }

  void start_window(int64_t now) {
    window =
        Window{.start_ns = now,
               .busy_seconds = meter.has_counter() ? meter.machine_busy_seconds() : std::nullopt};
    for (Open& request : open) request.pending_weight = request.pending_seconds = 0;
  }

  std::optional<double> joules_per_weight() const {
    if (history_seconds < updates_min_seconds || history_weight <= 0) return std::nullopt;
    return history_joules / history_weight;
  }

  // Nothing was open since the last window: idle, or the wait that the next request is charged for.
  void close_gap(int64_t now, Open& next) {
    const double seconds = seconds_between(window.start_ns, now);
    const bool charged = options.idle == Idle::kCharged;
    if (const std::optional<Joules> delta = meter.counter_delta(now)) {
      counter.meter += *delta;
      (charged ? counter.requests : counter.idle) += *delta;
      if (charged) next.counter_joules += delta->count;
      if (seconds >= kIdleGapSecondsMin) {
        const double watts = delta->count / seconds;
        idle_watts = std::min(idle_watts.value_or(watts), watts);
      }
    }
    if (has_model()) {
      const Joules joules{model.watts_idle * seconds};
      modelled.meter += joules;
      (charged ? modelled.requests : modelled.idle) += joules;
      if (charged) next.model_joules += joules.count;
    }
    start_window(now);
    last_step_ns = now;
  }

  // Other programs' share of the active joules in the window, by CPU time.
  double outside_share() {
    if (!window.busy_seconds) return 0;
    const std::optional<double> busy = meter.machine_busy_seconds();
    if (!busy) return 0;
    // The machine counts in ticks: a negative rest is rounding, and belongs to the next window.
    double other = *busy - *window.busy_seconds - window.cpu_seconds + other_cpu_carry;
    other_cpu_carry = std::clamp(std::min(other, 0.0), -0.1, 0.0);
    other = std::max(other, 0.0);
    const double all = other + window.cpu_seconds;
    return all > 0 ? other / all : 0;
  }

  void close_window(int64_t now) {
    const double seconds = seconds_between(window.start_ns, now);
    if (seconds <= 0) return;
    const std::optional<Joules> delta = meter.counter_delta(now);
    if (!delta) {
      counter.meter += Joules{window.settled};  // estimates that no reading will confirm
      start_window(now);
      return;
    }
    const bool exclude = options.idle == Idle::kExcluded;
    const double idle = exclude ? std::min(delta->count, idle_watts.value_or(0) * seconds) : 0;
    const double outside_part = outside_share();
    const double outside = (delta->count - idle) * outside_part;
    const double ours = delta->count - idle - outside;
    // Estimates may have been a little high: then the idle bucket gives the difference back.
    const double rest = std::max(0.0, ours - window.settled);
    const double billed = bill_pending(rest, outside_part, exclude && !idle_watts);
    counter.meter += *delta;
    counter.requests += Joules{billed};
    counter.outside += Joules{outside};
    counter.idle += Joules{delta->count - outside - window.settled - billed};
    if (seconds >= updates_min_seconds && window.weight > 0) {
      history_joules += ours;
      history_weight += window.weight;
      history_seconds += seconds;
    }
    start_window(now);
  }

  // Splits `joules` over the work done in the window; returns what was billed.
  double bill_pending(double joules, double outside_part, bool idle_unknown) {
    double weight = window.dropped_weight;
    for (const Open& request : open) weight += request.pending_weight;
    if (weight <= 0) return 0;
    double billed = 0;
    for (Open& request : open) {
      if (request.pending_seconds <= 0) continue;
      const double share = joules * request.pending_weight / weight;
      request.counter_joules += share;
      request.covered_seconds += request.pending_seconds;
      request.outside_seconds += request.pending_seconds * outside_part;
      if (idle_unknown) request.idle_known = false;
      billed += share;
    }
    return billed;
  }

  // The part of the open window that a request ending now has used, by what such work has cost so
  // far. False when there is nothing to go by.
  bool settle_by_rate(Open& request) const {
    const std::optional<double> rate = joules_per_weight();
    if (!rate) return false;
    request.counter_joules += *rate * request.pending_weight;
    request.covered_seconds += request.pending_seconds;
    if (options.idle == Idle::kExcluded && !idle_watts) request.idle_known = false;
    return true;
  }

  Energy energy_of(const Open& request) const;
};

Energy Attributor::State::energy_of(const Open& request) const {
  Energy energy;
  energy.idle = options.idle;
  energy.concurrency = request.seconds > 0 ? request.batch_seconds / request.seconds : 0;
  const double coverage = request.seconds > 0 ? request.covered_seconds / request.seconds : 1;
  if (meter.has_counter() && coverage >= kCoverageMin) {
    const double covered = request.covered_seconds;
    const bool alone = energy.concurrency <= 1 + kAloneTolerance &&
                       request.outside_seconds <= kAloneTolerance * covered;
    const bool measured = alone && covered >= updates_min_seconds;
    const double width = measured ? kCounterWidth : kAmortisedWidth;
    energy.method = measured ? Method::kCounter : Method::kCounterAmortised;
    energy.scope = meter.counter_scope();
    energy.coverage = std::min(1.0, coverage);
    if (!request.idle_known) energy.idle = Idle::kShared;
    // What was not covered can only add.
    energy.joules =
        JouleRange{.low = Joules{request.counter_joules * (1 - width)},
                   .best = Joules{request.counter_joules},
                   .high = Joules{request.counter_joules * (1 + width) / energy.coverage}};
    return energy;
  }
  if (!has_model()) return energy;
  energy.method = model.method;
  energy.scope = model.scope;
  energy.coverage = 1;
  energy.calibration = model.id;
  energy.joules = JouleRange{.low = Joules{request.model_joules * model.factor_low},
                             .best = Joules{request.model_joules},
                             .high = Joules{request.model_joules * model.factor_high}};
  return energy;
}

Attributor::Attributor(EnergyMeter& meter, const Clock& clock, AttributorOptions options)
    : state_(std::make_unique<State>(meter, clock, options)) {
  CHECK(options.window.count * 1e-3 >= state_->updates_min_seconds);
}

Attributor::~Attributor() = default;

void Attributor::begin(uint64_t request) {
  State& s = *state_;
  for (const Open& other : s.open) {
    CHECK(other.id != request, fmt::format("request {} is open already", request));
  }
  s.open.push_back(Open{.id = request});
  if (s.open.size() == 1) s.close_gap(s.clock.now_ns(), s.open.back());
}

void Attributor::step(const StepWork& work) {
  State& s = *state_;
  CHECK(work.cpu_seconds >= 0 && work.shared_bytes >= Bytes{0});
  const int64_t now = s.clock.now_ns();
  const double seconds = seconds_between(s.last_step_ns, now);
  s.last_step_ns = now;
  s.window.cpu_seconds += work.cpu_seconds;
  int64_t tokens = 0;
  for (const RequestWork& part : work.requests) {
    CHECK(part.tokens >= 0 && part.own_bytes >= Bytes{0});
    tokens += part.tokens;
  }
  const double shared = s.watts_busy * work.cpu_seconds +
                        s.joules_per_byte * static_cast<double>(work.shared_bytes.count);
  const auto requests = static_cast<double>(work.requests.size());
  const double idle = s.has_model() ? s.model.watts_idle * seconds : 0;
  const bool idle_excluded = s.options.idle == Idle::kExcluded || work.requests.empty();
  for (const RequestWork& part : work.requests) {
    Open& request = s.find(part.request);
    const double share =
        tokens > 0 ? static_cast<double>(part.tokens) / static_cast<double>(tokens) : 1 / requests;
    const double weight =
        shared * share + s.joules_per_byte * static_cast<double>(part.own_bytes.count);
    request.seconds += seconds;
    request.batch_seconds += seconds * requests;
    request.pending_seconds += seconds;
    request.pending_weight += weight;
    s.window.weight += weight;
    if (s.has_model()) {
      const double joules = weight + (idle_excluded ? 0 : idle * share);
      request.model_joules += joules;
      s.modelled.meter += Joules{joules};
      s.modelled.requests += Joules{joules};
    }
  }
  if (idle_excluded) {
    s.modelled.meter += Joules{idle};
    s.modelled.idle += Joules{idle};
  }
  if (seconds_between(s.window.start_ns, now) >= s.options.window.count * 1e-3) s.close_window(now);
}

Energy Attributor::so_far(uint64_t request) const {
  Open copy = state_->find(request);
  if (copy.pending_seconds > 0) state_->settle_by_rate(copy);
  return state_->energy_of(copy);
}

Energy Attributor::end(uint64_t request) {
  State& s = *state_;
  Open& ending = s.find(request);
  if (ending.pending_seconds > 0) {
    const int64_t now = s.clock.now_ns();
    const double before = ending.counter_joules;
    if (seconds_between(s.window.start_ns, now) >= s.updates_min_seconds) {
      s.close_window(now);
    } else if (s.settle_by_rate(ending)) {
      s.window.settled += ending.counter_joules - before;
      s.counter.requests += Joules{ending.counter_joules - before};
    } else {
      s.window.dropped_weight += ending.pending_weight;
    }
  }
  const Energy energy = s.energy_of(ending);
  std::erase_if(s.open, [&](const Open& o) { return o.id == request; });
  if (s.open.empty()) s.close_window(s.clock.now_ns());
  return energy;
}

EnergyAccount Attributor::counter_account() const { return state_->counter; }
EnergyAccount Attributor::model_account() const { return state_->modelled; }

}  // namespace ration
