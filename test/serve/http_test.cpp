// HTTP without a model: what a connection may do and how long.
#include "serve/http.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <thread>

#include "base/json.h"
#include "serve/port_owner.h"
#include "test/serve/client.h"

namespace ration {
namespace {

using namespace std::chrono_literals;

HttpReply refusal(std::string_view, int status, std::string_view code, const Error& error) {
  return {.status = status,
          .body = Json{{"status", status}, {"code", code}, {"message", error.message}}.dump()};
}

// Answers with the method, path and size of the body; keeps exchanges of /hold, streams /flood.
struct Echo {
  explicit Echo(HttpOptions options = {}) {
    Result<std::unique_ptr<HttpServer>> listening = HttpServer::listen(
        std::move(options), budget,
        [this](HttpRequest request, std::shared_ptr<Exchange> exchange) {
          handle(std::move(request), std::move(exchange));
        },
        refusal);
    CHECK(listening, listening ? "" : listening.error().message);
    server = std::move(*listening);
    server->start();
  }
  ~Echo() { server->stop(Millis{100}); }

  void handle(HttpRequest request, std::shared_ptr<Exchange> exchange) {
    if (request.path == "/hold") {
      exchange->when_gone([this] { ++gone; });
      held.push_back(exchange);
      ++holding;
      return;
    }
    if (request.path == "/stream") {
      exchange->start({.body = "one ", .type = "text/plain"});
      exchange->send("two ");
      exchange->send("");
      exchange->send("three");
      return exchange->end();
    }
    if (request.path == "/silent") {
      exchange->start({.body = "begin", .type = "text/plain"});
      exchange->when_silent(Millis{50}, [exchange] { exchange->send("."); });
      exchange->when_gone([this] { ++gone; });
      return;
    }
    if (request.path == "/flood") {
      exchange->when_gone([this] { ++gone; });
      exchange->start({.body = "", .type = "text/plain"});
      return flood(exchange);
    }
    exchange->reply(
        {.body = request.method + " " + request.path + " " + std::to_string(request.body.size()),
         .type = "text/plain"});
  }

  void flood(const std::shared_ptr<Exchange>& exchange) {
    if (gone > 0 || flooded >= flood_max) return;
    exchange->send(std::string(64 * kKiB, 'x'));
    flooded += 64 * kKiB;
    server->post([this, exchange] { flood(exchange); });
  }

  int port() const { return server->port(); }
  bool reaches(const std::atomic<int>& counter, int wanted) const {
    for (int i = 0; i < 6000 && counter < wanted; ++i) std::this_thread::sleep_for(10ms);
    return counter >= wanted;
  }
  bool comes_to(Bytes available) const {
    for (int i = 0; i < 6000 && budget.available() != available; ++i) {
      std::this_thread::sleep_for(10ms);
    }
    return budget.available() == available;
  }
  bool empties() const {
    for (int i = 0; i < 6000 && server->connections() > 0; ++i) std::this_thread::sleep_for(10ms);
    return server->connections() == 0;
  }

  std::atomic<int> gone = 0;
  std::atomic<int> holding = 0;
  std::atomic<int64_t> flooded = 0;
  std::atomic<int64_t> flood_max = 256 * kMiB;
  std::vector<std::shared_ptr<Exchange>> held;
  Budget budget{"test", {.hard = Bytes{16 * kMiB}}};
  std::unique_ptr<HttpServer> server;
};

TEST(Http, answers_many_requests_on_one_connection) {
  Echo echo;
  Client client(echo.port());
  for (int i = 0; i < 50; ++i) {
    client.post("12345", "/a%20b?q=1");
    const Response response = client.read_response();
    EXPECT_EQ(response.status, 200);
    EXPECT_EQ(response.body, "POST /a b 5");
    EXPECT_TRUE(response.headers.contains("x-request-id"));
    EXPECT_TRUE(response.headers.contains("date"));
  }
  EXPECT_EQ(echo.server->connections(), 1);
}

TEST(Http, answers_pipelined_requests_in_order) {
  Echo echo;
  Client client(echo.port());
  std::string all;
  for (int i = 0; i < 30; ++i) {
    all += "GET /" + std::to_string(i) + " HTTP/1.1\r\nHost: localhost\r\n\r\n";
  }
  client.send(all);
  for (int i = 0; i < 30; ++i) {
    EXPECT_EQ(client.read_response().body, "GET /" + std::to_string(i) + " 0");
  }
}

TEST(Http, reads_a_request_that_comes_byte_by_byte) {
  Echo echo;
  Client client(echo.port());
  for (char c : std::string("\r\nPOST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")) {
    client.send({&c, 1});
    std::this_thread::sleep_for(1ms);
  }
  EXPECT_EQ(client.read_response().body, "POST /x 3");
}

TEST(Http, reads_a_chunked_body) {
  Echo echo;
  Client client(echo.port());
  client.send(
      "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n"
      "0\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_EQ(client.read_response().body, "POST /x 5");
  EXPECT_EQ(client.read_response().body, "GET /next 0");
}

TEST(Http, asks_for_the_body_when_the_client_waits_for_that) {
  Echo echo;
  Client client(echo.port());
  client.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(client.read_head().status, 100);
  client.send("abc");
  EXPECT_EQ(client.read_response().body, "POST /x 3");
}

TEST(Http, head_has_no_body_and_http_1_0_closes) {
  Echo echo;
  Client client(echo.port());
  client.send("HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n");
  const Response head = client.read_head();
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.headers.at("content-length"), "9");
  client.send("GET /stream HTTP/1.0\r\n\r\n");
  const Response stream = client.read_response();
  EXPECT_EQ(stream.body, "one two three");
  EXPECT_EQ(stream.header("transfer-encoding"), "");
  EXPECT_EQ(stream.headers.at("connection"), "close");
}

TEST(Http, streams_in_chunks) {
  Echo echo;
  Client client(echo.port());
  for (int i = 0; i < 2; ++i) {
    client.get("/stream");
    const Response stream = client.read_response();
    EXPECT_EQ(stream.headers.at("transfer-encoding"), "chunked");
    EXPECT_EQ(stream.body, "one two three");
  }
}

TEST(Http, closes_when_the_client_asks_for_it) {
  Echo echo;
  Client client(echo.port());
  client.get("/x", "Connection: close\r\n");
  EXPECT_EQ(client.read_response().headers.at("connection"), "close");
  EXPECT_TRUE(client.closes_within(60'000));
}

TEST(Http, refuses_what_is_too_large_or_broken) {
  Echo echo({.header_max = Bytes{4096}, .body_max = Bytes{1000}});
  const auto status_of = [&](const std::string& request) {
    Client client(echo.port());
    client.send(request);
    const Response response = client.read_response();
    EXPECT_TRUE(response.headers.contains("x-request-id"));
    EXPECT_TRUE(client.closes_within(60'000));
    return std::pair<int, std::string>(response.status, response.json()["code"].get<std::string>());
  };
  using Answer = std::pair<int, std::string>;
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\nX: " + std::string(100'000, 'a') + "\r\n\r\n"),
            (Answer{431, "header_too_large"}));
  EXPECT_EQ(status_of("GET /" + std::string(100'000, 'a') + " HTTP/1.1\r\n\r\n"),
            (Answer{431, "header_too_large"}));
  EXPECT_EQ(status_of("POST / HTTP/1.1\r\nContent-Length: 1001\r\n\r\n" + std::string(1001, 'x')),
            (Answer{413, "body_too_large"}));
  EXPECT_EQ(status_of("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n" +
                      std::string(4095, 'x') + "\r\n0\r\n\r\n"),
            (Answer{413, "body_too_large"}));
  EXPECT_EQ(status_of("hello there\r\n\r\n"), (Answer{400, "malformed_http"}));
  EXPECT_EQ(status_of("POST / HTTP/1.1\r\nContent-Length: -3\r\n\r\n"),
            (Answer{400, "malformed_http"}));
  EXPECT_EQ(status_of("POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"),
            (Answer{400, "malformed_http"}));
}

TEST(Http, answers_a_client_that_sends_on_after_a_refusal) {
  Echo echo({.body_max = Bytes{1000}});
  Client client(echo.port());
  client.send("POST / HTTP/1.1\r\nContent-Length: 20000000\r\n\r\n");
  client.send(std::string(2'000'000, 'x'));
  EXPECT_EQ(client.read_response().status, 413);
}

TEST(Http, charges_bodies_to_the_budget_before_they_come) {
  Echo echo({.small = Bytes{100}});
  Result<Charge> most = echo.budget.reserve(Tag::kScratch, echo.budget.available() - Bytes{1500});
  ASSERT_TRUE(most);
  Client first(echo.port());
  first.send("POST / HTTP/1.1\r\nContent-Length: 1000\r\n\r\nabc");
  ASSERT_TRUE(echo.comes_to(Bytes{500}));
  Client second(echo.port());
  second.send("POST / HTTP/1.1\r\nContent-Length: 1000\r\n\r\nabc");
  const Response refused = second.read_response();
  EXPECT_EQ(refused.status, 503);
  EXPECT_TRUE(refused.headers.contains("retry-after"));
  Client chunked(echo.port());
  chunked.send("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n" +
               std::string(1000, 'x'));
  EXPECT_EQ(chunked.read_response().status, 503);
  Client small(echo.port());
  small.post(std::string(100, 'x'));
  EXPECT_EQ(small.read_response().status, 200);
  first.send(std::string(997, 'x'));
  EXPECT_EQ(first.read_response().status, 200);
  EXPECT_TRUE(echo.comes_to(Bytes{1500}));
  auto vanishing = std::make_unique<Client>(echo.port());
  vanishing->send("POST / HTTP/1.1\r\nContent-Length: 1400\r\n\r\nabc");
  ASSERT_TRUE(echo.comes_to(Bytes{100}));
  vanishing.reset();
  EXPECT_TRUE(echo.comes_to(Bytes{1500}));
}

TEST(Http, times_out_slow_headers_bodies_and_idle_connections) {
  constexpr Millis kShort{200};
  Echo headers({.header_timeout = kShort, .linger = Millis{50}});
  Echo bodies({.body_timeout = kShort, .linger = Millis{50}});
  Echo idles({.idle_timeout = kShort});
  Client header(headers.port());
  Client never(headers.port());
  Client body(bodies.port());
  Client idle(idles.port());
  header.send("GET / HT");
  body.send("POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc");
  idle.get("/x");
  EXPECT_EQ(idle.read_response().status, 200);
  EXPECT_EQ(header.read_response().status, 408);
  EXPECT_EQ(body.read_response().status, 408);
  EXPECT_TRUE(idle.closes_within(60'000));
  EXPECT_TRUE(never.closes_within(60'000));
  EXPECT_TRUE(headers.empties() && bodies.empties() && idles.empties());
}

TEST(Http, notices_a_client_that_goes_while_it_waits) {
  Echo echo;
  auto client = std::make_unique<Client>(echo.port());
  client->get("/hold");
  ASSERT_TRUE(echo.reaches(echo.holding, 1));
  EXPECT_EQ(echo.gone, 0);
  client.reset();
  EXPECT_TRUE(echo.reaches(echo.gone, 1));
  EXPECT_TRUE(echo.empties());
  // What is kept of it does nothing any more.
  std::promise<void> done;
  echo.server->post([&] {
    echo.held.front()->reply({.body = "late"});
    done.set_value();
  });
  done.get_future().wait();
}

TEST(Http, speaks_when_silent) {
  Echo echo;
  Client client(echo.port());
  client.get("/silent");
  EXPECT_EQ(client.read_head().status, 200);
  EXPECT_EQ(client.read_chunk().second, "begin");
  for (int i = 0; i < 3; ++i) EXPECT_EQ(client.read_chunk().second, ".");
  client.close();
  EXPECT_TRUE(echo.reaches(echo.gone, 1));
}

TEST(Http, cuts_a_client_that_does_not_read) {
  Echo echo({.unsent_max = Bytes{256 * kKiB}});
  Client client(echo.port(), 4096);
  client.get("/flood");
  EXPECT_TRUE(echo.reaches(echo.gone, 1));
  EXPECT_LE(echo.flooded, 32 * kMiB);  // the kernel's own buffers, and the limit
  EXPECT_TRUE(echo.empties());
}

TEST(Http, charges_what_a_client_does_not_read_and_cuts_it_when_that_is_too_much) {
  Echo echo({.unsent_max = Bytes{kGiB}});
  const Bytes before = echo.budget.available();
  Client client(echo.port(), 4096);
  client.get("/flood");
  EXPECT_TRUE(echo.reaches(echo.gone, 1));
  // The budget, the kernel's own buffers, and what is sent before it is refused.
  EXPECT_GE(echo.flooded, before.count - kMiB);
  EXPECT_LE(echo.flooded, before.count + 32 * kMiB);
  EXPECT_TRUE(echo.empties());
  EXPECT_EQ(echo.budget.available(), before);
}

TEST(Http, cuts_a_client_that_takes_nothing_for_too_long) {
  Echo echo({.unsent_max = Bytes{kGiB}, .write_timeout = Millis{200}});
  echo.flood_max = 10 * kMiB;  // more than the kernel takes, less than the budget
  Client client(echo.port(), 4096);
  client.get("/flood");
  EXPECT_TRUE(echo.reaches(echo.gone, 1));
  EXPECT_TRUE(echo.empties());
}

TEST(Http, bounds_the_connections) {
  Echo echo({.connections_max = 3});
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 3; ++i) {
    clients.push_back(std::make_unique<Client>(echo.port()));
    clients.back()->get("/x");
    EXPECT_EQ(clients.back()->read_response().status, 200);
  }
  Client more(echo.port());
  const Response refused = more.read_response();
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(refused.json()["code"], "too_many_connections");
  clients.clear();
  EXPECT_TRUE(echo.empties());
  Client later(echo.port());
  later.get("/x");
  EXPECT_EQ(later.read_response().status, 200);
}

TEST(Http, draining_finishes_the_present_answer_only) {
  Echo echo;
  Client idle(echo.port());
  idle.get("/x");
  idle.read_response();
  Client busy(echo.port());
  busy.get("/hold");
  ASSERT_TRUE(echo.reaches(echo.holding, 1));
  echo.server->drain();
  EXPECT_TRUE(idle.closes_within(60'000));
  echo.server->post([&] { echo.held.front()->reply({.body = "done"}); });
  const Response last = busy.read_response();
  EXPECT_EQ(last.body, "done");
  EXPECT_EQ(last.headers.at("connection"), "close");
  EXPECT_FALSE(Client(echo.port()).connected());
}

TEST(Http, a_port_in_use_is_named_with_its_owner) {
  Echo echo;
  Budget& budget = echo.budget;
  EXPECT_NE(port_owner(echo.port()).value_or("").find(std::to_string(::getpid())),
            std::string::npos);
  const auto second = HttpServer::listen({.port = echo.port()}, budget, nullptr, refusal);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::kUnavailable);
  EXPECT_NE(second.error().message.find("in use by"), std::string::npos) << second.error().message;
}

TEST(Http, refuses_hosts_that_are_not_ours_and_takes_ipv6) {
  Budget budget("test", {.hard = Bytes{kMiB}});
  EXPECT_EQ(HttpServer::listen({.host = "192.0.2.1"}, budget, nullptr, refusal).error().code,
            Code::kInvalid);
  EXPECT_EQ(HttpServer::listen({.host = "no such host"}, budget, nullptr, refusal).error().code,
            Code::kInvalid);
  for (const char* host : {"::1", "[::1]"}) {
    const auto six = HttpServer::listen({.host = host}, budget, nullptr, refusal);
    if (!six) {
      EXPECT_EQ(six.error().code, Code::kInvalid);  // a machine without IPv6
      continue;
    }
    EXPECT_TRUE((*six)->address().starts_with("[::1]:"));
    EXPECT_TRUE((*six)->is_loopback());
  }
}

}  // namespace
}  // namespace ration
