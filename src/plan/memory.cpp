#include <fmt/format.h>

#include <algorithm>

#include "plan/plan.h"

namespace ration {
namespace {

constexpr int64_t kPageBytes = 4096;
constexpr int64_t kFloatBytes = 4;
// Sums and products stop here, so that a file's absurd numbers end in a refusal, not in overflow.
constexpr int64_t kHuge = int64_t{1} << 60;

int64_t product(int64_t a, int64_t b) {
  int64_t result = 0;
  return __builtin_mul_overflow(a, b, &result) || result > kHuge ? kHuge : result;
}

template <class... Rest>
int64_t product(int64_t a, int64_t b, Rest... rest) {
  return product(product(a, b), rest...);
}

// REQUIRES: neither is negative.
int64_t sum(int64_t a, int64_t b) {
  return std::min(kHuge, std::min(a, kHuge) + std::min(b, kHuge));
}

int64_t blocks_for(int64_t tokens) {
  return tokens / kPlanBlockTokens + (tokens % kPlanBlockTokens != 0);
}

Bytes activations_of(const ModelCost& model, const MemoryNeeds& needs, int64_t context,
                     int64_t step_tokens) {
  const StepShape shape{.context = context,
                        .step_tokens = std::max(step_tokens, needs.sequences),
                        .logit_rows = std::max(needs.logit_rows, needs.sequences)};
  return needs.activations ? needs.activations(shape)
                           : estimate_activations(model, shape, needs.threads);
}

// A block of 32 tokens of so many layers, in whole pages.
int64_t group_block_bytes(const ModelCost& model, int64_t layers) {
  if (layers <= 0) return 0;
  // Values stand in whole vectors.
  const int64_t columns = sum(model.head_size, (16 - model.head_size % 16) % 16);
  const int64_t head = sum(product(sum(model.head_size, columns), kv_element_bytes(model.kv_type)),
                           2 * kv_scale_bytes(model.kv_type));
  const int64_t bytes = product(layers, model.kv_heads, head, kPlanBlockTokens);
  return std::max(kPageBytes, (bytes + kPageBytes - 1) / kPageBytes * kPageBytes);
}

MemoryPlan one_conversation(const ModelCost& model, const MemoryNeeds& needs, int64_t context,
                            int64_t step_tokens) {
  return cost_at(model, needs, context, step_tokens, context);
}

// The longest context up to `wanted` that fits with such steps; 0: none.
int64_t largest_context(const ModelCost& model, const MemoryNeeds& needs, int64_t wanted,
                        int64_t step_tokens) {
  const auto context_of = [&](int64_t blocks) {
    return std::min(wanted, product(blocks, kPlanBlockTokens));
  };
  int64_t low = 0;
  // No more blocks than the limit could hold if there were nothing else.
  const int64_t least = group_block_bytes(model, model.layers - model.windowed_layers);
  int64_t high = std::min(blocks_for(wanted), needs.limit.count / std::max(least, kPageBytes));
  while (low < high) {
    const int64_t middle = low + (high - low + 1) / 2;
    if (one_conversation(model, needs, context_of(middle), step_tokens).total <= needs.limit) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return context_of(low);
}

Status check_needs(const ModelCost& model, const MemoryNeeds& needs) {
  const auto invalid = [](std::string message) {
    return Error{Code::kInvalid, std::move(message)};
  };
  if (needs.limit < Bytes{0}) return invalid("found a negative memory limit");
  if (model.context_max < 1)
    return invalid(fmt::format("{} has a context of no tokens", model.name));
  if (needs.context < 0 || needs.context > model.context_max) {
    return invalid(
        fmt::format("found a context of {} tokens, wanted at most {}: {} was made for no more",
                    needs.context, model.context_max, model.name));
  }
  if (needs.sequences < 1 || needs.logit_rows < 1 || needs.step_tokens_min < 1 ||
      needs.step_tokens_max < needs.step_tokens_min || needs.context_min < 0) {
    return invalid("found a plan for no sequences, rows or tokens, wanted at least one of each");
  }
  return {};
}

// The context that must fit for a plan to be worth anything.
int64_t least_context(const ModelCost& model, const MemoryNeeds& needs) {
  if (needs.context > 0) return needs.context;
  const int64_t blocks = std::max<int64_t>(1, blocks_for(needs.context_min));
  return std::min(model.context_max, product(blocks, kPlanBlockTokens));
}

// The number a person can put behind --memory and be sure: rounded up, never down. "131 MB".
std::string rounded_up(Bytes bytes) {
  constexpr int64_t kMega = 1'000'000;
  if (bytes.count < 10'000 * kMega) return fmt::format("{} MB", (bytes.count + kMega - 1) / kMega);
  const int64_t hundredths = (bytes.count + 10 * kMega - 1) / (10 * kMega);
  return fmt::format("{}.{:02} GB", hundredths / 100, hundredths % 100);
}

// What would fit instead: a shorter context, a smaller file of the same model, a larger limit.
std::string what_would_fit(const ModelCost& model, const MemoryNeeds& needs, Bytes least) {
  std::vector<std::string> hints;
  if (needs.context > 0) {
    const int64_t shorter = largest_context(model, needs, needs.context, needs.step_tokens_min);
    if (shorter > 0) hints.push_back(fmt::format("a context of {} tokens fits", shorter));
  }
  const ModelVariant* best = nullptr;  // the largest that fits loses the least
  for (const ModelVariant& variant : model.variants) {
    const Bytes with = least - model.weights + variant.weights;
    if (variant.weights < model.weights && with <= needs.limit &&
        (!best || variant.weights > best->weights)) {
      best = &variant;
    }
  }
  if (best) hints.push_back(fmt::format("{} ({}) fits", best->name, rounded_up(best->weights)));
  hints.push_back(fmt::format("{} fits from {}", model.name, rounded_up(least)));
  return fmt::format("{}", fmt::join(hints, "; "));
}

Error refusal(const ModelCost& model, const MemoryNeeds& needs) {
  const Bytes least = least_memory(model, needs);
  return {
      Code::kOverBudget,
      fmt::format("{} needs at least {} for {} tokens of context, the limit is {}: {} short; {}",
                  model.name, rounded_up(least), least_context(model, needs), to_text(needs.limit),
                  rounded_up(least - needs.limit), what_would_fit(model, needs, least)),
      Shortfall{.wanted = least.count, .available = needs.limit.count}};
}

// The context and step of one conversation. Three regions, each as good as the one before: the
// longest context with the shortest steps; then a good context with ever longer steps; then full
// steps and ever more context. So a larger limit never shortens the context.
StepShape best_shape(const ModelCost& model, const MemoryNeeds& needs) {
  const bool stated = needs.context > 0;
  const int64_t wanted = stated ? needs.context : model.context_max;
  const int64_t good =
      stated ? wanted : std::min(wanted, std::max(needs.context_good, needs.context_min));
  int64_t step = needs.step_tokens_max;
  while (true) {
    const int64_t context = largest_context(model, needs, wanted, step);
    if (step == needs.step_tokens_max && context >= good) return {context, step, 0};
    if (context >= good || step == needs.step_tokens_min) return {std::min(context, good), step, 0};
    step = std::max(step / 2, needs.step_tokens_min);
  }
}

}  // namespace

Bytes kv_block_bytes(const ModelCost& model) {
  const int64_t windowed = group_block_bytes(model, model.windowed_layers);
  const int64_t whole = group_block_bytes(model, model.layers - model.windowed_layers);
  return Bytes{std::max(kPageBytes, sum(whole, windowed))};
}

Bytes kv_bytes(const ModelCost& model, int64_t tokens, int64_t sequences, int64_t step_tokens) {
  const int64_t blocks = blocks_for(tokens);
  // One block more for a window that begins inside one, and one for drafts that may be dropped.
  const int64_t held = sum(blocks_for(sum(model.window, step_tokens)), 2);
  const int64_t windowed = std::min(blocks, product(sequences, held));
  return Bytes{sum(product(blocks, group_block_bytes(model, model.layers - model.windowed_layers)),
                   product(windowed, group_block_bytes(model, model.windowed_layers)))};
}

Bytes estimate_activations(const ModelCost& model, const StepShape& shape, int threads) {
  const int64_t query = product(model.heads, model.head_size);
  const int64_t kv = product(model.kv_heads, model.head_size);
  const int64_t widest = std::max({model.width, query, model.inner});
  // Per token: residual and projection, query and its result, key and value, gate and up, rotary
  // tables, and the widest row once more in each of the four forms a kernel may want it in.
  const int64_t row = sum(sum(product(2, model.width), product(2, query)),
                          sum(sum(product(2, kv), product(2, model.inner)),
                              sum(product(2, model.head_size), product(2, widest))));
  const int64_t rows = sum(product(shape.step_tokens, row, kFloatBytes),
                           product(shape.logit_rows, sum(model.vocabulary, widest), kFloatBytes));
  // Per thread: a few rows of its own, and eight results of attention, each of 64 query rows or one
  // token's.
  const int64_t group = model.kv_heads > 0 ? model.heads / model.kv_heads : 1;
  const int64_t attended = product(std::max<int64_t>(64, group), sum(model.head_size, 17));
  const int64_t own = sum(product(threads, 12, widest), product(8 * threads + 1, attended));
  return Bytes{sum(sum(rows, product(own, kFloatBytes)), 64 * kKiB)};
}

MemoryPlan cost_at(const ModelCost& model, const MemoryNeeds& needs, int64_t context,
                   int64_t step_tokens, int64_t kv_tokens) {
  CHECK(kv_tokens >= context && context >= 0 && step_tokens > 0);
  const int64_t blocks = blocks_for(kv_tokens);
  MemoryPlan plan{.context = context,
                  .kv_tokens = product(blocks, kPlanBlockTokens),
                  .step_tokens = step_tokens};
  const auto put = [&](Tag tag, int64_t bytes) {
    plan.by_tag[static_cast<size_t>(tag)] = Bytes{bytes};
    plan.total = Bytes{sum(plan.total.count, bytes)};
  };
  put(Tag::kWeights, model.weights.count);
  put(Tag::kKv,
      kv_bytes(model, kv_tokens, needs.sequences, std::max(step_tokens, needs.sequences)).count);
  put(Tag::kActivations, activations_of(model, needs, context, step_tokens).count);
  put(Tag::kScratch, sum(sum(needs.program.count, needs.slack.count), model.tables.count));
  return plan;
}

Bytes least_memory(const ModelCost& model, const MemoryNeeds& needs) {
  return one_conversation(model, needs, least_context(model, needs), needs.step_tokens_min).total;
}

Result<MemoryPlan> plan_memory(const ModelCost& model, const MemoryNeeds& needs) {
  if (Status valid = check_needs(model, needs); !valid) return valid.error();
  const StepShape best = best_shape(model, needs);
  if (best.context < least_context(model, needs)) return refusal(model, needs);
  const MemoryPlan plan = one_conversation(model, needs, best.context, best.step_tokens);
  // What is left holds more conversations.
  const int64_t more = (needs.limit - plan.total).count / kv_block_bytes(model).count;
  const int64_t kv_tokens = std::min(product(needs.sequences, plan.kv_tokens),
                                     sum(plan.kv_tokens, product(more, kPlanBlockTokens)));
  return cost_at(model, needs, best.context, best.step_tokens, kv_tokens);
}

std::string to_text(const MemoryPlan& plan) {
  std::vector<std::pair<Bytes, Tag>> parts;
  for (int i = 0; i < kTagCount; ++i) {
    const Tag tag = static_cast<Tag>(i);
    if (plan.of(tag) > Bytes{0}) parts.emplace_back(plan.of(tag), tag);
  }
  std::sort(parts.begin(), parts.end(), [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : a.second < b.second;
  });
  std::string text = to_text(plan.total);
  for (size_t i = 0; i < parts.size(); ++i) {
    text += fmt::format("{}{} {}", i == 0 ? ": " : ", ", tag_name(parts[i].second),
                        to_text(parts[i].first));
  }
  return text;
}

}  // namespace ration
