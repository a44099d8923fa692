// Texts whose vectors are wanted, beside answers that are being written.
#include <algorithm>
#include <map>

#include "test/run/tiny_runner.h"

namespace ration {
namespace {

using Texts = std::vector<std::vector<Token>>;

Request texts_request(const TinyRunner& tiny, std::initializer_list<int64_t> sizes,
                      uint64_t seed = 50) {
  Request request;
  for (const int64_t size : sizes) {
    request.texts.push_back(random_tokens(*tiny.model, size, seed++));
  }
  return request;
}

// A text's vector, by an embedder of its own.
std::vector<float> alone(const std::vector<Token>& text) {
  TinyRunner tiny;
  Embedder embedder(*tiny.engine);
  return embedder.embed(std::span(&text, 1)).value().front();
}

TEST(RunnerTexts, get_their_vectors_and_a_bill) {
  TinyRunner tiny;
  Recorder recorder;
  const Request request = texts_request(tiny, {5, 100, 33, 1});
  ASSERT_TRUE(tiny.runner.submit(request, recorder));
  EXPECT_EQ(tiny.runner.active(), 1);
  tiny.run_all();
  EXPECT_EQ(recorder.finishes, 1);
  EXPECT_EQ(recorder.finish.reason, FinishReason::kStop);
  ASSERT_EQ(recorder.finish.vectors.size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(recorder.finish.vectors[i], alone(request.texts[i])) << i;
  }
  EXPECT_EQ(recorder.finish.bill.prompt_tokens, 139);
  EXPECT_EQ(recorder.finish.bill.generated_tokens, 0);
  EXPECT_EQ(tiny.runner.active(), 0);
  EXPECT_EQ(tiny.engine->kv_blocks_free(), tiny.engine->kv_blocks_max());
}

TEST(RunnerTexts, change_no_answer_beside_them_and_are_not_changed) {
  Recorder wanted;
  {
    TinyRunner tiny;
    ASSERT_TRUE(tiny.runner.submit(tiny.request(1, 40, 60), wanted));
    tiny.run_all();
  }
  // The second cache is so small that they take it from each other.
  for (const int64_t kv_tokens : {int64_t{640}, int64_t{160}}) {
    TinyRunner tiny(
        {.context = 160, .kv_tokens = kv_tokens, .step_tokens_max = 32, .logit_rows_max = 4});
    Recorder answer, first, second;
    ASSERT_TRUE(tiny.runner.submit(tiny.request(1, 40, 60), answer));
    const Request early = texts_request(tiny, {90, 20});
    ASSERT_TRUE(tiny.runner.submit(early, first));
    for (int i = 0; i < 5; ++i) tiny.runner.step();
    const Request late = texts_request(tiny, {120}, 77);
    ASSERT_TRUE(tiny.runner.submit(late, second));
    tiny.run_all();
    EXPECT_EQ(answer.tokens, wanted.tokens) << kv_tokens;
    EXPECT_EQ(answer.finish.bill.stop_cause, "tokens");
    ASSERT_EQ(first.finish.vectors.size(), 2u);
    EXPECT_EQ(first.finish.vectors[0], alone(early.texts[0]));
    EXPECT_EQ(first.finish.vectors[1], alone(early.texts[1]));
    ASSERT_EQ(second.finish.vectors.size(), 1u);
    EXPECT_EQ(second.finish.vectors[0], alone(late.texts[0]));
  }
}

TEST(RunnerTexts, a_cancelled_request_leaves_nothing_behind) {
  TinyRunner tiny;
  Recorder gone, kept;
  const Result<RequestId> id = tiny.runner.submit(texts_request(tiny, {150, 150, 150}), gone);
  ASSERT_TRUE(id);
  const Request other = texts_request(tiny, {40}, 9);
  ASSERT_TRUE(tiny.runner.submit(other, kept));
  tiny.runner.step();
  tiny.runner.cancel(*id);
  tiny.run_all();
  EXPECT_EQ(gone.finish.reason, FinishReason::kCancelled);
  EXPECT_TRUE(gone.finish.vectors.empty());
  ASSERT_EQ(kept.finish.vectors.size(), 1u);
  EXPECT_EQ(kept.finish.vectors[0], alone(other.texts[0]));
  EXPECT_EQ(tiny.engine->kv_blocks_free(), tiny.engine->kv_blocks_max());
}

TEST(RunnerTexts, a_text_that_is_too_long_refuses_the_whole_request) {
  TinyRunner tiny;
  Recorder recorder;
  const Result<RequestId> refused = tiny.runner.submit(texts_request(tiny, {10, 161}), recorder);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message, "the text has 161 tokens, the context holds 160");
  EXPECT_FALSE(tiny.runner.step());
  EXPECT_EQ(recorder.finishes, 0);
}

TEST(RunnerTexts, a_deadline_that_passes_ends_the_request) {
  TinyRunner tiny;
  Recorder recorder;
  Request request = texts_request(tiny, {100, 100});
  request.deadline = Millis{0};
  ASSERT_TRUE(tiny.runner.submit(std::move(request), recorder));
  tiny.run_all();
  ASSERT_TRUE(recorder.finish.error);
  EXPECT_EQ(recorder.finish.error->code, Code::kDeadline);
}

}  // namespace
}  // namespace ration
