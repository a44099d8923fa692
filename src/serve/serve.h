// serve/serve.h - models behind HTTP, in the protocols that people's clients speak: docs/api.md
// lists them, the table in routes.cpp makes them.
//
// Who does what: one io thread owns the connections; one prepare thread parses requests, renders
// templates and tokenises, so that a long prompt holds up neither streams nor steps; one thread
// loads models and lets them go, as requests want them and memory allows; the thread that calls
// run() does the steps of all runners. Queues between them are bounded by the number of answers
// under way; when that is reached, a request is refused at once with 503.
//
//   Result<std::unique_ptr<Server>> server = Server::listen(parts, {.models = {{"smollm2"}}});
//   if (!server) return server.error();
//   const int signal = (*server)->run();
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/budget.h"
#include "base/clock.h"
#include "base/result.h"
#include "base/unit.h"
#include "measure/measure.h"
#include "model/model.h"
#include "run/run.h"
#include "serve/keys.h"
#include "serve/request_log.h"

namespace ration {

// What may change while answers are under way: they end as they began, later ones go by it.
struct ServeReload {
  std::vector<ServeKey> keys;
  std::optional<Tariff> tariff;
};

// A model that may be served.
struct ServeModel {
  // What it is called in requests; the first is its id in /v1/models.
  std::vector<std::string> names;
  std::filesystem::path file{};
  // Of the pool, when it is loaded; its engine takes no more.
  Bytes bytes{};
  Millis load{1'000};                               // what loading takes, before it was measured
  bool pinned = false;                              // never goes for another, nor for idleness
  bool helper = false;                              // lives in the helpers' part of the pool
  std::optional<Millis> keep_alive = std::nullopt;  // goes when idle for so long; none: stays
  bool preload = false;                             // loaded when there is room, unasked
};

// A model in memory: what answers it and what that stands on. Destroyed on the loading thread, when
// nobody uses it any more.
class LoadedModel {
 public:
  virtual ~LoadedModel() = default;
  virtual const Model& model() const = 0;
  virtual Engine& engine() = 0;
  virtual Runner& runner() = 0;
};

// Brings models into memory. Called by one thread at a time, while runners of other models step on
// another: what they share must be thread-safe.
class ModelLoader {
 public:
  virtual ~ModelLoader() = default;
  // index: into ServeOptions::models. Gives up, with kCancelled, soon after `stops` becomes true.
  virtual Result<std::unique_ptr<LoadedModel>> load(size_t index,
                                                    const std::atomic<bool>& stops) = 0;
};

struct ServeOptions {
  std::string host = "127.0.0.1";  // address or name; only this machine can connect to 127.0.0.1
  int port = 11500;                // 0: any free one
  int socket = -1;                 // one that listens already, in place of both; -1: none
  std::vector<ServeModel> models = {};  // the first answers requests that name none
  // What models may take together, and those that are helpers.
  Bytes pool{std::numeric_limits<int64_t>::max()};
  Bytes helper_pool{0};
  // Sampling where a request says nothing.
  SamplerOptions sampler{.temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f};
  std::optional<Tariff> tariff = std::nullopt;
  std::vector<ServeKey> keys = {};  // without any, everybody is served
  RequestLogOptions log = {};

  int64_t sequences_max = 16;  // answers that are written at once, of a model
  int64_t waiting_max = 256;   // answers that wait for a place among those, or for their model
  int64_t connections_max = 2048;
  Bytes header_max{32 * kKiB};
  Bytes body_max{32 * kMiB};
  Bytes unsent_max{1 * kMiB};  // of a stream whose client does not read: then it is cancelled
  Millis header_timeout{10'000};
  Millis body_timeout{60'000};
  Millis idle_timeout{75'000};   // of a connection between requests
  Millis write_timeout{30'000};  // without the client taking a byte
  Millis news_every{20};         // tokens that come faster than this travel together
  Millis ping_every{5'000};      // a comment into a stream that is silent so long
  Millis grace{5'000};           // for answers under way, when the server shall stop
  // SIGINT and SIGTERM stop(); a second one cuts the grace short. SIGHUP reloads.
  bool catch_signals = false;
  // What to go on with after SIGHUP, asked on the io thread; none: as before.
  std::function<std::optional<ServeReload>()> reload = {};
};

// What serves them. Everything outlives the server.
struct ServeParts {
  ModelLoader& loader;
  Budget& budget;      // of the whole process
  const Clock& clock;  // thread-safe, such as SteadyClock
};

class Server {
 public:
  // Loads the first model and listens; connections wait until run(). kUnavailable when the port is
  // in use, with by whom if that can be seen; kInvalid when the host is none of ours; kUnsupported
  // when the only model cannot chat; the loader's errors. REQUIRES: there is a model.
  static Result<std::unique_ptr<Server>> listen(const ServeParts& parts, ServeOptions options);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  int port() const;
  std::string url() const;  // "http://127.0.0.1:11500"
  bool writes() const;      // the first model; false: it makes vectors alone

  // Serves until stop() or a signal, on this thread; then no answer, connection or thread is left.
  // Once. Returns the signal, or 0.
  int run();
  // Takes no new requests, gives those under way the grace, then cancels them. thread-safe.
  void stop();

  int64_t connections() const;  // open now. thread-safe

 private:
  struct State;
  explicit Server(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace ration
