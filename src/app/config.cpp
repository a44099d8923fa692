#include "app/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "base/file.h"
#include "base/text.h"
#include "base/toml.h"

namespace ration {
namespace {

namespace fs = std::filesystem;

constexpr Bytes kFileBytesMax{kMiB};

// Reads one table key by key and keeps the first thing that is wrong.
class TableReader {
 public:
  TableReader(const toml::table& table, std::string title, const fs::path& file)
      : table_(table), title_(std::move(title)), file_(file) {}

  std::string text(const std::string& key) {
    const toml::node* node = take(key);
    if (!node) return "";
    if (const auto* value = node->as_string()) return value->get();
    refuse(*node, fmt::format("'{}' is not a string", key));
    return "";
  }

  std::optional<double> price(const std::string& key) {
    const toml::node* node = take(key);
    if (!node) return std::nullopt;
    const std::optional<double> value = node->is_number() ? node->value<double>() : std::nullopt;
    if (value && *value >= 0 && *value <= 1e9) return value;
    refuse(*node, fmt::format("'{}' is not a number from 0 to a billion", key));
    return std::nullopt;
  }

  std::optional<Bytes> size(const std::string& key) {
    const toml::node* node = take(key);
    if (!node) return std::nullopt;
    const auto* value = node->as_string();
    const Result<Bytes> bytes = parse_bytes(value ? value->get() : "");
    if (bytes) return *bytes;
    refuse(*node, fmt::format("'{}' is not a size such as \"20GB\"", key));
    return std::nullopt;
  }

  const toml::table* table(const std::string& key) {
    const toml::node* node = take(key);
    if (!node) return nullptr;
    if (const auto* value = node->as_table()) return value;
    refuse(*node, fmt::format("'{}' is not a table", key));
    return nullptr;
  }

  // Call last: refuses what nobody asked for.
  Status finish() {
    for (const auto& [key, value] : table_) {
      if (std::ranges::find(known_, key.str()) != known_.end()) continue;
      const std::string hint = did_you_mean(key.str(), known_);
      refuse(value,
             fmt::format(
                 "unknown key '{}', {}", key.str(),
                 hint.empty() ? fmt::format("wanted one of {}", fmt::join(known_, ", ")) : hint));
    }
    if (problem_) return *problem_;
    return {};
  }

 private:
  const toml::node* take(const std::string& key) {
    known_.push_back(key);
    return table_.get(key);
  }

  void refuse(const toml::node& where, std::string_view what) {
    if (problem_) return;
    problem_ = Error{Code::kInvalid, fmt::format("{}, line {}: {}{}", file_.string(),
                                                 where.source().begin.line, title_, what)};
  }

  const toml::table& table_;
  std::string title_;
  const fs::path& file_;
  std::vector<std::string> known_;
  std::optional<Error> problem_;
};

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

Result<Config> parse_config(std::string_view text, const fs::path& file) {
  const Result<toml::table> root = parse_toml(text, file.string());
  if (!root) return root.error();
  Config config{.file = file};
  TableReader reader(*root, "", file);
  const toml::table* tariff = reader.table("tariff");
  const toml::table* energy = reader.table("energy");
  const toml::table* disk = reader.table("disk");
  if (Status read = reader.finish(); !read) return read.error();
  if (tariff) {
    Result<Tariff> read = read_tariff(*tariff, file);
    if (!read) return read.error();
    config.tariff = *read;
  }
  Result<EnergyOptions> read = read_energy(energy ? *energy : toml::table{}, file);
  if (!read) return read.error();
  config.energy = *read;
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
  if (text) return parse_config(*text, fs::absolute(file));
  if (text.error().code == Code::kNotFound && !named) return parse_config("", file);
  return Error{text.error().code, "the configuration: " + text.error().message};
}

}  // namespace ration
