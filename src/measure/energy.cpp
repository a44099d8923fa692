// The ladder: which energy sources this machine has, best first, and what keeps it from a better
// one.
#include <fmt/core.h>

#include "base/text.h"
#include "measure/measure.h"
#include "measure/powercap.h"

namespace ration {

struct EnergyMeter::Counter {
  PowercapCounter powercap;
  Scope scope;
};

namespace {

EnergyRung counter_rung(const PowercapZones& zones, const Machine& machine) {
  EnergyRung rung{.method = Method::kCounter, .available = false, .reason = "", .remedy = ""};
  using State = PowercapZones::State;
  switch (zones.state) {
    case State::kReady:
      rung.available = true;
      rung.reason = fmt::format(
          "RAPL counter of {} package{}{}", zones.packages, zones.packages == 1 ? "" : "s",
          zones.scope == Scope::kPackageDram ? " and DRAM" : ", without DRAM");
      return rung;
    case State::kDenied:
      rung.reason = fmt::format("{} may not be read by this user", zones.where);
      rung.remedy =
          "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj   (until the next boot; where "
          "others log in, rather: sudo chgrp GROUP and chmod g+r, since power reveals what runs)";
      return rung;
    case State::kFailed:
      rung.reason = fmt::format("{} does not count", zones.where);
      return rung;
    case State::kHidden:
    case State::kAbsent:
      break;
  }
  if (machine.virtual_machine) {
    rung.reason = "this is a virtual machine, and its host does not pass the energy counters on";
    rung.remedy =
        "run ration on the host, or put a calibration of this machine in the config folder";
  } else if (machine.container || zones.state == State::kHidden) {
    rung.reason = fmt::format("this container hides the energy counters of {}", zones.where);
    rung.remedy =
        "start it with: docker run --security-opt systempaths=unconfined "
        "-v /sys/class/powercap:/sys/class/powercap:ro ...";
  } else {
    rung.reason = fmt::format("the kernel shows no RAPL energy counter in {}", zones.where);
    rung.remedy = "sudo modprobe intel_rapl_msr   (for AMD too)";
  }
  return rung;
}

std::string model_words(const EnergyModel& model) {
  return fmt::format("{:.3g} W a busy thread, {:.3g} pJ a byte, {:.3g} W idle, {:.2g}x to {:.2g}x",
                     model.watts_busy, model.picojoules_per_byte, model.watts_idle,
                     model.factor_low, model.factor_high);
}

EnergyRung prior_rung(const std::optional<EnergyModel>& prior, const Machine& machine) {
  EnergyRung rung{
      .method = Method::kPriorModel, .available = prior.has_value(), .reason = "", .remedy = ""};
  if (prior) {
    rung.reason = fmt::format("published figures of {}: {}", prior->id, model_words(*prior));
  } else {
    rung.reason = fmt::format("no published figures for '{}' (vendor '{}', family {}, model {})",
                              machine.cpu_name, machine.vendor, machine.family, machine.model);
  }
  return rung;
}

}  // namespace

std::string_view method_name(Method method) {
  switch (method) {
    case Method::kUnknown:
      return "unknown";
    case Method::kPriorModel:
      return "prior-model";
    case Method::kCalibratedModel:
      return "calibrated-model";
    case Method::kCounterAmortised:
      return "counter-amortised";
    case Method::kCounter:
      return "counter";
  }
  return "unknown";
}

std::string_view scope_name(Scope scope) {
  switch (scope) {
    case Scope::kUnknown:
      return "unknown";
    case Scope::kPackage:
      return "package";
    case Scope::kPackageDram:
      return "package+dram";
  }
  return "unknown";
}

std::string_view idle_name(Idle idle) {
  switch (idle) {
    case Idle::kExcluded:
      return "excluded";
    case Idle::kShared:
      return "shared";
    case Idle::kCharged:
      return "charged";
  }
  return "unknown";
}

EnergyMeter::EnergyMeter(const Files& files, const Machine& machine, EnergyOptions options)
    : files_(&files), options_(std::move(options)) {
  CHECK(options_.counter_update > Millis{0});
  const PowercapZones zones = find_powercap_zones(files, options_.powercap);
  if (zones.state == PowercapZones::State::kReady) {
    counter_ = std::make_unique<Counter>(Counter{PowercapCounter(zones.zones), zones.scope});
  }
  doctor_.push_back(counter_rung(zones, machine));
  open_model(machine);
}

EnergyMeter::~EnergyMeter() = default;
EnergyMeter::EnergyMeter(EnergyMeter&&) noexcept = default;

void EnergyMeter::open_model(const Machine& machine) {
  EnergyRung calibrated{
      .method = Method::kCalibratedModel, .available = false, .reason = "", .remedy = ""};
  const Files::Text text =
      options_.calibration_file.empty() ? Files::Text{} : files_->read(options_.calibration_file);
  if (!text.read()) {
    calibrated.reason = fmt::format(
        "{} {}", text.state == Files::State::kMissing ? "no calibration file" : "cannot read",
        options_.calibration_file);
  } else if (Result<EnergyModel> model = parse_calibration(text.text, machine)) {
    calibrated.available = true;
    calibrated.reason =
        fmt::format("calibration {} of {}: {}", model->id, model->date, model_words(*model));
    model_ = std::move(*model);
  } else {
    calibrated.reason = model.error().message;
    calibrated.remedy = fmt::format("mend or remove {}", options_.calibration_file);
  }
  doctor_.push_back(std::move(calibrated));

  std::optional<EnergyModel> prior = prior_model(machine);
  doctor_.push_back(prior_rung(prior, machine));
  if (prior && model_.method == Method::kUnknown) model_ = std::move(*prior);
}

bool EnergyMeter::has_counter() const { return counter_ != nullptr; }

Scope EnergyMeter::counter_scope() const { return counter_ ? counter_->scope : Scope::kUnknown; }

std::optional<Joules> EnergyMeter::counter_delta(int64_t now_ns) {
  return counter_ ? counter_->powercap.delta(*files_, now_ns) : std::nullopt;
}

std::optional<double> EnergyMeter::machine_busy_seconds() const {
  const std::optional<MachineCpu> cpu = read_machine_cpu(*files_);
  return cpu ? std::optional(cpu->busy_seconds) : std::nullopt;
}

Method EnergyMeter::best_method() const { return counter_ ? Method::kCounter : model_.method; }

void append_json(std::string& out, std::span<const EnergyRung> rungs) {
  out += '[';
  for (size_t i = 0; i < rungs.size(); ++i) {
    if (i > 0) out += ',';
    out += fmt::format("{{\"method\":\"{}\",\"available\":{},\"reason\":",
                       method_name(rungs[i].method), rungs[i].available);
    append_json_string(out, rungs[i].reason);
    out += ",\"remedy\":";
    append_json_string(out, rungs[i].remedy);
    out += '}';
  }
  out += ']';
}

std::string to_text(std::span<const EnergyRung> rungs) {
  std::string text;
  bool found = false;  // the best available rung is the one in use
  for (const EnergyRung& rung : rungs) {
    const std::string_view mark = !rung.available ? "-" : found ? "+" : "*";
    found = found || rung.available;
    text += fmt::format("energy   {} {:<17} {}\n", mark, method_name(rung.method), rung.reason);
    if (!found && !rung.remedy.empty())
      text += fmt::format("         to improve: {}\n", rung.remedy);
  }
  if (!found) text += "energy   * unknown           joules are reported as null\n";
  return text;
}

}  // namespace ration
