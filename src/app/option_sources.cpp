#include "app/option_sources.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <utility>

#include "app/config_reader.h"
#include "base/text.h"

namespace ration {
namespace {

constexpr std::string_view kDefaults = "defaults";
constexpr std::string_view kModel = "model";

// Options that say where the others come from, or that belong to one call.
bool settable(const Option& option) {
  constexpr std::array<std::string_view, 4> kNot{"config", "file", "text", "tokens"};
  return std::ranges::find(kNot, long_name(option)) == kNot.end();
}

bool takes_model(const Command& command) { return command.arguments.starts_with("[MODEL"); }
bool takes_models(const Command& command) { return command.arguments == "[MODEL...]"; }

const Option* find_option(const Command& command, std::string_view name) {
  for (const Option& option : options()) {
    if (long_name(option) == name && settable(option) && takes(command, option)) return &option;
  }
  return nullptr;
}

std::vector<std::string> names_of(const Command* command) {
  std::vector<std::string> names;
  for (const Option& option : options()) {
    if (settable(option) && (!command || takes(*command, option))) {
      names.emplace_back(long_name(option));
    }
  }
  if (!command || takes_model(*command)) names.emplace_back(kModel);
  return names;
}

std::string variable_of(std::string_view name) {
  std::string variable = "RATION_";
  for (char c : name) {
    variable += c == '-' ? '_' : static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
  }
  return variable;
}

// Whether a flag is on; none: it is no such word.
std::optional<bool> truth(std::string_view value) {
  for (std::string_view on : {"1", "true", "yes", "on"}) {
    if (value == on) return true;
  }
  for (std::string_view off : {"", "0", "false", "no", "off"}) {
    if (value == off) return false;
  }
  return std::nullopt;
}

Status apply_value(const Option& option, std::string_view value, const std::string& where,
                   Settings& settings) {
  const auto say = [&](std::string_view what) {
    return Error{Code::kInvalid, fmt::format("{}: {}", where, what)};
  };
  if (option.value.empty()) {
    const std::optional<bool> on = truth(value);
    if (!on) return say(fmt::format("found '{}', wanted true or false", value));
    return *on ? option.apply(settings, "") : Status{};
  }
  if (Status applied = option.apply(settings, value); !applied) {
    return say(applied.error().message);
  }
  return {};
}

Status apply_table(const Config& config, std::string_view table, const Command& command,
                   Settings& settings) {
  bool named = false;
  for (const ConfigOption& entry : config.options) {
    if (entry.command != table) continue;
    if (entry.name == kModel) {
      const bool further = takes_models(command) && std::exchange(named, true);
      if (further) settings.words.push_back(entry.value);
      if (!further && takes_model(command)) settings.model = entry.value;
      continue;
    }
    const Option* option = find_option(command, entry.name);
    if (!option) continue;
    if (Status done = apply_value(*option, entry.value, entry.where, settings); !done) return done;
  }
  return {};
}

Status apply_environment(const Command& command, Settings& settings) {
  for (const Option& option : options()) {
    if (!settable(option) || !takes(command, option)) continue;
    const std::string variable = variable_of(long_name(option));
    const char* value = std::getenv(variable.c_str());
    if (!value || !*value) continue;
    if (Status done = apply_value(option, value, variable, settings); !done) return done;
  }
  const char* model = std::getenv(variable_of(kModel).c_str());
  if (model && *model && takes_model(command)) settings.model = model;
  return {};
}

// The text that an option takes, of a TOML value; none: the value is none of those.
std::optional<std::string> text_of(const toml::node& node) {
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* number = node.as_integer()) return std::to_string(number->get());
  if (const auto* number = node.as_floating_point()) return fmt::format("{}", number->get());
  if (const auto* flag = node.as_boolean()) return flag->get() ? "true" : "false";
  return std::nullopt;
}

Status read_table(const toml::table& table, const std::string& name, const Command* command,
                  const std::filesystem::path& file, std::vector<ConfigOption>& out) {
  const std::string title = fmt::format("[{}] ", name);
  TableReader reader(table, title, file);
  for (const std::string& key : names_of(command)) {
    const toml::node* node = reader.node(key);
    if (!node) continue;
    const auto add = [&](const toml::node& value) {
      const std::optional<std::string> text = text_of(value);
      if (!text) {
        return reader.refuse(value, fmt::format("'{}' is not a text, number or boolean", key));
      }
      out.push_back({.command = name,
                     .name = key,
                     .value = *text,
                     .where = fmt::format("{}, line {}: {}{}", file.string(),
                                          value.source().begin.line, title, key)});
    };
    if (const toml::array* values = node->as_array()) {
      for (const toml::node& value : *values) add(value);
    } else {
      add(*node);
    }
  }
  return reader.finish();
}

std::string schema_of(const Option& option) {
  std::string type;
  if (option.value.empty()) {
    type = R"("type":"boolean")";
  } else if (option.value.find('|') != std::string_view::npos) {
    type = "\"enum\":[\"";
    for (char c : option.value) type += c == '|' ? std::string("\",\"") : std::string(1, c);
    type += "\"]";
  } else if (option.value == "N" || option.value == "K") {
    type = R"("type":"integer")";
  } else if (option.value == "X") {
    type = R"("type":"number")";
  } else if (option.summary.find("may be given again") != std::string_view::npos) {
    type = R"("type":["string","array"],"items":{"type":"string"})";
  } else {
    type = R"("type":"string")";
  }
  std::string out;
  append_json_string(out, long_name(option));
  out += ":{" + type + ",\"description\":";
  append_json_string(out, option.summary);
  return out + "}";
}

std::string schema_of(std::string_view name, const Command* command) {
  std::string keys;
  for (const Option& option : options()) {
    if (!settable(option) || (command && !takes(*command, option))) continue;
    keys += (keys.empty() ? "" : ",") + schema_of(option);
  }
  if (command && takes_models(*command)) {
    keys += R"(,"model":{"type":["string","array"],"items":{"type":"string"},)"
            R"("description":"the models, as in the command line"})";
  } else if (!command || takes_model(*command)) {
    keys += R"(,"model":{"type":"string","description":"the model, as in the command line"})";
  }
  return fmt::format(R"("{}":{{"type":"object","additionalProperties":false,"properties":{{{}}}}})",
                     name, keys);
}

}  // namespace

std::string_view long_name(const Option& option) {
  return option.names.substr(option.names.rfind("--") + 2);
}

Status apply_sources(const Config& config, const Command& command, Settings& settings) {
  if (Status done = apply_table(config, kDefaults, command, settings); !done) return done;
  if (Status done = apply_table(config, command.name, command, settings); !done) return done;
  return apply_environment(command, settings);
}

Result<std::vector<ConfigOption>> read_options(TableReader& root,
                                               const std::filesystem::path& file) {
  std::vector<ConfigOption> found;
  const auto read = [&](const std::string& name, const Command* command) -> Status {
    const toml::table* table = root.table(name);
    return table ? read_table(*table, name, command, file, found) : Status{};
  };
  if (Status done = read(std::string(kDefaults), nullptr); !done) return done.error();
  for (const Command& command : commands()) {
    if (Status done = read(std::string(command.name), &command); !done) return done.error();
  }
  // A value that makes no sense is told of wherever it stands, not by the command that meets it.
  for (const ConfigOption& entry : found) {
    for (const Command& command : commands()) {
      if (entry.command != kDefaults && entry.command != command.name) continue;
      Settings ignored;
      const Option* option = find_option(command, entry.name);
      if (!option) continue;
      Status fine = apply_value(*option, entry.value, entry.where, ignored);
      if (!fine) return fine.error();
    }
  }
  return found;
}

std::string config_schema() {
  std::string tables = schema_of(kDefaults, nullptr);
  for (const Command& command : commands()) tables += "," + schema_of(command.name, &command);
  return fmt::format(
      R"({{"$schema":"https://json-schema.org/draft/2020-12/schema",)"
      R"("title":"Configuration of ration","type":"object","additionalProperties":false,)"
      R"("properties":{{{},{},{}}}}})"
      "\n",
      kConfigTablesSchema, kKeysSchema, tables);
}

}  // namespace ration
