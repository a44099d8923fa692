// test/run/tiny_engine.h - engines over the committed tiny models, for the tests of run and serve.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "base/rng.h"
#include "run/run.h"

namespace ration {

inline std::shared_ptr<const Model> tiny_model(const std::string& name) {
  Result<std::shared_ptr<const Model>> model =
      Model::load(std::string(RATION_SOURCE_DIR) + "/data/tiny/" + name + ".gguf");
  CHECK(model, name + ": " + (model ? "" : model.error().message));
  return std::move(*model);
}

inline std::vector<Token> random_tokens(const Model& model, int64_t count, uint64_t seed) {
  Rng rng(seed);
  std::vector<Token> tokens(static_cast<size_t>(count));
  const auto vocabulary = static_cast<uint64_t>(model.network().vocabulary);
  for (Token& token : tokens) token = static_cast<Token>(rng.below(vocabulary));
  return tokens;
}

// A model with an engine of its own. Destroyed in reverse order.
struct TinyEngine {
  explicit TinyEngine(const std::string& name,
                      const Kernels& kernels = *available_kernels().front(), int threads = 2,
                      EngineOptions options = {.context = 192,
                                               .kv_tokens = 192 * 8,
                                               .step_tokens_max = 64,
                                               .logit_rows_max = 64},
                      Bytes memory = Bytes{256 * kMiB})
      : budget("test", {.hard = memory}), pool(threads), model(tiny_model(name)) {
    Result<std::unique_ptr<Engine>> made = Engine::make(model, kernels, pool, budget, options);
    CHECK(made, made ? "" : made.error().message);
    engine = std::move(*made);
  }

  Budget budget;
  Pool pool;
  std::shared_ptr<const Model> model;
  std::unique_ptr<Engine> engine;
};

}  // namespace ration
