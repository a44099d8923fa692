#include "model/store/shelf.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "model/store/reference.h"

namespace ration {
namespace {

namespace fs = std::filesystem;

constexpr Bytes kManifestBytesMax{kMiB};
constexpr size_t kFilesMax = 1024;

// Takes one manifest apart and keeps the first thing that is wrong with it.
class ManifestReader {
 public:
  explicit ManifestReader(std::string_view where) : where_(where) {}

  Result<Manifest> read(const Json& json) {
    Manifest manifest;
    manifest.name = text(json, "name");
    manifest.reference = text(json, "reference");
    manifest.licence = text(json, "licence");
    manifest.pulled_unix_seconds = number(json, "pulled_unix_seconds");
    const auto files = json.is_object() ? json.find("files") : json.end();
    if (!json.is_object() || files == json.end() || !files->is_array() || files->empty() ||
        files->size() > kFilesMax) {
      refuse("files");
    } else {
      for (const Json& file : *files) {
        manifest.files.push_back(
            {text(file, "name"), text(file, "sha256"), Bytes{number(file, "bytes")}});
        const Manifest::File& added = manifest.files.back();
        if (!is_sha256(added.sha256)) refuse("sha256");
        if (added.bytes.count < 0) refuse("bytes");
        if (added.name.empty() || added.name.find('/') != std::string::npos || added.name == "." ||
            added.name == "..") {
          refuse("name");
        }
      }
    }
    if (manifest.name.empty()) refuse("name");
    if (!wrong_.empty()) {
      return Error{Code::kCorrupt,
                   fmt::format("{}: '{}' is missing or not what it should be", where_, wrong_)};
    }
    return manifest;
  }

 private:
  void refuse(std::string_view key) {
    if (wrong_.empty()) wrong_ = key;
  }
  std::string text(const Json& json, const char* key) {
    if (json.is_object() && json.contains(key) && json[key].is_string()) return json[key];
    refuse(key);
    return "";
  }
  int64_t number(const Json& json, const char* key) {
    if (json.is_object() && json.contains(key) && json[key].is_number_integer()) return json[key];
    refuse(key);
    return -1;
  }

  std::string_view where_;
  std::string wrong_;
};

Result<Manifest> read_manifest(const fs::path& path) {
  const Result<std::string> content = read_file(path, kManifestBytesMax);
  if (!content) return content.error();
  return parse_manifest(*content, path.string());
}

std::string manifest_text(const Manifest& manifest) {
  Json files = Json::array();
  for (const Manifest::File& file : manifest.files) {
    files.push_back({{"name", file.name}, {"sha256", file.sha256}, {"bytes", file.bytes.count}});
  }
  const Json json = {{"name", manifest.name},
                     {"reference", manifest.reference},
                     {"licence", manifest.licence},
                     {"pulled_unix_seconds", manifest.pulled_unix_seconds},
                     {"files", files}};
  return to_text(json) + "\n";
}

}  // namespace

Result<Manifest> parse_manifest(std::string_view text, std::string_view where) {
  const Result<Json> json = parse_json(text);
  if (!json) return Error{Code::kCorrupt, fmt::format("{}: {}", where, json.error().message)};
  return ManifestReader(where).read(*json);
}

fs::path Shelf::blob(std::string_view sha256) const {
  CHECK(is_sha256(sha256), std::string(sha256));
  return home_ / "blobs" / ("sha256-" + std::string(sha256));
}

fs::path Shelf::incoming(std::string_view key, std::string_view ending) const {
  return home_ / "incoming" / fmt::format("{}.{}", key, ending);
}

fs::path Shelf::manifest_path(std::string_view name) const {
  return home_ / "models" / (file_name_for(name) + ".json");
}

fs::path Shelf::parts_folder(std::string_view name) const {
  return home_ / "models" / (file_name_for(name) + ".parts");
}

Result<std::optional<Manifest>> Shelf::find(std::string_view name) const {
  Result<Manifest> manifest = read_manifest(manifest_path(name));
  if (!manifest && manifest.error().code == Code::kNotFound) return std::optional<Manifest>();
  if (!manifest) return manifest.error();
  if (manifest->name != name) return std::optional<Manifest>();
  return std::optional<Manifest>(std::move(*manifest));
}

Result<std::vector<Manifest>> Shelf::all() const {
  std::vector<Manifest> manifests;
  std::error_code problem;
  const fs::path folder = home_ / "models";
  for (fs::directory_iterator entry(folder, problem), end; !problem && entry != end;
       entry.increment(problem)) {
    if (entry->path().extension() != ".json") continue;
    Result<Manifest> manifest = read_manifest(entry->path());
    if (manifest) {
      manifests.push_back(std::move(*manifest));
    } else if (manifest.error().code != Code::kNotFound) {  // not deleted meanwhile
      log(Level::kWarning, manifest.error().message);
    }
  }
  if (problem && problem != std::errc::no_such_file_or_directory) {
    return Error{Code::kIo, fmt::format("cannot list {}: {}", folder.string(), problem.message())};
  }
  std::sort(manifests.begin(), manifests.end(),
            [](const Manifest& a, const Manifest& b) { return a.name < b.name; });
  return manifests;
}

bool Shelf::is_complete(const Manifest& manifest) const {
  return std::all_of(manifest.files.begin(), manifest.files.end(),
                     [this](const Manifest::File& file) {
                       std::error_code problem;
                       const auto bytes = fs::file_size(blob(file.sha256), problem);
                       return !problem && static_cast<int64_t>(bytes) == file.bytes.count;
                     });
}

ResolvedModel Shelf::resolved(const Manifest& manifest) const {
  ResolvedModel model{.name = manifest.name,
                      .reference = manifest.reference,
                      .origin = Origin::kStore,
                      .sha256 = manifest.files.front().sha256,
                      .licence = manifest.licence,
                      .pulled_unix_seconds = manifest.pulled_unix_seconds};
  for (const Manifest::File& file : manifest.files) {
    model.bytes += file.bytes;
    model.files.push_back(manifest.files.size() == 1 ? blob(file.sha256)
                                                     : parts_folder(manifest.name) / file.name);
  }
  return model;
}

// The parts of a split file find each other by name, which a blob does not have.
Status Shelf::link_parts(const Manifest& manifest) const {
  const fs::path folder = parts_folder(manifest.name);
  std::error_code problem;
  fs::remove_all(folder, problem);
  if (manifest.files.size() == 1) return {};
  if (Status made = make_folder(folder); !made) return made;
  for (const Manifest::File& file : manifest.files) {
    fs::create_symlink(fs::path("../../blobs") / ("sha256-" + file.sha256), folder / file.name,
                       problem);
    if (problem) {
      return Error{Code::kIo, fmt::format("cannot link {}: {}", (folder / file.name).string(),
                                          problem.message())};
    }
  }
  return {};
}

Result<Bytes> Shelf::drop_unused(const std::vector<Manifest::File>& files) const {
  const Result<std::vector<Manifest>> manifests = all();
  if (!manifests) return manifests.error();
  Bytes freed{0};
  for (const Manifest::File& file : files) {
    const bool used =
        std::any_of(manifests->begin(), manifests->end(), [&](const Manifest& manifest) {
          return std::any_of(
              manifest.files.begin(), manifest.files.end(),
              [&](const Manifest::File& other) { return other.sha256 == file.sha256; });
        });
    std::error_code problem;
    if (!used && fs::remove(blob(file.sha256), problem)) freed += file.bytes;
    if (problem) {
      return Error{Code::kIo, fmt::format("cannot delete {}: {}", blob(file.sha256).string(),
                                          problem.message())};
    }
  }
  return freed;
}

Status Shelf::put(const Manifest& manifest) const {
  const Result<FileLock> lock = FileLock::take(home_ / "index.lock");
  if (!lock) return lock.error();
  if (Status made = make_folder(home_ / "models"); !made) return made;
  if (!is_complete(manifest)) {
    return Error{
        Code::kUnavailable,
        fmt::format("the files of {} were deleted while it was being pulled", manifest.name)};
  }
  const Result<std::optional<Manifest>> old = find(manifest.name);
  if (Status linked = link_parts(manifest); !linked) return linked;
  Status written = write_file_atomically(manifest_path(manifest.name), manifest_text(manifest));
  if (!written) return written;
  if (!old || !*old) return {};
  const Result<Bytes> dropped = drop_unused((*old)->files);
  if (!dropped) return dropped.error();
  return {};
}

Result<Bytes> Shelf::remove(const Manifest& manifest) const {
  const Result<FileLock> lock = FileLock::take(home_ / "index.lock");
  if (!lock) return lock.error();
  std::error_code problem;
  fs::remove(manifest_path(manifest.name), problem);
  if (!problem) fs::remove_all(parts_folder(manifest.name), problem);
  if (problem) {
    return Error{Code::kIo, fmt::format("cannot delete {}: {}",
                                        manifest_path(manifest.name).string(), problem.message())};
  }
  return drop_unused(manifest.files);
}

}  // namespace ration
