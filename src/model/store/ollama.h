// model/store/ollama.h - models that Ollama holds, used in place. Private to the store.
#pragma once

#include <filesystem>
#include <optional>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/store/store.h"

namespace ration {

// OLLAMA_MODELS, else where Ollama keeps models for this user and for its service.
std::vector<std::filesystem::path> ollama_folders();

// `name` as "llama3.2:1b", "user/name:tag" or "host/user/name:tag"; without a tag it is "latest".
// nullopt when no folder has it; kCorrupt when a manifest or blob is not what it should be.
Result<std::optional<ResolvedModel>> find_in_ollama(
    const std::vector<std::filesystem::path>& folders, std::string_view name);
// All models that are whole, by name.
std::vector<ResolvedModel> list_ollama(const std::vector<std::filesystem::path>& folders);

}  // namespace ration
