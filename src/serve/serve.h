// serve/serve.h - a model behind HTTP, in the protocols that people's clients speak: docs/api.md
// lists them, the table in routes.cpp makes them.
//
// Who does what: one io thread owns the connections; one prepare thread parses requests, renders
// templates and tokenises, so that a long prompt holds up neither streams nor steps; the thread
// that calls run() owns the Runner and does the steps. Queues between them are bounded by the
// number of answers under way; when that is reached, a request is refused at once with 503.
//
//   Result<std::unique_ptr<Server>> server = Server::listen(parts, {.names = {"smollm2"}});
//   if (!server) return server.error();
//   const int signal = (*server)->run();
#pragma once

#include <cstdint>
#include <functional>
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

struct ServeOptions {
  std::string host = "127.0.0.1";  // address or name; only this machine can connect to 127.0.0.1
  int port = 11500;                // 0: any free one
  int socket = -1;                 // one that listens already, in place of both; -1: none
  // What the model is called in requests; the first is its id in /v1/models. Empty: its file's
  // name.
  std::vector<std::string> names = {};
  // Sampling where a request says nothing.
  SamplerOptions sampler{.temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f};
  std::optional<Tariff> tariff = std::nullopt;
  std::vector<ServeKey> keys = {};  // without any, everybody is served
  RequestLogOptions log = {};

  int64_t waiting_max = 256;  // answers that wait for a place among the engine's sequences
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

// What is served and with what. Everything outlives the server; between run() and its return the
// engine and the runner belong to it.
struct ServeParts {
  const Model& model;
  Engine& engine;
  Runner& runner;
  Budget& budget;
  const Clock& clock;  // thread-safe, such as SteadyClock
};

class Server {
 public:
  // Listens; connections wait until run(). kUnavailable when the port is in use, with by whom if
  // that can be seen; kInvalid when the host is none of ours; kUnsupported when the model cannot
  // chat.
  static Result<std::unique_ptr<Server>> listen(const ServeParts& parts, ServeOptions options);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  int port() const;
  std::string url() const;  // "http://127.0.0.1:11500"

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
