// app/open_model.h - one model opened inside a budget: weights, tables, engine, runner, and the
// model that guesses for it. What Session and the server's pool of models share.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "app/host.h"

namespace ration {

// How a command wants its engine.
struct SessionNeeds {
  int64_t sequences = 1;  // conversations at once
  int64_t logit_rows = 1;
  bool speculates = false;  // unless the settings say no
  int64_t context_max = 0;  // where --context says nothing, no more than this; 0: what fits
  bool encoders = false;    // one that writes nothing will do
};

// Where a model is opened.
struct ModelPlace {
  Host& host;
  Budget& budget;                  // the host's, or a grant of it
  Pool& pool;                      // of threads, to pack with; the engine uses the host's
  std::function<bool()> stops;     // whether to give up; asked while it packs
  RequestId first_request_id = 1;  // runners of one host number apart
};

// Where this model's packed weights are kept: beside the model, unless that folder belongs to other
// programs or cannot be written to.
std::filesystem::path packed_path(const ResolvedModel& model);

// What a model shall take of a budget that it shares with others: with a cache for one conversation
// of the stated context, or of the needs' context_max; no more than `most`, unless it cannot do
// with that. Reads the file's head and its vocabulary. kInvalid for a context that it was not made
// for.
Result<Bytes> bytes_beside_others(const Host& host, const ResolvedModel& resolved,
                                  const Settings& settings, const SessionNeeds& needs, Bytes most);

// Members are destroyed in reverse order. single-thread.
struct OpenModel {
  // Opens it; once. The attributor is made when there is none yet. kOverBudget says what is short,
  // and what would fit.
  Status open(const ResolvedModel& resolved, const Settings& settings, const SessionNeeds& needs,
              const ModelPlace& place);

  Charge weights;    // the mapped file
  Charge tables;     // tokeniser and template
  std::string name;  // what the user calls the model
  std::shared_ptr<const Model> model;
  std::unique_ptr<Engine> engine;
  Charge draft_weights;
  Charge draft_tables;
  std::shared_ptr<const Model> draft_model;  // null: none
  std::unique_ptr<Engine> draft_engine;
  std::unique_ptr<PrefixStore> prefix_store;  // null: none
  std::unique_ptr<Runner> runner;
  Millis load;

 private:
  // The model of --draft, where there is one, with an engine for one conversation.
  Status load_draft(const Settings& settings, const ModelPlace& place);
};

// "context 8192 of 8192 tokens in f16, 142 MB of 300 MB in use, ...": what a start-up line says.
std::string summary(const Host& host, const OpenModel& opened);

}  // namespace ration
