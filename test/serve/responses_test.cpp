// OpenAI's responses: input items, refusals, items and events of the answer.
#include <gtest/gtest.h>

#include <set>

#include "base/json.h"
#include "serve/face/face.h"
#include "test/serve/test_server.h"

namespace ration {
namespace {

std::variant<Ask, ApiError> read_response(const std::string& fields) {
  return kOpenAiResponses.read("{" + fields + "}", {.vocabulary = 100});
}

TEST(Responses, items_become_the_conversation_that_templates_read) {
  const auto result = read_response(
      R"("instructions":"be kind","input":[
      {"role":"user","content":[{"type":"input_text","text":"a"}]},
      {"type":"reasoning","summary":[],"content":[{"type":"reasoning_text","text":"hm"}]},
      {"type":"message","role":"assistant","id":"m","status":"completed","content":[
        {"type":"output_text","text":"I look.","annotations":[],"logprobs":[]}]},
      {"type":"function_call","call_id":"c","name":"f","arguments":"{\"x\":1}"},
      {"type":"function_call","call_id":"d","name":"g","arguments":"{}"},
      {"type":"function_call_output","call_id":"c","output":"42"}],
      "tools":[{"type":"function","name":"f","parameters":{}}],"max_output_tokens":9)");
  ASSERT_TRUE(std::holds_alternative<Ask>(result)) << std::get<ApiError>(result).message;
  const Ask& ask = std::get<Ask>(result);
  EXPECT_EQ(*parse_json(ask.messages_json), Json::parse(R"([
      {"role":"system","content":"be kind"},{"role":"user","content":"a"},
      {"role":"assistant","content":"I look.","reasoning_content":"hm","tool_calls":[
        {"id":"c","type":"function","function":{"name":"f","arguments":{"x":1}}},
        {"id":"d","type":"function","function":{"name":"g","arguments":{}}}]},
      {"role":"tool","content":"42","tool_call_id":"c"}])"));
  EXPECT_EQ(ask.tokens_max, 9);
  EXPECT_EQ(ask.tools.names, std::vector<std::string>{"f"});
}

TEST(Responses, refuses_by_name) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "input"},
      {R"("input":[])", "input"},
      {R"("input":[{"role":"robot","content":"x"}])", "input[0].role"},
      {R"("input":[{"role":"user","content":[{"type":"input_image"}]}])",
       "input[0].content[0].type"},
      {R"("input":[{"type":"item_reference","id":"x"}])", "input[0].type"},
      {R"("input":[{"type":"function_call","call_id":"c"}])", "input[0].name"},
      {R"("input":"x","previous_response_id":"r")", "previous_response_id"},
      {R"("input":"x","store":true)", "store"},
      {R"("input":"x","background":true)", "background"},
      {R"("input":"x","include":["file_search_call.results"])", "include"},
      {R"("input":"x","truncation":"auto")", "truncation"},
      {R"("input":"x","tools":[{"type":"web_search"}])", "tools[0].type"},
      {R"("input":"x","tools":[{"type":"function","name":"f","strict":true}])", "tools[0].strict"},
      {R"("input":"x","tool_choice":"required")", "tool_choice"},
      {R"("input":"x","reasoning":{"summary":"auto"})", "reasoning.summary"},
      {R"("input":"x","text":{"format":{"type":"json_object"}})", "text.format"},
      {R"("input":"x","max_tokens":4)", "max_tokens"},
  };
  for (const auto& [fields, param] : cases) {
    const auto result = read_response(fields);
    ASSERT_TRUE(std::holds_alternative<ApiError>(result)) << fields;
    EXPECT_EQ(std::get<ApiError>(result).param, param) << std::get<ApiError>(result).message;
  }
}

std::vector<Json> numbered_events(const std::string& body) {
  std::vector<Json> events;
  for (size_t at = 0; at < body.size();) {
    const size_t data = body.find("\ndata: ", at);
    const size_t end = body.find("\n\n", at);
    Result<Json> event = parse_json(body.substr(data + 7, end - data - 7));
    EXPECT_TRUE(event) << body.substr(at, end - at);
    if (!event) return events;
    EXPECT_EQ(body.substr(at, data - at), "event: " + (*event)["type"].get<std::string>());
    EXPECT_EQ((*event)["sequence_number"], events.size());
    events.push_back(*event);
    at = end + 2;
  }
  return events;
}

TEST(Responses, are_whole_and_the_same_in_events) {
  ParrotServer server;
  const std::string body = R"({"input":"hi","instructions":"be kind","temperature":0,)"
                           R"("tools":[{"type":"function","name":"weather"}])";
  const Json whole = server.post("/v1/responses", body + "}").json();
  EXPECT_EQ(whole["status"], "completed");
  EXPECT_EQ(whole["instructions"], "be kind");
  EXPECT_EQ(whole["tools"][0]["name"], "weather");
  ASSERT_EQ(whole["output"].size(), 3u);
  EXPECT_EQ(whole["output"][0]["content"][0]["text"], "Bern is a city.");
  EXPECT_EQ(whole["output"][1]["content"][0]["text"], "I look.");
  EXPECT_EQ(whole["output"][2]["name"], "weather");
  EXPECT_EQ(Json::parse(whole["output"][2]["arguments"].get<std::string>()), kParrotArguments);
  EXPECT_EQ(whole["usage"]["output_tokens"], 12);
  const std::vector<Json> events =
      numbered_events(server.post("/v1/responses", body + ",\"stream\":true}").body);
  ASSERT_GE(events.size(), 15u);
  EXPECT_EQ(events.front()["type"], "response.created");
  EXPECT_EQ(events.back()["type"], "response.completed");
  const Json& last = events.back()["response"];
  ASSERT_EQ(last["output"].size(), 3u);
  std::string text;
  std::string arguments;
  std::set<std::string> ids;
  for (const Json& event : events) {
    if (event["type"] == "response.output_text.delta") text += event["delta"].get<std::string>();
    if (event["type"] == "response.function_call_arguments.delta") {
      arguments += event["delta"].get<std::string>();
    }
    if (event["type"] == "response.output_item.done") {
      EXPECT_EQ(event["item"], last["output"][event["output_index"].get<size_t>()]);
      ids.insert(event["item"]["id"]);
    }
  }
  EXPECT_EQ(text, "I look.");
  EXPECT_EQ(Json::parse(arguments), kParrotArguments);
  EXPECT_EQ(ids.size(), 3u);
}

TEST(Responses, say_when_they_are_cut) {
  ParrotServer server;
  const std::string body = R"({"input":"hi","max_output_tokens":6)";
  const Json whole = server.post("/v1/responses", body + "}").json();
  EXPECT_EQ(whole["status"], "incomplete");
  EXPECT_EQ(whole["incomplete_details"]["reason"], "max_output_tokens");
  const std::vector<Json> events =
      numbered_events(server.post("/v1/responses", body + ",\"stream\":true}").body);
  EXPECT_EQ(events.back()["type"], "response.incomplete");
}

TEST(OpenAiChat, splits_reasoning_and_calls_and_streams_them) {
  ParrotServer server;
  const std::string body =
      R"({"messages":[{"role":"user","content":"hi"}],"temperature":0,"tools":[{"type":"function",)"
      R"("function":{"name":"weather"}}])";
  const Json choice = server.ask(body + "}").json()["choices"][0];
  EXPECT_EQ(choice["finish_reason"], "tool_calls");
  EXPECT_EQ(choice["message"]["reasoning_content"], "Bern is a city.");
  const Json& call = choice["message"]["tool_calls"][0];
  EXPECT_EQ(Json::parse(call["function"]["arguments"].get<std::string>()), kParrotArguments);
  std::string name;
  std::string arguments;
  std::string finish;
  for (const Json& event : events_of(server.ask(body + ",\"stream\":true}").body)) {
    if (event.is_null()) continue;
    const Json& said = event["choices"][0];
    if (!said["finish_reason"].is_null()) finish = said["finish_reason"];
    if (!said["delta"].contains("tool_calls")) continue;
    const Json& part = said["delta"]["tool_calls"][0];
    EXPECT_EQ(part["index"], 0);
    if (part["function"].contains("name")) {
      EXPECT_EQ(arguments, "");  // the name is first
      EXPECT_EQ(part["id"].get<std::string>().size(), 9u);
      name = part["function"]["name"];
    }
    arguments += part["function"]["arguments"].get<std::string>();
  }
  EXPECT_EQ(name, "weather");
  EXPECT_EQ(arguments, call["function"]["arguments"].get<std::string>());
  EXPECT_EQ(finish, "tool_calls");
  const Json unsplit = server.ask(body + ",\"reasoning_format\":\"none\"}").json()["choices"][0];
  EXPECT_TRUE(unsplit["message"]["content"].get<std::string>().starts_with("<think>"));
  const Json off = server.ask(body + ",\"reasoning_effort\":\"none\"}").json()["choices"][0];
  EXPECT_FALSE(off["message"].contains("reasoning_content"));
}

}  // namespace
}  // namespace ration
