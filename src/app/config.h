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
//   [[keys]]  # who may use `ration serve`; without any, everybody
//   name = "alice"
//   secret_file = "alice.key"
//   [models.coder]     # a model of `ration serve`, by the name that requests use
//   model = "qwen2.5-coder-1.5b"
//   keep_alive = "5m"
//   [defaults]         # what the command line does not say, for every command that takes it
//   memory = "12GB"
//   [serve]            # the same, for one command; goes before [defaults]
//   port = 8080
//
// Where: --config FILE, else $RATION_CONFIG, else $XDG_CONFIG_HOME/ration/config.toml
// (~/.config/ration/config.toml). Only the last may be missing.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "app/settings.h"
#include "measure/measure.h"
#include "serve/serve.h"

namespace ration {

// A value for an option of the command line.
struct ConfigOption {
  std::string command;  // the table it stands in; "defaults" is for all
  std::string name;     // "port", or "model" for the first argument
  std::string value;
  std::string where;  // "FILE, line N: [serve] port", for errors
};

// A model that the server may serve: [models.NAME].
struct ConfigModel {
  std::string name;
  std::string model;  // a reference or path
  std::vector<std::string> aliases{};
  bool pin = false;
  bool helper = false;
  bool preload = false;
  std::optional<Millis> keep_alive{};  // none: it stays until another wants its room
  int64_t context = 0;                 // 0: not said
  std::optional<Bytes> memory{};
};

struct Config {
  std::filesystem::path file{};  // where it is, or would be
  bool found = false;
  std::optional<Tariff> tariff{};
  EnergyOptions energy{};
  std::optional<Bytes> disk_limit{};
  std::vector<ServeKey> keys{};
  std::vector<ConfigOption> options{};
  std::vector<ConfigModel> models{};  // in the file's order
};

// How long a model stays: "5m", a number of seconds, "forever", or something negative for that
// (then nothing). kInvalid.
Result<std::optional<Millis>> parse_keep_alive(std::string_view text);

// kInvalid names the file, the line and the nearest key; kNotFound when a file that was asked for
// is not there.
Result<Config> read_config(const Settings& settings);

// The keys of the file, and that of RATION_API_KEY.
Result<std::vector<ServeKey>> keys_to_serve(const Config& config);
// A key with a new random secret, as lines for the file.
Result<std::string> new_key(std::string_view name);

// The tables of Config that are no options of the command line, as properties of a JSON Schema.
extern const std::string_view kConfigTablesSchema;

// As above, from text. `file` is named in errors, and paths are relative to its folder.
Result<Config> parse_config(std::string_view text, const std::filesystem::path& file);

}  // namespace ration
