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
#include "run/logit_scan.h"

namespace ration {

struct SamplerOptions {
  // Logits are divided by it: below 1 the likely become likelier. 0 (and all below 0.001): greedy.
  float temperature = 1.0f;
  int32_t top_k = 0;   // the k most likely tokens; 0: all
  float top_p = 1.0f;  // the fewest most likely tokens that reach this probability; 1: all
  float min_p = 0.0f;  // tokens at least this fraction as likely as the best one; 0: all
  // A token among the last penalty_window ones, prompt included: a logit above 0 is divided by
  // this, one below 0 multiplied. 1: none; above 1 repetition is discouraged.
  float repetition_penalty = 1.0f;
  float presence_penalty = 0.0f;   // off the logit of a token that was generated in this answer
  float frequency_penalty = 0.0f;  // off the logit, times how often it was generated
  int32_t penalty_window = 64;     // 0 to 65536
  // Added to the logit, each token at most once; -100 or less bans.
  std::vector<std::pair<Token, float>> logit_bias = {};
  uint64_t seed = 0;
  int32_t top_logprobs = 0;  // how many alternatives to report, 0 to 20
  bool logprobs = true;      // false: Choice::logprob is not wanted, and is NaN

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

// One answer's sampler. single-thread. The same seed, options and logits give the same tokens: the
// draw is one number of the seed's stream a token (none when greedy), laid over the candidates in
// the order of their ids.
class Sampler {
 public:
  // REQUIRES: options.check(vocabulary) is fine and the prompt's tokens are in the vocabulary. The
  // prompt feeds the repetition penalty.
  Sampler(SamplerOptions options, int32_t vocabulary, std::span<const Token> prompt);

  // Picks the next token and remembers it for the penalties. logits: [vocabulary], changed in
  // place; -infinity stands for a token that cannot come. kCorrupt when a logit is not a number;
  // kInvalid when the bias bans every token that could come. On an error nothing is remembered.
  Result<Choice> choose(std::span<float> logits);

  // How many of the highest logits choose() looks at, the others being -infinity or true; 0: all.
  int32_t best_logits() const;

 private:
  struct Candidate {
    Token token;
    float logit;
    float weight;  // its probability over that of the best token, after temperature
  };
  using TokenCount = std::pair<Token, int32_t>;

  bool wants_logprobs() const { return options_.logprobs || options_.top_logprobs > 0; }
  void remember_recent(Token token);
  void adjust(std::span<float> logits);
  void change(std::span<float> logits, Token token, float logit);
  float raw_logit(std::span<const float> logits, Token token) const;
  Token draw(std::span<const float> logits, float best);
  Token draw_from_all(std::span<const float> logits, float best);
  void gather(std::span<const float> logits, float best, float weight_min);
  void weigh_selected(float best);
  void cut_to_top_p(double total);
  double total_weight() const;

  SamplerOptions options_;
  const int32_t vocabulary_;
  const bool greedy_;
  Rng rng_;
  std::vector<Token> recent_;  // ring of the last penalty_window tokens
  size_t recent_next_ = 0;
  std::vector<TokenCount> recent_counts_;     // of the ring, sorted by token
  std::vector<TokenCount> generated_counts_;  // of this answer, sorted by token
  // Scratch, kept between tokens for its memory.
  std::vector<std::pair<Token, float>>
      changed_;  // token and what its logit was; first entry counts
  std::vector<TokenLogit> selected_;
  std::vector<Candidate> candidates_;  // in the order of their ids
  std::vector<Candidate> halved_;
  std::vector<double> block_sums_;
};

}  // namespace ration
