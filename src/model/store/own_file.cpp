#include "model/store/own_file.h"

#include <fmt/core.h>

#include <vector>

#include "base/text.h"

namespace ration {

namespace fs = std::filesystem;

Result<ResolvedModel> file_model(const fs::path& path, const std::string& name) {
  std::error_code problem;
  const fs::file_status status = fs::status(path, problem);
  if (fs::is_regular_file(status)) {
    ResolvedModel model{
        .name = name, .reference = path.string(), .origin = Origin::kFile, .files = {path}};
    model.bytes = Bytes{static_cast<int64_t>(fs::file_size(path, problem))};
    return model;
  }
  const fs::path weights = path / "model.safetensors";
  if (fs::is_directory(status) && fs::is_regular_file(weights, problem)) {
    return file_model(weights, name);
  }
  if (fs::exists(status)) {
    return Error{Code::kInvalid,
                 fmt::format("{} is no file, nor a folder with model.safetensors", path.string())};
  }
  std::vector<std::string> neighbours;
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  for (fs::directory_iterator entry(folder, problem), end;
       !problem && entry != end && neighbours.size() < 1000; entry.increment(problem)) {
    if (entry->path().extension() == ".gguf")
      neighbours.push_back(entry->path().filename().string());
  }
  const std::string hint = did_you_mean(path.filename().string(), neighbours);
  return Error{Code::kNotFound, fmt::format("there is no file {}{}", path.string(),
                                            hint.empty() ? "" : ", " + hint)};
}

}  // namespace ration
