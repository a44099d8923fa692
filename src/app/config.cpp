#include "app/config.h"

#include <fmt/core.h>

#include <algorithm>
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

// Files are found beside the configuration, as its other paths are.
std::string reference_of(const std::string& text, const fs::path& file) {
  if (!text.starts_with("./") && !text.starts_with("../")) return text;
  return (file.parent_path() / text).lexically_normal().string();
}

Result<ConfigModel> read_model(const std::string& name, const toml::table& table,
                               const fs::path& file) {
  TableReader reader(table, fmt::format("[models.{}] ", name), file);
  const std::string model = reader.text("model");
  ConfigModel found{.name = name,
                    .model = model.empty() ? name : reference_of(model, file),
                    .aliases = reader.texts("aliases"),
                    .pin = reader.flag("pin"),
                    .helper = reader.flag("helper"),
                    .preload = reader.flag("preload"),
                    .context = reader.integer("context", 1, kTokensMax).value_or(0),
                    .memory = reader.size("memory")};
  if (const toml::node* node = reader.node("keep_alive")) {
    const auto* number = node->as_integer();
    const auto* text = node->as_string();
    const Result<std::optional<Millis>> span =
        parse_keep_alive(number ? std::to_string(number->get())
                         : text ? text->get()
                                : "");
    if (!span) reader.refuse(*node, "'keep_alive' is not a time such as \"5m\", or \"forever\"");
    if (span) found.keep_alive = *span;
  }
  if (Status read = reader.finish(); !read) return read.error();
  return found;
}

Result<std::vector<ConfigModel>> read_models(const toml::table& tables, const fs::path& file) {
  std::vector<std::pair<uint32_t, ConfigModel>> found;  // by line: the parser sorts by name
  TableReader reader(tables, "[models] ", file);
  for (const auto& [key, node] : tables) {
    const toml::table* table = reader.table(std::string(key.str()));
    if (!table) continue;
    Result<ConfigModel> model = read_model(std::string(key.str()), *table, file);
    if (!model) return model.error();
    found.emplace_back(node.source().begin.line, std::move(*model));
  }
  if (Status read = reader.finish(); !read) return read.error();
  std::ranges::sort(found, {}, [](const auto& row) { return row.first; });
  std::vector<ConfigModel> models;
  for (auto& [line, model] : found) models.push_back(std::move(model));
  return models;
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
    R"("limit":{"type":"string"}}},)"
    R"("models":{"type":"object","additionalProperties":{"type":"object",)"
    R"("additionalProperties":false,"properties":{)"
    R"("model":{"type":"string"},)"
    R"("aliases":{"type":"array","items":{"type":"string"}},)"
    R"("pin":{"type":"boolean"},"helper":{"type":"boolean"},"preload":{"type":"boolean"},)"
    R"("keep_alive":{"type":["string","integer"]},)"
    R"("context":{"type":"integer","minimum":1},"memory":{"type":"string"}}}})";

Result<std::optional<Millis>> parse_keep_alive(std::string_view text) {
  if (text == "forever") return std::optional<Millis>();
  const bool negative = text.starts_with('-');
  const Result<Millis> span = parse_millis(text.substr(negative ? 1 : 0));
  if (!span) return span.error();
  constexpr Millis kLongest{1e12};  // thirty years
  return negative || *span > kLongest ? std::nullopt : std::optional(*span);
}

Result<Config> parse_config(std::string_view text, const fs::path& file) {
  const Result<toml::table> root = parse_toml(text, file.string());
  if (!root) return root.error();
  Config config{.file = file};
  TableReader reader(*root, "", file);
  const toml::table* tariff = reader.table("tariff");
  const toml::table* energy = reader.table("energy");
  const toml::table* disk = reader.table("disk");
  const toml::node* keys = reader.node("keys");
  const toml::table* models = reader.table("models");
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
  if (models) {
    Result<std::vector<ConfigModel>> found = read_models(*models, file);
    if (!found) return found.error();
    config.models = std::move(*found);
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
