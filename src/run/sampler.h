// run/sampler.h - from logits to a token: the chain of filters people know, and greedy.
//
// Order: logit bias, repetition / presence / frequency penalties, temperature, top-k, top-p, min-p,
// then one draw. Temperature 0 takes the best token after bias and penalties (ties: the lowest id).
// Private to run/; run/run.h hands it on.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/rng.h"
#include "model/tokenizer/tokenizer.h"

namespace ration {

struct SamplerOptions {
  float temperature = 1.0f;         // 0: greedy
  int32_t top_k = 0;                // 0: all
  float top_p = 1.0f;               // 1: all
  float min_p = 0.0f;               // 0: all
  float repetition_penalty = 1.0f;  // 1: none; over the last penalty_window tokens, prompt included
  float presence_penalty = 0.0f;    // over generated tokens
  float frequency_penalty = 0.0f;   // over generated tokens
  int32_t penalty_window = 64;
  std::vector<std::pair<Token, float>> logit_bias;  // added to the logit; -100 or less bans
  uint64_t seed = 0;
  int32_t top_logprobs = 0;         // how many alternatives to report, 0 to 20

  // kInvalid names the option, what was found and what is wanted.
  Status check(int32_t vocabulary) const;
};

struct TokenLogprob {
  Token token = -1;
  float logprob = 0;
};

struct Choice {
  Token token = -1;
  // Natural logarithm of the token's probability under the model itself: softmax of the raw logits.
  float logprob = 0;
  std::vector<TokenLogprob> top;  // the top_logprobs most likely tokens, best first
};

// One answer's sampler. single-thread. The same seed, options and logits give the same tokens.
class Sampler {
 public:
  // REQUIRES: options.check(vocabulary) is fine. `prompt` feeds the repetition penalty.
  Sampler(SamplerOptions options, int32_t vocabulary, std::span<const Token> prompt);

  // Picks the next token and remembers it for the penalties. logits: [vocabulary], changed in place.
  // kCorrupt when a logit is not a number.
  Result<Choice> choose(std::span<float> logits);

 private:
  void penalise(std::span<float> logits);
  Token draw(std::span<const float> logits);

  SamplerOptions options_;
  Rng rng_;
  std::vector<Token> recent_;                        // ring of the last penalty_window tokens
  size_t recent_next_ = 0;
  std::vector<std::pair<Token, int32_t>> generated_;  // token and how often, sorted by token
  std::vector<TokenLogprob> candidates_;             // scratch of draw()
};

}  // namespace ration
