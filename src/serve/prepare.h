// serve/prepare.h - from the body of a request to what an engine can begin: its model found,
// parsed, checked against it, rendered and tokenised, on a thread of its own. Private to serve/.
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
#include "run/run.h"
#include "serve/face/face.h"
#include "serve/keys.h"
#include "serve/model_pool.h"
#include "serve/output_parser.h"

namespace ration {

struct PreparedAnswer {
  AnswerHead head;
  OutputOptions output;
  std::vector<Request> requests;  // one a choice; their deadlines count from the arrival
  bool stream = false;
  bool named = false;  // the request said which model
  std::optional<Millis> keep_alive;
};

// What the engine shall do, or the whole body of an answer that needs no engine, or a refusal.
using Prepared = std::variant<PreparedAnswer, std::string, ApiError>;

// One thread that prepares requests in the order of their arrival, or of their models'. Checks in
// this order: the JSON and every field, the model's name, that the caller may use it, that there
// can be room for it and its file is unchanged, the template's word, the length, the deadline.
// thread-safe.
class Preparer {
 public:
  struct Job {
    uint64_t key = 0;
    const Face* face = nullptr;
    std::string body;
    std::string share;                              // whose request it is: Request::key
    Caller caller{};                                // null: anybody
    int64_t arrived_ns = 0;                         // on the preparer's clock
    std::shared_ptr<const std::atomic<bool>> gone;  // then it is dropped
    Charge memory;                                  // of the body, held as long as it is
    // Found by the preparer: the model asked for, its lease, and what loading it took.
    size_t model = 0;
    ModelLease lease{};
    Millis load{};
  };
  using Done = std::function<void(const Job& job, Prepared result)>;

  // `done` is called by the thread, or the pool's, when the body is let go and paid back. REQUIRES:
  // clock and pool outlive it, and the pool is stopped before it ends.
  Preparer(const Clock& clock, ModelPool& pool, SamplerOptions sampler, Done done);
  ~Preparer();  // drops what waits, after the job at hand

  void add(Job job);

 private:
  struct Wanted {
    std::string model;
    std::optional<Millis> deadline{};
    bool unloads = false;  // nothing but that
  };

  void work();
  void prepare(Job job);
  std::variant<Wanted, ApiError> wanted_of(const Job& job) const;
  bool find_model(Job& job);
  void end(Job& job, Prepared result) const;
  PreparedAnswer unloaded(size_t model);
  Prepared answer_of(const Job& job);

  const Clock& clock_;
  ModelPool& pool_;
  const SamplerOptions sampler_;
  const Done done_;
  Rng rng_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;  // bounded by Answers, which bounds what is under way
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace ration
