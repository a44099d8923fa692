// Which models are in memory, and who waits for one: with a loader that loads nothing.
#include "serve/model_pool.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <thread>

#include "test/serve/test_server.h"

namespace ration {
namespace {

// Gives out one tiny model under every name; a test can hold it up, or let it fail.
class FakeLoader final : public ModelLoader {
 public:
  Result<std::unique_ptr<LoadedModel>> load(size_t index, const std::atomic<bool>& stops) override {
    loads.push_back(index);
    ++begun;
    while (held && !stops) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    if (stops) return Error{Code::kCancelled, "stopped"};
    if (fails) return Error{Code::kCorrupt, "found a hole, wanted a file"};
    return std::unique_ptr<LoadedModel>(
        std::make_unique<LentModel>(*engine.model, *engine.engine, runner));
  }

  TinyEngine engine{"qwen2", *available_kernels().front(), 1};
  SystemFiles files;
  Machine machine = describe_machine(files);
  SteadyClock clock;
  EnergyMeter meter{files, machine, {}};
  Attributor attributor{meter, clock, AttributorOptions{}};
  Runner runner{*engine.engine, engine.budget, clock, attributor};
  std::vector<size_t> loads;  // one at a time, so read it when `begun` says so
  std::atomic<int> begun = 0;
  std::atomic<bool> held = false;
  std::atomic<bool> fails = false;
};

// Four models, of which two fit, and one that never does.
struct TinyPool {
  TinyPool() {
    const std::filesystem::path file = std::string(RATION_SOURCE_DIR) + "/data/tiny/qwen2.gguf";
    std::vector<ServeModel> models;
    for (const auto& [name, bytes] :
         {std::pair{"apple", 40}, {"pear", 40}, {"plum", 40}, {"fig", 40}, {"melon", 120}}) {
      models.push_back({.names = {name, std::string("user/") + name},
                        .file = file,
                        .bytes = Bytes{bytes},
                        .load = Millis{1}});
    }
    models.front().preload = true;
    pool.emplace(ModelPoolOptions{.models = models, .budget = Bytes{100}}, loader, clock,
                 ModelPoolEvents{.on_unloaded = [this](size_t model, std::string_view reason) {
                   const std::lock_guard lock(mutex);
                   unloaded.emplace_back(model, reason);
                 }});
    const Status loaded = pool->load_first();
    CHECK(loaded, loaded ? "" : loaded.error().message);
    pool->start();
  }
  ~TinyPool() {
    replies.clear();
    pool->stop();
  }

  // Asks for it under `key`; what comes of it is in `replies`, at once or later.
  void ask(uint64_t key, size_t model, std::optional<Millis> deadline = {}) {
    const auto hear = [this, key](ModelPool::Reply reply) {
      const std::lock_guard lock(mutex);
      replies.emplace(key, std::move(reply));
    };
    auto now = pool->acquire(
        model, {.key = key, .arrived_ns = clock.now_ns(), .deadline = deadline, .then = hear});
    if (now) hear(std::move(*now));
  }
  bool has(uint64_t key) {
    const std::lock_guard lock(mutex);
    return replies.contains(key);
  }
  bool comes(uint64_t key) {
    return comes_true([&] { return has(key); });
  }
  bool stays_away(uint64_t key) {
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    return !has(key);
  }
  // The lease goes.
  void end(uint64_t key) {
    ModelPool::Reply reply;
    const std::lock_guard lock(mutex);
    reply = std::move(replies.at(key));
    replies.erase(key);
  }
  size_t lease(uint64_t key) {
    const std::lock_guard lock(mutex);
    return std::get<ModelPool::Ticket>(replies.at(key)).lease->index;
  }
  ApiError error(uint64_t key) {
    const std::lock_guard lock(mutex);
    return std::get<ApiError>(replies.at(key));
  }
  std::set<std::string> in() const {
    std::set<std::string> names;
    for (const ModelView& view : pool->views()) {
      if (view.status == "loaded") names.insert(view.card.names.front());
    }
    return names;
  }

  FakeLoader loader;
  JumpClock clock;
  std::mutex mutex;
  std::map<uint64_t, ModelPool::Reply> replies;
  std::vector<std::pair<size_t, std::string>> unloaded;
  std::optional<ModelPool> pool;
};

TEST(ModelPool, loads_on_demand_and_makes_room_by_letting_idle_models_go) {
  TinyPool tiny;
  EXPECT_EQ(tiny.in(), std::set<std::string>{"apple"});
  tiny.ask(1, 0);
  EXPECT_EQ(tiny.lease(1), 0u);  // at once
  tiny.ask(2, 1);
  ASSERT_TRUE(tiny.comes(2));
  EXPECT_EQ(tiny.lease(2), 1u);
  EXPECT_EQ(tiny.in(), (std::set<std::string>{"apple", "pear"}));
  tiny.end(2);
  tiny.ask(3, 2);
  ASSERT_TRUE(tiny.comes(3));
  EXPECT_EQ(tiny.in(), (std::set<std::string>{"apple", "plum"}));
  EXPECT_EQ(tiny.unloaded, (std::vector<std::pair<size_t, std::string>>{{1, "room"}}));
  EXPECT_EQ(tiny.loader.loads, (std::vector<size_t>{0, 1, 2}));
}

TEST(ModelPool, who_is_leased_stays_until_it_is_given_back) {
  TinyPool tiny;
  tiny.ask(1, 0);
  tiny.ask(2, 1);
  ASSERT_TRUE(tiny.comes(2));
  tiny.ask(3, 2);
  EXPECT_TRUE(tiny.stays_away(3));
  tiny.end(2);
  ASSERT_TRUE(tiny.comes(3));
  EXPECT_EQ(tiny.in(), (std::set<std::string>{"apple", "plum"}));
}

TEST(ModelPool, model_whose_turn_is_over_takes_no_more_until_the_other_was_served) {
  TinyPool tiny;
  tiny.ask(1, 0);
  tiny.ask(2, 1);
  ASSERT_TRUE(tiny.comes(2));
  tiny.ask(3, 2);
  EXPECT_TRUE(tiny.stays_away(3));
  tiny.clock.advance(Millis{5'000});            // more than the patience that busy models have
  tiny.pool->set_keep_alive(3, Millis{1'000});  // so that it looks
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  tiny.ask(4, 0);
  tiny.ask(5, 1);
  EXPECT_TRUE(!tiny.has(4) || !tiny.has(5));  // one of them drains
  const uint64_t waiting = tiny.has(4) ? 5 : 4;
  tiny.end(waiting - 3);
  ASSERT_TRUE(tiny.comes(3));
  EXPECT_FALSE(tiny.has(waiting));
  tiny.end(3);
  EXPECT_TRUE(tiny.comes(waiting));
}

TEST(ModelPool, what_never_fits_is_refused_at_once_with_what_would) {
  TinyPool tiny;
  tiny.ask(1, 4);
  const ApiError error = tiny.error(1);
  EXPECT_EQ(error.status, 503);
  EXPECT_EQ(error.code, "insufficient_memory");
  ASSERT_TRUE(error.bytes);
  EXPECT_EQ(error.bytes->wanted, 120);
  EXPECT_EQ(error.bytes->available, 100);
  EXPECT_NE(error.message.find("what would fit: 'apple'"), std::string::npos) << error.message;
  EXPECT_EQ(tiny.loader.begun, 1);
}

TEST(ModelPool, failed_load_refuses_who_waits_and_is_not_tried_again_for_a_while) {
  TinyPool tiny;
  tiny.loader.held = true;
  tiny.loader.fails = true;
  tiny.ask(1, 1);
  tiny.ask(2, 1);
  ASSERT_TRUE(comes_true([&] { return tiny.loader.begun == 2; }));
  EXPECT_EQ(tiny.pool->views()[1].status, "loading");
  tiny.loader.held = false;
  for (const uint64_t key : {1, 2}) {
    ASSERT_TRUE(tiny.comes(key));
    EXPECT_EQ(tiny.error(key).status, 503);
    EXPECT_EQ(tiny.error(key).code, "load_failed");
    EXPECT_GE(tiny.error(key).retry_after_seconds, 1);
    EXPECT_NE(tiny.error(key).message.find("found a hole"), std::string::npos);
  }
  tiny.ask(3, 1);
  EXPECT_EQ(tiny.error(3).code, "load_failed");
  EXPECT_EQ(tiny.loader.begun, 2);
  tiny.clock.advance(Millis{10'001});
  tiny.loader.fails = false;
  tiny.ask(4, 1);
  ASSERT_TRUE(tiny.comes(4));
  EXPECT_EQ(tiny.lease(4), 1u);
}

TEST(ModelPool, deadline_passes_while_the_model_is_still_on_its_way) {
  TinyPool tiny;
  tiny.loader.held = true;
  tiny.ask(1, 1, Millis{20});
  tiny.ask(2, 1);
  ASSERT_TRUE(tiny.comes(1));
  EXPECT_EQ(tiny.error(1).status, 504);
  EXPECT_EQ(tiny.error(1).code, "deadline_exceeded");
  EXPECT_FALSE(tiny.has(2));
  tiny.loader.held = false;
  EXPECT_TRUE(tiny.comes(2));
}

TEST(ModelPool, nothing_is_loaded_for_who_went_away) {
  TinyPool tiny;
  tiny.ask(1, 0);
  tiny.ask(2, 1);
  ASSERT_TRUE(tiny.comes(2));
  tiny.ask(3, 2);
  tiny.ask(4, 3);
  tiny.pool->cancel(3);
  tiny.end(2);
  ASSERT_TRUE(tiny.comes(4));
  EXPECT_EQ(tiny.loader.loads, (std::vector<size_t>{0, 1, 3}));
  EXPECT_FALSE(tiny.has(3));
}

TEST(ModelPool, idle_model_goes_after_its_time_counted_from_the_end) {
  TinyPool tiny;
  tiny.ask(1, 0);
  tiny.pool->set_keep_alive(0, Millis{60'000});
  tiny.clock.advance(Millis{50'000});
  tiny.end(1);
  tiny.clock.advance(Millis{50'000});
  tiny.pool->set_keep_alive(1, Millis{1});  // so that it looks
  EXPECT_EQ(tiny.pool->views()[0].expires_in, 9);
  EXPECT_TRUE(tiny.pool->is_in(0));
  tiny.clock.advance(Millis{20'000});
  tiny.pool->set_keep_alive(1, Millis{1});
  EXPECT_TRUE(comes_true([&] { return !tiny.pool->is_in(0); }));
  // And at once where that is asked.
  tiny.ask(2, 0);
  ASSERT_TRUE(tiny.comes(2));
  tiny.pool->set_keep_alive(0, Millis{0});
  EXPECT_TRUE(tiny.pool->is_in(0));
  tiny.end(2);
  EXPECT_TRUE(comes_true([&] { return !tiny.pool->is_in(0); }));
  const std::lock_guard lock(tiny.mutex);
  EXPECT_EQ(tiny.unloaded.back(), (std::pair<size_t, std::string>{0, "idle"}));
}

TEST(ModelPool, end_of_the_server_breaks_a_load_off_and_refuses_who_waits) {
  TinyPool tiny;
  tiny.loader.held = true;
  tiny.ask(1, 1);
  ASSERT_TRUE(comes_true([&] { return tiny.loader.begun == 2; }));
  tiny.pool->stop();
  EXPECT_EQ(tiny.error(1).code, "stopping");
  tiny.ask(2, 0);
  EXPECT_EQ(tiny.error(2).code, "stopping");
}

TEST(ModelPool, names_are_those_of_all_models) {
  TinyPool tiny;
  EXPECT_EQ(std::get<size_t>(tiny.pool->find("")), 0u);
  EXPECT_EQ(std::get<size_t>(tiny.pool->find("plum")), 2u);
  EXPECT_EQ(std::get<size_t>(tiny.pool->find("user/fig")), 3u);
  EXPECT_EQ(std::get<size_t>(tiny.pool->find("fig:latest")), 3u);
  const ApiError error = std::get<ApiError>(tiny.pool->find("plumb"));
  EXPECT_EQ(error.status, 404);
  EXPECT_NE(error.message.find("did you mean 'plum'"), std::string::npos) << error.message;
}

TEST(ModelPool, many_threads_ask_and_what_is_in_always_fits) {
  TinyPool tiny;
  std::atomic<int> served = 0;
  std::atomic<bool> overfull = false;
  std::vector<std::thread> clients;
  for (uint64_t client = 0; client < 4; ++client) {
    clients.emplace_back([&, client] {
      Rng rng(client);
      for (uint64_t i = 0; i < 50; ++i) {
        const uint64_t key = 1 + client * 1000 + i;
        const size_t model = rng.below(4);
        tiny.ask(key, model);
        if (!tiny.comes(key)) return;
        if (tiny.lease(key) == model) ++served;
        if (tiny.in().size() > 2) overfull = true;
        tiny.end(key);
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(served, 200);
  EXPECT_FALSE(overfull);
}

}  // namespace
}  // namespace ration
