#include "model/store/hub.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <thread>

#include "base/file.h"
#include "base/json.h"
#include "model/store/http.h"

namespace ration {
namespace {

namespace fs = std::filesystem;

constexpr size_t kAnswerBytesMax = 16 * kMiB;
constexpr Bytes kSmallFileMax{64 * kKiB};

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

// The first line of a file that may not be there.
std::string first_line(const fs::path& path) {
  const Result<std::string> text = read_file(path, kSmallFileMax);
  if (!text) return "";
  const size_t begin = text->find_first_not_of(" \t\r\n");
  if (begin == std::string::npos) return "";
  return text->substr(begin, text->find_first_of(" \t\r\n", begin) - begin);
}

fs::path hub_home() {
  if (const std::string home = variable("HF_HOME"); !home.empty()) return home;
  if (const std::string cache = variable("XDG_CACHE_HOME"); !cache.empty())
    return fs::path(cache) / "huggingface";
  if (const std::string home = variable("HOME"); !home.empty())
    return fs::path(home) / ".cache" / "huggingface";
  return {};
}

std::string find_token(const fs::path& home) {
  for (const char* name : {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"}) {
    std::string token = variable(name);
    // A line end would let the rest of the value become headers of its own.
    token.erase(
        std::remove_if(token.begin(), token.end(), [](char c) { return c <= ' ' || c == 0x7f; }),
        token.end());
    if (!token.empty()) return token;
  }
  if (const std::string file = variable("HF_TOKEN_PATH"); !file.empty()) return first_line(file);
  return home.empty() ? "" : first_line(home / "token");
}

bool is_commit(std::string_view text) {
  return text.size() >= 7 && text.size() <= 64 && std::all_of(text.begin(), text.end(), [](char c) {
           return std::isxdigit(static_cast<unsigned char>(c));
         });
}

// Relative, and nothing that leaves the folder.
bool is_safe_path(std::string_view path) {
  return !path.empty() && path.front() != '/' && path.find('\0') == std::string_view::npos &&
         ("/" + std::string(path) + "/").find("/../") == std::string::npos;
}

std::string text_at(const Json& json, const char* key) {
  return json.is_object() && json.contains(key) && json[key].is_string()
             ? json[key].get<std::string>()
             : "";
}

Bytes count_at(const Json& json, const char* key) {
  const bool there = json.is_object() && json.contains(key) && json[key].is_number_integer();
  const int64_t value = there ? json[key].get<int64_t>() : -1;
  return Bytes{value >= 0 ? value : -1};
}

std::string where_of(const HubSource& source) {
  return "hf:" + source.repository + (source.revision == "main" ? "" : "@" + source.revision);
}

// The folder of the snapshot that `revision` means; empty when there is none.
fs::path snapshot_folder(const fs::path& repository, const std::string& revision) {
  std::error_code problem;
  const std::string commit = first_line(repository / "refs" / revision);
  if (is_commit(commit) && fs::is_directory(repository / "snapshots" / commit, problem)) {
    return repository / "snapshots" / commit;
  }
  if (is_commit(revision) && fs::is_directory(repository / "snapshots" / revision, problem)) {
    return repository / "snapshots" / revision;
  }
  return {};
}

// Finished files only: a link whose target is missing is a download under way.
std::vector<RemoteFile> files_below(const fs::path& folder) {
  std::vector<RemoteFile> files;
  std::error_code problem;
  for (fs::recursive_directory_iterator entry(folder, problem), end; !problem && entry != end;
       entry.increment(problem)) {
    std::error_code missing;
    if (entry->path().extension() != ".gguf" || !entry->is_regular_file(missing)) continue;
    const auto bytes = static_cast<int64_t>(entry->file_size(missing));
    if (!missing)
      files.push_back({entry->path().lexically_relative(folder).string(), Bytes{bytes}});
  }
  return files;
}

ResolvedModel cached_model(const fs::path& snapshot, const HubSource& source,
                           const Variant& variant) {
  ResolvedModel model{.origin = Origin::kHub};
  model.reference = where_of(source);
  if (!source.file.empty()) {
    model.reference += "/" + source.file;
  } else if (!variant.quant.empty()) {
    model.reference += ":" + variant.quant;
  }
  model.name = model.reference;
  model.bytes = Bytes{0};
  for (const RemoteFile& file : variant.files) {
    model.files.push_back(snapshot / file.path);
    model.bytes += file.bytes;
  }
  // The cache names a large file's blob by its sha256.
  std::error_code problem;
  const std::string blob = fs::read_symlink(model.files.front(), problem).filename().string();
  if (is_sha256(blob)) model.sha256 = blob;
  return model;
}

}  // namespace

HubSettings read_hub_settings() {
  HubSettings settings;
  settings.endpoint = variable("HF_ENDPOINT");
  while (settings.endpoint.ends_with('/')) settings.endpoint.pop_back();
  if (settings.endpoint.empty()) settings.endpoint = "https://huggingface.co";
  const fs::path home = hub_home();
  settings.token = find_token(home);
  if (!home.empty()) settings.cache = home / "hub";
  for (const char* name : {"HUGGINGFACE_HUB_CACHE", "HF_HUB_CACHE"}) {  // the later wins
    if (const std::string cache = variable(name); !cache.empty()) settings.cache = cache;
  }
  const std::string offline = variable("HF_HUB_OFFLINE");
  settings.offline = offline == "1" || offline == "true" || offline == "TRUE" || offline == "yes" ||
                     offline == "on";
  return settings;
}

Result<HubListing> parse_hub_listing(std::string_view text, std::string_view where) {
  const auto unusable = [&](std::string_view why) {
    return Error{Code::kNetwork,
                 fmt::format("the hub's answer about {} is not usable: {}", where, why)};
  };
  const Result<Json> json = parse_json(text);
  if (!json) return unusable(json.error().message);
  HubListing listing;
  listing.commit = text_at(*json, "sha");
  if (!is_commit(listing.commit)) return unusable("it names no commit");
  if (json->contains("cardData")) listing.licence = text_at((*json)["cardData"], "license");
  if (!json->contains("siblings") || !(*json)["siblings"].is_array())
    return unusable("it lists no files");
  for (const Json& sibling : (*json)["siblings"]) {
    RemoteFile file{.path = text_at(sibling, "rfilename"), .bytes = count_at(sibling, "size")};
    if (!is_safe_path(file.path))
      return unusable("a file's name is missing or leaves the repository");
    if (sibling.contains("lfs")) {
      file.sha256 = text_at(sibling["lfs"], "sha256");
      if (file.bytes.count < 0) file.bytes = count_at(sibling["lfs"], "size");
    }
    if (!is_sha256(file.sha256)) file.sha256.clear();
    listing.files.push_back(std::move(file));
  }
  return listing;
}

std::string hub_refusal_hint(const HubSettings& settings) {
  return settings.token.empty() ? "it does not exist, is private or wants its terms accepted: "
                                  "accept them on its page and put "
                                  "a token into HF_TOKEN"
                                : "the token does not open it: accept its terms on its page, or "
                                  "use another token in HF_TOKEN";
}

Result<HubListing> ask_hub(const HubSettings& settings, const HubSource& source,
                           const RetryPolicy& retry, const Clock& clock,
                           const std::function<bool()>& keep_going) {
  const HttpRequest request{
      .url = fmt::format("{}/api/models/{}/revision/{}?blobs=true", settings.endpoint,
                         encode_path(source.repository), encode_path(source.revision)),
      .token = settings.token,
      .limits = retry};
  double backoff_ms = retry.backoff_first.count;
  for (int attempt = 1;; ++attempt) {
    std::string answer;
    const HttpHandler handler{
        .on_body = [&](std::span<const std::byte> bytes) -> Status {
          if (answer.size() + bytes.size() > kAnswerBytesMax) {
            return Error{Code::kNetwork,
                         fmt::format("the hub's answer about {} is too long", where_of(source))};
          }
          answer.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
          return {};
        },
        .keep_going = keep_going};
    const HttpOutcome outcome = http_get(request, handler, clock);
    if (!outcome.error) return parse_hub_listing(answer, where_of(source));
    const int status = outcome.head.status;
    if (status == 404) {
      const bool revision = outcome.head.error_code == "RevisionNotFound";
      return Error{Code::kNotFound,
                   fmt::format("the hub has no {} {}", revision ? "such revision:" : "repository",
                               where_of(source))};
    }
    if (status == 401 || status == 403) {
      return Error{Code::kNetwork,
                   fmt::format("the hub refused access to {} (status {}): {}", where_of(source),
                               status, hub_refusal_hint(settings))};
    }
    const int attempts_max =
        outcome.unreachable ? std::min(3, retry.attempts_max) : retry.attempts_max;
    if (!outcome.transient || attempt >= attempts_max) return *outcome.error;
    const int64_t start_ns = clock.now_ns();
    while (clock.since(start_ns).count < backoff_ms) {
      if (keep_going && !keep_going()) return Error{Code::kCancelled, "stopped"};
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    backoff_ms = std::min(backoff_ms * 2, retry.backoff_max.count);
  }
}

std::string hub_files_url(const HubSettings& settings, const HubSource& source) {
  return fmt::format("{}/{}/resolve/", settings.endpoint, encode_path(source.repository));
}

Result<std::optional<ResolvedModel>> find_in_hub_cache(const HubSettings& settings,
                                                       const HubSource& source) {
  std::string folder = "models--" + source.repository;
  folder.replace(folder.find('/'), 1, "--");
  const fs::path snapshot = snapshot_folder(settings.cache / folder, source.revision);
  if (settings.cache.empty() || snapshot.empty()) return std::optional<ResolvedModel>();
  const std::vector<Variant> variants = find_variants(files_below(snapshot));
  if (variants.empty()) return std::optional<ResolvedModel>();
  Result<Variant> variant = choose_variant(variants, source.quant, source.file, where_of(source));
  if (!variant && variant.error().code == Code::kNotFound) return std::optional<ResolvedModel>();
  if (!variant) return variant.error();
  return std::optional<ResolvedModel>(cached_model(snapshot, source, *variant));
}

std::vector<ResolvedModel> list_hub_cache(const HubSettings& settings) {
  std::vector<ResolvedModel> models;
  if (settings.cache.empty()) return models;
  std::error_code problem;
  for (fs::directory_iterator entry(settings.cache, problem), end; !problem && entry != end;
       entry.increment(problem)) {
    const std::string folder = entry->path().filename().string();
    constexpr std::string_view kPrefix = "models--";
    const size_t slash = folder.find("--", kPrefix.size());
    if (!folder.starts_with(kPrefix) || slash == std::string::npos) continue;
    HubSource source{.repository = folder.substr(kPrefix.size(), slash - kPrefix.size()) + "/" +
                                   folder.substr(slash + 2),
                     .revision = "main"};
    const fs::path snapshot = snapshot_folder(entry->path(), source.revision);
    if (snapshot.empty()) continue;
    const std::vector<Variant> variants = find_variants(files_below(snapshot));
    for (const Variant& variant : variants) {
      const auto same = std::count_if(variants.begin(), variants.end(), [&](const Variant& other) {
        return other.quant == variant.quant;
      });
      source.file = same > 1 ? variant.files.front().path : "";
      models.push_back(cached_model(snapshot, source, variant));
    }
  }
  std::sort(models.begin(), models.end(),
            [](const ResolvedModel& a, const ResolvedModel& b) { return a.name < b.name; });
  return models;
}

}  // namespace ration
