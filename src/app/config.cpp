#include "app/config.h"

#include <fmt/core.h>

#include <cstdlib>

#include "app/config_reader.h"
#include "base/file.h"

namespace ration {
namespace {

namespace fs = std::filesystem;

constexpr Bytes kFileBytesMax{kMiB};

Result<Tariff> read_tariff(const toml::table& table, const fs::path& file) {
  TableReader reader(table, "[tariff] ", file);
  Tariff tariff;
  tariff.usd_per_kwh = reader.price("usd_per_kwh");
  tariff.usd_per_million_tokens = reader.price("usd_per_million_tokens").value_or(0);
  tariff.usd_per_second = reader.price("usd_per_second").value_or(0);
  tariff.source = reader.text("source");
  tariff.date = reader.text("date");
  if (Status read = reader.finish(); !read) return read.error();
  return tariff;
}

Result<EnergyOptions> read_energy(const toml::table& table, const fs::path& file) {
  TableReader reader(table, "[energy] ", file);
  EnergyOptions options;
  const std::string calibration = reader.text("calibration");
  if (Status read = reader.finish(); !read) return read.error();
  options.calibration_file =
      (file.parent_path() / (calibration.empty() ? kCalibrationFile : calibration)).string();
  if (!calibration.empty() && !fs::exists(options.calibration_file)) {
    return Error{Code::kInvalid, fmt::format("{}: [energy] calibration: there is no {}",
                                             file.string(), options.calibration_file)};
  }
  return options;
}

Result<std::optional<Bytes>> read_disk_limit(const toml::table& table, const fs::path& file) {
  TableReader reader(table, "[disk] ", file);
  const std::optional<Bytes> limit = reader.size("limit");
  if (Status read = reader.finish(); !read) return read.error();
  return limit;
}

fs::path default_file() {
  if (const char* folder = std::getenv("XDG_CONFIG_HOME"); folder && *folder) {
    return fs::path(folder) / "ration/config.toml";
  }
  const char* home = std::getenv("HOME");
  return home && *home ? fs::path(home) / ".config/ration/config.toml" : fs::path();
}

}  // namespace

const std::string_view kConfigTablesSchema =
    R"("tariff":{"type":"object","additionalProperties":false,"properties":{)"
    R"("usd_per_kwh":{"type":"number","minimum":0,"maximum":1e9},)"
    R"("usd_per_million_tokens":{"type":"number","minimum":0,"maximum":1e9},)"
    R"("usd_per_second":{"type":"number","minimum":0,"maximum":1e9},)"
    R"("source":{"type":"string"},"date":{"type":"string"}}},)"
    R"("energy":{"type":"object","additionalProperties":false,"properties":{)"
    R"("calibration":{"type":"string"}}},)"
    R"("disk":{"type":"object","additionalProperties":false,"properties":{)"
    R"("limit":{"type":"string"}}})";

Result<Config> parse_config(std::string_view text, const fs::path& file) {
  const Result<toml::table> root = parse_toml(text, file.string());
  if (!root) return root.error();
  Config config{.file = file};
  TableReader reader(*root, "", file);
  const toml::table* tariff = reader.table("tariff");
  const toml::table* energy = reader.table("energy");
  const toml::table* disk = reader.table("disk");
  const toml::node* keys = reader.node("keys");
  Result<std::vector<ConfigOption>> options = read_options(reader, file);
  if (!options) return options.error();
  config.options = std::move(*options);
  if (Status read = reader.finish(); !read) return read.error();
  if (tariff) {
    Result<Tariff> read = read_tariff(*tariff, file);
    if (!read) return read.error();
    config.tariff = *read;
  }
  Result<EnergyOptions> read = read_energy(energy ? *energy : toml::table{}, file);
  if (!read) return read.error();
  config.energy = *read;
  if (keys) {
    Result<std::vector<ServeKey>> found = read_keys(*keys, file);
    if (!found) return found.error();
    config.keys = std::move(*found);
  }
  if (!disk) return config;
  const Result<std::optional<Bytes>> limit = read_disk_limit(*disk, file);
  if (!limit) return limit.error();
  config.disk_limit = *limit;
  return config;
}

Result<Config> read_config(const Settings& settings) {
  const char* variable = std::getenv("RATION_CONFIG");
  const bool named = settings.config_file || (variable && *variable);
  const fs::path file = settings.config_file ? fs::path(*settings.config_file)
                        : named              ? fs::path(variable)
                                             : default_file();
  if (file.empty()) return Config{};
  Result<std::string> text = read_file(file, kFileBytesMax);
  if (text) {
    Result<Config> config = parse_config(*text, fs::absolute(file));
    if (config) config->found = true;
    return config;
  }
  if (text.error().code == Code::kNotFound && !named) return parse_config("", file);
  return Error{text.error().code, "the configuration: " + text.error().message};
}

}  // namespace ration
