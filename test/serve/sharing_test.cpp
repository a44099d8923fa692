// Whose turn it is: priorities and keys, through HTTP.
#include <gtest/gtest.h>

#include "test/serve/test_server.h"

namespace ration {
namespace {

// One answer at a time, so that there is a turn to wait for.
EngineOptions one_place() {
  return {.context = 1024, .kv_tokens = 4096, .step_tokens_max = 64, .logit_rows_max = 1};
}

double queue_ms(Client& client) {
  const Response response = client.read_response();
  EXPECT_EQ(response.status, 200) << response.body;
  return response.json()["usage"]["ration"]["ms"]["queue"].get<double>();
}

TEST(Sharing, higher_priority_goes_first_and_a_running_answer_goes_on_after_it) {
  TestServer server({}, one_place());
  server.gate.hold(5);
  Client running(server.port()), early(server.port()), urgent(server.port());
  running.post(chat_body("a", 400));
  ASSERT_TRUE(comes_true([&] { return server.gate.is_holding(); }));
  early.post(chat_body("b", 400));
  EXPECT_TRUE(server.has_answers(2));
  urgent.post(chat_body("c", 5, ",\"ration\":{\"priority\":7}"));
  EXPECT_TRUE(server.has_answers(3));
  server.gate.release();
  const double urgent_ms = queue_ms(urgent);
  const Response whole = running.read_response();
  EXPECT_EQ(whole.json()["usage"]["completion_tokens"], 400);
  EXPECT_LT(urgent_ms, queue_ms(early));
  // What stepped back is what it would have been alone.
  const Response alone = server.ask(chat_body("a", 400));
  EXPECT_EQ(whole.json()["choices"][0]["message"], alone.json()["choices"][0]["message"]);
}

TEST(Sharing, key_that_had_less_goes_first) {
  for (const std::string header : {"Authorization: Bearer two\r\n", "X-Api-Key: two\r\n"}) {
    TestServer server({}, one_place());
    server.gate.hold(5);
    Client running(server.port()), second(server.port()), other(server.port());
    const std::string one = "Authorization: bearer one\r\n";
    running.post(chat_body("a", 700), "/v1/chat/completions", one);
    ASSERT_TRUE(comes_true([&] { return server.gate.is_holding(); }));
    second.post(chat_body("b", 200), "/v1/chat/completions", one);
    EXPECT_TRUE(server.has_answers(2));
    other.post(chat_body("c", 200), "/v1/chat/completions", header);
    EXPECT_TRUE(server.has_answers(3));
    server.gate.release();
    EXPECT_EQ(running.read_response().status, 200);
    EXPECT_LT(queue_ms(other), queue_ms(second));
  }
}

}  // namespace
}  // namespace ration
