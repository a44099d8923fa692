#include "model/store/catalogue.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <optional>
#include <set>

#include "base/file.h"
#include "base/text.h"
#include "base/toml.h"
#include "model/store/reference.h"

namespace ration {
namespace {

constexpr Bytes kFileBytesMax{kMiB};

// Reads the keys of one [[model]] table and keeps the first thing that is wrong.
class EntryReader {
 public:
  EntryReader(const toml::table& table, std::string_view origin) : table_(table), origin_(origin) {}

  Result<CatalogueEntry> read() {
    CatalogueEntry entry;
    entry.name = text("name");
    name_ = entry.name;
    entry.source = text("source");
    entry.title = text("title");
    entry.licence = text("licence");
    entry.description = text("description");
    entry.sha256 = text("sha256");
    entry.bytes = bytes();
    entry.is_default = flag("default");
    entry.aliases = texts("aliases");
    refuse_unknown_keys();
    check(entry);
    if (problem_) return *problem_;
    return entry;
  }

 private:
  void refuse(const toml::node* where, std::string_view what) {
    if (problem_) return;
    const auto line = where ? where->source().begin.line : table_.source().begin.line;
    problem_ =
        Error{Code::kInvalid, fmt::format("{}, line {}: {}{}", origin_, line,
                                          name_.empty() ? "" : "model '" + name_ + "': ", what)};
  }

  std::string text(std::string_view key) {
    const toml::node* node = table_.get(key);
    if (!node) return "";
    if (const auto* value = node->as_string()) return value->get();
    refuse(node, fmt::format("'{}' is not a string", key));
    return "";
  }

  Bytes bytes() {
    const toml::node* node = table_.get("bytes");
    if (!node) return Bytes{-1};
    if (const auto* value = node->as_integer(); value && value->get() > 0)
      return Bytes{value->get()};
    refuse(node, "'bytes' is not a whole number above 0");
    return Bytes{-1};
  }

  bool flag(std::string_view key) {
    const toml::node* node = table_.get(key);
    if (!node) return false;
    if (const auto* value = node->as_boolean()) return value->get();
    refuse(node, fmt::format("'{}' is neither true nor false", key));
    return false;
  }

  std::vector<std::string> texts(std::string_view key) {
    std::vector<std::string> out;
    const toml::node* node = table_.get(key);
    if (!node) return out;
    const toml::array* array = node->as_array();
    if (!array) refuse(node, fmt::format("'{}' is not a list", key));
    for (size_t i = 0; array && i < array->size(); ++i) {
      const auto* value = array->get(i)->as_string();
      if (value)
        out.push_back(value->get());
      else
        refuse(array->get(i), fmt::format("'{}' holds something that is not a string", key));
    }
    return out;
  }

  void refuse_unknown_keys() {
    static const std::vector<std::string> kKeys{"name",    "aliases",     "title",
                                                "source",  "bytes",       "sha256",
                                                "licence", "description", "default"};
    for (const auto& [key, value] : table_) {
      if (std::find(kKeys.begin(), kKeys.end(), key.str()) != kKeys.end()) continue;
      const std::string hint = did_you_mean(key.str(), kKeys);
      refuse(&value, fmt::format("unknown key '{}'{}", key.str(), hint.empty() ? "" : ", " + hint));
    }
  }

  void check(const CatalogueEntry& entry) {
    if (entry.name.empty()) return refuse(nullptr, "'name' is missing");
    std::vector<std::string> names = entry.aliases;
    names.push_back(entry.name);
    for (const std::string& name : names) {
      const Result<Reference> parsed = parse_reference(name);
      if (!parsed || parsed->kind != Reference::Kind::kName || !is_valid_utf8(name)) {
        refuse(nullptr, fmt::format("'{}' would not be taken for a name", name));
      }
    }
    if (!entry.sha256.empty() && !is_sha256(entry.sha256)) {
      refuse(table_.get("sha256"), "'sha256' is not 64 lower-case hex digits");
    }
    if (entry.source.empty()) return refuse(nullptr, "'source' is missing");
    const Result<Reference> source = parse_reference(entry.source);
    if (!source) return refuse(table_.get("source"), source.error().message);
    if (source->kind == Reference::Kind::kName) {
      refuse(table_.get("source"), fmt::format("the source '{}' is only a name", entry.source));
    }
  }

  const toml::table& table_;
  std::string_view origin_;
  std::string name_;
  std::optional<Error> problem_;
};

}  // namespace

Result<std::vector<CatalogueEntry>> parse_catalogue(std::string_view text,
                                                    std::string_view origin) {
  const Result<toml::table> parsed = parse_toml(text, origin);
  if (!parsed) return parsed.error();
  std::vector<CatalogueEntry> entries;
  std::set<std::string> names;
  for (const auto& [key, value] : *parsed) {
    const toml::array* models = value.as_array();
    if (key.str() != "model" || !models) {
      return Error{Code::kInvalid,
                   fmt::format("{}, line {}: found '{}', wanted [[model]] tables only", origin,
                               value.source().begin.line, key.str())};
    }
    for (const toml::node& model : *models) {
      const toml::table* table = model.as_table();
      if (!table) {
        return Error{Code::kInvalid,
                     fmt::format("{}, line {}: 'model' holds something that is not a table", origin,
                                 model.source().begin.line)};
      }
      Result<CatalogueEntry> entry = EntryReader(*table, origin).read();
      if (!entry) return entry.error();
      if (!names.insert(entry->name).second) {
        return Error{Code::kInvalid, fmt::format("{}, line {}: model '{}' is there twice", origin,
                                                 model.source().begin.line, entry->name)};
      }
      entries.push_back(std::move(*entry));
    }
  }
  return entries;
}

Result<std::vector<CatalogueEntry>> load_catalogue(
    const std::vector<std::filesystem::path>& files) {
  std::vector<CatalogueEntry> all;
  const auto add = [&all](std::vector<CatalogueEntry> entries) {
    for (CatalogueEntry& entry : entries) {
      const bool hidden = std::any_of(all.begin(), all.end(), [&](const CatalogueEntry& earlier) {
        return earlier.name == entry.name;
      });
      if (!hidden) all.push_back(std::move(entry));
    }
  };
  for (const std::filesystem::path& file : files) {
    Result<std::string> text = read_file(file, kFileBytesMax);
    if (!text && text.error().code == Code::kNotFound) continue;
    if (!text) return text.error();
    Result<std::vector<CatalogueEntry>> entries = parse_catalogue(*text, file.string());
    if (!entries) return entries.error();
    add(std::move(*entries));
  }
  Result<std::vector<CatalogueEntry>> builtin =
      parse_catalogue(builtin_catalogue_text(), "the built-in catalogue");
  CHECK(builtin, builtin ? "" : builtin.error().message);
  add(std::move(*builtin));
  return all;
}

const CatalogueEntry* find_entry(const std::vector<CatalogueEntry>& entries,
                                 std::string_view name) {
  for (const CatalogueEntry& entry : entries) {
    if (entry.name == name) return &entry;
  }
  for (const CatalogueEntry& entry : entries) {
    if (std::find(entry.aliases.begin(), entry.aliases.end(), name) != entry.aliases.end())
      return &entry;
  }
  return nullptr;
}

}  // namespace ration
