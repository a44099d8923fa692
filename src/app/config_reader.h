// app/config_reader.h - how the tables of the configuration are read. Private to app/; it includes
// toml++.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "app/config.h"
#include "base/result.h"
#include "base/text.h"
#include "base/toml.h"
#include "base/unit.h"

namespace ration {

// Reads one table key by key and keeps the first thing that is wrong.
class TableReader {
 public:
  TableReader(const toml::table& table, std::string title, const std::filesystem::path& file)
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

  bool flag(const std::string& key) {
    const toml::node* node = take(key);
    if (!node) return false;
    if (const auto* value = node->as_boolean()) return value->get();
    refuse(*node, fmt::format("'{}' is not a boolean: true or false", key));
    return false;
  }

  const toml::table* table(const std::string& key) {
    const toml::node* node = take(key);
    if (!node) return nullptr;
    if (const auto* value = node->as_table()) return value;
    refuse(*node, fmt::format("'{}' is not a table", key));
    return nullptr;
  }

  std::vector<std::string> texts(const std::string& key) {
    std::vector<std::string> out;
    const toml::node* node = take(key);
    if (!node) return out;
    const auto* values = node->as_array();
    if (values) {
      for (const toml::node& value : *values) {
        if (const auto* text = value.as_string()) out.push_back(text->get());
      }
    }
    if (!values || out.size() != values->size() || out.empty()) {
      refuse(*node, fmt::format("'{}' is not a list of strings", key));
    }
    return out;
  }

  std::optional<int64_t> integer(const std::string& key, int64_t least, int64_t most) {
    const toml::node* node = take(key);
    if (!node) return std::nullopt;
    const auto* value = node->as_integer();
    if (value && value->get() >= least && value->get() <= most) return value->get();
    refuse(*node, fmt::format("'{}' is not a whole number from {} to {}", key, least, most));
    return std::nullopt;
  }

  // As it stands, or null; whoever asks says what is wrong with it.
  const toml::node* node(const std::string& key) { return take(key); }
  void refuse(const toml::node& where, std::string_view what) {
    if (problem_) return;
    problem_ = Error{Code::kInvalid, fmt::format("{}, line {}: {}{}", file_.string(),
                                                 where.source().begin.line, title_, what)};
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

  const toml::table& table_;
  std::string title_;
  const std::filesystem::path& file_;
  std::vector<std::string> known_;
  std::optional<Error> problem_;
};

// The tables [defaults] and those named after commands.
Result<std::vector<ConfigOption>> read_options(TableReader& root,
                                               const std::filesystem::path& file);

// The array of tables [[keys]]; secrets are read from their files and digested.
Result<std::vector<ServeKey>> read_keys(const toml::node& keys, const std::filesystem::path& file);
// Of one array of tables, as a property of a JSON Schema.
extern const std::string_view kKeysSchema;

}  // namespace ration
