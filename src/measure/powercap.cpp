#include "measure/powercap.h"

#include <algorithm>
#include <set>

#include "measure/parse.h"

namespace ration {
namespace {

// No package draws more: a delta above it is a reset that looks like a wrap, and a gap so long that
// this much could have gone once around the counter leaves the number of wraps unknown.
constexpr double kWattsMax = 1000;
// A package that draws nothing for this long does not exist: its counter is not real.
constexpr int64_t kStandstillNs = 100'000'000;

// Folders of all zones below `powercap`, each once, parents first. The class shows every zone,
// nested or not, in one folder; a bind-mounted device tree shows them nested.
std::vector<std::string> zone_folders(const Files& files, const std::string& powercap) {
  std::vector<std::string> folders{powercap, powercap + "/intel-rapl"};
  std::vector<std::string> zones;
  std::set<std::string> seen;
  for (size_t i = 0; i < folders.size(); ++i) {  // grows while we walk it
    const std::string folder = folders[i];
    for (const std::string& name : files.list(folder)) {
      if (!name.starts_with("intel-rapl:") || !seen.insert(name).second) continue;
      zones.push_back(folder + "/" + name);
      folders.push_back(folder + "/" + name);
    }
  }
  return zones;
}

std::optional<int64_t> reading(const Files& files, const std::string& path) {
  const Files::Text text = files.read(path);
  if (!text.read()) return std::nullopt;
  const auto number = leading_number<int64_t>(text.text);
  return number && *number >= 0 ? number : std::nullopt;
}

// Drops zones whose counter cannot be read, and tells what the first such one suffered from.
Files::State keep_readable(const Files& files, std::vector<PowercapZones::Zone>& zones,
                           std::string& where) {
  Files::State worst = Files::State::kRead;
  std::erase_if(zones, [&](const PowercapZones::Zone& zone) {
    const Files::State state = files.read(zone.energy_file).state;
    if (state == Files::State::kRead && reading(files, zone.energy_file).value_or(0) > 0)
      return false;
    if (worst == Files::State::kRead) {
      worst = state == Files::State::kRead ? Files::State::kFailed : state;
      where = zone.energy_file;
    }
    return true;
  });
  return worst;
}

PowercapZones::State state_of(Files::State state) {
  switch (state) {
    case Files::State::kRead:
      return PowercapZones::State::kReady;
    case Files::State::kDenied:
      return PowercapZones::State::kDenied;
    case Files::State::kMissing:
      return PowercapZones::State::kHidden;
    case Files::State::kFailed:
      break;
  }
  return PowercapZones::State::kFailed;
}

}  // namespace

PowercapZones find_powercap_zones(const Files& files, const std::string& powercap) {
  PowercapZones found;
  found.where = powercap;
  std::vector<PowercapZones::Zone> dram;
  std::set<std::string> packages_seen;
  const std::vector<std::string> folders = zone_folders(files, powercap);
  for (const std::string& folder : folders) {
    PowercapZones::Zone zone;
    zone.name = trimmed(files.read(folder + "/name").text);
    zone.energy_file = folder + "/energy_uj";
    zone.range_uj = reading(files, folder + "/max_energy_range_uj").value_or(0);
    if (zone.name.starts_with("package")) {
      if (packages_seen.insert(zone.name).second) found.zones.push_back(std::move(zone));
    } else if (zone.name == "dram") {
      dram.push_back(std::move(zone));
    }
  }
  found.packages = static_cast<int>(found.zones.size());
  if (found.zones.empty()) {
    const bool hidden = !folders.empty() || !files.list(powercap).empty();
    found.state = hidden ? PowercapZones::State::kHidden : PowercapZones::State::kAbsent;
    return found;
  }
  found.state = state_of(keep_readable(files, found.zones, found.where));
  if (found.state != PowercapZones::State::kReady) {
    found.zones.clear();  // half the packages would be a figure that looks whole
    return found;
  }
  found.scope = Scope::kPackage;
  std::string ignored;
  keep_readable(files, dram, ignored);
  if (static_cast<int>(dram.size()) == found.packages) {
    found.scope = Scope::kPackageDram;
    found.zones.insert(found.zones.end(), dram.begin(), dram.end());
  }
  return found;
}

std::optional<Joules> PowercapCounter::delta(const Files& files, int64_t now_ns) {
  std::vector<int64_t> now_uj;
  now_uj.reserve(zones_.size());
  for (const PowercapZones::Zone& zone : zones_) {
    const auto value = reading(files, zone.energy_file);
    if (!value) {
      last_uj_.clear();
      return std::nullopt;
    }
    now_uj.push_back(*value);
  }
  const std::vector<int64_t> before_uj = std::exchange(last_uj_, now_uj);
  const int64_t elapsed_ns = now_ns - std::exchange(last_ns_, now_ns);
  if (before_uj.empty()) return std::nullopt;

  const double elapsed = static_cast<double>(elapsed_ns) * 1e-9;
  Joules sum{0};
  for (size_t i = 0; i < zones_.size(); ++i) {
    const int64_t range_uj = zones_[i].range_uj;
    int64_t moved_uj = now_uj[i] - before_uj[i];
    if (range_uj > 0 && elapsed * kWattsMax > static_cast<double>(range_uj) * 1e-6) {
      return std::nullopt;
    }
    if (moved_uj < 0) {
      if (range_uj <= 0 || before_uj[i] > range_uj) return std::nullopt;
      moved_uj += range_uj;
    }
    const double joules = static_cast<double>(moved_uj) * 1e-6;
    // The counter lags by an update or so: allow it a little time of its own.
    if (joules > kWattsMax * (elapsed + 0.02)) return std::nullopt;
    sum += Joules{joules};
  }
  if (sum == Joules{0} && elapsed_ns >= kStandstillNs) return std::nullopt;
  return sum;
}

}  // namespace ration
