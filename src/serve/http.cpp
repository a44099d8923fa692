#include "serve/http.h"

#include <fmt/core.h>

#include <array>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <csignal>
#include <exception>
#include <thread>

#include "base/log.h"
#include "base/rng.h"
#include "serve/connection.h"
#include "serve/port_owner.h"

namespace ration {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using tcp = asio::ip::tcp;

constexpr std::chrono::milliseconds kAcceptPause{100};  // after the system refused a descriptor
constexpr std::chrono::milliseconds kStopPoll{10};

std::string without_brackets(const std::string& host) {
  if (host.size() > 2 && host.starts_with('[') && host.ends_with(']')) {
    return host.substr(1, host.size() - 2);
  }
  return host;
}

std::string address_text(const tcp::endpoint& endpoint) {
  const std::string address = endpoint.address().to_string();
  return endpoint.address().is_v6() ? fmt::format("[{}]:{}", address, endpoint.port())
                                    : fmt::format("{}:{}", address, endpoint.port());
}

Error listen_error(const error_code& error, const HttpOptions& options, const tcp::endpoint& at) {
  const std::string address = address_text(at);
  if (error == asio::error::address_in_use) {
    const std::optional<std::string> owner = port_owner(options.port);
    return {Code::kUnavailable,
            fmt::format("cannot listen on {}: the port is in use{}; stop that program or choose "
                        "another port with --port",
                        address, owner ? " by " + *owner : "")};
  }
  if (error == error_code(EADDRNOTAVAIL, boost::system::system_category())) {
    return {Code::kInvalid,
            fmt::format("cannot listen on {}: found host '{}', wanted an address of this machine",
                        address, options.host)};
  }
  return {Code::kIo, fmt::format("cannot listen on {}: {}", address, error.message())};
}

}  // namespace

struct HttpServer::Core {
  Core(HttpOptions options_in, Budget& budget_in, HttpHandler handler_in, HttpRefusal refusal_in)
      : options(std::move(options_in)),
        budget(budget_in),
        handler(std::move(handler_in)),
        refusal(std::move(refusal_in)) {
    shared.id_prefix = random_seed() >> 16;
  }

  Status open();
  error_code bind(const tcp::endpoint& endpoint);
  error_code take_over(int socket);
  void accept();
  void on_accepted(tcp::socket socket);
  void drain();
  void finish(std::chrono::steady_clock::time_point latest);
  void run();

  const HttpOptions options;
  Budget& budget;
  const HttpHandler handler;
  const HttpRefusal refusal;
  asio::io_context io{1};
  ConnectionShared shared{
      .io = io, .options = options, .budget = budget, .handler = handler, .refusal = refusal};
  asio::executor_work_guard<asio::io_context::executor_type> work = asio::make_work_guard(io);
  tcp::acceptor acceptor{io};
  asio::steady_timer timer{io};  // pauses of accept(), then of finish()
  asio::signal_set signals{io};
  std::string address;
  int port = 0;
  bool loopback = false;
  bool stopped = false;
  std::thread thread;
};

error_code HttpServer::Core::bind(const tcp::endpoint& endpoint) {
  error_code error;
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  return error;
}

error_code HttpServer::Core::take_over(int socket) {
  sockaddr_storage own{};
  socklen_t size = sizeof own;
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&own), &size) != 0) {
    return {errno, boost::system::system_category()};
  }
  error_code error;
  acceptor.assign(own.ss_family == AF_INET6 ? tcp::v6() : tcp::v4(), socket, error);
  return error;
}

Status HttpServer::Core::open() {
  error_code error;
  tcp::resolver resolver(io);
  const std::string host = without_brackets(options.host);
  const auto found =
      resolver.resolve(host, std::to_string(options.port), tcp::resolver::passive, error);
  if (error || found.empty()) {
    return Error{Code::kInvalid, fmt::format("found host '{}', wanted an address or a name of this "
                                             "machine: {}",
                                             options.host, error.message())};
  }
  const tcp::endpoint endpoint = found.begin()->endpoint();
  error = options.socket >= 0 ? take_over(options.socket) : bind(endpoint);
  if (error) return listen_error(error, options, endpoint);
  const tcp::endpoint bound = acceptor.local_endpoint(error);
  if (error) return listen_error(error, options, endpoint);
  address = address_text(bound);
  port = bound.port();
  loopback = bound.address().is_loopback();
  return {};
}

void HttpServer::Core::accept() {
  acceptor.async_accept([this](const error_code& error, tcp::socket socket) {
    if (!acceptor.is_open()) return;
    if (!error) {
      on_accepted(std::move(socket));
      return accept();
    }
    log(Level::kWarning, "cannot accept a connection: " + error.message());
    timer.expires_after(kAcceptPause);
    timer.async_wait([this](const error_code& cancelled) {
      if (!cancelled && acceptor.is_open()) accept();
    });
  });
}

void HttpServer::Core::on_accepted(tcp::socket socket) {
  if (shared.open_count < options.connections_max) {
    std::make_shared<Connection>(shared, std::move(socket))->open();
    return;
  }
  const HttpReply reply = refusal(
      "", 503, "too_many_connections",
      Error{Code::kUnavailable, fmt::format("{} connections are open, the most that are served",
                                            options.connections_max)});
  std::string text = fmt::format(
      "HTTP/1.1 503 Service Unavailable\r\ncontent-type: {}\r\nretry-after: 1\r\n"
      "connection: close\r\ncontent-length: {}\r\n",
      reply.type, reply.body.size());
  for (const auto& [name, value] : reply.headers) text += fmt::format("{}: {}\r\n", name, value);
  text += "\r\n" + reply.body;
  error_code ignored;
  socket.non_blocking(true, ignored);
  socket.write_some(asio::buffer(text), ignored);
  socket.shutdown(tcp::socket::shutdown_send, ignored);
}

void HttpServer::Core::drain() {
  if (shared.draining) return;
  shared.draining = true;
  error_code ignored;
  acceptor.close(ignored);
  const std::set<std::shared_ptr<Connection>> open = shared.open;  // drain() takes from it
  for (const auto& connection : open) connection->drain();
}

void HttpServer::Core::finish(std::chrono::steady_clock::time_point latest) {
  if (shared.open.empty() || std::chrono::steady_clock::now() >= latest) {
    const std::set<std::shared_ptr<Connection>> open = shared.open;
    for (const auto& connection : open) connection->drop();
    io.stop();
    return;
  }
  timer.expires_after(kStopPoll);
  timer.async_wait([this, latest](const error_code& error) {
    if (!error) finish(latest);
  });
}

// The edge where what a library throws ends: one request is lost then, not the server.
void HttpServer::Core::run() {
  while (true) {
    try {
      io.run();
      return;
    } catch (const std::exception& thrown) {
      log(Level::kError, fmt::format("serving a connection failed: {}", thrown.what()));
    }
  }
}

Result<std::unique_ptr<HttpServer>> HttpServer::listen(HttpOptions options, Budget& budget,
                                                       HttpHandler handler, HttpRefusal refusal) {
  auto core =
      std::make_unique<Core>(std::move(options), budget, std::move(handler), std::move(refusal));
  if (Status opened = core->open(); !opened) return opened.error();
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(core)));
}

HttpServer::HttpServer(std::unique_ptr<Core> core) : core_(std::move(core)) {}

HttpServer::~HttpServer() { stop(Millis{0}); }

int HttpServer::port() const { return core_->port; }
const std::string& HttpServer::address() const { return core_->address; }
bool HttpServer::is_loopback() const { return core_->loopback; }
int64_t HttpServer::connections() const { return core_->shared.open_count; }

void HttpServer::start() {
  core_->accept();
  core_->thread = std::thread([core = core_.get()] { core->run(); });
}

void HttpServer::post(std::function<void()> job) { asio::post(core_->io, std::move(job)); }

void HttpServer::on_signals(std::function<void(int)> caught) {
  error_code ignored;
  core_->signals.add(SIGINT, ignored);
  core_->signals.add(SIGTERM, ignored);
  core_->signals.add(SIGHUP, ignored);
  // Waits anew after each, so that a second signal is seen too.
  auto wait = std::make_shared<std::function<void()>>();
  std::weak_ptr<std::function<void()>> again = wait;
  *wait = [this, again, caught = std::move(caught)] {
    core_->signals.async_wait([again = again.lock(), caught](const error_code& error, int number) {
      if (error) return;
      caught(number);
      if (again) (*again)();
    });
  };
  (*wait)();
}

void HttpServer::drain() {
  post([core = core_.get()] { core->drain(); });
}

void HttpServer::stop(Millis flush_max) {
  if (core_->stopped) return;
  core_->stopped = true;
  if (!core_->thread.joinable()) return;
  const auto latest = std::chrono::steady_clock::now() +
                      std::chrono::duration_cast<std::chrono::steady_clock::duration>(
                          std::chrono::duration<double, std::milli>(flush_max.count));
  post([core = core_.get(), latest] {
    core->drain();
    core->timer.cancel();
    core->finish(latest);
  });
  core_->thread.join();
}

}  // namespace ration
