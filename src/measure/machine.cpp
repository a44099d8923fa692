#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "base/text.h"
#include "measure/cgroup.h"
#include "measure/measure.h"
#include "measure/parse.h"

namespace ration {
namespace {

constexpr std::array<std::string_view, 14> kFlagsOfInterest{
    "sse4_2",   "f16c",        "fma",         "avx",      "avx2",     "avx_vnni", "avx512f",
    "avx512bw", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_int8", "amx_bf16", "hypervisor"};

// The names, flags, cores and sockets of /proc/cpuinfo: a paragraph of "key : value" lines a CPU.
void read_cpuinfo(const Files& files, Machine& machine) {
  const std::string text = files.read("/proc/cpuinfo").text;
  std::set<std::string> sockets;
  std::set<std::pair<std::string, std::string>> cores;
  std::string socket;
  for (const std::string_view line : split(text, '\n')) {
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    const std::string_view key = trimmed(line.substr(0, colon));
    const std::string_view value = trimmed(line.substr(colon + 1));
    if (key == "processor") ++machine.cpus_online;
    if (key == "physical id") sockets.insert(socket = std::string(value));
    if (key == "core id") cores.emplace(socket, std::string(value));
    if (machine.cpus_online > 1) continue;  // the rest is the same for all
    if (key == "model name") machine.cpu_name = value;
    if (key == "vendor_id") machine.vendor = value;
    if (key == "cpu family") machine.family = leading_number<int>(value).value_or(0);
    if (key == "model") machine.model = leading_number<int>(value).value_or(0);
    if (key == "flags") {
      const std::vector<std::string_view> words = split(value, ' ');
      for (const std::string_view flag : kFlagsOfInterest) {
        if (std::find(words.begin(), words.end(), flag) != words.end()) {
          machine.flags.emplace_back(flag);
        }
      }
    }
  }
  machine.cores = static_cast<int>(cores.size());
  machine.sockets = static_cast<int>(sockets.size());
}

// "512K" or "32768K" or "1M".
std::optional<Bytes> cache_size(std::string_view text) {
  const auto number = leading_number<int64_t>(text);
  if (!number || *number <= 0 || *number > (int64_t{1} << 40)) return std::nullopt;
  const std::string_view clean = trimmed(text);
  return Bytes{*number * (clean.ends_with('M') ? kMiB : clean.ends_with('K') ? kKiB : 1)};
}

// L2 of the first CPU; L3 summed over the groups of CPUs that share one.
void read_caches(const Files& files, Machine& machine) {
  const std::string root = "/sys/devices/system/cpu";
  std::set<std::string> seen;
  for (const std::string& cpu : files.list(root)) {
    if (!cpu.starts_with("cpu") || !leading_number<int>(std::string_view(cpu).substr(3))) continue;
    for (const std::string& index : files.list(root + "/" + cpu + "/cache")) {
      const std::string folder = root + "/" + cpu + "/cache/" + index;
      const auto level = leading_number<int>(files.read(folder + "/level").text);
      if (!level || (*level != 2 && *level != 3)) continue;
      const auto size = cache_size(files.read(folder + "/size").text);
      if (!size) continue;
      if (*level == 2) {
        if (!machine.l2_bytes) machine.l2_bytes = size;
      } else if (seen.insert(files.read(folder + "/shared_cpu_list").text).second) {
        machine.l3_bytes = machine.l3_bytes.value_or(Bytes{0}) + *size;
      }
    }
  }
}

bool inside_container(const Files& files) {
  if (files.has("/.dockerenv") || files.has("/run/.containerenv")) return true;
  const std::string groups = files.read("/proc/self/cgroup").text;
  return groups.find("/docker") != std::string::npos ||
         groups.find("kubepods") != std::string::npos;
}

std::string or_null(const std::optional<Bytes>& bytes) {
  return bytes ? fmt::format("{}", bytes->count) : "null";
}

std::string cpus_text(const Machine& machine) {
  std::string text = fmt::format("{} threads", machine.cpus_online);
  if (machine.cores > 0) text += fmt::format(" on {} cores", machine.cores);
  if (machine.sockets > 1) text += fmt::format(" in {} sockets", machine.sockets);
  if (machine.cpus_allowed < machine.cpus_online) {
    text += fmt::format(", {} allowed by affinity", machine.cpus_allowed);
  }
  if (machine.cpu_quota) text += fmt::format(", cgroup quota {:.4g} CPUs", *machine.cpu_quota);
  return text + fmt::format(", {} usable", machine.cpus_usable);
}

std::string memory_text(const MachineMemory& memory) {
  std::string text;
  const auto add = [&](std::string_view words, const std::optional<Bytes>& bytes) {
    if (!bytes) return;
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", to_text(*bytes), words);
  };
  add("in all", memory.total);
  add("available", memory.available);
  add("allowed by the cgroup", memory.cgroup_limit);
  add("used in it", memory.cgroup_used);
  if (memory.swap_total && *memory.swap_total > Bytes{0}) add("of swap", memory.swap_total);
  return text.empty() ? "unknown" : text;
}

}  // namespace

Machine describe_machine(const Files& files) {
  Machine machine;
  read_cpuinfo(files, machine);
  read_caches(files, machine);
  const std::string status = files.read("/proc/self/status").text;
  const auto allowed = field(status, "Cpus_allowed_list");
  machine.cpus_allowed =
      allowed ? count_of_list(*allowed).value_or(machine.cpus_online) : machine.cpus_online;
  machine.cpu_quota = read_cgroup_limits(files).cpus;
  machine.cpus_usable = machine.cpus_allowed;
  if (machine.cpu_quota) {
    machine.cpus_usable = static_cast<int>(
        std::min<double>(machine.cpus_usable, std::ceil(*machine.cpu_quota - 1e-9)));
  }
  machine.cpus_usable = std::max(machine.cpus_usable, 1);
  machine.memory = read_machine_memory(files);
  machine.virtual_machine =
      std::find(machine.flags.begin(), machine.flags.end(), "hypervisor") != machine.flags.end();
  machine.container = inside_container(files);
  return machine;
}

void append_json(std::string& out, const Machine& machine) {
  out += "{\"cpu\":";
  append_json_string(out, machine.cpu_name);
  out += ",\"vendor\":";
  append_json_string(out, machine.vendor);
  out += fmt::format(",\"family\":{},\"model\":{},\"flags\":[", machine.family, machine.model);
  for (size_t i = 0; i < machine.flags.size(); ++i) {
    if (i > 0) out += ',';
    append_json_string(out, machine.flags[i]);
  }
  out += fmt::format(
      "],\"cpus_online\":{},\"cores\":{},\"sockets\":{},\"cpus_allowed\":{},\"cpu_quota\":{}"
      ",\"cpus_usable\":{},\"l2_bytes\":{},\"l3_bytes\":{}",
      machine.cpus_online, machine.cores, machine.sockets, machine.cpus_allowed,
      machine.cpu_quota ? fmt::format("{:.6g}", *machine.cpu_quota) : "null", machine.cpus_usable,
      or_null(machine.l2_bytes), or_null(machine.l3_bytes));
  const MachineMemory& memory = machine.memory;
  out += fmt::format(
      ",\"memory\":{{\"total\":{},\"available\":{},\"swap_total\":{},\"swap_free\":{}"
      ",\"cgroup_limit\":{},\"cgroup_used\":{},\"usable\":{}}}",
      or_null(memory.total), or_null(memory.available), or_null(memory.swap_total),
      or_null(memory.swap_free), or_null(memory.cgroup_limit), or_null(memory.cgroup_used),
      or_null(memory.usable()));
  out += fmt::format(",\"virtual_machine\":{},\"container\":{}}}", machine.virtual_machine,
                     machine.container);
}

std::string to_text(const Machine& machine) {
  std::string text =
      fmt::format("cpu      {} ({}){}\n", machine.cpu_name.empty() ? "unknown" : machine.cpu_name,
                  cpus_text(machine), machine.virtual_machine ? ", virtual machine" : "");
  if (!machine.flags.empty()) text += fmt::format("flags    {}\n", fmt::join(machine.flags, " "));
  if (machine.l2_bytes || machine.l3_bytes) {
    const auto size = [](const std::optional<Bytes>& bytes) {
      if (!bytes) return std::string("unknown");
      return bytes->count % kMiB == 0 ? fmt::format("{} MiB", bytes->count / kMiB)
                                      : fmt::format("{} KiB", bytes->count / kKiB);
    };
    text += fmt::format("cache    L2 {} a core, L3 {} in all\n", size(machine.l2_bytes),
                        size(machine.l3_bytes));
  }
  text += fmt::format("memory   {}\n", memory_text(machine.memory));
  return text;
}

}  // namespace ration
