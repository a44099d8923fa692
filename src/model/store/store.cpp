#include "model/store/store.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "model/store/catalogue.h"
#include "model/store/http.h"
#include "model/store/hub.h"
#include "model/store/ollama.h"
#include "model/store/own_file.h"
#include "model/store/pull.h"
#include "model/store/quant.h"
#include "model/store/reference.h"
#include "model/store/reporter.h"
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

// How a model that others keep is removed.
Error not_ours(const ResolvedModel& model) {
  const std::string file = model.files.front().string();
  switch (model.origin) {
    case Origin::kOllama:
      return Error{Code::kInvalid, fmt::format("{} belongs to Ollama: '{}' removes it", model.name,
                                               "ollama rm " + model.name.substr(7))};
    case Origin::kHub:
      return Error{Code::kInvalid,
                   fmt::format("{} belongs to the hub's cache ({}): 'hf cache' manages it",
                               model.name, file)};
    default:
      return Error{Code::kInvalid,
                   fmt::format("{} is a file of yours: delete it with 'rm {}'", model.name, file)};
  }
}

Error several(std::string_view name, const std::vector<Manifest>& models) {
  std::string names;
  for (const Manifest& model : models) names += (names.empty() ? "" : ", ") + model.name;
  return Error{Code::kInvalid, fmt::format("{} may mean any of {}: name one", name, names)};
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
  Disk disk;
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
  Result<std::vector<Manifest>> hub_manifests(const Target& target) const;
  Result<std::optional<Manifest>> find_manifest(const Target& target) const;
  std::optional<ResolvedModel> find_by_content(const Target& target) const;
  Result<PullPlan> plan(const Target& target, const PullOptions& options) const;
  Status plan_hub(const Target& target, const PullOptions& options, PullPlan& plan) const;
  PullPlan plan_without_network(const Target& target) const;
  Error unknown_name(const Target& target) const;
  std::string fitting(const std::vector<CatalogueEntry>& catalogue) const;
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

// Of a hub reference that is no model's name: the pulled models it may mean, best quant first,
// because a name carries the quant that was chosen.
Result<std::vector<Manifest>> Store::State::hub_manifests(const Target& target) const {
  std::vector<Manifest> fitting;
  if (target.source.kind != Kind::kHub || target.entry) return fitting;
  const HubSource& wanted = target.source.hub;
  Result<std::vector<Manifest>> manifests = shelf.all();
  if (!manifests) return manifests.error();
  std::vector<std::pair<int, size_t>> ranks;
  for (size_t i = 0; i < manifests->size(); ++i) {
    const Result<Reference> have = parse_reference((*manifests)[i].reference);
    if (!have || have->kind != Kind::kHub) continue;
    const HubSource& hub = have->hub;
    const bool fits = hub.repository == wanted.repository && hub.revision == wanted.revision &&
                      (wanted.quant.empty() || wanted.quant == hub.quant) &&
                      (wanted.file.empty() || wanted.file == hub.file);
    if (fits) ranks.emplace_back(quant_rank(hub.quant.empty() ? quant_of(hub.file) : hub.quant), i);
  }
  std::sort(ranks.begin(), ranks.end());
  for (const auto& [rank, index] : ranks) fitting.push_back(std::move((*manifests)[index]));
  return fitting;
}

// By name, then by repository.
Result<std::optional<Manifest>> Store::State::find_manifest(const Target& target) const {
  Result<std::optional<Manifest>> named = shelf.find(target.name);
  if (!named && named.error().code != Code::kCorrupt) return named;
  if (!named) log(Level::kWarning, named.error().message);
  if (named && *named) return named;
  Result<std::vector<Manifest>> fitting = hub_manifests(target);
  if (!fitting) return fitting.error();
  if (fitting->empty()) return std::optional<Manifest>();
  return std::optional<Manifest>(std::move(fitting->front()));
}

Result<std::optional<ResolvedModel>> Store::State::find_on_shelf(const Target& target) const {
  const Result<std::optional<Manifest>> manifest = find_manifest(target);
  if (!manifest) return manifest.error();
  if (!*manifest) return std::optional<ResolvedModel>();
  if (!shelf.is_complete(**manifest)) {
    log(Level::kWarning,
        fmt::format("files of {} are missing or cut short: pull it again", target.name));
    return std::optional<ResolvedModel>();
  }
  return std::optional<ResolvedModel>(shelf.resolved(**manifest));
}

// A catalogue's file that another program keeps under whatever name.
std::optional<ResolvedModel> Store::State::find_by_content(const Target& target) const {
  if (!target.entry || target.entry->sha256.empty()) return std::nullopt;
  std::vector<ResolvedModel> theirs = list_ollama(ollama_folders());
  std::vector<ResolvedModel> hub = list_hub_cache(read_hub_settings());
  std::move(hub.begin(), hub.end(), std::back_inserter(theirs));
  for (ResolvedModel& model : theirs) {
    if (model.sha256 != target.entry->sha256 || model.files.size() != 1) continue;
    if (target.entry->bytes.count >= 0 && model.bytes != target.entry->bytes) continue;
    if (model.licence.empty()) model.licence = target.entry->licence;
    return std::move(model);
  }
  return std::nullopt;
}

Result<std::optional<ResolvedModel>> Store::State::find_local(const Target& target) const {
  const auto found = [](Result<ResolvedModel> model) -> Result<std::optional<ResolvedModel>> {
    if (!model) return model.error();
    return std::optional<ResolvedModel>(std::move(*model));
  };
  if (target.source.kind == Kind::kPath) {
    return found(file_model(target.source.path, target.entry ? target.name : target.source.text));
  }
  Result<std::optional<ResolvedModel>> pulled = find_on_shelf(target);
  if (!pulled || *pulled) return pulled;
  if (std::optional<ResolvedModel> same = find_by_content(target)) return same;
  switch (target.source.kind) {
    case Kind::kHub:
      return find_in_hub_cache(read_hub_settings(), target.source.hub);
    case Kind::kOllama:
      return find_in_ollama(ollama_folders(), target.source.ollama);
    case Kind::kName: {
      Result<std::optional<ResolvedModel>> theirs = find_in_ollama(ollama_folders(), target.name);
      if (!theirs || *theirs) return theirs;
      std::error_code problem;
      if (fs::is_regular_file(target.name, problem) ||
          fs::is_regular_file(fs::path(target.name) / "model.safetensors", problem)) {
        return found(file_model(target.name, target.name));
      }
      return std::optional<ResolvedModel>();
    }
    default:
      return std::optional<ResolvedModel>();
  }
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
  for (const ResolvedModel& model : list_ollama(ollama_folders())) names.push_back(model.name);
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  std::string hint = did_you_mean(target.name, names);
  const bool like_repository = std::count(target.name.begin(), target.name.end(), '/') == 1;
  if (hint.empty() && like_repository) hint = fmt::format("did you mean 'hf:{}'?", target.name);
  if (!hint.empty()) hint = ", " + hint;
  if (hint.empty()) {
    hint = ": 'ration list' shows the names there are, and hf:user/repo fetches from the hub";
  }
  return Error{Code::kNotFound, fmt::format("no model is called '{}'{}", target.name, hint)};
}

// The largest of the catalogue that would fit, as the end of a refusal.
std::string Store::State::fitting(const std::vector<CatalogueEntry>& catalogue) const {
  const Result<Bytes> free = free_disk(shelf.home());
  const Bytes most = free ? *free : Bytes{0};
  const Bytes room = std::min(disk.room().value_or(most), most);
  const CatalogueEntry* best = nullptr;
  for (const CatalogueEntry& entry : catalogue) {
    if (entry.bytes <= room && (!best || entry.bytes > best->bytes)) best = &entry;
  }
  return best ? fmt::format("; {} ({}) would fit", best->name, to_text(best->bytes)) : "";
}

// All of a plan that is known before anybody is asked.
PullPlan Store::State::plan_without_network(const Target& target) const {
  PullPlan plan{.name = target.name, .reference = target.source};
  PullPlan::File file{.name = file_name_for(target.name) + ".gguf"};
  if (target.entry) {
    plan.licence = target.entry->licence;
    file.bytes = target.entry->bytes;
    file.sha256 = target.entry->sha256;
  }
  if (target.source.kind == Kind::kUrl) {
    file.url = target.source.url;
    if (file.sha256.empty()) file.sha256 = target.source.sha256;
  }
  const std::vector<std::string>& members = target.source.pip.files;
  if (!members.empty()) file.name = members.front();
  if (target.source.kind != Kind::kHub || !file.sha256.empty())
    plan.files.push_back(std::move(file));
  for (size_t i = 1; i < members.size(); ++i) plan.files.push_back({.name = members[i]});
  return plan;
}

Status Store::State::plan_hub(const Target& target, const PullOptions& options,
                              PullPlan& plan) const {
  const HubSettings settings = read_hub_settings();
  if (settings.offline) {
    return Error{Code::kNetwork,
                 fmt::format("{} is not on this machine, and HF_HUB_OFFLINE is set", target.name)};
  }
  Reporter reporter(clock, options.progress, target.name);
  const HubSource& hub = target.source.hub;
  const Result<HubListing> listing = ask_hub(settings, hub, options.retry, clock, [&reporter] {
    return reporter.report(PullProgress::Stage::kConnecting, Bytes{0}, "asking the hub");
  });
  if (!listing) return listing.error();
  const std::string where =
      "hf:" + hub.repository + (hub.revision == "main" ? "" : "@" + hub.revision);
  const Result<Variant> variant =
      choose_variant(find_variants(listing->files), hub.quant, hub.file, where);
  if (!variant) return variant.error();
  if (!target.entry && hub.file.empty() && !variant->quant.empty()) {
    plan.reference.hub.quant = variant->quant;
    plan.reference.text = where + ":" + variant->quant;
    plan.name = plan.reference.text;
  }
  if (plan.licence.empty()) plan.licence = listing->licence;
  const bool promised = !plan.files.empty() && variant->files.size() == 1;
  const std::string promised_sha256 = promised ? plan.files.front().sha256 : "";
  plan.files.clear();
  for (const RemoteFile& file : variant->files) {
    plan.files.push_back(
        {.name = fs::path(file.path).filename().string(),
         .bytes = file.bytes,
         .sha256 = promised ? promised_sha256 : file.sha256,
         .url = hub_files_url(settings, hub) + listing->commit + "/" + encode_path(file.path),
         .token = settings.token,
         .refusal_hint = hub_refusal_hint(settings)});
  }
  return {};
}

Result<PullPlan> Store::State::plan(const Target& target, const PullOptions& options) const {
  PullPlan plan = plan_without_network(target);
  switch (target.source.kind) {
    case Kind::kPip:
    case Kind::kUrl:
      return plan;
    case Kind::kHub: {
      if (Status asked = plan_hub(target, options, plan); !asked) return asked.error();
      return plan;
    }
    case Kind::kOllama:
      return Error{Code::kNotFound,
                   fmt::format("Ollama does not hold {}: 'ollama pull {}' fetches it",
                               target.source.ollama, target.source.ollama)};
    case Kind::kName:
    case Kind::kPath:
      return unknown_name(target);
  }
  CHECK(false);
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
  absolute = absolute.lexically_normal();
  return Store(std::make_unique<State>(
      State{clock, Shelf(absolute), Disk(absolute, options.disk_limit), options.offline}));
}

const fs::path& Store::home() const { return state_->shelf.home(); }
const Disk& Store::disk() const { return state_->disk; }

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
  if (options.pull_if_missing || target->source.kind == Kind::kOllama)
    return pull(reference, options.pull);
  return Error{Code::kUnavailable,
               fmt::format("{} is not on this machine: 'ration pull {}' fetches it", target->name,
                           reference)};
}

Result<ResolvedModel> Store::pull(std::string_view reference, const PullOptions& options) const {
  const Result<State::Target> target = state_->look_up(reference);
  if (!target) return target.error();
  Result<std::optional<ResolvedModel>> local = state_->find_local(*target);
  if (!local) return local.error();
  const std::string promised = target->entry ? target->entry->sha256 : target->source.sha256;
  const bool may_change = target->source.kind == Kind::kHub && promised.empty() && *local &&
                          (*local)->origin == Origin::kStore && !state_->offline;
  if (*local && !may_change && (promised.empty() || (*local)->sha256 == promised))
    return std::move(**local);
  const bool remote = target->source.kind != Kind::kName && target->source.kind != Kind::kOllama;
  if (state_->offline && remote) {
    return Error{
        Code::kNetwork,
        fmt::format("{} is not on this machine, and offline nothing is fetched", target->name)};
  }
  const Result<PullPlan> plan = state_->plan(*target, options);
  if (!plan) return plan.error();
  Result<ResolvedModel> pulled =
      carry_out(*plan, state_->shelf, state_->disk, state_->clock, options);
  if (pulled || pulled.error().code != Code::kOverBudget) return pulled;
  Error error = pulled.error();
  error.message += state_->fitting(target->catalogue);
  return error;
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
  std::vector<ResolvedModel> ollama = list_ollama(ollama_folders());
  std::vector<ResolvedModel> hub = list_hub_cache(read_hub_settings());
  std::move(ollama.begin(), ollama.end(), std::back_inserter(models));
  std::move(hub.begin(), hub.end(), std::back_inserter(models));
  return models;
}

Result<RemovedModel> Store::remove(std::string_view name) const {
  const Result<State::Target> target = state_->look_up(name);
  if (!target) return target.error();
  RemovedModel removed{.name = target->name};
  const Result<std::optional<Manifest>> manifest = state_->find_manifest(*target);
  if (!manifest) return manifest.error();
  if (*manifest && (*manifest)->name != target->name) {  // never guess what is to be deleted
    const Result<std::vector<Manifest>> fitting = state_->hub_manifests(*target);
    if (fitting && fitting->size() > 1) return several(target->name, *fitting);
  }
  const Kind kind = target->source.kind;
  if (kind == Kind::kPip || kind == Kind::kUrl || kind == Kind::kHub) {
    const std::string prefix =
        kind == Kind::kHub ? hub_files_url(read_hub_settings(), target->source.hub) : "";
    const Result<Bytes> dropped =
        drop_incoming(state_->plan_without_network(*target), prefix, state_->shelf);
    if (!dropped) return dropped.error();
    removed.freed += *dropped;
  }
  if (*manifest) {
    removed.name = (*manifest)->name;
    const Result<Bytes> freed = state_->shelf.remove(**manifest);
    if (!freed) return freed.error();
    removed.freed += *freed;
    return removed;
  }
  if (removed.freed.count > 0) return removed;
  const Result<std::optional<ResolvedModel>> elsewhere = state_->find_local(*target);
  if (!elsewhere) return elsewhere.error();
  if (*elsewhere) return not_ours(**elsewhere);
  if (kind == Kind::kName) return state_->unknown_name(*target);
  return Error{Code::kNotFound,
               fmt::format("{} is not on this machine: nothing to remove", target->name)};
}

}  // namespace ration
