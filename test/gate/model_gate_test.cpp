// The gates on real models, where they are on this machine: pulled (`ration pull NAME`), or as
// NAME.gguf in the folder that RATION_TEST_MODELS names.
//   F32         the reference kernels, with an F32 cache, compute what llama.cpp computes in F32
//   fast        the fast kernels stay as close to that as llama.cpp's own fast kernels do, the
//               perplexity is llama.cpp's, and greedy answers leave the F32 ones only at near ties
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <iostream>

#include "base/clock.h"
#include "model/store/store.h"
#include "run/logit_scan.h"
#include "test/gate/reference.h"
#include "test/gate/teacher.h"
#include "test/tensor/sets.h"

namespace ration {
namespace {

constexpr double kMeanMax = 0.002;          // nat, of the best id's log-probability
constexpr double kMostMax = 0.02;           // nat
constexpr double kDivergenceRatio = 1.25;   // of llama.cpp's own KL to F32
constexpr double kDeepRatio = 1.5;          // the same for deep products
constexpr double kPerplexityRatio = 1.003;  // of llama.cpp's perplexity
constexpr double kTieMax = 0.2;             // nat: a gap below this may fall either way
constexpr double kTieShare = 0.99;          // of greedy steps

const Kernels& reference_kernels() { return *available_kernels().back(); }
// RATION_TEST_DEEP: AVX-512 made by SIMDe, which has deep products. AMX computes the same bits.
const Kernels& best_kernels() {
  return std::getenv("RATION_TEST_DEEP") ? kSimdeKernels : *available_kernels().front();
}

std::string test_name(const ::testing::TestParamInfo<const char*>& info) {
  std::string name = info.param;
  for (char& letter : name) {
    if (letter == '-' || letter == '.') letter = '_';
  }
  return name;
}

class ModelGate : public ::testing::TestWithParam<const char*> {
 protected:
  static std::filesystem::path find_model(const std::string& name) {
    if (const char* folder = std::getenv("RATION_TEST_MODELS")) {
      const std::filesystem::path path = std::filesystem::path(folder) / (name + ".gguf");
      if (std::filesystem::exists(path)) return path;
    }
    const SteadyClock clock;
    const Result<Store> store = Store::open(clock, {.offline = true});
    if (!store) return {};
    const Result<ResolvedModel> found = store->resolve(name);
    return found ? found->files.front() : std::filesystem::path();
  }

  void SetUp() override {
    const std::filesystem::path path = find_model(GetParam());
    if (path.empty()) {
      GTEST_SKIP() << GetParam() << " is not on this machine: ration pull " << GetParam();
    }
    Result<std::shared_ptr<const Model>> loaded = Model::load(path, {.deep = best_kernels().deep});
    ASSERT_TRUE(loaded) << loaded.error().message;
    model_ = *loaded;
    reference_ = model_reference(GetParam());
  }

  Teacher teacher(const Kernels& kernels, int64_t context, KvType kv_type = KvType::kF16) const {
    return Teacher(model_, kernels, context, usable_cpus(), kv_type);
  }

  std::shared_ptr<const Model> model_;
  ModelReference reference_;
};

// Feeds the reference's ids to both engines and gives every row that is known to visit(row).
template <typename Visit>
void feed_rows(const ReferenceRun& run, Role role, std::span<Teacher* const> teachers,
               Visit visit) {
  const auto end = run.first + static_cast<int64_t>(run.top.size());
  for (int64_t begin = 0; begin < end; begin += Teacher::kStepMax) {
    const int64_t count = std::min(Teacher::kStepMax, end - begin);
    const bool wanted = begin + count > run.first;
    for (Teacher* teacher : teachers) {
      teacher->feed(
          std::span(run.ids).subspan(static_cast<size_t>(begin), static_cast<size_t>(count)), role,
          wanted);
    }
    for (int64_t p = std::max(begin, run.first); p < begin + count; ++p) {
      visit(p - begin, static_cast<size_t>(p - run.first));
    }
  }
}

// One pass for both gates: the reference kernels take minutes.
TEST_P(ModelGate, kernels_are_as_close_to_f32_as_llama_cpp) {
  const ReferenceRun& run = reference_.f32;
  Distance distance;
  for (const Role role : {Role::kPrompt, Role::kGenerated}) {
    Teacher exact = teacher(reference_kernels(), run.context, KvType::kF32);
    Teacher fast = teacher(best_kernels(), run.context);
    double sum = 0;
    feed_rows(run, role, std::array{&exact, &fast}, [&](int64_t at, size_t row) {
      if (role == Role::kPrompt) distance.add(exact.logits(at), run, row);
      sum += divergence(exact.logits(at), fast.logits(at));
    });
    const double found = sum / static_cast<double>(run.top.size());
    const bool prompt = role == Role::kPrompt;
    const double llama = prompt ? reference_.llama_kl_prompt : reference_.llama_kl_generated;
    std::cout << fmt::format("{} {}: KL {:.6f}, llama.cpp's {:.6f}\n", best_kernels().isa,
                             prompt ? "prompt" : "generated", found, llama);
    EXPECT_LE(found, (prompt && best_kernels().deep ? kDeepRatio : kDivergenceRatio) * llama);
  }
  std::cout << "F32: " << distance.text() << '\n';
  EXPECT_EQ(distance.changed, 0);
  EXPECT_LE(distance.mean(), kMeanMax);
  EXPECT_LE(distance.most, kMostMax);
}

// What an int8 cache adds to what the products cost: an option, as it is not a quarter everywhere.
// Keys with large biases (Qwen 2.5) leave little of eight bits to the rest.
constexpr std::array<std::pair<std::string_view, double>, 3> kInt8Ratios{
    {{"smollm2-135m", 1.25}, {"gemma3-270m", 1.35}, {"qwen2.5-coder-0.5b", 10}}};

TEST_P(ModelGate, int8_cache_stays_as_close_to_f32) {
  const ReferenceRun& run = reference_.f32;
  Teacher exact = teacher(reference_kernels(), run.context, KvType::kF32);
  Teacher half = teacher(best_kernels(), run.context);
  Teacher int8 = teacher(best_kernels(), run.context, KvType::kInt8);
  double half_sum = 0;
  double int8_sum = 0;
  feed_rows(run, Role::kPrompt, std::array{&exact, &half, &int8}, [&](int64_t at, size_t) {
    half_sum += divergence(exact.logits(at), half.logits(at));
    int8_sum += divergence(exact.logits(at), int8.logits(at));
  });
  const auto rows = static_cast<double>(run.top.size());
  std::cout << fmt::format("{}: KL {:.6f} with an F16 cache, {:.6f} with int8 ({:.3f}x)\n",
                           best_kernels().isa, half_sum / rows, int8_sum / rows,
                           int8_sum / half_sum);
  const auto* allowed = std::ranges::find(kInt8Ratios, std::string_view(GetParam()),
                                          &std::pair<std::string_view, double>::first);
  ASSERT_NE(allowed, kInt8Ratios.end());
  EXPECT_LE(int8_sum, allowed->second * half_sum);
}

TEST_P(ModelGate, perplexity_is_that_of_llama_cpp) {
  double sum = 0;
  int64_t scored = 0;
  Teacher fast = teacher(best_kernels(), static_cast<int64_t>(reference_.windows[0].size()));
  for (const std::vector<Token>& window : reference_.windows) {
    fast.restart();
    for (size_t begin = 0; begin < window.size(); begin += Teacher::kStepMax) {
      const size_t count = std::min<size_t>(Teacher::kStepMax, window.size() - begin);
      fast.feed(std::span(window).subspan(begin, count), Role::kPrompt, true);
      for (size_t i = 0; i < count && begin + i + 1 < window.size(); ++i) {
        const std::span<const float> row = fast.logits(static_cast<int64_t>(i));
        sum += log_sum_exp(row) - row[static_cast<size_t>(window[begin + i + 1])];
        ++scored;
      }
    }
  }
  const double found = std::exp(sum / static_cast<double>(scored));
  std::cout << fmt::format("{}: perplexity {:.4f}, llama.cpp's {:.4f} ({:+.3f}%)\n",
                           best_kernels().isa, found, reference_.llama_perplexity,
                           100 * (found / reference_.llama_perplexity - 1));
  EXPECT_GE(scored, 10'000);
  EXPECT_LE(found, kPerplexityRatio * reference_.llama_perplexity);
}

// The screen of the vocabulary allows for what the unread bits may add as if they knew nothing of
// the activations. Here is whether they do: over all of the text, the best ids and their logits in
// the bits of the whole product.
TEST_P(ModelGate, the_best_logits_are_those_of_the_whole_product) {
  const std::filesystem::path folder = testing::TempDir();
  Pool pool(usable_cpus());
  Result<std::shared_ptr<const Model>> packed = Model::load(
      find_model(GetParam()), {.path = folder / "vocabulary_gate.panels", .pool = &pool});
  ASSERT_TRUE(packed) << packed.error().message;
  ASSERT_EQ((*packed)->network().output.weight.layout, Layout::kSplitPanels);
  const auto context = static_cast<int64_t>(reference_.windows[0].size());
  for (const int32_t best : {1, 40}) {
    Teacher whole(*packed, best_kernels(), context, usable_cpus());
    Teacher screened(*packed, best_kernels(), context, usable_cpus());
    int64_t positions = 0, seen = 0, wrong = 0, all = 0;
    for (const std::vector<Token>& window : reference_.windows) {
      whole.restart();
      screened.restart();
      for (size_t begin = 0; begin < window.size(); begin += Teacher::kStepMax) {
        const auto tokens = std::span(window).subspan(
            begin, std::min<size_t>(Teacher::kStepMax, window.size() - begin));
        whole.feed(tokens, Role::kGenerated, true);
        screened.feed(tokens, Role::kGenerated, true, best);
        for (size_t i = 0; i < tokens.size(); ++i) {
          const auto row = static_cast<int64_t>(i);
          std::vector<TokenLogit> wanted, found;
          select_best(whole.logits(row), static_cast<size_t>(best), wanted);
          select_best(screened.logits(row), static_cast<size_t>(best), found);
          if (!std::ranges::equal(wanted, found)) ++wrong;
          const auto logits = screened.logits(row);
          seen += std::ranges::count_if(logits, [](float logit) { return std::isfinite(logit); });
          all += static_cast<int64_t>(logits.size());
          ++positions;
        }
      }
    }
    std::cout << fmt::format(
        "best {}: {} of {} positions differ; {:.2f} % of the rows seen whole\n", best, wrong,
        positions, 100 * static_cast<double>(seen) / static_cast<double>(all));
    EXPECT_EQ(wrong, 0);
    EXPECT_GE(positions, 10'000);
  }
  std::filesystem::remove(folder / "vocabulary_gate.panels");
}

// The first step at which the greedy answer is another than the F32 one; -1: none.
int64_t divergence_step(Teacher& fast, const GreedyAnswer& answer) {
  fast.restart();
  int64_t last = 0;
  for (size_t begin = 0; begin < answer.prompt.size(); begin += Teacher::kStepMax) {
    const size_t count = std::min<size_t>(Teacher::kStepMax, answer.prompt.size() - begin);
    fast.feed(std::span(answer.prompt).subspan(begin, count), Role::kPrompt, true);
    last = static_cast<int64_t>(count) - 1;
  }
  for (size_t step = 0; step < answer.ids.size(); ++step) {
    if (best_of(fast.logits(last)) != answer.ids[step]) return static_cast<int64_t>(step);
    fast.feed(std::span(answer.ids).subspan(step, 1), Role::kGenerated, true);
    last = 0;
  }
  return -1;
}

TEST_P(ModelGate, greedy_answers_leave_the_f32_ones_only_at_near_ties) {
  size_t longest = 0;
  for (const GreedyAnswer& answer : reference_.greedy) {
    longest = std::max(longest, answer.prompt.size() + answer.ids.size());
  }
  Teacher fast = teacher(best_kernels(), static_cast<int64_t>(longest));
  int64_t steps = 0;
  int64_t wrong = 0;
  for (const GreedyAnswer& answer : reference_.greedy) {
    const int64_t step = divergence_step(fast, answer);
    steps += step < 0 ? static_cast<int64_t>(answer.ids.size()) : step + 1;
    if (step < 0) continue;
    const double gap = answer.gap[static_cast<size_t>(step)];
    if (gap >= kTieMax) ++wrong;
    std::cout << fmt::format("{}: another id at step {}, gap {:.3f}; llama.cpp's at step {}\n",
                             answer.name, step, gap, answer.llama_diverges);
  }
  std::cout << fmt::format("{} of {} steps left the F32 answer at a gap of {} or more\n", wrong,
                           steps, kTieMax);
  EXPECT_LE(static_cast<double>(wrong), (1 - kTieShare) * static_cast<double>(steps));
}

INSTANTIATE_TEST_SUITE_P(Real, ModelGate,
                         ::testing::Values("smollm2-135m", "gemma3-270m", "qwen2.5-coder-0.5b"),
                         test_name);

}  // namespace
}  // namespace ration
