// app/session.h - a model opened inside a budget: what run, chat, serve, perplexity and bench
// share.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "app/config.h"
#include "app/settings.h"
#include "base/budget.h"
#include "base/clock.h"
#include "base/pool.h"
#include "measure/measure.h"
#include "model/model.h"
#include "model/store/store.h"
#include "run/run.h"
#include "tensor/kernels.h"

namespace ration {

// Shows how far a pull is on standard error, unless told to be quiet. REQUIRES: settings outlives
// it.
ProgressLine progress_line(const Settings& settings);

// The store, with the disk limit of the command line or the configuration.
Result<Store> open_store(const Settings& settings, const Clock& clock);

// Finds the model, pulling it when it is in a catalogue or behind a reference; shows progress on
// standard error. An empty reference means the default model.
Result<ResolvedModel> resolve_model(const Settings& settings, const Clock& clock);

// Where this model's packed weights are kept: beside the model, unless that folder belongs to other
// programs or cannot be written to.
std::filesystem::path packed_path(const ResolvedModel& model);

// How a command wants its engine.
struct SessionNeeds {
  int64_t sequences = 1;  // conversations at once
  int64_t logit_rows = 1;
  bool speculates = false;  // unless the settings say no
  int64_t context_max = 0;  // where --context says nothing, no more than this; 0: what fits
};

// Members are destroyed in reverse order: what uses a budget before the budget.
struct Session {
  static Result<std::unique_ptr<Session>> open(const Settings& settings, const SessionNeeds& needs);

  Session(const Settings& settings, Config config_in, Bytes limit);

  Config config;
  SteadyClock clock;
  SystemFiles files;
  Machine machine;
  EnergyMeter meter;
  Budget budget;
  Charge program;  // the process before the model: text, libraries, stacks
  Charge weights;  // the mapped file
  Charge tables;   // tokeniser and template
  Pool pool;
  const Kernels* kernels = nullptr;
  std::string name;  // what the user calls the model
  std::shared_ptr<const Model> model;
  std::unique_ptr<Engine> engine;
  Charge draft_weights;
  Charge draft_tables;
  std::shared_ptr<const Model> draft_model;  // null: none
  std::unique_ptr<Engine> draft_engine;
  std::unique_ptr<Attributor> attributor;
  std::unique_ptr<PrefixStore> prefix_store;  // null: none
  std::unique_ptr<Runner> runner;
  Millis load;
  bool memory_stated = false;

  Result<std::shared_ptr<const Model>> load_model(const Settings& settings,
                                                  const ResolvedModel& resolved);
  // The model of --draft, where there is one, with an engine for one conversation.
  Status load_draft(const Settings& settings);
  // What it takes, with a full cache.
  Bytes draft_bytes() const;

  // "context 8192 tokens of the model's 8192, memory 142 MB of 300 MB": what a start-up line says.
  std::string summary() const;
};

// The lines of a prompt file, or standard input for "-". At most 64 MiB.
Result<std::string> read_input(const std::string& path);

}  // namespace ration
