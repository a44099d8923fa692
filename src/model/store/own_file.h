// model/store/own_file.h - a model that is a file or a folder of the user's. Private to the store.
#pragma once

#include <filesystem>
#include <string>

#include "base/result.h"
#include "model/store/store.h"

namespace ration {

// The file, or the model.safetensors of a folder. kNotFound carries the nearest name beside it;
// kInvalid: a folder without such weights.
Result<ResolvedModel> file_model(const std::filesystem::path& path, const std::string& name);

}  // namespace ration
