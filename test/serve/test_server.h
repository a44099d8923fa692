// test/serve/test_server.h - a server over a tiny model, running on a thread of its own. For tests.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "base/clock.h"
#include "measure/measure.h"
#include "serve/serve.h"
#include "test/run/tiny_engine.h"
#include "test/serve/client.h"

namespace ration {

inline int64_t descriptors_open() {
  int64_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    ++count;
  }
  return count;
}

inline int64_t threads_now() {
  int64_t count = 0;
  for ([[maybe_unused]] const auto& entry :
       std::filesystem::directory_iterator("/proc/self/task")) {
    ++count;
  }
  return count;
}

inline EngineOptions serving_engine() {
  return {.context = 1024, .kv_tokens = 8 * 1024, .step_tokens_max = 64, .logit_rows_max = 8};
}

// Real time, and what a test adds to it: deadlines pass without waiting.
class JumpClock final : public Clock {
 public:
  int64_t now_ns() const override { return steady_.now_ns() + added_ns_; }
  void advance(Millis span) { added_ns_ += static_cast<int64_t>(span.count * 1e6); }

 private:
  SteadyClock steady_;
  std::atomic<int64_t> added_ns_ = 0;
};

// The attributor's clock. It is read once a step, on the thread of the engine, so a test can hold
// that thread here and look at answers that are surely not finished, however fast the machine is.
class StepGate final : public Clock {
 public:
  int64_t now_ns() const override {
    std::unique_lock lock(mutex_);
    ++reads_;
    ++held_;
    changed_.wait(lock, [&] { return left_ > 0; });
    --held_;
    --left_;
    return steady_.now_ns();
  }
  // Holds the engine, now or after so many more readings.
  void hold(int64_t after = 0) {
    const std::lock_guard lock(mutex_);
    left_ = after;
  }
  // Lets it go on so many readings further, or for good.
  void release(int64_t readings = std::numeric_limits<int64_t>::max()) {
    hold(readings);
    changed_.notify_all();
  }
  // Whether the engine stands at the gate.
  bool is_holding() const {
    const std::lock_guard lock(mutex_);
    return held_ > 0 && left_ <= 0;
  }
  int64_t reads() const {
    const std::lock_guard lock(mutex_);
    return reads_;
  }

 private:
  SteadyClock steady_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  mutable int64_t left_ = std::numeric_limits<int64_t>::max();
  mutable int64_t reads_ = 0;
  mutable int held_ = 0;  // threads that stand here
};

// Looks until it is true; false after a minute.
inline bool comes_true(const std::function<bool()>& condition) {
  for (int i = 0; i < 6000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

// Stands for a model that is always there.
class LentModel final : public LoadedModel {
 public:
  LentModel(const Model& model, Engine& engine, Runner& runner)
      : model_(model), engine_(engine), runner_(runner) {}
  const Model& model() const override { return model_; }
  Engine& engine() override { return engine_; }
  Runner& runner() override { return runner_; }

 private:
  const Model& model_;
  Engine& engine_;
  Runner& runner_;
};

class LentLoader final : public ModelLoader {
 public:
  LentLoader(const Model& model, Engine& engine, Runner& runner)
      : model_(model), engine_(engine), runner_(runner) {}
  Result<std::unique_ptr<LoadedModel>> load(size_t, const std::atomic<bool>&) override {
    return std::unique_ptr<LoadedModel>(std::make_unique<LentModel>(model_, engine_, runner_));
  }

 private:
  const Model& model_;
  Engine& engine_;
  Runner& runner_;
};

struct TestServer {
  explicit TestServer(ServeOptions options = {}, EngineOptions engine_options = serving_engine(),
                      Bytes memory = Bytes{256 * kMiB}, const std::string& model = "qwen2")
      : engine(model, *available_kernels().front(), 1, engine_options, memory),
        machine(describe_machine(files)),
        meter(files, machine, {}),
        attributor(meter, gate, AttributorOptions{}),
        runner(*engine.engine, engine.budget, clock, attributor),
        loader(*engine.model, *engine.engine, runner) {
    options.port = 0;
    options.grace = Millis{0};
    options.news_every = Millis{0};  // tests look at every token
    options.sequences_max = engine_options.logit_rows_max;
    if (options.models.empty()) options.models = {{.names = {"tiny", "tiny-qwen2"}}};
    Result<std::unique_ptr<Server>> listening =
        Server::listen({.loader = loader, .budget = engine.budget, .clock = clock}, options);
    CHECK(listening, listening ? "" : listening.error().message);
    server = std::move(*listening);
    thread = std::thread([this] { server->run(); });
  }
  ~TestServer() { stop(); }

  void stop() {
    if (!thread.joinable()) return;
    server->stop();
    gate.release();
    thread.join();
  }
  int port() const { return server->port(); }

  Response ask(const std::string& body) const {
    Client client(port());
    client.post(body);
    return client.read_response();
  }
  Response post(const std::string& path, const std::string& body) const {
    Client client(port());
    client.post(body, path);
    return client.read_response();
  }
  Response get(const std::string& path) const {
    Client client(port());
    client.get(path);
    return client.read_response();
  }
  // Waits until so many answers are under way.
  bool has_answers(int count) const {
    return comes_true([&] {
      const Json answers = get("/health").json()["answers"];
      return answers["active"].get<int>() + answers["waiting"].get<int>() == count;
    });
  }
  bool idle() const { return has_answers(0); }
  // Waits until all clients have gone.
  bool empty() const {
    return comes_true([&] { return server->connections() == 0; });
  }

  TinyEngine engine;
  SystemFiles files;
  Machine machine;
  JumpClock clock;
  StepGate gate;
  EnergyMeter meter;
  Attributor attributor;
  Runner runner;
  LentLoader loader;
  std::unique_ptr<Server> server;
  std::thread thread;
};

// A model that says the same after every chat: it thinks "Bern is a city.", says "I look.", and
// calls weather({"city": "Bern", "days": 2}).
struct ParrotServer : TestServer {
  ParrotServer()
      : TestServer({.models = {{.names = {"parrot"}}}}, serving_engine(), Bytes{256 * kMiB},
                   "parrot") {}
};
inline const Json kParrotArguments{{"city", "Bern"}, {"days", 2}};

// A request for `tokens` tokens, greedy unless `more` says else. more: ",\"seed\":1" and the like.
inline std::string chat_body(const std::string& text, int tokens, const std::string& more = "") {
  return "{\"model\":\"tiny\",\"messages\":[{\"role\":\"user\",\"content\":\"" + text +
         "\"}],\"temperature\":0,\"ignore_eos\":true,\"max_tokens\":" + std::to_string(tokens) +
         more + "}";
}

}  // namespace ration
