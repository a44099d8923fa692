// Memory and CPU meters: /proc, read and taken apart.
#include <fmt/core.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>

#include "measure/cgroup.h"
#include "measure/measure.h"
#include "measure/parse.h"

namespace ration {
namespace {

double clock_seconds(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

double seconds_of_ticks(int64_t ticks) {
  static const double per_second = static_cast<double>(::sysconf(_SC_CLK_TCK));
  return static_cast<double>(ticks) / per_second;
}

// Fields 14 and 15 of a stat line, user and system ticks. The name in field 2 may hold anything, so
// counting starts behind its closing bracket.
std::optional<double> cpu_of_stat(std::string_view text) {
  const size_t bracket = text.rfind(')');
  if (bracket == std::string_view::npos) return std::nullopt;
  const std::vector<std::string_view> words = split(text.substr(bracket + 1), ' ');
  if (words.size() < 13) return std::nullopt;
  const auto user = leading_number<int64_t>(words[11]);
  const auto system = leading_number<int64_t>(words[12]);
  if (!user || !system) return std::nullopt;
  return seconds_of_ticks(*user + *system);
}

}  // namespace

Result<ProcessMemory> read_process_memory(const Files& files) {
  const Files::Text status = files.read("/proc/self/status");
  const auto resident = kib_field(status.text, "VmRSS");
  const auto peak = kib_field(status.text, "VmHWM");
  if (!resident || !peak) {
    return Error{Code::kUnavailable, "found no VmRSS and VmHWM in /proc/self/status"};
  }
  const auto or_zero = [&](std::string_view key) {
    return kib_field(status.text, key).value_or(Bytes{0});
  };
  // The kernel updates the peak lazily: what is resident now has been reached for certain.
  return ProcessMemory{.resident = *resident,
                       .resident_peak = std::max(*peak, *resident),
                       .file = or_zero("RssFile"),
                       .anonymous = or_zero("RssAnon"),
                       .swapped = or_zero("VmSwap")};
}

Status reset_resident_peak(const Files& files) {
  constexpr std::string_view kResetPeak = "5";
  switch (files.write("/proc/self/clear_refs", kResetPeak)) {
    case Files::State::kRead:
      return {};
    case Files::State::kDenied:
      return Error{Code::kUnavailable, "/proc/self/clear_refs may not be written here"};
    case Files::State::kMissing:
    case Files::State::kFailed:
      break;
  }
  return Error{Code::kUnavailable, "this kernel cannot reset the resident peak"};
}

std::optional<Bytes> MachineMemory::usable() const {
  std::optional<Bytes> least = available;
  if (cgroup_limit) {
    const Bytes left = std::max(Bytes{0}, *cgroup_limit - cgroup_used.value_or(Bytes{0}));
    least = least ? std::min(*least, left) : left;
  }
  return least;
}

MachineMemory read_machine_memory(const Files& files) {
  const std::string text = files.read("/proc/meminfo").text;
  const CgroupLimits limits = read_cgroup_limits(files);
  return {.total = kib_field(text, "MemTotal"),
          .available = kib_field(text, "MemAvailable"),
          .swap_total = kib_field(text, "SwapTotal"),
          .swap_free = kib_field(text, "SwapFree"),
          .cgroup_limit = limits.memory_limit,
          .cgroup_used = limits.memory_used};
}

double process_cpu_seconds() { return clock_seconds(CLOCK_PROCESS_CPUTIME_ID); }
double thread_cpu_seconds() { return clock_seconds(CLOCK_THREAD_CPUTIME_ID); }

std::vector<ThreadCpu> read_thread_cpu(const Files& files) {
  std::vector<ThreadCpu> threads;
  for (const std::string& name : files.list("/proc/self/task")) {
    const std::string folder = "/proc/self/task/" + name;
    const auto id = leading_number<int64_t>(name);
    // schedstat counts nanoseconds but is a build option of the kernel; stat counts ticks of 10 ms.
    std::optional<double> seconds;
    if (const auto nanos = leading_number<int64_t>(files.read(folder + "/schedstat").text)) {
      seconds = static_cast<double>(*nanos) * 1e-9;
    } else {
      seconds = cpu_of_stat(files.read(folder + "/stat").text);
    }
    if (!id || !seconds) continue;
    threads.push_back({*id, std::string(trimmed(files.read(folder + "/comm").text)), *seconds});
  }
  std::sort(threads.begin(), threads.end(),
            [](const ThreadCpu& a, const ThreadCpu& b) { return a.id < b.id; });
  return threads;
}

std::optional<MachineCpu> read_machine_cpu(const Files& files) {
  const std::string text = files.read("/proc/stat").text;
  for (const std::string_view line : split(text, '\n')) {
    if (!line.starts_with("cpu ")) continue;
    // "cpu" user nice system idle iowait irq softirq steal guest guest_nice; guests are in user.
    int64_t ticks[8] = {};
    const std::vector<std::string_view> words = split(line.substr(4), ' ');
    if (words.size() < 4) return std::nullopt;
    for (size_t i = 0; i < std::min<size_t>(words.size(), 8); ++i) {
      const auto number = leading_number<int64_t>(words[i]);
      if (!number || *number < 0) return std::nullopt;
      ticks[i] = *number;
    }
    return MachineCpu{
        .busy_seconds = seconds_of_ticks(ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6]),
        .steal_seconds = seconds_of_ticks(ticks[7])};
  }
  return std::nullopt;
}

}  // namespace ration
