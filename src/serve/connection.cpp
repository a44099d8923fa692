#include "serve/connection.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

#include "base/format.h"
#include "serve/http_text.h"

namespace ration {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;
using SteadyTime = std::chrono::steady_clock;

constexpr int64_t kChargeGrowth = 256 * kKiB;

SteadyTime::duration span_of(Millis span) {
  return std::chrono::duration_cast<SteadyTime::duration>(
      std::chrono::duration<double, std::milli>(span.count));
}

std::string text_of(boost::beast::string_view view) { return {view.data(), view.size()}; }

std::string credential_of(std::string_view authorization, std::string_view api_key) {
  const size_t space = authorization.find(' ');
  const std::string_view scheme = authorization.substr(0, space);
  if (space == std::string_view::npos || !boost::beast::iequals(scheme, "bearer")) {
    return std::string(api_key);
  }
  return std::string(authorization.substr(space + 1));
}

class ConnectionExchange final : public Exchange {
 public:
  ConnectionExchange(std::weak_ptr<Connection> connection, uint64_t serial)
      : connection_(std::move(connection)), serial_(serial) {}

  void reply(HttpReply reply) override {
    if (const auto open = connection_.lock()) open->reply(serial_, std::move(reply));
  }
  void start(HttpReply head) override {
    if (const auto open = connection_.lock()) open->start(serial_, std::move(head));
  }
  void send(std::string_view piece) override {
    if (const auto open = connection_.lock()) open->send(serial_, piece);
  }
  void end() override {
    if (const auto open = connection_.lock()) open->end(serial_);
  }
  void abort() override {
    if (const auto open = connection_.lock()) open->abort(serial_);
  }
  void when_gone(std::function<void()> gone) override {
    if (const auto open = connection_.lock()) open->when_gone(serial_, std::move(gone));
  }
  void when_silent(Millis span, std::function<void()> silent) override {
    if (const auto open = connection_.lock()) open->when_silent(serial_, span, std::move(silent));
  }

 private:
  std::weak_ptr<Connection> connection_;
  uint64_t serial_;
};

}  // namespace

struct Connection::Parser {
  explicit Parser(const HttpOptions& options) {
    http.eager(true);
    http.header_limit(static_cast<uint32_t>(options.header_max.count));
    http.body_limit(static_cast<uint64_t>(options.body_max.count));
  }

  http::request_parser<http::string_body> http;
};

Connection::Connection(ConnectionShared& shared, asio::ip::tcp::socket socket)
    : shared_(shared), socket_(std::move(socket)), timer_(shared.io) {}

Connection::~Connection() = default;

void Connection::open() {
  shared_.open.insert(shared_from_this());
  ++shared_.open_count;
  error_code ignored;
  socket_.non_blocking(true, ignored);
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
  parser_ = std::make_unique<Parser>(shared_.options);
  begin_wait(State::kIdle, shared_.options.header_timeout);
  read();
}

void Connection::drain() {
  if (state_ == State::kIdle || state_ == State::kHead) drop();
}

void Connection::drop() {
  if (state_ == State::kClosed) return;
  // Later, so that whoever caused this by a call is not called back inside it.
  if (state_ == State::kAnswering && !ended_ && gone_) asio::post(shared_.io, std::move(gone_));
  state_ = State::kClosed;
  gone_ = nullptr;
  silent_ = nullptr;
  body_memory_.release();
  unsent_memory_.release();
  error_code ignored;
  socket_.close(ignored);
  timer_.cancel();
  --shared_.open_count;
  shared_.open.erase(shared_from_this());
}

// ------------------------------------------------------------------------------------- reading

void Connection::read() {
  if (reading_ || state_ == State::kClosed) return;
  const auto ahead_max = static_cast<size_t>(shared_.options.ahead_max.count);
  if (state_ == State::kAnswering && input_.size() >= ahead_max) return;
  reading_ = true;
  socket_.async_wait(asio::ip::tcp::socket::wait_read,
                     [self = shared_from_this()](const error_code& error) {
                       self->reading_ = false;
                       if (self->state_ == State::kClosed) return;
                       if (error) return self->drop();
                       self->on_readable();
                     });
}

void Connection::on_readable() {
  error_code error;
  const size_t count = socket_.read_some(asio::buffer(shared_.scratch), error);
  if (error == asio::error::would_block || error == asio::error::interrupted) return read();
  if (error) {
    // The client has closed its side: nobody waits for an answer, unless it is complete already.
    if (state_ == State::kAnswering && ended_) {
      keep_alive_ = false;
      return;
    }
    return drop();
  }
  if (state_ != State::kLingering) input_.append(shared_.scratch.data(), count);
  parse();
  read();
}

void Connection::parse() {
  while (state_ == State::kIdle || state_ == State::kHead || state_ == State::kBody) {
    if (state_ == State::kIdle) {
      input_.erase(0, std::min(input_.find_first_not_of("\r\n"), input_.size()));
      if (input_.empty()) return;
      begin_wait(State::kHead, shared_.options.header_timeout);
    }
    error_code error;
    const size_t used = parser_->http.put(asio::buffer(input_), error);
    input_.erase(0, used);
    if (error == http::error::need_more) {
      error = {};
    } else if (error == http::error::header_limit) {
      return refuse(
          431, "header_too_large",
          Error{Code::kInvalid, fmt::format("the request's header is larger than {} bytes",
                                            shared_.options.header_max.count)});
    } else if (error == http::error::body_limit) {
      return refuse(413, "body_too_large",
                    Error{Code::kInvalid, fmt::format("the request's body is larger than {} bytes",
                                                      shared_.options.body_max.count)});
    } else if (error) {
      return refuse(400, "malformed_http",
                    Error{Code::kInvalid, "not a valid HTTP request: " + error.message()});
    }
    if (state_ == State::kHead && parser_->http.is_header_done() && !on_header()) return;
    if (state_ == State::kBody &&
        !charge_body(static_cast<int64_t>(parser_->http.get().body().size()))) {
      return;
    }
    if (parser_->http.is_done()) return dispatch();
    if (used == 0 || input_.empty()) return;
  }
}

// False when the request has been refused.
bool Connection::on_header() {
  begin_wait(State::kBody, shared_.options.body_timeout);
  const auto& request = parser_->http.get();
  if (const auto length = parser_->http.content_length()) {
    if (!charge_body(static_cast<int64_t>(*length))) return false;
  }
  if (request.version() >= 11 && !parser_->http.is_done()) {
    const auto expect = request.find(http::field::expect);
    if (expect != request.end() && boost::beast::iequals(expect->value(), "100-continue")) {
      output_ += "HTTP/1.1 100 Continue\r\n\r\n";
      write();
    }
  }
  return true;
}

// Charges a body that has or will have so many bytes. False when the request has been refused.
bool Connection::charge_body(int64_t bytes) {
  const Status charged = charge(body_memory_, bytes);
  if (!charged) refuse(503, "insufficient_memory", charged.error());
  return static_cast<bool>(charged);
}

// Raises `memory` to at least so many bytes, unless they are few.
Status Connection::charge(Charge& memory, int64_t bytes) {
  const int64_t missing = bytes - memory.bytes().count;
  if (bytes <= shared_.options.small.count || missing <= 0) return {};
  // What grows once will grow again.
  if (memory.bytes() > Bytes{0}) return memory.grow(Bytes{std::max(missing, kChargeGrowth)});
  Result<Charge> first = shared_.budget.reserve(Tag::kIo, Bytes{missing});
  if (!first) return first.error();
  memory = std::move(*first);
  return {};
}

void Connection::dispatch() {
  auto message = parser_->http.release();
  parser_.reset();
  state_ = State::kAnswering;
  ++serial_;
  id_ = fmt::format("req-{:012x}-{}", shared_.id_prefix, ++shared_.requests);
  http_1_0_ = message.version() < 11;
  keep_alive_ = message.keep_alive();
  head_only_ = message.method() == http::verb::head;
  started_ = chunked_ = ended_ = false;
  sent_ = SteadyTime::now();
  HttpRequest request{.method = text_of(message.method_string()),
                      .path = decoded_path(text_of(message.target())),
                      .host = text_of(message[http::field::host]),
                      .origin = text_of(message[http::field::origin]),
                      .credential = credential_of(text_of(message[http::field::authorization]),
                                                  text_of(message["x-api-key"])),
                      .body = std::move(message.body()),
                      .memory = std::move(body_memory_),
                      .id = id_};
  shared_.handler(std::move(request),
                  std::make_shared<ConnectionExchange>(weak_from_this(), serial_));
}

// The request never reaches the handler; what follows it cannot be understood, so the end.
void Connection::refuse(int status, std::string_view code, const Error& error) {
  const std::string path = decoded_path(text_of(parser_->http.get().target()));
  parser_.reset();
  state_ = State::kAnswering;
  body_memory_.release();
  ++serial_;
  id_ = fmt::format("req-{:012x}-{}", shared_.id_prefix, ++shared_.requests);
  keep_alive_ = http_1_0_ = head_only_ = started_ = chunked_ = ended_ = false;
  HttpReply reply = shared_.refusal(path, status, code, error);
  if (status == 503) reply.headers.emplace_back("retry-after", "1");
  this->reply(serial_, std::move(reply));
}

void Connection::next_request() {
  silent_ = nullptr;
  gone_ = nullptr;
  if (!keep_alive_ || shared_.draining) return linger();
  parser_ = std::make_unique<Parser>(shared_.options);
  begin_wait(State::kIdle, shared_.options.idle_timeout);
  parse();
  read();
}

// Closing with bytes unread would make the kernel take back what the client has not read yet.
void Connection::linger() {
  error_code ignored;
  socket_.shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  input_.clear();
  begin_wait(State::kLingering, shared_.options.linger);
  read();
}

// ------------------------------------------------------------------------------------- writing

void Connection::reply(uint64_t serial, HttpReply reply) {
  if (!answers(serial) || started_) return;
  started_ = true;
  put_head(reply, /*whole=*/true);
  if (!head_only_) output_ += reply.body;
  end(serial);
}

void Connection::start(uint64_t serial, HttpReply head) {
  if (!answers(serial) || started_) return;
  started_ = true;
  chunked_ = !http_1_0_;
  if (http_1_0_) keep_alive_ = false;
  put_head(head, /*whole=*/false);
  put_piece(head.body);
  write();
}

void Connection::send(uint64_t serial, std::string_view piece) {
  if (!answers(serial) || !started_) return;
  put_piece(piece);
  const auto unsent = static_cast<int64_t>(output_.size() + flight_.size() - flight_sent_);
  if (unsent > shared_.options.unsent_max.count || !charge(unsent_memory_, unsent)) return drop();
  write();
}

void Connection::end(uint64_t serial) {
  if (!answers(serial) || !started_) return;
  if (chunked_) output_ += "0\r\n\r\n";
  ended_ = true;
  gone_ = nullptr;
  silent_ = nullptr;
  write();
}

void Connection::abort(uint64_t serial) {
  if (!answers(serial)) return;
  gone_ = nullptr;
  silent_ = nullptr;
  // What was said so far still goes out, but no end of the answer.
  ended_ = true;
  keep_alive_ = false;
  if (writing_ || !output_.empty()) return write();
  drop();
}

void Connection::when_gone(uint64_t serial, std::function<void()> gone) {
  if (answers(serial)) gone_ = std::move(gone);
}

void Connection::when_silent(uint64_t serial, Millis span, std::function<void()> silent) {
  if (!answers(serial)) return;
  silent_ = std::move(silent);
  silent_span_ = span;
  arm();
}

void Connection::put_head(const HttpReply& reply, bool whole) {
  if (shared_.draining) keep_alive_ = false;
  output_ += fmt::format(
      "HTTP/1.1 {} {}\r\nserver: ration\r\ndate: {}\r\nx-request-id: {}\r\ncontent-type: {}\r\n"
      "x-content-type-options: nosniff\r\n",
      reply.status, reason_of(reply.status), http_date(), id_, reply.type);
  for (const auto& [name, value] : reply.headers) output_ += fmt::format("{}: {}\r\n", name, value);
  if (whole) {
    output_ += fmt::format("content-length: {}\r\n", reply.body.size());
  } else if (chunked_) {
    output_ += "transfer-encoding: chunked\r\n";
  }
  if (!keep_alive_) {
    output_ += "connection: close\r\n";
  } else if (http_1_0_) {
    output_ += "connection: keep-alive\r\n";
  }
  output_ += "\r\n";
}

void Connection::put_piece(std::string_view piece) {
  if (piece.empty()) return;
  if (!chunked_) {
    output_ += piece;
    return;
  }
  append_format(output_, "{:x}\r\n", piece.size());
  output_ += piece;
  output_ += "\r\n";
}

void Connection::write() {
  if (writing_ || state_ == State::kClosed) return;
  if (flight_sent_ == flight_.size()) {
    flight_.clear();
    flight_.swap(output_);
    flight_sent_ = 0;
    sent_ = SteadyTime::now();
  }
  if (flight_.empty()) return;
  writing_ = true;
  arm();
  socket_.async_write_some(asio::buffer(flight_) + flight_sent_,
                           [self = shared_from_this()](const error_code& error, size_t count) {
                             self->writing_ = false;
                             if (self->state_ == State::kClosed) return;
                             if (error) return self->drop();
                             self->flight_sent_ += count;
                             self->sent_ = SteadyTime::now();
                             self->on_written();
                           });
}

void Connection::on_written() {
  if (flight_sent_ < flight_.size() || !output_.empty()) return write();
  unsent_memory_.release();
  if (state_ == State::kAnswering && ended_) return next_request();
  arm();  // the timer was set for the write; what waits now may be due earlier
}

// -------------------------------------------------------------------------------------- waiting

void Connection::begin_wait(State state, Millis span) {
  state_ = state;
  deadline_ = SteadyTime::now() + span_of(span);
  arm();
}

// When this connection next wants to be looked at.
Connection::Time Connection::due() const {
  if (state_ == State::kClosed) return Time::max();
  if (state_ != State::kAnswering) return deadline_;
  if (writing_) return sent_ + span_of(shared_.options.write_timeout);
  if (silent_ && !ended_) return sent_ + span_of(silent_span_);
  return Time::max();
}

// A timer that is set earlier stays: it looks, and sets itself again. So sending sets no timer.
void Connection::arm() {
  const Time wanted = due();
  if (wanted >= armed_) return;
  armed_ = wanted;
  timer_.expires_at(wanted);
  timer_.async_wait([self = shared_from_this()](const error_code& error) {
    if (error || self->state_ == State::kClosed) return;
    self->armed_ = Time::max();
    self->on_timer();
    self->arm();
  });
}

void Connection::on_timer() {
  if (SteadyTime::now() < due()) return;
  switch (state_) {
    case State::kHead:
    case State::kBody:
      return refuse(
          408, "request_timeout",
          Error{Code::kDeadline,
                fmt::format("the request's {} took longer than {:.0f} ms",
                            state_ == State::kHead ? "header" : "body",
                            state_ == State::kHead ? shared_.options.header_timeout.count
                                                   : shared_.options.body_timeout.count)});
    case State::kAnswering:
      if (writing_) return drop();
      sent_ = SteadyTime::now();
      if (const std::function<void()> silent = silent_) silent();
      return;
    case State::kIdle:
    case State::kLingering:
    case State::kClosed:
      return drop();
  }
}

}  // namespace ration
