// Anthropic's messages: what is taken and refused, the answer's shape, and its events.
#include <gtest/gtest.h>

#include "base/json.h"
#include "base/text.h"
#include "serve/face/face.h"
#include "test/serve/test_server.h"

namespace ration {
namespace {

const AskDefaults kDefaultsOfMessages{.sampler = {.temperature = 0.8f}, .vocabulary = 100};
constexpr const char* kMessagesPath = "/v1/messages";

std::variant<Ask, ApiError> read_message(const std::string& fields) {
  return kAnthropicMessages.read("{" + fields + "}", kDefaultsOfMessages);
}

const std::string kHi = R"("max_tokens":5,"messages":[{"role":"user","content":"hi"}])";

TEST(Anthropic, takes_every_field_it_knows) {
  const auto result = read_message(
      kHi + R"(,"model":"m","system":[{"type":"text","text":"be kind","cache_control":{}}],
      "stop_sequences":["a","b"],"stream":true,"temperature":0.5,"top_p":0.9,"top_k":5,
      "metadata":{"user_id":"u"},"tool_choice":{"type":"auto","disable_parallel_tool_use":true},
      "tools":[{"name":"f","description":"d","input_schema":{"type":"object"}}],
      "thinking":{"type":"disabled"},"service_tier":"auto","ration":{"max_ms":10})");
  ASSERT_TRUE(std::holds_alternative<Ask>(result)) << std::get<ApiError>(result).message;
  const Ask& ask = std::get<Ask>(result);
  EXPECT_EQ(ask.messages_json,
            R"([{"role":"system","content":"be kind"},{"role":"user","content":"hi"}])");
  EXPECT_EQ(ask.stops, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(ask.tokens_max, 5);
  EXPECT_EQ(ask.tools.json, R"([{"type":"function","function":{"name":"f","description":"d",)"
                            R"("parameters":{"type":"object"}}}])");
  EXPECT_FALSE(ask.tools.parallel);
  EXPECT_EQ(ask.thinking.on, false);
}

TEST(Anthropic, blocks_become_the_conversation_that_templates_read) {
  const auto result = read_message(R"("max_tokens":5,"messages":[
      {"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},
      {"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"s"},
        {"type":"text","text":"I look."},
        {"type":"tool_use","id":"t1","name":"f","input":{"x":1}}]},
      {"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":"42"},
        {"type":"tool_result","tool_use_id":"t2","content":[{"type":"text","text":"43"}]},
        {"type":"text","text":"so?"}]}])");
  ASSERT_TRUE(std::holds_alternative<Ask>(result)) << std::get<ApiError>(result).message;
  EXPECT_EQ(std::get<Ask>(result).messages_json,
            R"([{"role":"user","content":"a\nb"},{"role":"assistant","content":"I look.",)"
            R"("reasoning_content":"hm","tool_calls":[{"id":"t1","type":"function",)"
            R"("function":{"name":"f","arguments":{"x":1}}}]},)"
            R"({"role":"tool","tool_call_id":"t1","content":"42"},)"
            R"({"role":"tool","tool_call_id":"t2","content":"43"},)"
            R"({"role":"user","content":"so?"}])");
}

TEST(Anthropic, refuses_by_name) {
  const std::pair<std::string, const char*> cases[] = {
      {R"("messages":[{"role":"user","content":"hi"}])", "max_tokens"},
      {R"("max_tokens":5)", "messages"},
      {R"("max_tokens":5,"messages":[{"role":"tool","content":"x"}])", "messages[0].role"},
      {R"("max_tokens":5,"messages":[{"role":"user","content":5}])", "messages[0].content"},
      {R"("max_tokens":5,"messages":[{"role":"user","content":[{"type":"image"}]}])",
       "messages[0].content[0].type"},
      {R"("max_tokens":5,"messages":[{"role":"user","content":[{"type":"tool_use"}]}])",
       "messages[0].content[0]"},
      {kHi + R"(,"system":5)", "system"},
      {kHi + R"(,"stop_sequences":"")", "stop_sequences"},
      {kHi + R"(,"tools":[{"type":"web_search_20250305","name":"web_search"}])", "tools[0].type"},
      {kHi + R"(,"tools":[{"name":"f"}])", "tools[0].input_schema"},
      {kHi + R"(,"tool_choice":{"type":"any"})", "tool_choice.type"},
      {kHi + R"(,"thinking":{"type":"enabled","budget_tokens":1024})", "thinking.budget_tokens"},
      {kHi + R"(,"thinking":{"type":"hard"})", "thinking.type"},
      {kHi + R"(,"mcp_servers":[])", "mcp_servers"},
      {kHi + R"(,"max_token":5)", "max_token"},
  };
  for (const auto& [fields, param] : cases) {
    const auto result = read_message(fields);
    ASSERT_TRUE(std::holds_alternative<ApiError>(result)) << fields;
    EXPECT_EQ(std::get<ApiError>(result).param, param) << std::get<ApiError>(result).message;
  }
}

// The events of a stream: their names and data.
std::vector<std::pair<std::string, Json>> named_events(const std::string& body) {
  std::vector<std::pair<std::string, Json>> events;
  for (size_t at = 0; at < body.size();) {
    const size_t end = body.find("\n\n", at);
    const std::string event = body.substr(at, end - at);
    at = end + 2;
    const size_t line = event.find('\n');
    EXPECT_TRUE(event.starts_with("event: ")) << event;
    EXPECT_EQ(event.substr(line + 1, 6), "data: ") << event;
    Result<Json> data = parse_json(event.substr(line + 7));
    EXPECT_TRUE(data) << event;
    events.emplace_back(event.substr(7, line - 7), data ? *data : Json());
    EXPECT_EQ(events.back().second["type"], events.back().first);
  }
  return events;
}

TEST(Anthropic, answers_whole_and_in_the_same_events) {
  TestServer server;
  const auto ask = [&](const std::string& more) {
    Client client(server.port());
    client.post(
        R"({"model":"tiny","max_tokens":9,"temperature":0,"messages":[{"role":"user","content":)"
        R"("hello there"}])" +
            more + "}",
        kMessagesPath, "anthropic-version: 2023-06-01\r\n");
    return client.read_response();
  };
  const Response response = ask("");
  EXPECT_EQ(response.header("request-id"), response.header("x-request-id"));
  const Json answer = response.json();
  EXPECT_TRUE(answer["id"].get<std::string>().starts_with("msg_"));
  EXPECT_EQ(answer["type"], "message");
  EXPECT_EQ(answer["role"], "assistant");
  EXPECT_EQ(answer["stop_reason"], "max_tokens");
  EXPECT_TRUE(answer["stop_sequence"].is_null());
  EXPECT_EQ(answer["usage"]["output_tokens"], 9);
  ASSERT_EQ(answer["content"].size(), 1u);
  const std::string text = answer["content"][0]["text"];
  const auto events = named_events(ask(",\"stream\":true").body);
  ASSERT_GE(events.size(), 6u);
  EXPECT_EQ(events[0].first, "message_start");
  EXPECT_EQ(events[0].second["message"]["usage"]["input_tokens"], answer["usage"]["input_tokens"]);
  EXPECT_EQ(events[1].first, "content_block_start");
  std::string streamed;
  for (const auto& [name, data] : events) {
    if (name == "content_block_delta") streamed += data["delta"]["text"].get<std::string>();
  }
  EXPECT_EQ(streamed, text);
  EXPECT_EQ(events[events.size() - 3].first, "content_block_stop");
  EXPECT_EQ(events[events.size() - 2].second["delta"]["stop_reason"], "max_tokens");
  EXPECT_EQ(events[events.size() - 2].second["usage"]["output_tokens"], 9);
  EXPECT_EQ(events.back().first, "message_stop");
}

TEST(Anthropic, tells_which_stop_sequence_ended_it) {
  TestServer server;
  Client client(server.port());
  const std::string body =
      R"({"max_tokens":60,"temperature":0,"messages":[{"role":"user","content":"count"}])";
  client.post(body + "}", kMessagesPath);
  const std::string full = client.read_response().json()["content"][0]["text"];
  size_t at = 0;
  while (at < full.size() && read_code_point(full.substr(at)).value == 0xFFFD) at += 3;
  ASSERT_LT(at, full.size()) << full;
  const std::string stop =
      full.substr(at, static_cast<size_t>(read_code_point(full.substr(at)).length));
  client.post(body + ",\"stop_sequences\":" + Json::array({"zzzz", stop}).dump() + "}",
              kMessagesPath);
  const Json answer = client.read_response().json();
  EXPECT_EQ(answer["stop_reason"], "stop_sequence");
  EXPECT_EQ(answer["stop_sequence"], stop);
}

TEST(Anthropic, errors_have_its_shape_whatever_is_wrong) {
  TestServer server;
  const auto error = [&](const std::string& body, const std::string& path, int status) {
    Client client(server.port());
    client.post(body, path);
    const Response response = client.read_response();
    EXPECT_EQ(response.status, status) << response.body;
    const Json json = response.json();
    EXPECT_EQ(json["type"], "error");
    return json["error"]["type"].get<std::string>();
  };
  EXPECT_EQ(error("{", kMessagesPath, 400), "invalid_request_error");
  EXPECT_EQ(error(R"({"model":"claude","max_tokens":1,"messages":[{"role":"user","content":"x"}]})",
                  kMessagesPath, 404),
            "not_found_error");
  EXPECT_EQ(error("{}", "/v1/messages/batches", 404), "not_found_error");
  Client client(server.port());
  client.send("POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n");
  const Response large = client.read_response();
  EXPECT_EQ(large.status, 413);
  EXPECT_EQ(large.header("x-ration-model"), "tiny");
  EXPECT_EQ(large.json()["error"]["type"], "request_too_large");
}

TEST(Anthropic, counts_tokens_as_the_answer_does) {
  TestServer server;
  const std::string messages = R"("messages":[{"role":"user","content":"how many are these?"}])";
  Client client(server.port());
  client.post("{" + messages + "}", "/v1/messages/count_tokens");
  const Json counted = client.read_response().json();
  client.post("{\"max_tokens\":1," + messages + "}", kMessagesPath);
  EXPECT_EQ(counted["input_tokens"], client.read_response().json()["usage"]["input_tokens"]);
}

// What a model that thinks and calls tools would have written.
TEST(Anthropic, thinking_and_calls_are_blocks_of_their_own) {
  using Kind = AnswerPart::Kind;
  const std::vector<AnswerPart> parts{{.kind = Kind::kReasoning, .text = "hm"},
                                      {.kind = Kind::kText, .text = "I look."},
                                      {.kind = Kind::kCall, .text = "f", .call = 0, .id = "c1"},
                                      {.kind = Kind::kArguments, .text = "{\"a\":", .call = 0},
                                      {.kind = Kind::kArguments, .text = "1}", .call = 0},
                                      {.kind = Kind::kCall, .text = "g", .call = 1, .id = "c2"},
                                      {.kind = Kind::kArguments, .text = "{}", .call = 1}};
  std::string out;
  auto writer = kAnthropicMessages.writer({.id = "1", .model = "m"});
  writer->start(out);
  for (const AnswerPart& part : parts) writer->piece(out, 0, {&part, 1}, {});
  writer->end_choice(out, 0, Ending::kCalls, "");
  writer->end(out, Bill{});
  std::vector<std::string> blocks;
  std::vector<std::string> inputs(4);
  for (const auto& [name, data] : named_events(out)) {
    if (name == "content_block_start") blocks.push_back(data["content_block"]["type"]);
    if (name == "content_block_delta" && data["delta"].contains("partial_json")) {
      inputs[data["index"].get<size_t>()] += data["delta"]["partial_json"].get<std::string>();
    }
  }
  EXPECT_EQ(blocks, (std::vector<std::string>{"thinking", "text", "tool_use", "tool_use"}));
  EXPECT_EQ(inputs[2], "{\"a\":1}");
  AnswerChoice choice;
  for (const AnswerPart& part : parts) choice.add(part);
  choice.ending = Ending::kCalls;
  const Json whole = *parse_json(writer->whole({&choice, 1}, Bill{}));
  ASSERT_EQ(whole["content"].size(), 4u);
  EXPECT_EQ(whole["content"][0]["thinking"], "hm");
  EXPECT_EQ(whole["content"][2]["input"]["a"], 1);
  EXPECT_EQ(whole["content"][3]["id"], "c2");
  EXPECT_EQ(whole["stop_reason"], "tool_use");
}

}  // namespace
}  // namespace ration
