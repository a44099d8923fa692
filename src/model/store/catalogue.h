// model/store/catalogue.h - the table of known models: built in, and the user's additions. Private
// to the store.
#pragma once

#include <filesystem>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/store/store.h"

namespace ration {

// data/catalogue.toml as it was when the program was built.
std::string_view builtin_catalogue_text();

// `origin` names the text in messages. kInvalid names line, entry and key: bad syntax, an unknown
// or missing key, a value of the wrong type, a source that is no reference, a name given twice.
Result<std::vector<CatalogueEntry>> parse_catalogue(std::string_view text, std::string_view origin);

// The user's files that exist among `files`, in order, then the built-in table; an entry hides
// later ones of its name.
Result<std::vector<CatalogueEntry>> load_catalogue(const std::vector<std::filesystem::path>& files);

// By name or alias; nullptr when there is none.
const CatalogueEntry* find_entry(const std::vector<CatalogueEntry>& entries, std::string_view name);

}  // namespace ration
