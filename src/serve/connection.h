// serve/connection.h - one HTTP connection, for http.cpp. Costs the Asio headers. Private to
// serve/.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "serve/http.h"

namespace ration {

class Connection;

// What connections share. single-thread: the io thread's, except the count.
struct ConnectionShared {
  boost::asio::io_context& io;
  const HttpOptions& options;
  Budget& budget;
  const HttpHandler& handler;
  const HttpRefusal& refusal;
  std::set<std::shared_ptr<Connection>> open = {};
  std::atomic<int64_t> open_count = 0;
  std::vector<char> scratch = std::vector<char>(64 * kKiB);  // every read lands here first
  uint64_t id_prefix = 0;                                    // of this run
  uint64_t requests = 0;
  bool draining = false;
};

// Lives in ConnectionShared::open until closed, and in its pending operations.
class Connection final : public std::enable_shared_from_this<Connection> {
 public:
  Connection(ConnectionShared& shared, boost::asio::ip::tcp::socket socket);
  ~Connection();

  void open();
  // Closes when idle, else after the present answer.
  void drain();
  // Closes now; an answer that is being written learns that its client has gone.
  void drop();

  // For the Exchange of request `serial`; other serials are ignored.
  void reply(uint64_t serial, HttpReply reply);
  void start(uint64_t serial, HttpReply head);
  void send(uint64_t serial, std::string_view piece);
  void end(uint64_t serial);
  void abort(uint64_t serial);
  void when_gone(uint64_t serial, std::function<void()> gone);
  void when_silent(uint64_t serial, Millis span, std::function<void()> silent);

 private:
  using Time = std::chrono::steady_clock::time_point;
  struct Parser;
  enum class State : uint8_t {
    kIdle,       // between requests
    kHead,       // reading a header
    kBody,       // reading a body
    kAnswering,  // the handler has it; what is read waits in input_
    kLingering,  // all is sent and the client shall close
    kClosed,
  };

  void read();
  void on_readable();
  void parse();
  bool on_header();
  void dispatch();
  void refuse(int status, std::string_view code, const Error& error);
  void begin_wait(State state, Millis span);
  void put_head(const HttpReply& reply, bool whole);
  void put_piece(std::string_view piece);
  void write();
  void on_written();
  void next_request();
  void linger();
  Time due() const;
  void arm();
  void on_timer();
  bool charge_body(int64_t bytes);
  Status charge(Charge& memory, int64_t bytes);
  bool answers(uint64_t serial) const {
    return state_ == State::kAnswering && !ended_ && serial == serial_;
  }

  ConnectionShared& shared_;
  boost::asio::ip::tcp::socket socket_;
  boost::asio::steady_timer timer_;
  std::unique_ptr<Parser> parser_;
  State state_ = State::kIdle;
  std::string input_;   // read and not parsed yet
  std::string output_;  // to be sent after what is in flight
  std::string flight_;  // being sent
  size_t flight_sent_ = 0;
  bool reading_ = false;  // an operation is pending
  bool writing_ = false;
  Time deadline_;             // of the present state; kAnswering has none
  Time sent_;                 // last progress of writing, or begin of the answer
  Time armed_ = Time::max();  // the timer wakes then
  // Of the request that is being answered.
  uint64_t serial_ = 0;
  std::string id_;
  bool keep_alive_ = false;
  bool http_1_0_ = false;
  bool head_only_ = false;  // HEAD: no body in the answer
  bool started_ = false;    // the answer's head is out
  bool chunked_ = false;
  bool ended_ = false;
  Charge body_memory_;    // of the body that is being read
  Charge unsent_memory_;  // of output_ and flight_
  std::function<void()> gone_;
  std::function<void()> silent_;
  Millis silent_span_;
};

}  // namespace ration
