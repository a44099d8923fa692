#include "run/embedder.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "run/kv.h"

namespace ration {
namespace {

// Of an encoder: tokens of a step where its texts are short, and texts of a step.
constexpr int64_t kStepTokens = 512;
constexpr int64_t kStepTexts = 64;

}  // namespace

EngineOptions encoder_options(const Network& network, int64_t context) {
  const int64_t longest = context > 0 ? context : network.context_trained;
  const int64_t step = std::max(longest, kStepTokens);
  // Texts begin at whole blocks.
  return {.context = longest,
          .kv_tokens = (kv_blocks_for(step) + kStepTexts) * kKvBlockTokens,
          .step_tokens_max = step};
}

std::vector<Token> truncate_text(std::vector<Token> tokens, int64_t most,
                                 const Tokenizer& tokenizer) {
  if (static_cast<int64_t>(tokens.size()) <= most || most < 1) return tokens;
  const Token last = tokens.back();
  tokens.resize(static_cast<size_t>(most));
  if (tokenizer.adds_eos()) tokens.back() = last;
  return tokens;
}

Embedder::Embedder(Engine& engine, std::function<bool()> make_room)
    : engine_(engine),
      make_room_(std::move(make_room)),
      tokens_max_(std::min(engine.options().context, engine.kv_blocks_max() * kKvBlockTokens)) {}

Status Embedder::add(uint64_t id, std::vector<Token> tokens) {
  const auto count = static_cast<int64_t>(tokens.size());
  if (count == 0) return Error{Code::kInvalid, "the text is empty"};
  if (count > tokens_max_) {
    return Error{Code::kInvalid,
                 fmt::format("the text has {} tokens, the context holds {}", count, tokens_max_)};
  }
  const int64_t vocabulary = engine_.model().network().vocabulary;
  for (const Token token : tokens) {
    if (token >= 0 && token < vocabulary) continue;
    return Error{Code::kInvalid,
                 fmt::format("found token {}, wanted 0 to {}", token, vocabulary - 1)};
  }
  texts_.push_back({.id = id, .tokens = std::move(tokens)});
  return {};
}

void Embedder::drop(uint64_t id) {
  texts_.remove_if([id](const Text& text) { return text.id == id; });
}

// In order of arrival, as many as the step and the cache hold. Whoever is begun has its place.
std::vector<Embedder::Text*> Embedder::choose(size_t most, int64_t tokens) {
  const bool whole = engine_.model().network().sees_later;
  int64_t blocks = engine_.kv_blocks_free();
  for (const Text& text : texts_) {
    if (text.sequence) blocks -= kv_blocks_for(text.size()) - kv_blocks_for(text.computed());
  }
  std::vector<Text*> chosen;
  for (Text& text : texts_) {
    if (tokens == 0 || chosen.size() == most) break;
    const int64_t left = text.size() - text.computed();
    if (whole && left > tokens) continue;
    if (!text.sequence) {
      // The first goes whatever the cache holds: it is the engine that refuses.
      if (kv_blocks_for(text.size()) > blocks && !chosen.empty()) break;
      blocks -= kv_blocks_for(text.size());
    }
    chosen.push_back(&text);
    tokens -= std::min(left, tokens);
  }
  return chosen;
}

Status Embedder::run(std::span<Text* const> chosen, int64_t tokens) {
  std::vector<StepItem> items;
  std::vector<int64_t> firsts;
  for (Text* text : chosen) {
    if (!text->sequence) text->sequence = engine_.open();
    const int64_t first = text->computed();
    const int64_t count = std::min(text->size() - first, tokens);
    tokens -= count;
    firsts.push_back(first);
    items.push_back({.sequence = text->sequence.get(),
                     .tokens = std::span(text->tokens)
                                   .subspan(static_cast<size_t>(first), static_cast<size_t>(count)),
                     .wants_hidden = true});
  }
  Status stepped = engine_.step(items);
  while (!stepped && stepped.error().code == Code::kOverBudget && make_room_ && make_room_()) {
    stepped = engine_.step(items);
  }
  if (!stepped) return stepped;
  for (size_t i = 0; i < chosen.size(); ++i) {
    parts_.push_back({chosen[i]->id, std::ssize(items[i].tokens)});
    count_states(*chosen[i], engine_.hidden(i), firsts[i]);
  }
  return {};
}

Embedder::Outcome Embedder::step(std::vector<Done>& done, int64_t tokens_most) {
  parts_.clear();
  if (texts_.empty()) return Outcome::kIdle;
  int64_t tokens = engine_.options().step_tokens_max;
  const bool whole = engine_.model().network().sees_later;
  if (tokens_most > 0 && !whole) tokens = std::min(tokens, tokens_most);
  std::vector<Text*> chosen = choose(texts_.size(), tokens);
  Status ran = run(chosen, tokens);
  if (!ran && chosen.size() > 1) {  // the budget may hold less than the cache could
    give_back();
    chosen = choose(1, tokens);
    ran = run(chosen, tokens);
  }
  if (!ran) {
    full_ = ran.error();
    give_back();
    return Outcome::kFull;
  }
  for (Text* text : chosen) {
    if (text->computed() < text->size()) continue;
    done.push_back({text->id, vector_of(*text)});
    text->tokens.clear();
  }
  texts_.remove_if([](const Text& text) { return text.tokens.empty(); });
  return Outcome::kWorked;
}

bool Embedder::give_back() {
  bool freed = false;
  for (Text& text : texts_) {
    freed |= text.computed() > 0;
    text.sequence.reset();
    text.sum.clear();
  }
  return freed;
}

void Embedder::fail_first(std::vector<Done>& done) {
  CHECK(!texts_.empty());
  done.push_back({texts_.front().id, full_});
  texts_.pop_front();
}

// states: [n, width] of the tokens from `first` on. Added one by one, so that the chunks that they
// came in change nothing.
void Embedder::count_states(Text& text, std::span<const float> states, int64_t first) {
  const auto width = static_cast<size_t>(this->width());
  text.sum.resize(width);
  const auto count = static_cast<int64_t>(states.size() / width);
  for (int64_t i = 0; i < count; ++i) {
    const Pooling pooling = engine_.model().network().pooling;
    if (pooling == Pooling::kFirst && first + i != 0) continue;
    if (pooling == Pooling::kLast && first + i != text.size() - 1) continue;
    const float* state = states.data() + static_cast<size_t>(i) * width;
    for (size_t c = 0; c < width; ++c) text.sum[c] += static_cast<double>(state[c]);
  }
}

// The mean is the sum but for its length.
std::vector<float> Embedder::vector_of(const Text& text) const {
  double squares = 0;
  for (const double number : text.sum) squares += number * number;
  std::vector<float> vector;
  if (!(squares > 0 && std::isfinite(squares))) {  // a broken model's states may be no numbers
    vector.resize(text.sum.size());
    return vector;
  }
  const double factor = 1 / std::sqrt(squares);
  vector.reserve(text.sum.size());
  for (const double number : text.sum) vector.push_back(static_cast<float>(number * factor));
  return vector;
}

Result<std::vector<std::vector<float>>> Embedder::embed(std::span<const std::vector<Token>> texts) {
  CHECK(texts_.empty());
  for (size_t i = 0; i < texts.size(); ++i) {
    if (Status added = add(i, texts[i]); !added) {
      texts_.clear();
      return added.error();
    }
  }
  std::vector<std::vector<float>> vectors(texts.size());
  std::vector<Done> done;
  while (!texts_.empty()) {
    done.clear();
    if (step(done) == Outcome::kFull) {
      texts_.clear();
      return full_;
    }
    for (Done& one : done) vectors[one.id] = *std::move(one.vector);
  }
  return vectors;
}

}  // namespace ration
