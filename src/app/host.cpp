#include "app/host.h"

#include <fmt/core.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>

#include "app/interrupt.h"
#include "app/output.h"

namespace ration {
namespace {

// Of the memory that is free, what is used when no limit is stated.
constexpr double kFreeShare = 0.9;

std::string isa_from_environment() {
  const char* isa = std::getenv("RATION_ISA");
  return isa ? isa : "";
}

Bytes resident_now(const Files& files) {
  const Result<ProcessMemory> memory = read_process_memory(files);
  return memory ? memory->resident : Bytes{16 * kMiB};
}

}  // namespace

Result<Host::Start> Host::start(const Settings& settings) {
  Result<Config> config = read_config(settings);
  if (!config) return config.error();
  const SystemFiles files;
  Bytes limit{int64_t{1} << 40};
  if (settings.memory) {
    limit = *settings.memory;
  } else if (const std::optional<Bytes> usable = read_machine_memory(files).usable()) {
    limit = Bytes{static_cast<int64_t>(static_cast<double>(usable->count) * kFreeShare)};
  }
  const Bytes resident = resident_now(files);
  Result<const Kernels*> kernels = choose_kernels(isa_from_environment());
  if (!kernels) return kernels.error();
  for (const RefusedKernels& set : refused_kernels()) {
    if (!settings.quiet) note(fmt::format("the {} kernels are not used: {}", set.isa, set.reason));
  }
  return Start{std::move(*config), limit, resident, *kernels};
}

Host::Host(const Settings& settings, Start start)
    : config(std::move(start.config)),
      machine(describe_machine(files)),
      meter(files, machine, config.energy),
      budget("memory", {.hard = start.limit}),
      resident(start.resident),
      pool(settings.threads > 0 ? settings.threads : machine.cpus_usable),
      kernels(start.kernels),
      memory_stated(settings.memory.has_value()) {}

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

Result<Store> open_store(const Settings& settings, const Config& config, const Clock& clock) {
  return Store::open(clock, {.offline = settings.offline,
                             .disk_limit = settings.disk ? settings.disk : config.disk_limit});
}

Result<Store> open_store(const Settings& settings, const Clock& clock) {
  const Result<Config> config = read_config(settings);
  if (!config) return config.error();
  return open_store(settings, *config, clock);
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

std::string display_name(const ResolvedModel& model) {
  return model.origin == Origin::kFile ? model.files.front().filename().string() : model.name;
}

}  // namespace ration
