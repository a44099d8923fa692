// app/config.h - the configuration file: what is true of this machine or this user rather than of
// one command. TOML; docs/config.md lists every key.
//
//   [tariff]                       # money on every bill; without a price the bill says null
//   usd_per_kwh = 0.31
//   source = "my electricity bill"
//   date = "2026-01-31"
//   [energy]
//   calibration = "desk.json"  # relative to this file; default: energy-calibration.json beside it
//   [disk]
//   limit = "20GB"  # on models and their packed weights; --disk goes before it
//
// Where: --config FILE, else $RATION_CONFIG, else $XDG_CONFIG_HOME/ration/config.toml
// (~/.config/ration/config.toml). Only the last may be missing.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "app/settings.h"
#include "measure/measure.h"

namespace ration {

struct Config {
  std::filesystem::path file{};  // "": there is none
  std::optional<Tariff> tariff{};
  EnergyOptions energy{};
  std::optional<Bytes> disk_limit{};
};

// kInvalid names the file, the line and the nearest key; kNotFound when a file that was asked for
// is not there.
Result<Config> read_config(const Settings& settings);

// As above, from text. `file` is named in errors, and paths are relative to its folder.
Result<Config> parse_config(std::string_view text, const std::filesystem::path& file);

}  // namespace ration
