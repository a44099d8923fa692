// ration doctor: what this machine offers, and the command that would improve it.
#include <fmt/format.h>

#include <cstdlib>

#include "app/commands.h"
#include "app/config.h"
#include "app/exit_code.h"
#include "app/output.h"
#include "app/tuning.h"
#include "measure/measure.h"
#include "tensor/kernels.h"

namespace ration {
namespace {

// What is known of this machine with the threads and kernels that are used unasked.
Result<Tuning> tuning_of(const Machine& machine, const Settings& settings) {
  const char* isa = std::getenv("RATION_ISA");
  const Result<const Kernels*> kernels = choose_kernels(isa ? isa : "");
  if (!kernels) return kernels.error();
  Tuning tuning = Tuning::open(machine, (*kernels)->isa, machine.cpus_usable);
  if (!settings.tune) return tuning;
  if (!settings.json) note("ration: measuring how each type of weights is read fastest");
  Budget budget("memory", {.hard = machine.memory.usable().value_or(kWalkPass)});
  Pool pool(machine.cpus_usable);
  if (Status done = tuning.renew(**kernels, pool, SteadyClock(), budget); !done) {
    return done.error();
  }
  return tuning;
}

}  // namespace

Result<int> run_doctor(const Settings& settings) {
  const Result<Config> config = read_config(settings);
  if (!config) return config.error();
  const SystemFiles files;
  const Machine machine = describe_machine(files);
  const EnergyMeter meter(files, machine, config->energy);
  const Result<Tuning> tuning = tuning_of(machine, settings);
  if (!tuning) return tuning.error();
  std::vector<std::string_view> sets;
  for (const Kernels* kernels : available_kernels()) sets.push_back(kernels->isa);
  const std::vector<RefusedKernels> refused = refused_kernels();
  if (settings.json) {
    std::string out = fmt::format("{{\"version\":\"{}\",\"isa\":\"{}\",\"isa_available\":[\"{}\"],",
                                  RATION_VERSION, sets.front(), fmt::join(sets, "\",\""));
    out += "\"isa_refused\":{";
    for (const RefusedKernels& set : refused) {
      out += fmt::format("{}\"{}\":\"{}\"", &set == refused.data() ? "" : ",", set.isa, set.reason);
    }
    out += "},\"machine\":";
    append_json(out, machine);
    out += ",\"energy\":";
    append_json(out, meter.doctor());
    out += ",\"tuning\":";
    append_json(out, *tuning);
    return print(out + "}\n") ? kDone : kFailed;
  }
  std::string out = to_text(machine);
  out += fmt::format("kernels   {} (of {}; RATION_ISA forces one)\n", sets.front(),
                     fmt::join(sets, ", "));
  out += to_text(*tuning);
  for (const RefusedKernels& set : refused) {
    out += fmt::format("          not {}: {}\n", set.isa, set.reason);
  }
  out += to_text(meter.doctor());
  return print(out) ? kDone : kFailed;
}

}  // namespace ration
