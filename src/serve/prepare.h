// serve/prepare.h - from the body of a request to what the engine can begin: parsed, checked
// against the model, rendered and tokenised, on a thread of its own. Private to serve/.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <variant>
#include <vector>

#include "base/budget.h"
#include "base/clock.h"
#include "base/rng.h"
#include "model/model.h"
#include "run/run.h"
#include "serve/api_error.h"

namespace ration {

// What the answer's writer needs to know of the request.
struct ChatTraits {
  bool stream = false;
  bool include_usage = false;
  bool logprobs = false;
};

struct PreparedChat {
  ChatTraits traits;
  Request request;  // its deadline counts from the request's arrival
};

struct PrepareOptions {
  std::vector<std::string> names;  // of the model; the first is the one we use
  SamplerOptions sampler;
  int64_t context = 0;
};

// Checks in this order: the JSON and every field, the model's name, that its file is unchanged, the
// template's word, the length, the deadline. `arrived_ns` on `clock`.
std::variant<PreparedChat, ApiError> prepare_chat(std::string_view body, int64_t arrived_ns,
                                                  const Model& model, const Clock& clock,
                                                  const PrepareOptions& options, Rng& rng);

// 404 model_not_found with the nearest names.
ApiError unknown_model(std::string_view name, const std::vector<std::string>& names);

// One thread that prepares chats in the order of their arrival. thread-safe.
class Preparer {
 public:
  struct Job {
    uint64_t key = 0;
    std::string body;
    int64_t arrived_ns = 0;
    std::shared_ptr<const std::atomic<bool>> gone;  // then it is dropped
    Charge memory;                                  // of the body, held as long as it is
  };
  using Done = std::function<void(const Job& job, std::variant<PreparedChat, ApiError> result)>;

  // `done` is called by the thread, when the body is let go and paid back. REQUIRES: model and
  // clock outlive it.
  Preparer(const Model& model, const Clock& clock, PrepareOptions options, Done done);
  ~Preparer();  // drops what waits, after the job at hand

  void add(Job job);

 private:
  void work();

  const Model& model_;
  const Clock& clock_;
  const PrepareOptions options_;
  const Done done_;
  Rng rng_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;  // bounded by the routes, which bound the answers under way
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace ration
