#include "run/sampler.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "run/logit_scan.h"

namespace ration {
namespace {

constexpr float kGreedyBelow = 0.001f;
constexpr float kLeastWeight = 1e-38f;  // exp_of gives nothing smaller but 0
constexpr float kBan = -100.0f;
constexpr int32_t kPenaltyWindowMax = 65536;
constexpr int32_t kTopLogprobsMax = 20;

Error wrong_option(std::string_view name, float found, std::string_view wanted) {
  return {Code::kInvalid, fmt::format("{}: found {}, wanted {}", name, found, wanted)};
}

// Also false for NaN.
bool within(float value, float least, float most) { return value >= least && value <= most; }

Status check_bias(std::span<const std::pair<Token, float>> bias, int32_t vocabulary) {
  std::vector<Token> tokens;
  for (const auto& [token, value] : bias) {
    if (token < 0 || token >= vocabulary) {
      return Error{Code::kInvalid, fmt::format("logit_bias: found token {}, wanted 0 to {}", token,
                                               vocabulary - 1)};
    }
    if (!within(value, -10000, 10000)) {
      return Error{
          Code::kInvalid,
          fmt::format("logit_bias of token {}: found {}, wanted -100 to 100", token, value)};
    }
    tokens.push_back(token);
  }
  std::sort(tokens.begin(), tokens.end());
  const auto twice = std::adjacent_find(tokens.begin(), tokens.end());
  if (twice == tokens.end()) return {};
  return Error{Code::kInvalid,
               fmt::format("logit_bias: found token {} twice, wanted once", *twice)};
}

// Counts of tokens, sorted by token.
using TokenCounts = std::vector<std::pair<Token, int32_t>>;

TokenCounts::iterator count_of(TokenCounts& counts, Token token) {
  return std::lower_bound(counts.begin(), counts.end(), token,
                          [](const auto& entry, Token id) { return entry.first < id; });
}

void count_up(TokenCounts& counts, Token token) {
  const auto found = count_of(counts, token);
  if (found != counts.end() && found->first == token) {
    ++found->second;
  } else {
    counts.insert(found, {token, 1});
  }
}

void count_down(TokenCounts& counts, Token token) {
  const auto found = count_of(counts, token);
  DCHECK(found != counts.end() && found->first == token);
  if (--found->second == 0) counts.erase(found);
}

}  // namespace

Status SamplerOptions::check(int32_t vocabulary) const {
  if (!within(temperature, 0, 100)) return wrong_option("temperature", temperature, "0 to 100");
  if (top_k < 0) {
    return Error{Code::kInvalid, fmt::format("top_k: found {}, wanted 0 (all) or more", top_k)};
  }
  if (!within(top_p, 0, 1)) return wrong_option("top_p", top_p, "0 to 1");
  if (!within(min_p, 0, 1)) return wrong_option("min_p", min_p, "0 to 1");
  if (!within(repetition_penalty, 0.01f, 100)) {
    return wrong_option("repetition_penalty", repetition_penalty, "0.01 to 100");
  }
  if (!within(presence_penalty, -2, 2)) {
    return wrong_option("presence_penalty", presence_penalty, "-2 to 2");
  }
  if (!within(frequency_penalty, -2, 2)) {
    return wrong_option("frequency_penalty", frequency_penalty, "-2 to 2");
  }
  if (penalty_window < 0 || penalty_window > kPenaltyWindowMax) {
    return Error{Code::kInvalid, fmt::format("penalty_window: found {}, wanted 0 to {}",
                                             penalty_window, kPenaltyWindowMax)};
  }
  if (top_logprobs < 0 || top_logprobs > kTopLogprobsMax) {
    return Error{Code::kInvalid, fmt::format("top_logprobs: found {}, wanted 0 to {}", top_logprobs,
                                             kTopLogprobsMax)};
  }
  return check_bias(logit_bias, vocabulary);
}

Sampler::Sampler(SamplerOptions options, int32_t vocabulary, std::span<const Token> prompt)
    : options_(std::move(options)),
      vocabulary_(vocabulary),
      greedy_(options_.temperature < kGreedyBelow),
      rng_(options_.seed) {
  const Status checked = options_.check(vocabulary);
  CHECK(checked, checked.error().message);
  const auto window = static_cast<size_t>(options_.penalty_window);
  for (const Token token : prompt.last(std::min(window, prompt.size()))) {
    CHECK(token >= 0 && token < vocabulary, std::to_string(token));
    remember_recent(token);
  }
}

void Sampler::remember_recent(Token token) {
  const auto window = static_cast<size_t>(options_.penalty_window);
  if (options_.repetition_penalty == 1.0f || window == 0) return;
  if (recent_.size() < window) {
    recent_.push_back(token);
  } else {
    count_down(recent_counts_, recent_[recent_next_]);
    recent_[recent_next_] = token;
    recent_next_ = (recent_next_ + 1) % window;
  }
  count_up(recent_counts_, token);
}

void Sampler::change(std::span<float> logits, Token token, float logit) {
  float& old = logits[static_cast<size_t>(token)];
  changed_.emplace_back(token, old);
  old = logit;
}

float Sampler::raw_logit(std::span<const float> logits, Token token) const {
  const auto found = std::find_if(changed_.begin(), changed_.end(),
                                  [&](const auto& entry) { return entry.first == token; });
  return found == changed_.end() ? logits[static_cast<size_t>(token)] : found->second;
}

// Bias and penalties.
void Sampler::adjust(std::span<float> logits) {
  changed_.clear();
  const auto logit_of = [&](Token token) { return logits[static_cast<size_t>(token)]; };
  for (const auto& [token, bias] : options_.logit_bias) {
    change(logits, token, bias <= kBan ? -kInfinity : logit_of(token) + bias);
  }
  for (const auto& [token, count] : recent_counts_) {
    const float logit = logit_of(token);
    const float penalty = options_.repetition_penalty;
    change(logits, token, logit > 0 ? logit / penalty : logit * penalty);
  }
  for (const auto& [token, count] : generated_counts_) {
    change(logits, token,
           logit_of(token) - options_.presence_penalty -
               options_.frequency_penalty * static_cast<float>(count));
  }
}

int32_t Sampler::best_logits() const {
  const bool changes_logits = !options_.logit_bias.empty() || options_.repetition_penalty != 1 ||
                              options_.presence_penalty != 0 || options_.frequency_penalty != 0;
  if (wants_logprobs() || changes_logits) return 0;
  // The 40 best of a small model lie too close to its 41st: screening cost more than it spared.
  return greedy_ || options_.top_k == 1 ? 1 : 0;
}

Result<Choice> Sampler::choose(std::span<float> logits) {
  CHECK(logits.size() == static_cast<size_t>(vocabulary_));
  const LogitScan scan = wants_logprobs() ? scan_logits(logits) : scan_best(logits);
  if (scan.not_a_number >= 0) {
    return Error{Code::kCorrupt,
                 fmt::format("the model produced not-a-number: found logit {} for token {}",
                             logits[static_cast<size_t>(scan.not_a_number)], scan.not_a_number)};
  }
  if (scan.best.logit == -kInfinity) {
    return Error{Code::kCorrupt,
                 "the model left no token possible: found every logit at -infinity"};
  }
  Choice choice;
  const auto logprob_of = [&](float logit) {
    return static_cast<float>(std::min(0.0, static_cast<double>(logit) - scan.log_sum_exp));
  };
  if (options_.top_logprobs > 0) {
    std::vector<TokenLogit> best;
    select_best(logits, static_cast<size_t>(options_.top_logprobs), best);
    for (const TokenLogit& row : best) choice.top.push_back({row.token, logprob_of(row.logit)});
  }
  adjust(logits);
  const TokenLogit best = changed_.empty() ? scan.best : best_logit(logits);
  if (best.logit == -kInfinity) {
    return Error{Code::kInvalid, "logit_bias bans every token that could come"};
  }
  if (!(best.logit < kInfinity)) {
    return Error{Code::kCorrupt,
                 fmt::format("logit of token {}: found more than a float holds after "
                             "bias and penalties",
                             best.token)};
  }
  choice.token = greedy_ ? best.token : draw(logits, best.logit);
  choice.logprob = wants_logprobs() ? logprob_of(raw_logit(logits, choice.token))
                                    : std::numeric_limits<float>::quiet_NaN();
  remember_recent(choice.token);
  if (options_.presence_penalty != 0 || options_.frequency_penalty != 0) {
    count_up(generated_counts_, choice.token);
  }
  return choice;
}

// The selected tokens that have any weight become the candidates, in the order of their ids.
void Sampler::weigh_selected(float best) {
  candidates_.clear();
  const float scale = 1.0f / options_.temperature;
  for (const auto& [token, logit] : selected_) {
    const float weight = exp_of((logit - best) * scale);
    if (weight > 0) candidates_.push_back({token, logit, weight});
  }
}

// All of about this weight and more.
void Sampler::gather(std::span<const float> logits, float best, float weight_min) {
  // Weights are wrong by less than this margin.
  const float least = best + options_.temperature * (std::log(weight_min) - 0.001f);
  select_at_least(logits, std::max(least, std::numeric_limits<float>::lowest()), selected_);
  weigh_selected(best);
}

// Keeps the fewest best candidates that hold top_p of `total`.
void Sampler::cut_to_top_p(double total) {
  const double wanted = static_cast<double>(options_.top_p) * total;
  const auto is_better = [](const Candidate& a, const Candidate& b) {
    return better({a.token, a.logit}, {b.token, b.logit});
  };
  // Halved around the median of what is undecided instead of sorted: linear time.
  halved_ = candidates_;
  auto begin = halved_.begin();  // all before it are kept, and hold less than wanted
  auto end = halved_.end();      // all from it on are not needed
  double held = 0;               // by those before begin
  while (end - begin > 1) {
    const auto middle = begin + (end - begin) / 2;
    std::nth_element(begin, middle, end, is_better);
    double upper = 0;
    for (auto at = begin; at != middle; ++at) upper += static_cast<double>(at->weight);
    if (held + upper >= wanted) {
      end = middle;
    } else {
      held += upper;
      begin = middle;
    }
  }
  const Candidate last = *begin;
  std::erase_if(candidates_, [&](const Candidate& row) { return is_better(last, row); });
}

Token Sampler::draw(std::span<const float> logits, float best) {
  const bool by_rank = options_.top_k > 0 && options_.top_k < vocabulary_;
  const bool by_mass = options_.top_p < 1;
  if (!by_rank && !by_mass && options_.min_p == 0) return draw_from_all(logits, best);
  if (by_rank) {
    select_best(logits, static_cast<size_t>(options_.top_k), selected_);
    std::sort(selected_.begin(), selected_.end(),
              [](const TokenLogit& a, const TokenLogit& b) { return a.token < b.token; });
    weigh_selected(best);
    if (by_mass) cut_to_top_p(total_weight());
  } else if (by_mass) {
    const double total = exp_sum(logits, best, 1.0f / options_.temperature);
    // Mostly a few tokens hold nearly everything; look at the light ones only when they are needed.
    for (const float weight_min : {1e-3f, 1e-6f, kLeastWeight}) {
      gather(logits, best, weight_min);
      if (total_weight() >= static_cast<double>(options_.top_p) * total) break;
    }
    cut_to_top_p(total);
  } else {
    gather(logits, best, std::max(options_.min_p, kLeastWeight));
  }
  std::erase_if(candidates_, [&](const Candidate& row) { return row.weight < options_.min_p; });
  // The best token is always among them, so there is one to return.
  const double target = rng_.uniform() * total_weight();
  double passed = 0;
  for (const Candidate& row : candidates_) {
    passed += static_cast<double>(row.weight);
    if (target < passed) return row.token;
  }
  return candidates_.back().token;
}

double Sampler::total_weight() const {
  double sum = 0;
  for (const Candidate& row : candidates_) sum += static_cast<double>(row.weight);
  return sum;
}

// Without any filter nothing is collected: first the block is found, then the token in it.
Token Sampler::draw_from_all(std::span<const float> logits, float best) {
  const float scale = 1.0f / options_.temperature;
  const auto block_at = [&](size_t begin) {
    return logits.subspan(begin, std::min(kLogitBlock, logits.size() - begin));
  };
  block_sums_.clear();
  double total = 0;
  for (size_t begin = 0; begin < logits.size(); begin += kLogitBlock) {
    total += block_sums_.emplace_back(exp_sum(block_at(begin), best, scale));
  }
  double target = rng_.uniform() * total;
  size_t block = 0;
  size_t last = 0;  // the last block that holds anything, in case rounding lets the target pass all
  for (; block < block_sums_.size() && target >= block_sums_[block]; ++block) {
    target -= block_sums_[block];
    if (block_sums_[block] > 0) last = block;
  }
  const size_t begin = (block < block_sums_.size() ? block : last) * kLogitBlock;
  double passed = 0;
  Token token = -1;
  for (size_t i = begin; i < begin + block_at(begin).size(); ++i) {
    const float weight = exp_of((logits[i] - best) * scale);
    if (weight == 0) continue;
    token = static_cast<Token>(i);
    passed += static_cast<double>(weight);
    if (target < passed) break;
  }
  return token;
}

}  // namespace ration
