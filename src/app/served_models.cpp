#include "app/served_models.h"

#include <fmt/core.h>
#include <malloc.h>

#include <algorithm>

#include "app/interrupt.h"
#include "app/output.h"

namespace ration {
namespace {

// Of models that share the budget each has a cache for one conversation of so many tokens, where
// nothing else is said.
constexpr int64_t kContext = 8192;
// For requests that are being read and answers that are being sent.
constexpr Bytes kIoMost{16 * kMiB};
constexpr int64_t kIoShare = 16;  // and no more than this part of the budget
// What loading takes before it was measured: of a file that is in memory already.
constexpr Millis kLoadStart{50};
constexpr double kLoadBytesPerMilli = 1e6;
// Runners share an attributor: each numbers its requests from another start.
constexpr int kRequestIdBits = 40;

// Gives what was freed back to the system. Declared first, so destroyed last.
struct TrimsHeap {
  ~TrimsHeap() { ::malloc_trim(0); }
};

class Loaded final : public LoadedModel {
 public:
  // The whole budget for a single model; else a grant of it.
  Loaded(Host& host, const std::string& name, std::optional<Bytes> bytes)
      : grant_(bytes ? host.budget.grant(name, {.hard = *bytes}) : nullptr),
        budget_(grant_ ? *grant_ : host.budget) {}

  Budget& budget() { return budget_; }
  OpenModel& opened() { return opened_; }
  const Model& model() const override { return *opened_.model; }
  Engine& engine() override { return *opened_.engine; }
  Runner& runner() override { return *opened_.runner; }

 private:
  TrimsHeap trims_;
  std::unique_ptr<Budget> grant_;  // null: none
  Budget& budget_;
  OpenModel opened_;
};

// A name in the configuration, or a reference.
ConfigModel wanted_by(const std::string& name, const Config& config) {
  const auto found = std::ranges::find(config.models, name, &ConfigModel::name);
  return found != config.models.end() ? *found : ConfigModel{.name = "", .model = name};
}

// An engine's name for who named none.
std::string own_name(const ResolvedModel& resolved) {
  return resolved.origin == Origin::kFile ? model_name(resolved.files.front()) : resolved.name;
}

}  // namespace

ServedModels::ServedModels(const Settings& settings, Host::Start start)
    : settings_(settings), host_(settings, std::move(start)) {}

Result<std::unique_ptr<ServedModels>> ServedModels::open(const Settings& settings) {
  Result<Host::Start> start = Host::start(settings);
  if (!start) return start.error();
  auto models = std::make_unique<ServedModels>(settings, std::move(*start));
  const Config& config = models->host_.config;
  std::vector<ConfigModel> wanted;
  if (!settings.model.empty()) wanted.push_back(wanted_by(settings.model, config));
  for (const std::string& name : settings.words) wanted.push_back(wanted_by(name, config));
  if (wanted.empty()) wanted = config.models;
  if (wanted.empty()) wanted.push_back({.name = "", .model = Store::default_model()});
  if (wanted.size() > 1 && !settings.draft.empty()) {
    return Error{Code::kInvalid,
                 fmt::format("--draft goes with one model, and there are {}", wanted.size())};
  }
  if (Status found = models->find(wanted); !found) return found.error();
  if (Status planned = models->plan(); !planned) return planned.error();
  return models;
}

Status ServedModels::find(const std::vector<ConfigModel>& wanted) {
  for (const ConfigModel& model : wanted) {
    Served served{.settings = settings_, .resolved = {}, .row = {}};
    served.settings.model = model.model;
    if (model.context > 0) served.settings.context = model.context;
    served.settings.memory = model.memory;
    Result<ResolvedModel> resolved = resolve_model(served.settings, host_.clock);
    if (!resolved) return resolved.error();
    served.resolved = std::move(*resolved);
    ServeModel& row = served.row;
    const auto add = [&](const std::string& name) {
      if (!name.empty() && std::ranges::find(row.names, name) == row.names.end()) {
        row.names.push_back(name);
      }
    };
    add(model.name);
    add(own_name(served.resolved));
    add(model.model);
    for (const std::string& alias : model.aliases) add(alias);
    row.file = served.resolved.files.front();
    row.bytes = served.resolved.bytes;
    row.load =
        kLoadStart + Millis{static_cast<double>(served.resolved.bytes.count) / kLoadBytesPerMilli};
    row.pinned = model.pin;
    row.helper = model.helper;
    row.keep_alive = model.keep_alive;
    row.preload = model.preload;
    served_.push_back(std::move(served));
  }
  return check_names();
}

Status ServedModels::check_names() const {
  for (size_t i = 0; i < served_.size(); ++i) {
    for (size_t j = i + 1; j < served_.size(); ++j) {
      for (const std::string& name : served_[i].row.names) {
        if (std::ranges::find(served_[j].row.names, name) == served_[j].row.names.end()) continue;
        return Error{Code::kInvalid, fmt::format("'{}' is the name of two models: give one of them "
                                                 "another in [models.NAME] of the configuration",
                                                 name)};
      }
    }
  }
  return {};
}

SessionNeeds ServedModels::needs() const {
  return {.sequences = settings_.sequences_max,
          .speculates = true,
          .context_max = served_.size() > 1 ? kContext : 0,
          .encoders = true};
}

// What each takes, and what they may take together.
Status ServedModels::plan() {
  if (served_.size() == 1) return {};
  Result<Charge> program = host_.budget.reserve(Tag::kScratch, host_.resident);
  if (!program) return program.error();
  host_.program = std::move(*program);
  const Bytes left = host_.budget.available();
  const Bytes all = left - std::min(kIoMost, Bytes{left.count / kIoShare});
  for (Served& served : served_) {
    const std::optional<Bytes> stated = served.settings.memory;
    Result<Bytes> bytes =
        bytes_beside_others(host_, served.resolved, served.settings, needs(), stated.value_or(all));
    if (!bytes) return bytes.error();
    served.row.bytes = std::max(*bytes, stated.value_or(Bytes{0}));
    if (served.row.helper) helper_pool_ += served.row.bytes;
  }
  ::malloc_trim(0);  // of the vocabularies that were read
  pool_ = all - helper_pool_;
  for (const Served& served : served_) {
    if (served.row.helper || served.row.bytes <= pool_ || settings_.quiet) continue;
    note(
        fmt::format("ration: warning: {} needs {}, and there are {} for models: it will be refused",
                    served.row.names.front(), to_text(served.row.bytes), to_text(pool_)));
  }
  if (pool_ > Bytes{0}) return {};
  return Error{Code::kOverBudget,
               fmt::format("the helpers take {} together, and {} is left for all models",
                           to_text(helper_pool_), to_text(all)),
               Shortfall{.wanted = helper_pool_.count, .available = all.count}};
}

std::vector<ServeModel> ServedModels::models() const {
  std::vector<ServeModel> rows;
  for (const Served& served : served_) rows.push_back(served.row);
  return rows;
}

Result<std::unique_ptr<LoadedModel>> ServedModels::load(size_t index,
                                                        const std::atomic<bool>& stops) {
  const Served& served = served_[index];
  const bool alone = served_.size() == 1;
  const std::optional<Bytes> bytes = alone ? served.settings.memory : served.row.bytes;
  auto loaded = std::make_unique<Loaded>(host_, served.row.names.front(), bytes);
  const bool first = loads_ == 0;  // nothing is served yet
  const uint64_t first_id = (++loads_ << kRequestIdBits) + 1;
  std::optional<Pool> own;
  if (!first) own.emplace(host_.pool.threads());
  Status opened =
      loaded->opened().open(served.resolved, served.settings, needs(),
                            {.host = host_,
                             .budget = loaded->budget(),
                             .pool = own ? *own : host_.pool,
                             .stops = [&stops] { return stops.load() || interrupted().load(); },
                             .first_request_id = first_id});
  if (!opened) return opened.error();
  if (!settings_.quiet) {
    note(fmt::format("ration: {}{}", first ? "" : "loaded ",
                     ration::summary(host_, loaded->opened())));
  }
  return std::unique_ptr<LoadedModel>(std::move(loaded));
}

}  // namespace ration
