// serve/http.h - HTTP/1.1 on one thread: requests in, whole or streamed answers out. Knows nothing
// of what is asked and answered.
//
// A connection reads one request at a time and hands it to the handler with an Exchange to answer
// through. While it is answered the connection goes on reading, so it notices at once when the
// client goes away. Every size and every wait is bounded by HttpOptions. Private to serve/.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/budget.h"
#include "base/result.h"
#include "base/unit.h"

namespace ration {

struct HttpOptions {
  std::string host = "127.0.0.1";  // an address or a name; "::1" and "[::1]" are the same
  int port = 0;                    // 0: any free one
  int socket = -1;                 // a TCP socket that listens already, in place of both; -1: none
  int64_t connections_max = 512;   // more are answered 503 and closed
  Bytes header_max{32 * kKiB};     // of a request, with its first line
  Bytes body_max{32 * kMiB};       // of one request
  Bytes small{16 * kKiB};          // bodies and unsent rests up to this are not charged
  Bytes unsent_max{1 * kMiB};      // of a stream whose client does not read: then it is cut
  Bytes ahead_max{16 * kKiB};      // of further requests that a client sends before its answer
  Millis header_timeout{10'000};   // from the first byte of a request to the end of its header
  Millis body_timeout{60'000};     // from there to the end of its body
  Millis idle_timeout{75'000};     // between requests
  Millis write_timeout{30'000};    // without the client taking a byte of what is to be sent
  Millis linger{1'000};            // for the client to close, after our last byte
};

struct HttpRequest {
  std::string method;
  std::string path;    // without the query; %XX decoded
  std::string host;    // the Host header, as sent; "" when absent
  std::string origin;  // the Origin header; "" when absent
  // Who the client says it is: the bearer token of Authorization, or X-Api-Key; "" when absent.
  std::string credential;
  std::string body;
  Charge memory;   // the body's bytes, when there are many
  std::string id;  // unique; the answer carries it as x-request-id
};

struct HttpReply {
  int status = 200;
  std::string body;
  std::string type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers = {};
};

// What an error before any handler (a header too large, a broken request) is answered with: the
// handler's own shape of errors. path: "" where it is not known. code: "header_too_large" and the
// like.
using HttpRefusal = std::function<HttpReply(std::string_view path, int status,
                                            std::string_view code, const Error& error)>;

// The answering side of one request: reply(), or start() send()... end(). When the client has gone,
// or after the end, calls do nothing; so it may be kept as long as one likes. single-thread: the
// server's.
class Exchange {
 public:
  virtual ~Exchange() = default;

  // The whole answer.
  virtual void reply(HttpReply reply) = 0;
  // The head of an answer whose body comes in pieces; `head.body` is the first of them.
  virtual void start(HttpReply head) = 0;
  virtual void send(std::string_view piece) = 0;
  virtual void end() = 0;
  // Breaks the connection off, so that the client knows the answer is not whole.
  virtual void abort() = 0;

  // Called once when the client goes away before the answer has ended.
  virtual void when_gone(std::function<void()> gone) = 0;
  // Called whenever nothing was sent for so long, until the answer ends.
  virtual void when_silent(Millis span, std::function<void()> silent) = 0;
};

using HttpHandler = std::function<void(HttpRequest, std::shared_ptr<Exchange>)>;

class HttpServer {
 public:
  // Binds and listens; nothing is answered before start(). kUnavailable when the port is in use,
  // with by whom if that can be seen; kInvalid for an address that is none of this machine's; kIo.
  // What is being read, and what slow clients leave unsent of a stream, is charged to `budget`
  // under Tag::kIo. REQUIRES: it outlives this.
  static Result<std::unique_ptr<HttpServer>> listen(HttpOptions options, Budget& budget,
                                                    HttpHandler handler, HttpRefusal refusal);
  ~HttpServer();  // as stop(0)
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  int port() const;
  // "127.0.0.1:11500", "[::1]:11500"
  const std::string& address() const;
  // Whether only this machine can connect.
  bool is_loopback() const;

  // Starts the thread that calls the handler and everything else here. Once.
  void start();
  // Calls `job` on that thread, after what was posted before. thread-safe.
  void post(std::function<void()> job);
  // SIGINT, SIGTERM and SIGHUP call `caught` on that thread, from now on. Before start().
  void on_signals(std::function<void(int)> caught);

  // No new connections; idle ones are closed, the others after their present answer. thread-safe.
  void drain();
  // Drains, waits at most `flush_max` for what is still to be sent, closes the rest and ends the
  // thread. Not from that thread. Idempotent.
  void stop(Millis flush_max);

  int64_t connections() const;  // open now. thread-safe

 private:
  struct Core;
  explicit HttpServer(std::unique_ptr<Core> core);
  std::unique_ptr<Core> core_;
};

}  // namespace ration
