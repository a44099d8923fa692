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
#include "run/run.h"
#include "serve/face/face.h"
#include "serve/keys.h"
#include "serve/output_parser.h"

namespace ration {

struct PreparedAnswer {
  AnswerHead head;
  OutputOptions output;
  std::vector<Request> requests;  // one a choice; their deadlines count from the arrival
  bool stream = false;
  bool named = false;  // the request said which model
};

// What the engine shall do, or the whole body of an answer that needs no engine, or a refusal.
using Prepared = std::variant<PreparedAnswer, std::string, ApiError>;

struct PrepareOptions {
  ServedModel served;
  SamplerOptions sampler;
};

// A request as it came.
struct Arrival {
  const Face& face;
  std::string_view body;
  int64_t ns = 0;   // on the clock of prepare()
  Caller caller{};  // null: anybody
};

// Checks in this order: the JSON and every field, the model's name, that the caller may use it,
// that its file is unchanged, the template's word, the length, the deadline.
Prepared prepare(const Arrival& arrival, const Clock& clock, const PrepareOptions& options,
                 Rng& rng);

// One thread that prepares requests in the order of their arrival. thread-safe.
class Preparer {
 public:
  struct Job {
    uint64_t key = 0;
    const Face* face = nullptr;
    std::string body;
    std::string share;  // whose request it is: Request::key
    Caller caller{};
    int64_t arrived_ns = 0;
    std::shared_ptr<const std::atomic<bool>> gone;  // then it is dropped
    Charge memory;                                  // of the body, held as long as it is
  };
  using Done = std::function<void(const Job& job, Prepared result)>;

  // `done` is called by the thread, when the body is let go and paid back. REQUIRES: clock and what
  // is served outlive it.
  Preparer(const Clock& clock, PrepareOptions options, Done done);
  ~Preparer();  // drops what waits, after the job at hand

  void add(Job job);

 private:
  void work();

  const Clock& clock_;
  const PrepareOptions options_;
  const Done done_;
  Rng rng_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;  // bounded by Answers, which bounds what is under way
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace ration
