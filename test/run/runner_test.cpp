#include "run/runner.h"

#include <map>

#include "test/run/tiny_runner.h"

namespace ration {
namespace {

TEST(Runner, answers_together_are_what_they_are_alone) {
  std::map<uint64_t, Recorder> alone;
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    TinyRunner tiny;
    ASSERT_TRUE(tiny.runner.submit(tiny.request(seed, 10 + 9 * static_cast<int64_t>(seed), 40),
                                   alone[seed]));
    tiny.run_all();
    EXPECT_EQ(alone[seed].tokens.size(), 40u);
  }
  TinyRunner tiny;
  std::map<uint64_t, Recorder> together;
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    ASSERT_TRUE(tiny.runner.submit(tiny.request(seed, 10 + 9 * static_cast<int64_t>(seed), 40),
                                   together[seed]));
  }
  int64_t most = 0;
  while (tiny.runner.step()) most = std::max(most, tiny.runner.last_batch());
  EXPECT_GE(most, 4);
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    EXPECT_EQ(together[seed].tokens, alone[seed].tokens) << seed;
    EXPECT_EQ(together[seed].logprobs, alone[seed].logprobs) << seed;
    EXPECT_EQ(together[seed].text, alone[seed].text) << seed;
    EXPECT_EQ(together[seed].finishes, 1);
  }
}

TEST(Runner, answers_that_step_back_for_memory_are_what_they_are_alone) {
  Recorder alone[3];
  for (uint64_t i = 0; i < 3; ++i) {
    TinyRunner tiny;
    ASSERT_TRUE(tiny.runner.submit(tiny.request(i + 1, 30, 100), alone[i]));
    tiny.run_all();
  }
  // Room for 6 blocks: three answers of 130 tokens need 5 each.
  TinyRunner tiny({.context = 160, .kv_tokens = 192, .step_tokens_max = 32, .logit_rows_max = 4});
  Recorder together[3];
  for (uint64_t i = 0; i < 3; ++i) {
    ASSERT_TRUE(tiny.runner.submit(tiny.request(i + 1, 30, 100), together[i]));
  }
  int64_t most = 0;
  int64_t step_backs = 0;
  int64_t active_before = 0;
  while (tiny.runner.step()) {
    most = std::max(most, tiny.runner.last_batch());
    if (tiny.runner.active() < active_before && tiny.runner.waiting() > 0) ++step_backs;
    active_before = tiny.runner.active();
  }
  EXPECT_GE(most, 2);
  EXPECT_GE(step_backs, 1);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(together[i].tokens, alone[i].tokens) << i;
    EXPECT_EQ(together[i].logprobs, alone[i].logprobs) << i;
    EXPECT_EQ(together[i].finish.bill.stop_cause, "tokens");
  }
  EXPECT_EQ(tiny.engine->kv_blocks_free(), tiny.engine->kv_blocks_max());
}

TEST(Runner, prompt_longer_than_the_context_is_refused_with_both_numbers) {
  TinyRunner tiny;
  Recorder recorder;
  const Result<RequestId> refused = tiny.runner.submit(tiny.request(1, 161, 1), recorder);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kInvalid);
  EXPECT_NE(refused.error().message.find("161"), std::string::npos);
  EXPECT_NE(refused.error().message.find("160"), std::string::npos);
}

TEST(Runner, prompt_that_fills_the_context_still_gets_a_token) {
  TinyRunner tiny;
  Recorder recorder;
  ASSERT_TRUE(tiny.runner.submit(tiny.request(1, 160, 10), recorder));
  tiny.run_all();
  EXPECT_EQ(recorder.tokens.size(), 1u);
  EXPECT_EQ(recorder.finish.reason, FinishReason::kLength);
  EXPECT_EQ(recorder.finish.bill.stop_cause, "context");
}

TEST(Runner, prompt_larger_than_the_cache_is_over_budget) {
  TinyRunner tiny({.context = 160, .kv_tokens = 64, .step_tokens_max = 32, .logit_rows_max = 4});
  Recorder recorder;
  const Result<RequestId> refused = tiny.runner.submit(tiny.request(1, 100, 1), recorder);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kOverBudget);
  EXPECT_GT(refused.error().shortfall->missing(), 0);
}

TEST(Runner, answer_ends_when_the_cache_is_full_and_says_memory) {
  TinyRunner tiny({.context = 160, .kv_tokens = 64, .step_tokens_max = 32, .logit_rows_max = 4});
  Recorder recorder;
  ASSERT_TRUE(tiny.runner.submit(tiny.request(1, 40, 100), recorder));
  tiny.run_all();
  EXPECT_EQ(recorder.finish.reason, FinishReason::kLength);
  EXPECT_EQ(recorder.finish.bill.stop_cause, "memory");
  EXPECT_EQ(recorder.tokens.size(), 25u);  // 64 places: 40 of the prompt, 24 fed back, one more
}

TEST(Runner, cancel_ends_an_answer_at_any_token_and_frees_its_blocks) {
  for (const int64_t at : {1, 2, 20}) {
    TinyRunner tiny;
    Recorder recorder;
    RequestId id = 0;
    recorder.on_each = [&](int64_t count) {
      if (count == at) tiny.runner.cancel(id);
    };
    id = *tiny.runner.submit(tiny.request(1, 20, 100), recorder);
    tiny.run_all();
    EXPECT_EQ(static_cast<int64_t>(recorder.tokens.size()), at);
    EXPECT_EQ(recorder.finish.reason, FinishReason::kCancelled);
    EXPECT_EQ(tiny.engine->kv_blocks_free(), tiny.engine->kv_blocks_max());
  }
}

TEST(Runner, cancel_before_the_first_step_never_runs) {
  TinyRunner tiny;
  Recorder recorder;
  tiny.runner.cancel(*tiny.runner.submit(tiny.request(1, 20, 10), recorder));
  tiny.run_all();
  EXPECT_TRUE(recorder.tokens.empty());
  EXPECT_EQ(recorder.finish.reason, FinishReason::kCancelled);
}

TEST(Runner, deadline_ends_an_answer_with_what_it_has) {
  TinyRunner tiny;
  Recorder recorder;
  recorder.on_each = [&](int64_t) { tiny.clock.advance(Millis{10}); };
  Request request = tiny.request(1, 20, 100);
  request.deadline = Millis{55};
  ASSERT_TRUE(tiny.runner.submit(std::move(request), recorder));
  tiny.run_all();
  EXPECT_EQ(recorder.tokens.size(), 6u);
  EXPECT_EQ(recorder.finish.bill.stop_cause, "deadline");
}

TEST(Runner, deadline_that_passes_in_the_queue_is_an_error) {
  TinyRunner tiny;
  Recorder recorder;
  Request request = tiny.request(1, 20, 100);
  request.deadline = Millis{5};
  ASSERT_TRUE(tiny.runner.submit(std::move(request), recorder));
  tiny.clock.advance(Millis{6});
  tiny.run_all();
  ASSERT_TRUE(recorder.finish.error);
  EXPECT_EQ(recorder.finish.error->code, Code::kDeadline);
}

TEST(Runner, stop_string_ends_the_answer_before_it) {
  TinyRunner plain;
  Recorder whole;
  ASSERT_TRUE(plain.runner.submit(plain.request(3, 20, 60), whole));
  plain.run_all();
  const std::string stop = "00";  // what this seed's answer holds in its middle
  ASSERT_NE(whole.text.find(stop), std::string::npos);
  TinyRunner tiny;
  Recorder recorder;
  Request request = tiny.request(3, 20, 60);
  request.stops = {stop};
  ASSERT_TRUE(tiny.runner.submit(std::move(request), recorder));
  tiny.run_all();
  EXPECT_EQ(recorder.text, whole.text.substr(0, whole.text.find(stop)));
  EXPECT_EQ(recorder.finish.reason, FinishReason::kStop);
  EXPECT_EQ(recorder.finish.bill.stop_cause, "stop");
}

TEST(Runner, bill_counts_tokens_time_and_bytes) {
  TinyRunner tiny;
  Recorder recorder;
  recorder.on_each = [&](int64_t) { tiny.clock.advance(Millis{10}); };
  ASSERT_TRUE(tiny.runner.submit(tiny.request(1, 20, 5), recorder));
  tiny.clock.advance(Millis{3});
  tiny.run_all();
  const Bill& bill = recorder.finish.bill;
  EXPECT_EQ(bill.prompt_tokens, 20);
  EXPECT_EQ(bill.generated_tokens, 5);
  EXPECT_NEAR(bill.queue.count, 3, 1e-9);
  EXPECT_NEAR(bill.decode.count, 50, 1e-9);
  EXPECT_GT(bill.peak_by_tag[static_cast<size_t>(Tag::kKv)], Bytes{0});
  EXPECT_GE(bill.peak, bill.peak_by_tag[static_cast<size_t>(Tag::kKv)]);
}

TEST(Runner, zero_tokens_are_zero_tokens) {
  TinyRunner tiny;
  Recorder recorder;
  ASSERT_TRUE(tiny.runner.submit(tiny.request(1, 20, 0), recorder));
  tiny.run_all();
  EXPECT_TRUE(recorder.tokens.empty());
  EXPECT_EQ(recorder.finish.reason, FinishReason::kLength);
}

}  // namespace
}  // namespace ration
