// test/run/tiny_runner.h - a runner over a tiny model, and a listener that notes what it hears.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "test/run/tiny_engine.h"

namespace ration {

class Recorder final : public Listener {
 public:
  void on_token(const TokenOutput& token, std::string_view piece) override {
    tokens.push_back(token.token);
    logprobs.push_back(token.logprob);
    text += piece;
    if (on_each) on_each(static_cast<int64_t>(tokens.size()));
  }
  void on_finish(std::string_view rest, const Finish& end) override {
    text += rest;
    finish = end;
    ++finishes;
  }

  std::vector<Token> tokens;
  std::vector<float> logprobs;
  std::string text;
  Finish finish;
  int finishes = 0;
  std::function<void(int64_t)> on_each;
};

struct TinyRunner : TinyEngine {
  explicit TinyRunner(EngineOptions options = {.context = 160,
                                               .kv_tokens = 160 * 4,
                                               .step_tokens_max = 32,
                                               .logit_rows_max = 4},
                      RunnerOptions how = {}, const std::string& name = "llama-gqa",
                      const Kernels& kernels = *available_kernels().front(), int threads = 2)
      : TinyEngine(name, kernels, threads, options),
        machine(describe_machine(files)),
        meter(files, machine, {}),
        attributor(meter, clock, {}),
        runner(*engine, budget, clock, attributor, how) {}

  Request request(uint64_t seed, int64_t prompt_tokens, int64_t tokens_max) {
    return {.prompt = random_tokens(*model, prompt_tokens, seed),
            .sampler = {.temperature = 1.0f, .seed = seed},
            .tokens_max = tokens_max,
            .ignore_end = true};
  }
  void run_all() {
    for (int step = 0; runner.step(); ++step) ASSERT_LT(step, 10'000);
  }

  SystemFiles files;
  Machine machine;
  EnergyMeter meter;
  ManualClock clock;
  Attributor attributor;
  Runner runner;
};

}  // namespace ration
