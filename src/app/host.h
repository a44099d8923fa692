// app/host.h - what models are opened on: one budget, one pool of threads, one meter, the kernels.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "app/config.h"
#include "app/settings.h"
#include "base/budget.h"
#include "base/clock.h"
#include "base/pool.h"
#include "measure/measure.h"
#include "model/store/store.h"
#include "run/run.h"
#include "tensor/kernels.h"

namespace ration {

// Shows how far a pull is on standard error, unless told to be quiet. REQUIRES: settings outlives
// it.
ProgressLine progress_line(const Settings& settings);

// The store, with the disk limit of the command line or the configuration.
Result<Store> open_store(const Settings& settings, const Config& config, const Clock& clock);
Result<Store> open_store(const Settings& settings, const Clock& clock);  // reads it

// Finds the model, pulling it when it is in a catalogue or behind a reference; shows progress on
// standard error. An empty reference means the default model.
Result<ResolvedModel> resolve_model(const Settings& settings, const Clock& clock);

// A file is called by its name, without folders.
std::string display_name(const ResolvedModel& model);

// Members are destroyed in reverse order: what uses a budget before the budget.
struct Host {
  // What it is made of, as far as that can fail.
  struct Start {
    Config config;
    Bytes limit;     // of memory
    Bytes resident;  // the process before any model: text, libraries, stacks
    const Kernels* kernels;
  };
  static Result<Start> start(const Settings& settings);

  Host(const Settings& settings, Start start);

  Config config;
  SteadyClock clock;
  SystemFiles files;
  Machine machine;
  EnergyMeter meter;
  Budget budget;
  const Bytes resident;
  Charge program;  // that, once it is charged
  Pool pool;
  const Kernels* kernels;
  std::unique_ptr<Attributor> attributor;  // of all runners; from the first model's load on
  bool memory_stated = false;
};

}  // namespace ration
