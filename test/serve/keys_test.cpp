// Who may ask for what, and what is written down about it.
#include "serve/keys.h"

#include <gtest/gtest.h>

#include "base/sha256.h"
#include "test/serve/test_server.h"

namespace ration {
namespace {

constexpr const char* kAlice = "alice-has-a-long-secret";
constexpr const char* kBob = "bob-has-a-long-secret-too";

std::vector<ServeKey> two_keys() {
  return {{.name = "alice", .sha256 = *sha256_of(kAlice), .priority_max = 5},
          {.name = "bob", .sha256 = *sha256_of(kBob), .models = {"another"}}};
}

Response ask_as(const TestServer& server, const std::string& secret, const std::string& body,
                const std::string& path = "/v1/chat/completions") {
  Client client(server.port());
  client.post(body, path, secret.empty() ? "" : "Authorization: Bearer " + secret + "\r\n");
  return client.read_response();
}

TEST(Keys, are_found_by_their_secret) {
  const Keys keys(two_keys());
  ASSERT_TRUE(keys.find(kBob));
  EXPECT_EQ((*keys.find(kBob))->name, "bob");
  EXPECT_EQ(*keys.find("bob-has-a-long-secret-to"), nullptr);
  EXPECT_EQ(*keys.find(""), nullptr);
  EXPECT_TRUE(Keys().empty());
}

TEST(Keys, whoever_has_none_is_refused_in_the_words_of_each_protocol) {
  TestServer server({.keys = two_keys()});
  const Response without = server.ask(chat_body("x", 2));
  EXPECT_EQ(without.status, 401);
  EXPECT_EQ(without.header("www-authenticate"), "Bearer");
  EXPECT_EQ(without.json()["error"]["type"], "authentication_error");
  EXPECT_EQ(without.json()["error"]["code"], "missing_api_key");
  const Response wrong = ask_as(server, "nobody", chat_body("x", 2));
  EXPECT_EQ(wrong.status, 401);
  EXPECT_EQ(wrong.json()["error"]["code"], "invalid_api_key");
  EXPECT_EQ(wrong.body.find("nobody"), std::string::npos);
  const Response anthropic = ask_as(server, "", "{}", "/v1/messages");
  EXPECT_EQ(anthropic.status, 401);
  EXPECT_EQ(anthropic.json()["error"]["type"], "authentication_error");
  EXPECT_EQ(ask_as(server, "", "{}", "/api/chat").status, 401);
  EXPECT_EQ(server.get("/v1/models").status, 401);
  EXPECT_EQ(server.get("/metrics").status, 401);
  EXPECT_EQ(server.get("/health").status, 200);
}

TEST(Keys, allow_what_they_allow) {
  TestServer server({.keys = two_keys()});
  EXPECT_EQ(ask_as(server, kAlice, chat_body("x", 2)).status, 200);
  Client with_header(server.port());
  with_header.post(chat_body("x", 2), "/v1/chat/completions",
                   std::string("X-Api-Key: ") + kAlice + "\r\n");
  EXPECT_EQ(with_header.read_response().status, 200);
  const Response model = ask_as(server, kBob, chat_body("x", 2));
  EXPECT_EQ(model.status, 403);
  EXPECT_EQ(model.json()["error"]["code"], "model_not_allowed");
  const auto prioritised = [&](int priority) {
    return chat_body("x", 2, ",\"ration\":{\"priority\":" + std::to_string(priority) + "}");
  };
  EXPECT_EQ(ask_as(server, kAlice, prioritised(5)).status, 200);
  const Response above = ask_as(server, kAlice, prioritised(6));
  EXPECT_EQ(above.status, 403);
  EXPECT_EQ(above.json()["error"]["param"], "ration.priority");
}

TEST(RequestLog, has_one_line_a_request_and_no_prompt) {
  std::mutex mutex;
  std::vector<std::string> lines;
  const RequestLogOptions log{.write = [&](std::string_view line) {
    const std::lock_guard lock(mutex);
    lines.emplace_back(line);
  }};
  TestServer server({.keys = two_keys(), .log = log});
  EXPECT_EQ(ask_as(server, kAlice, chat_body("private words", 3)).status, 200);
  EXPECT_EQ(ask_as(server, kAlice, chat_body("private words", 3, ",\"stream\":true")).status, 200);
  EXPECT_EQ(ask_as(server, "", chat_body("private words", 3)).status, 401);
  EXPECT_EQ(ask_as(server, kAlice, "{").status, 400);
  server.stop();
  ASSERT_EQ(lines.size(), 4u);
  for (const std::string& line : lines) {
    EXPECT_EQ(line.find("private"), std::string::npos) << line;
    EXPECT_EQ(line.find('\n'), std::string::npos);
    ASSERT_TRUE(parse_json(line)) << line;
  }
  const Json whole = *parse_json(lines[0]);
  EXPECT_EQ(whole["key"], "alice");
  EXPECT_EQ(whole["model"], "tiny");
  EXPECT_EQ(whole["status"], 200);
  EXPECT_EQ(whole["stream"], false);
  EXPECT_EQ(whole["bill"]["tokens"]["generated"], 3);
  EXPECT_GT(whole["ms"].get<double>(), 0);
  EXPECT_EQ((*parse_json(lines[1]))["stream"], true);
  EXPECT_EQ((*parse_json(lines[2]))["error"], "missing_api_key");
  EXPECT_EQ((*parse_json(lines[3]))["error"], "invalid_json");
}

}  // namespace
}  // namespace ration
