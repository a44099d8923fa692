// measure/powercap.h - the processor's own energy counters (RAPL) through the kernel's powercap
// files; AMD's are served by the same class.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "measure/measure.h"

namespace ration {

// What there is to read. Only packages and their DRAM are counted: core and uncore lie inside the
// package, psys contains it, and the intel-rapl-mmio class shows the same packages a second time.
struct PowercapZones {
  struct Zone {
    std::string name;         // "package-0", "dram"
    std::string energy_file;  // ".../energy_uj"
    int64_t range_uj = 0;     // where the counter starts again from 0; 0: unknown
  };
  enum class State : uint8_t {
    kReady,
    kAbsent,  // no such class
    kHidden,  // the class is there, its zones are not: a container masks them
    kDenied,  // the zones are there, we may not read them
    kFailed,  // unreadable, not a number, or stuck at 0
  };
  State state = State::kAbsent;
  Scope scope = Scope::kUnknown;
  std::vector<Zone> zones;  // when kReady: those that are added up
  int packages = 0;
  std::string where;  // the file or folder the state is about
};
PowercapZones find_powercap_zones(const Files& files, const std::string& powercap);

// The sum of some zones, followed over time. single-thread.
class PowercapCounter {
 public:
  explicit PowercapCounter(std::vector<PowercapZones::Zone> zones) : zones_(std::move(zones)) {}

  // Joules since the last call. Null on the first one, and whenever the true number cannot be
  // known: a file vanished, the counter stood still, was reset, or may have wrapped more than once.
  std::optional<Joules> delta(const Files& files, int64_t now_ns);

 private:
  std::vector<PowercapZones::Zone> zones_;
  std::vector<int64_t> last_uj_;  // empty: no reading to start from
  int64_t last_ns_ = 0;
};

}  // namespace ration
