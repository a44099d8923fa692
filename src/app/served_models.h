// app/served_models.h - the models of `ration serve`: what the command line and the configuration
// say of them, what each takes of the budget, and how they are loaded.
//
// Named on the command line: those, the first is the default; each may be a table of the
// configuration. Else all of [models.*], in the file's order. Else the default model.
//
// One model gets the whole budget. Of several each has a grant of its own: its `memory`, or what a
// conversation of its `context` takes; who of them is in at once, the server's pool decides.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "app/host.h"
#include "app/open_model.h"
#include "serve/serve.h"

namespace ration {

// thread-safe as the loader that it is; the rest is single-thread.
class ServedModels final : public ModelLoader {
 public:
  // Finds every model, pulling what is not here, and plans its memory. Errors name the model.
  // REQUIRES: settings outlives it.
  static Result<std::unique_ptr<ServedModels>> open(const Settings& settings);
  ServedModels(const Settings& settings, Host::Start start);

  Result<std::unique_ptr<LoadedModel>> load(size_t index, const std::atomic<bool>& stops) override;

  Host& host() { return host_; }
  std::vector<ServeModel> models() const;
  Bytes pool() const { return pool_; }
  Bytes helper_pool() const { return helper_pool_; }

 private:
  struct Served {
    Settings settings;
    ResolvedModel resolved;
    ServeModel row;
  };

  Status find(const std::vector<ConfigModel>& wanted);
  Status plan();
  Status check_names() const;
  SessionNeeds needs() const;

  const Settings& settings_;
  Host host_;
  std::vector<Served> served_;
  Bytes pool_{std::numeric_limits<int64_t>::max()};
  Bytes helper_pool_{0};
  uint64_t loads_ = 0;
};

}  // namespace ration
