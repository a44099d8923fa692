// What is refused over HTTP, with which status and words, before the first byte of an answer.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "test/serve/test_server.h"

namespace ration {
namespace {

void expect_error(const Response& response, int status, const std::string& type,
                  const std::string& code, const std::string& param = "") {
  EXPECT_EQ(response.status, status) << response.body;
  EXPECT_EQ(response.headers.at("content-type"), "application/json");
  EXPECT_TRUE(response.headers.at("x-request-id").starts_with("req-"));
  const Json error = response.json()["error"];
  EXPECT_EQ(error["type"], type) << response.body;
  EXPECT_EQ(error["code"], code) << response.body;
  EXPECT_FALSE(error["message"].get<std::string>().empty());
  if (param.empty()) {
    EXPECT_TRUE(error["param"].is_null()) << response.body;
  } else {
    EXPECT_EQ(error["param"], param);
  }
}

TEST(Refusals, a_bad_request_is_refused_the_same_streamed_or_not) {
  TestServer server;
  for (const std::string stream : {"", ",\"stream\":true"}) {
    expect_error(server.ask("{\"messages\":[" + stream), 400, "invalid_request_error",
                 "invalid_json");
    expect_error(server.ask(chat_body("x", 5, ",\"foo\":1" + stream)), 400, "invalid_request_error",
                 "unknown_parameter", "foo");
    expect_error(server.ask(chat_body("x", 5, ",\"store\":true" + stream)), 400,
                 "invalid_request_error", "unsupported_parameter", "store");
    // The tiny model's template knows neither tools nor thinking.
    expect_error(server.ask(chat_body("x", 5,
                                      ",\"tools\":[{\"type\":\"function\",\"function\":"
                                      "{\"name\":\"f\"}}]" +
                                          stream)),
                 400, "invalid_request_error", "unsupported_parameter", "tools");
    expect_error(server.ask(chat_body("x", 5, ",\"reasoning_effort\":\"low\"" + stream)), 400,
                 "invalid_request_error", "unsupported_parameter", "reasoning_effort");
    expect_error(server.ask(chat_body("x", 5, ",\"top_p\":3" + stream)), 400,
                 "invalid_request_error", "invalid_value", "top_p");
    expect_error(server.ask("{\"messages\":[]" + stream + "}"), 400, "invalid_request_error",
                 "invalid_value", "messages");
  }
}

TEST(Refusals, a_prompt_longer_than_the_context_names_both_numbers) {
  TestServer server;
  const Response response = server.ask(chat_body(std::string(5000, 'q'), 5, ",\"stream\":true"));
  expect_error(response, 400, "invalid_request_error", "context_length_exceeded", "messages");
  const Json error = response.json()["error"];
  EXPECT_EQ(error["available_tokens"], 1024);
  EXPECT_GT(error["needed_tokens"].get<int>(), 4000);
  EXPECT_NE(error["message"].get<std::string>().find("1024"), std::string::npos);
}

TEST(Refusals, an_unknown_model_is_answered_with_the_nearest) {
  TestServer server;
  const Response response =
      server.ask(R"({"model":"tony","messages":[{"role":"user","content":"x"}]})");
  expect_error(response, 404, "not_found_error", "model_not_found", "model");
  EXPECT_NE(response.body.find("'tiny'"), std::string::npos) << response.body;
  expect_error(server.get("/v1/models/gpt-4"), 404, "not_found_error", "model_not_found", "model");
  EXPECT_EQ(
      server
          .ask(
              R"({"model":"tiny-qwen2","max_tokens":1,"messages":[{"role":"user","content":"x"}]})")
          .status,
      200);
}

TEST(Refusals, paths_and_methods) {
  TestServer server;
  const Response path = server.get("/chat/completions");
  expect_error(path, 404, "not_found_error", "unknown_path");
  EXPECT_NE(path.body.find("/v1/chat/completions"), std::string::npos) << path.body;
  const Response method = server.get("/v1/chat/completions");
  expect_error(method, 405, "invalid_request_error", "method_not_allowed");
  EXPECT_EQ(method.headers.at("allow"), "POST");
  Client client(server.port());
  client.post("{}", "/v1/models");
  EXPECT_EQ(client.read_response().headers.at("allow"), "GET, HEAD");
}

TEST(Refusals, hosts_and_origins_of_other_sites) {
  TestServer server;
  const auto status = [&](const std::string& headers) {
    Client client(server.port());
    client.send("GET /health HTTP/1.1\r\n" + headers + "\r\n");
    return client.read_response().status;
  };
  const std::string port = std::to_string(server.port());
  EXPECT_EQ(status("Host: localhost:" + port + "\r\n"), 200);
  EXPECT_EQ(status("Host: 127.0.0.1:" + port + "\r\n"), 200);
  EXPECT_EQ(status("Host: [::1]:" + port + "\r\n"), 200);
  EXPECT_EQ(status("Host: evil.example:" + port + "\r\n"), 403);
  EXPECT_EQ(status("Host: localhost\r\nOrigin: http://localhost\r\n"), 200);
  EXPECT_EQ(status("Host: localhost\r\nOrigin: https://evil.example\r\n"), 403);
  EXPECT_EQ(status("Host: localhost\r\nOrigin: null\r\n"), 403);
}

TEST(Refusals, a_full_queue) {
  EngineOptions engine = serving_engine();
  engine.logit_rows_max = 1;
  TestServer server({.waiting_max = 2}, engine);
  server.gate.hold();
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 3; ++i) {
    clients.push_back(std::make_unique<Client>(server.port()));
    clients.back()->post(chat_body("wait", 900));
  }
  EXPECT_TRUE(server.has_answers(3));
  const Response response = server.ask(chat_body("one more", 1));
  expect_error(response, 503, "unavailable_error", "queue_full");
  EXPECT_EQ(response.headers.at("retry-after"), "1");
  clients.clear();
  server.gate.release();
  EXPECT_TRUE(server.idle());
  EXPECT_EQ(server.ask(chat_body("now", 1)).status, 200);
}

TEST(Refusals, a_deadline_that_passes_in_the_queue) {
  TestServer server;
  server.gate.hold();
  Client busy(server.port());
  busy.post(chat_body("long", 1000, ",\"stream\":true"));
  for (const std::string stream : {"true", "false"}) {
    // Inside a step the engine takes nothing new, so the late one is late before it is computed.
    server.gate.hold();
    ASSERT_TRUE(comes_true([&] { return server.gate.is_holding(); }));
    Client late(server.port());
    late.post(chat_body("x", 5, ",\"ration\":{\"max_ms\":60000},\"stream\":" + stream));
    EXPECT_TRUE(server.has_answers(2));
    server.clock.advance(Millis{61'000});
    // What the engine has to say goes out at the end of a step: so many until it has heard of it.
    std::atomic<bool> answered = false;
    std::thread steps([&] {
      while (!answered) {
        server.gate.release(1);
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      }
    });
    const Response response = late.read_response();
    answered = true;
    steps.join();
    expect_error(response, 504, "unavailable_error", "deadline_exceeded", "ration.max_ms");
    EXPECT_NE(response.body.find("60000 ms"), std::string::npos) << response.body;
  }
  server.gate.release();
  expect_error(server.ask(chat_body("x", 5, ",\"ration\":{\"max_ms\":0}")), 504,
               "unavailable_error", "deadline_exceeded", "ration.max_ms");
}

TEST(Refusals, a_body_that_no_memory_is_left_for) {
  TestServer server({}, serving_engine(), Bytes{24 * kMiB});
  // Beyond the budget itself, so trying again will not help.
  const Response never = server.ask(chat_body(std::string(6 * kMiB, 'a'), 1));
  expect_error(never, 400, "invalid_request_error", "insufficient_memory");
  EXPECT_FALSE(never.headers.contains("retry-after"));
  EXPECT_GT(never.json()["error"]["needed_bytes"].get<int64_t>(), 24 * kMiB);
  // Beyond what is free now.
  Result<Charge> most =
      server.engine.budget.reserve(Tag::kScratch, server.engine.budget.available() - Bytes{kMiB});
  ASSERT_TRUE(most);
  const Response now = server.ask(chat_body(std::string(kMiB, 'a'), 1));
  expect_error(now, 503, "unavailable_error", "insufficient_memory");
  EXPECT_TRUE(now.headers.contains("retry-after"));
  most->release();
  // Then it is looked at, and is too long; what it took is given back.
  expect_error(server.ask(chat_body(std::string(kMiB, 'a'), 1)), 400, "invalid_request_error",
               "context_length_exceeded", "messages");
  EXPECT_EQ(server.engine.budget.report().used[static_cast<size_t>(Tag::kIo)], Bytes{0});
}

TEST(Refusals, a_cache_that_cannot_grow) {
  TestServer server;
  server.engine.budget.inject_failures([](Tag tag, Bytes) { return tag == Tag::kKv; });
  const Response response = server.ask(chat_body("x", 5, ",\"stream\":true"));
  expect_error(response, 503, "unavailable_error", "insufficient_memory");
  EXPECT_TRUE(response.headers.contains("retry-after"));
  server.engine.budget.inject_failures(nullptr);
  EXPECT_EQ(server.ask(chat_body("x", 5)).status, 200);
}

TEST(Refusals, an_error_after_the_first_byte_breaks_the_stream) {
  TestServer server({.ping_every = Millis{20}});
  server.gate.hold();
  Client busy(server.port());
  busy.post(chat_body("long", 1000, ",\"stream\":true"));
  EXPECT_TRUE(server.has_answers(1));
  Client late(server.port());
  late.post(chat_body("x", 5, ",\"stream\":true,\"ration\":{\"max_ms\":60000}"));
  EXPECT_EQ(late.read_head().status, 200);  // a comment has begun it
  server.clock.advance(Millis{61'000});
  server.gate.release();
  std::string stream;
  std::pair<bool, std::string> chunk;
  for (chunk = late.read_chunk(); chunk.first && !chunk.second.empty(); chunk = late.read_chunk()) {
    stream += chunk.second;
  }
  EXPECT_FALSE(chunk.first);  // broken off, not ended
  const std::vector<Json> events = events_of(stream);
  ASSERT_EQ(events.size(), 1u) << stream;
  EXPECT_EQ(events[0]["error"]["code"], "deadline_exceeded");
}

TEST(Refusals, a_model_that_cannot_chat_is_not_served) {
  TinyEngine engine("gemma3");
  SystemFiles files;
  const Machine machine = describe_machine(files);
  SteadyClock clock;
  EnergyMeter meter(files, machine, {});
  Attributor attributor(meter, clock, AttributorOptions{});
  Runner runner(*engine.engine, engine.budget, clock, attributor);
  LentLoader loader(*engine.model, *engine.engine, runner);
  const auto server = Server::listen({.loader = loader, .budget = engine.budget, .clock = clock},
                                     {.port = 0, .models = {{.names = {"gemma3"}}}});
  ASSERT_FALSE(server);
  EXPECT_EQ(server.error().code, Code::kUnsupported);
}

}  // namespace
}  // namespace ration
