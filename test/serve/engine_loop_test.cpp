// The thread that owns the runner, without HTTP: what steps share, and what a cancel leaves.
#include "serve/engine_loop.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <thread>

#include "test/run/tiny_engine.h"
#include "test/serve/test_server.h"

namespace ration {
namespace {

struct TinyLoop {
  explicit TinyLoop(Millis news_every = Millis{0})
      : engine("qwen2", *available_kernels().front(), 2, serving_engine()),
        machine(describe_machine(files)),
        meter(files, machine, {}),
        attributor(meter, clock, AttributorOptions{}),
        runner(*engine.engine, engine.budget, clock, attributor),
        model(std::make_shared<PooledModel>(
            0, names, std::make_unique<LentModel>(*engine.model, *engine.engine, runner))),
        loop(clock, news_every, [this](std::vector<AnswerNews> news) { hear(std::move(news)); }) {}

  void hear(std::vector<AnswerNews> news) {
    ++deliveries;
    std::set<uint64_t> speaking;
    for (AnswerNews& item : news) {
      if (item.finish) {
        finishes.emplace(item.key, *item.finish);
      } else if (item.refused) {
        refusals.emplace(item.key, *item.refused);
      } else {
        speaking.insert(item.key);
      }
      texts[item.key] += item.text;
      for (TokenReport& token : item.tokens) tokens[item.key].push_back(std::move(token));
    }
    together_max = std::max(together_max, static_cast<int64_t>(speaking.size()));
    if (on_news) on_news();
  }

  void order(uint64_t key, int64_t prompt, int64_t count) {
    loop.order({.key = key,
                .model = model,
                .request = {.prompt = random_tokens(*engine.model, prompt, key),
                            .sampler = {.temperature = 1.0f, .seed = key, .top_logprobs = 2},
                            .tokens_max = count,
                            .ignore_end = true},
                .arrived_ns = clock.now_ns(),
                .wants_tokens = true,
                .gone = gone});
  }
  void run_to_end() {
    loop.stop(Millis{60'000});
    loop.run();
  }

  TinyEngine engine;
  SystemFiles files;
  Machine machine;
  SteadyClock clock;
  EnergyMeter meter;
  Attributor attributor;
  Runner runner;
  const std::vector<std::string> names{"tiny"};
  ModelLease model;
  EngineLoop loop;
  std::shared_ptr<std::atomic<bool>> gone = std::make_shared<std::atomic<bool>>(false);
  std::function<void()> on_news;
  std::map<uint64_t, std::string> texts;
  std::map<uint64_t, std::vector<TokenReport>> tokens;
  std::map<uint64_t, Finish> finishes;
  std::map<uint64_t, Error> refusals;
  int64_t deliveries = 0;
  int64_t together_max = 0;  // answers that got a token in one step
};

std::string bytes_of(const std::vector<TokenReport>& tokens) {
  std::string bytes;
  for (const TokenReport& token : tokens) bytes += token.bytes;
  return bytes;
}

TEST(EngineLoop, requests_that_arrive_together_share_steps_and_equal_their_solo_answers) {
  std::map<uint64_t, std::vector<TokenReport>> alone;
  for (uint64_t key = 1; key <= 3; ++key) {
    TinyLoop tiny;
    tiny.order(key, 20 * static_cast<int64_t>(key), 30);
    tiny.run_to_end();
    alone[key] = tiny.tokens[key];
    ASSERT_EQ(alone[key].size(), 30u);
    EXPECT_EQ(tiny.together_max, 1);
  }
  TinyLoop tiny;
  for (uint64_t key = 1; key <= 3; ++key) tiny.order(key, 20 * static_cast<int64_t>(key), 30);
  tiny.run_to_end();
  EXPECT_GE(tiny.together_max, 2);
  for (uint64_t key = 1; key <= 3; ++key) {
    EXPECT_EQ(bytes_of(tiny.tokens[key]), bytes_of(alone[key])) << key;
    for (size_t i = 0; i < alone[key].size(); ++i) {
      EXPECT_EQ(tiny.tokens[key][i].logprob, alone[key][i].logprob) << key << " " << i;
      EXPECT_EQ(tiny.tokens[key][i].top.size(), 2u);
    }
    EXPECT_EQ(tiny.finishes.at(key).bill.generated_tokens, 30);
  }
}

TEST(EngineLoop, tokens_of_quick_steps_travel_together_but_the_first_does_not_wait) {
  TinyLoop tiny(Millis{60'000});
  std::vector<size_t> heard;
  tiny.on_news = [&] { heard.push_back(tiny.tokens[1].size()); };
  tiny.order(1, 10, 40);
  tiny.run_to_end();
  EXPECT_EQ(heard, (std::vector<size_t>{1, 40}));
  TinyLoop eager;
  eager.order(1, 10, 40);
  eager.run_to_end();
  EXPECT_GE(eager.deliveries, 40);
  EXPECT_EQ(bytes_of(tiny.tokens[1]), bytes_of(eager.tokens[1]));
}

TEST(EngineLoop, a_cancelled_answer_ends_early_and_frees_its_blocks) {
  TinyLoop tiny;
  tiny.order(1, 10, 900);
  tiny.order(2, 10, 40);
  bool cancelled = false;
  tiny.on_news = [&] {
    if (tiny.tokens[1].size() == 5 && !cancelled) {
      cancelled = true;
      tiny.loop.cancel(1);
    }
  };
  tiny.run_to_end();
  EXPECT_EQ(tiny.finishes.at(1).reason, FinishReason::kCancelled);
  EXPECT_LE(tiny.finishes.at(1).bill.generated_tokens, 6);
  EXPECT_EQ(tiny.finishes.at(2).bill.generated_tokens, 40);
  EXPECT_EQ(tiny.engine.engine->kv_blocks_free(), tiny.engine.engine->kv_blocks_max());
}

TEST(EngineLoop, an_order_whose_client_has_gone_is_not_begun) {
  TinyLoop tiny;
  *tiny.gone = true;
  tiny.order(1, 10, 10);
  tiny.run_to_end();
  EXPECT_TRUE(tiny.finishes.empty());
  EXPECT_TRUE(tiny.tokens.empty());
}

TEST(EngineLoop, what_the_runner_refuses_is_news) {
  TinyLoop tiny;
  tiny.order(1, 2000, 10);
  tiny.run_to_end();
  ASSERT_TRUE(tiny.refusals.contains(1));
  EXPECT_EQ(tiny.refusals.at(1).code, Code::kInvalid);
}

TEST(EngineLoop, stopping_without_grace_cancels) {
  TinyLoop tiny;
  tiny.order(1, 10, 900);
  tiny.on_news = [&] { tiny.loop.stop(Millis{0}); };
  tiny.loop.run();
  EXPECT_EQ(tiny.finishes.at(1).reason, FinishReason::kCancelled);
}

TEST(EngineLoop, sleeps_when_there_is_nothing_to_do) {
  TinyLoop tiny;
  std::thread thread([&] { tiny.loop.run(); });
  std::this_thread::sleep_for(std::chrono::milliseconds(100));  // the pool stops spinning
  const double before = process_cpu_seconds();
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  EXPECT_LT(process_cpu_seconds() - before, 0.01);
  tiny.loop.stop(Millis{0});
  thread.join();
}

}  // namespace
}  // namespace ration
