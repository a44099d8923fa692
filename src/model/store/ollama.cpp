#include "model/store/ollama.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "model/store/reference.h"

namespace ration {
namespace {

namespace fs = std::filesystem;

constexpr Bytes kManifestBytesMax{kMiB};
constexpr int kManifestsMax = 10'000;
constexpr std::string_view kRegistry = "registry.ollama.ai";

// "name:tag" -> "registry.ollama.ai/library/name/tag". REQUIRES: a canonical name of
// parse_reference.
fs::path manifest_path(std::string_view name) {
  const size_t colon = name.rfind(':');
  const std::string_view path = name.substr(0, colon);
  const std::string tag(name.substr(colon + 1));
  const auto slashes = std::count(path.begin(), path.end(), '/');
  const fs::path under = slashes == 0   ? fs::path(kRegistry) / "library"
                         : slashes == 1 ? fs::path(kRegistry)
                                        : fs::path();
  return under / path / tag;
}

// The way back: what to type for a manifest at this path.
std::string typed_name(const fs::path& relative) {
  std::vector<std::string> parts;
  for (const fs::path& part : relative) parts.push_back(part.string());
  const std::string tag = parts.back();
  parts.pop_back();
  if (parts.front() == kRegistry) parts.erase(parts.begin());
  if (parts.front() == "library") parts.erase(parts.begin());
  return fmt::format("{}:{}", fmt::join(parts, "/"), tag);
}

Result<ResolvedModel> read_model(const fs::path& folder, const fs::path& manifest,
                                 const std::string& name) {
  const auto broken = [&](std::string_view why) {
    return Error{Code::kCorrupt,
                 fmt::format("Ollama's manifest {} is not usable: {}", manifest.string(), why)};
  };
  const Result<std::string> text = read_file(manifest, kManifestBytesMax);
  if (!text) return text.error();
  const Result<Json> json = parse_json(*text);
  if (!json) return broken(json.error().message);
  if (!json->is_object() || !json->contains("layers") || !(*json)["layers"].is_array()) {
    return broken("it has no layers");
  }
  for (const Json& layer : (*json)["layers"]) {
    const auto is = [&layer](const char* key) { return layer.is_object() && layer.contains(key); };
    if (!is("mediaType") || layer["mediaType"] != "application/vnd.ollama.image.model") continue;
    if (!is("digest") || !layer["digest"].is_string()) return broken("its model has no digest");
    const std::string digest = layer["digest"];
    if (!digest.starts_with("sha256:") || !is_sha256(digest.substr(7))) {
      return broken("its model's digest is not a sha256");
    }
    ResolvedModel model{
        .name = "ollama:" + name, .reference = "ollama:" + name, .origin = Origin::kOllama};
    model.sha256 = digest.substr(7);
    model.files.push_back(folder / "blobs" / ("sha256-" + model.sha256));
    std::error_code missing;
    const auto bytes = static_cast<int64_t>(fs::file_size(model.files.front(), missing));
    if (missing) return broken(fmt::format("the file {} is missing", model.files.front().string()));
    if (is("size") && layer["size"].is_number_integer() && layer["size"] != bytes) {
      return broken(
          fmt::format("its file has {} bytes, wanted {}", bytes, layer["size"].get<int64_t>()));
    }
    model.bytes = Bytes{bytes};
    return model;
  }
  return broken("it holds no model");
}

}  // namespace

std::vector<fs::path> ollama_folders() {
  if (const char* folder = std::getenv("OLLAMA_MODELS"); folder && *folder) return {folder};
  std::vector<fs::path> folders;
  if (const char* home = std::getenv("HOME"); home && *home)
    folders.push_back(fs::path(home) / ".ollama" / "models");
  folders.emplace_back("/usr/share/ollama/.ollama/models");
  return folders;
}

Result<std::optional<ResolvedModel>> find_in_ollama(const std::vector<fs::path>& folders,
                                                    std::string_view name) {
  const Result<Reference> reference = parse_reference("ollama:" + std::string(name));
  if (!reference) return std::optional<ResolvedModel>();
  for (const fs::path& folder : folders) {
    const fs::path manifest = folder / "manifests" / manifest_path(reference->ollama);
    std::error_code problem;
    if (!fs::is_regular_file(manifest, problem)) continue;
    Result<ResolvedModel> model = read_model(folder, manifest, reference->ollama);
    if (!model) return model.error();
    return std::optional<ResolvedModel>(std::move(*model));
  }
  return std::optional<ResolvedModel>();
}

std::vector<ResolvedModel> list_ollama(const std::vector<fs::path>& folders) {
  std::vector<ResolvedModel> models;
  for (const fs::path& folder : folders) {
    const fs::path manifests = folder / "manifests";
    std::error_code problem;
    int seen = 0;
    for (fs::recursive_directory_iterator entry(manifests, problem), end;
         !problem && entry != end && seen < kManifestsMax; entry.increment(problem)) {
      std::error_code ignored;
      if (!entry->is_regular_file(ignored)) continue;
      ++seen;
      const fs::path relative = entry->path().lexically_relative(manifests);
      if (std::distance(relative.begin(), relative.end()) < 3) continue;
      Result<ResolvedModel> model = read_model(folder, entry->path(), typed_name(relative));
      if (model) {
        models.push_back(std::move(*model));
      } else {
        log(Level::kDebug, model.error().message);
      }
    }
  }
  std::sort(models.begin(), models.end(),
            [](const ResolvedModel& a, const ResolvedModel& b) { return a.name < b.name; });
  return models;
}

}  // namespace ration
