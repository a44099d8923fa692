#include "model/store/store.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <optional>

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "model/store/catalogue.h"
#include "model/store/pull.h"
#include "model/store/reference.h"
#include "model/store/shelf.h"

namespace ration {
namespace {

namespace fs = std::filesystem;
using Kind = Reference::Kind;

std::vector<fs::path> user_catalogues(const fs::path& home) {
  std::vector<fs::path> files{home / "catalogue.toml"};
  const auto variable = [](const char* name) -> std::string {
    const char* value = std::getenv(name);
    return value ? value : "";
  };
  if (const std::string config = variable("XDG_CONFIG_HOME"); !config.empty()) {
    files.push_back(fs::path(config) / "ration" / "catalogue.toml");
  } else if (const std::string user = variable("HOME"); !user.empty()) {
    files.push_back(fs::path(user) / ".config" / "ration" / "catalogue.toml");
  }
  return files;
}

Result<ResolvedModel> file_model(const fs::path& path, const std::string& name) {
  std::error_code problem;
  const fs::file_status status = fs::status(path, problem);
  if (fs::is_regular_file(status)) {
    ResolvedModel model{
        .name = name, .reference = path.string(), .origin = Origin::kFile, .files = {path}};
    model.bytes = Bytes{static_cast<int64_t>(fs::file_size(path, problem))};
    return model;
  }
  if (fs::exists(status)) {
    return Error{Code::kInvalid, fmt::format("{} is not a file", path.string())};
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

}  // namespace

std::string_view origin_name(Origin origin) {
  switch (origin) {
    case Origin::kFile:
      return "file";
    case Origin::kStore:
      return "store";
    case Origin::kOllama:
      return "ollama";
    case Origin::kHub:
      return "hub";
  }
  return "unknown";
}

struct Store::State {
  const Clock& clock;
  Shelf shelf;
  bool offline;

  // What a reference means once names are looked up: the source, and what the catalogue promises.
  struct Target {
    std::string name;
    Reference source;
    const CatalogueEntry* entry = nullptr;  // points into `catalogue`
    std::vector<CatalogueEntry> catalogue;
  };
  Result<Target> look_up(std::string_view text) const;
  std::string pulled_name(const Reference& reference,
                          const std::vector<CatalogueEntry>& catalogue) const;
  Result<std::optional<ResolvedModel>> find_local(const Target& target) const;
  Result<std::optional<ResolvedModel>> find_on_shelf(const Target& target) const;
  Result<PullPlan> plan(const Target& target) const;
  Error unknown_name(const Target& target) const;
};

Result<Store::State::Target> Store::State::look_up(std::string_view text) const {
  Target target;
  Result<std::vector<CatalogueEntry>> catalogue = load_catalogue(user_catalogues(shelf.home()));
  if (!catalogue) return catalogue.error();
  target.catalogue = std::move(*catalogue);
  Result<Reference> reference = parse_reference(text);
  if (!reference) return reference.error();
  if (reference->kind != Kind::kName) {
    target.name = pulled_name(*reference, target.catalogue);
    target.source = std::move(*reference);
    return target;
  }
  target.entry = find_entry(target.catalogue, text);
  target.name = target.entry ? target.entry->name : std::string(text);
  if (target.entry) {
    Result<Reference> source = parse_reference(target.entry->source);
    if (!source) return source.error();
    target.source = std::move(*source);
    return target;
  }
  target.source = std::move(*reference);
  return target;
}

// A short name, unless something else already goes by it.
std::string Store::State::pulled_name(const Reference& reference,
                                      const std::vector<CatalogueEntry>& catalogue) const {
  const std::string name = local_name(reference);
  if (find_entry(catalogue, name)) return reference.text;
  const Result<std::optional<Manifest>> taken = shelf.find(name);
  const bool by_other = taken && *taken && (*taken)->reference != reference.text;
  return by_other ? reference.text : name;
}

Result<std::optional<ResolvedModel>> Store::State::find_on_shelf(const Target& target) const {
  const Result<std::optional<Manifest>> manifest = shelf.find(target.name);
  if (!manifest && manifest.error().code != Code::kCorrupt) return manifest.error();
  if (!manifest) {
    log(Level::kWarning, manifest.error().message);
    return std::optional<ResolvedModel>();
  }
  if (!*manifest) return std::optional<ResolvedModel>();
  if (!shelf.is_complete(**manifest)) {
    log(Level::kWarning,
        fmt::format("files of {} are missing or cut short: pull it again", target.name));
    return std::optional<ResolvedModel>();
  }
  return std::optional<ResolvedModel>(shelf.resolved(**manifest));
}

Result<std::optional<ResolvedModel>> Store::State::find_local(const Target& target) const {
  if (target.source.kind == Kind::kPath) {
    Result<ResolvedModel> model =
        file_model(target.source.path, target.entry ? target.name : target.source.text);
    if (!model) return model.error();
    return std::optional<ResolvedModel>(std::move(*model));
  }
  Result<std::optional<ResolvedModel>> pulled = find_on_shelf(target);
  if (!pulled || *pulled) return pulled;
  std::error_code problem;
  if (target.source.kind == Kind::kName && fs::is_regular_file(target.name, problem)) {
    Result<ResolvedModel> model = file_model(target.name, target.name);
    if (!model) return model.error();
    return std::optional<ResolvedModel>(std::move(*model));
  }
  return std::optional<ResolvedModel>();
}

Error Store::State::unknown_name(const Target& target) const {
  std::vector<std::string> names;
  for (const CatalogueEntry& entry : target.catalogue) {
    names.push_back(entry.name);
    names.insert(names.end(), entry.aliases.begin(), entry.aliases.end());
  }
  if (const Result<std::vector<Manifest>> manifests = shelf.all(); manifests) {
    for (const Manifest& manifest : *manifests) names.push_back(manifest.name);
  }
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  std::string hint = did_you_mean(target.name, names);
  const bool like_repository = std::count(target.name.begin(), target.name.end(), '/') == 1;
  if (hint.empty() && like_repository) hint = fmt::format("did you mean 'hf:{}'?", target.name);
  return Error{Code::kNotFound, fmt::format("no model is called '{}'{}", target.name,
                                            hint.empty() ? "" : ", " + hint)};
}

Result<PullPlan> Store::State::plan(const Target& target) const {
  PullPlan plan{.name = target.name, .reference = target.source};
  PullPlan::File file{.name = file_name_for(target.name) + ".gguf"};
  if (target.entry) {
    plan.licence = target.entry->licence;
    file.bytes = target.entry->bytes;
    file.sha256 = target.entry->sha256;
  }
  switch (target.source.kind) {
    case Kind::kPip:
      break;
    case Kind::kName:
      return unknown_name(target);
    default:
      return Error{Code::kUnsupported,
                   fmt::format("'{}' cannot be pulled yet", target.source.text)};
  }
  plan.files.push_back(std::move(file));
  return plan;
}

Store::Store(std::unique_ptr<State> state) : state_(std::move(state)) {}
Store::Store(Store&&) noexcept = default;
Store& Store::operator=(Store&&) noexcept = default;
Store::~Store() = default;

Result<Store> Store::open(const Clock& clock, const StoreOptions& options) {
  fs::path home = options.home;
  if (home.empty()) {
    Result<fs::path> folder = cache_folder();
    if (!folder) return folder.error();
    home = std::move(*folder);
  }
  std::error_code problem;
  fs::path absolute = fs::absolute(home, problem);  // another working folder later changes nothing
  if (problem) absolute = home;
  return Store(
      std::make_unique<State>(State{clock, Shelf(absolute.lexically_normal()), options.offline}));
}

const fs::path& Store::home() const { return state_->shelf.home(); }

Result<std::vector<CatalogueEntry>> Store::catalogue() const {
  return load_catalogue(user_catalogues(home()));
}

std::string Store::default_model() {
  const Result<std::vector<CatalogueEntry>> entries = load_catalogue({});
  for (const CatalogueEntry& entry : *entries) {
    if (entry.is_default) return entry.name;
  }
  CHECK(false, "the built-in catalogue has no default");
}

Result<ResolvedModel> Store::resolve(std::string_view reference,
                                     const ResolveOptions& options) const {
  const Result<State::Target> target = state_->look_up(reference);
  if (!target) return target.error();
  Result<std::optional<ResolvedModel>> local = state_->find_local(*target);
  if (!local) return local.error();
  if (*local) return std::move(**local);
  if (target->source.kind == Kind::kName) return state_->unknown_name(*target);
  if (options.pull_if_missing) return pull(reference, options.pull);
  return Error{Code::kUnavailable,
               fmt::format("{} is not on this machine: 'ration pull {}' fetches it", target->name,
                           reference)};
}

Result<ResolvedModel> Store::pull(std::string_view reference, const PullOptions& options) const {
  const Result<State::Target> target = state_->look_up(reference);
  if (!target) return target.error();
  Result<std::optional<ResolvedModel>> local = state_->find_local(*target);
  if (!local) return local.error();
  const std::string promised = target->entry ? target->entry->sha256 : "";
  if (*local && (promised.empty() || (*local)->sha256 == promised)) return std::move(**local);
  if (state_->offline && target->source.kind != Kind::kName) {
    return Error{
        Code::kNetwork,
        fmt::format("{} is not on this machine, and offline nothing is fetched", target->name)};
  }
  const Result<PullPlan> plan = state_->plan(*target);
  if (!plan) return plan.error();
  return carry_out(*plan, state_->shelf, state_->clock, options);
}

Result<std::vector<ResolvedModel>> Store::list() const {
  const Result<std::vector<Manifest>> manifests = state_->shelf.all();
  if (!manifests) return manifests.error();
  std::vector<ResolvedModel> models;
  for (const Manifest& manifest : *manifests) {
    if (state_->shelf.is_complete(manifest)) {
      models.push_back(state_->shelf.resolved(manifest));
    } else {
      log(Level::kWarning,
          fmt::format("files of {} are missing or cut short: pull it again", manifest.name));
    }
  }
  return models;
}

Result<RemovedModel> Store::remove(std::string_view name) const {
  const Result<State::Target> target = state_->look_up(name);
  if (!target) return target.error();
  RemovedModel removed{.name = target->name};
  const Result<std::optional<Manifest>> manifest = state_->shelf.find(target->name);
  if (!manifest) return manifest.error();
  if (target->source.kind != Kind::kName && target->source.kind != Kind::kPath) {
    const Result<PullPlan> plan = state_->plan(*target);
    if (!plan) return plan.error();
    const Result<Bytes> dropped = drop_incoming(*plan, state_->shelf);
    if (!dropped) return dropped.error();
    removed.freed += *dropped;
  }
  if (*manifest) {
    const Result<Bytes> freed = state_->shelf.remove(**manifest);
    if (!freed) return freed.error();
    removed.freed += *freed;
    return removed;
  }
  if (removed.freed.count > 0) return removed;
  Result<std::optional<ResolvedModel>> elsewhere = state_->find_local(*target);
  if (!elsewhere) return elsewhere.error();
  if (*elsewhere) {
    return Error{Code::kUnsupported,
                 fmt::format("{} is a file of yours: delete it with 'rm {}'", target->name,
                             (*elsewhere)->files.front().string())};
  }
  if (target->source.kind == Kind::kName) return state_->unknown_name(*target);
  return Error{Code::kNotFound,
               fmt::format("{} is not on this machine: nothing to remove", target->name)};
}

}  // namespace ration
