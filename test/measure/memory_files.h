// test/measure/memory_files.h - a machine made of strings: files that are there, denied or broken.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "measure/measure.h"

namespace ration {

class MemoryFiles final : public Files {
 public:
  void put(const std::string& path, std::string text) {
    files_[path] = {State::kRead, std::move(text)};
  }
  void put(const std::string& path, int64_t number) { put(path, std::to_string(number) + "\n"); }
  void fail(const std::string& path, State state) { files_[path] = {state, ""}; }
  void remove(const std::string& path) { files_.erase(path); }
  void allow_write(const std::string& path, State answer) { writable_[path] = answer; }
  const std::vector<std::pair<std::string, std::string>>& written() const { return written_; }

  Text read(const std::string& path) const override {
    const auto found = files_.find(path);
    return found == files_.end() ? Text{} : found->second;
  }
  std::vector<std::string> list(const std::string& folder) const override {
    std::set<std::string> names;
    const std::string prefix = folder + "/";
    for (const auto& [path, text] : files_) {
      if (path.starts_with(prefix))
        names.insert(path.substr(prefix.size(), path.find('/', prefix.size()) - prefix.size()));
    }
    return {names.begin(), names.end()};
  }
  State write(const std::string& path, std::string_view text) const override {
    const auto found = writable_.find(path);
    if (found == writable_.end()) return State::kMissing;
    if (found->second == State::kRead) written_.emplace_back(path, text);
    return found->second;
  }

 private:
  std::map<std::string, Text> files_;
  std::map<std::string, State> writable_;
  mutable std::vector<std::pair<std::string, std::string>> written_;
};

// A powercap zone in the flat class folder. range: a 32-bit counter of 61 uJ steps, as on real
// parts.
inline constexpr int64_t kRangeUj = 262'143'328'850;
inline void put_zone(MemoryFiles& files, const std::string& zone, const std::string& name,
                     int64_t energy_uj, int64_t range_uj = kRangeUj,
                     const std::string& powercap = "/sys/class/powercap") {
  files.put(powercap + "/" + zone + "/name", name + "\n");
  files.put(powercap + "/" + zone + "/energy_uj", energy_uj);
  files.put(powercap + "/" + zone + "/max_energy_range_uj", range_uj);
}
inline std::string energy_path(const std::string& zone) {
  return "/sys/class/powercap/" + zone + "/energy_uj";
}

// A server of a family we know.
inline Machine zen3_machine() {
  Machine machine;
  machine.cpu_name = "AMD EPYC 7763 64-Core Processor";
  machine.vendor = "AuthenticAMD";
  machine.family = 0x19;
  machine.model = 0x01;
  machine.cpus_online = machine.cpus_allowed = machine.cpus_usable = 4;
  return machine;
}

}  // namespace ration
