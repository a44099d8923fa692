// ration doctor: what this machine offers, and the command that would improve it.
#include <fmt/format.h>

#include "app/commands.h"
#include "app/config.h"
#include "app/exit_code.h"
#include "app/output.h"
#include "measure/measure.h"
#include "tensor/kernels.h"

namespace ration {

Result<int> run_doctor(const Settings& settings) {
  const Result<Config> config = read_config(settings);
  if (!config) return config.error();
  const SystemFiles files;
  const Machine machine = describe_machine(files);
  const EnergyMeter meter(files, machine, config->energy);
  std::vector<std::string_view> sets;
  for (const Kernels* kernels : available_kernels()) sets.push_back(kernels->isa);
  if (settings.json) {
    std::string out =
        fmt::format("{{\"version\":\"{}\",\"isa\":\"{}\",\"isa_available\":[\"{}\"],\"machine\":",
                    RATION_VERSION, sets.front(), fmt::join(sets, "\",\""));
    append_json(out, machine);
    out += ",\"energy\":";
    append_json(out, meter.doctor());
    return print(out + "}\n") ? kDone : kFailed;
  }
  std::string out = to_text(machine);
  out += fmt::format("kernels   {} (of {}; RATION_ISA forces one)\n", sets.front(),
                     fmt::join(sets, ", "));
  out += to_text(meter.doctor());
  return print(out) ? kDone : kFailed;
}

}  // namespace ration
