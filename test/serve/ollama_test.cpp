// Ollama's API: what is taken and refused, and its lines.
#include <gtest/gtest.h>

#include "base/json.h"
#include "serve/face/face.h"
#include "test/serve/test_server.h"

namespace ration {
namespace {

const AskDefaults kDefaultsOfOllama{
    .sampler = {.temperature = 0.8f}, .vocabulary = 100, .context = 512};

std::variant<Ask, ApiError> read_ollama(const Face& face, const std::string& fields) {
  return face.read("{" + fields + "}", kDefaultsOfOllama);
}

TEST(Ollama, takes_every_option_it_knows) {
  const auto result = read_ollama(
      kOllamaChat,
      R"("model":"m","messages":[{"role":"user","content":"hi","images":[]}],"think":true,
      "keep_alive":"5m","format":"","options":{"num_ctx":512,"num_predict":7,"temperature":0.5,
      "repeat_last_n":-1,"repeat_penalty":1.2,"seed":3,"stop":["x"],"top_k":5,"top_p":0.5,
      "min_p":0.1,"presence_penalty":1,"frequency_penalty":1})");
  ASSERT_TRUE(std::holds_alternative<Ask>(result)) << std::get<ApiError>(result).message;
  const Ask& ask = std::get<Ask>(result);
  EXPECT_TRUE(ask.stream);  // unless it says otherwise
  EXPECT_EQ(ask.tokens_max, 7);
  EXPECT_EQ(ask.seed, 3);
  EXPECT_EQ(ask.sampler.penalty_window, 512);
  EXPECT_FLOAT_EQ(ask.sampler.repetition_penalty, 1.2f);
  EXPECT_EQ(ask.stops, std::vector<std::string>{"x"});
  EXPECT_EQ(ask.thinking.on, true);
  EXPECT_EQ(ask.keep_alive, Millis{300'000});
  const auto forever =
      read_ollama(kOllamaGenerate, R"("prompt":"x","keep_alive":-1,"options":{"num_predict":-1})");
  EXPECT_FALSE(std::get<Ask>(forever).tokens_max);
  EXPECT_TRUE(std::isinf(std::get<Ask>(forever).keep_alive->count));
}

TEST(Ollama, a_prompt_is_a_conversation_unless_it_is_raw) {
  const auto ask = [](const std::string& fields) {
    return std::get<Ask>(read_ollama(kOllamaGenerate, fields));
  };
  EXPECT_EQ(ask(R"("prompt":"a","system":"b")").messages_json,
            R"([{"role":"system","content":"b"},{"role":"user","content":"a"}])");
  EXPECT_EQ(ask(R"("prompt":"a","raw":true)").prompts, std::vector<AskedPrompt>{"a"});
  EXPECT_EQ(ask(R"("prompt":"a","raw":true)").messages_json, "");
  EXPECT_EQ(ask(R"("model":"m")").messages_json, "");
}

TEST(Ollama, refuses_by_name) {
  const std::string hi = R"("messages":[{"role":"user","content":"hi"}])";
  const std::tuple<const Face&, std::string, const char*> cases[] = {
      {kOllamaChat, hi + R"(,"format":"json")", "format"},
      {kOllamaChat, hi + R"(,"format":{"type":"object"})", "format"},
      {kOllamaChat, hi + R"(,"options":{"mirostat":1})", "options.mirostat"},
      {kOllamaChat, hi + R"(,"options":{"num_thread":1})", "options.num_thread"},
      {kOllamaChat, hi + R"(,"options":{"num_ctx":513})", "options.num_ctx"},
      {kOllamaChat, hi + R"(,"options":{"num_predict":0})", "options.num_predict"},
      {kOllamaChat, hi + R"(,"options":{"temprature":1})", "options.temprature"},
      {kOllamaChat, hi + R"(,"options":5)", "options"},
      {kOllamaChat, hi + R"(,"keep_alive":"soon")", "keep_alive"},
      {kOllamaChat, hi + R"(,"think":"hard")", "think"},
      {kOllamaChat, hi + R"(,"top_logprobs":2)", "top_logprobs"},
      {kOllamaChat, R"("messages":[{"role":"user","content":"a","images":["x"]}])",
       "messages[0].images"},
      {kOllamaGenerate, R"("prompt":"a","template":"x")", "template"},
      {kOllamaGenerate, R"("prompt":"a","images":["x"])", "images"},
      {kOllamaGenerate, R"("prompt":"a","suffix":"x")", "suffix"},
      {kOllamaGenerate, R"("prompt":"a","context":[1,2])", "context"},
      {kOllamaGenerate, R"("prompt":"a","raw":true,"system":"x")", "system"},
      {kOllamaGenerate, R"("prompt":5)", "prompt"},
  };
  for (const auto& [face, fields, param] : cases) {
    const auto result = read_ollama(face, fields);
    ASSERT_TRUE(std::holds_alternative<ApiError>(result)) << fields;
    EXPECT_EQ(std::get<ApiError>(result).param, param) << std::get<ApiError>(result).message;
  }
}

std::vector<Json> lines_of(const Response& response) {
  EXPECT_EQ(response.header("content-type"), "application/x-ndjson");
  std::vector<Json> lines;
  for (size_t at = 0; at < response.body.size();) {
    const size_t end = response.body.find('\n', at);
    Result<Json> line = parse_json(response.body.substr(at, end - at));
    EXPECT_TRUE(line) << response.body;
    if (line) lines.push_back(*line);
    at = end + 1;
  }
  return lines;
}

TEST(Ollama, a_chat_whole_and_in_lines) {
  ParrotServer server;
  const std::string body =
      R"({"model":"parrot:latest","messages":[{"role":"user","content":"hi"}],"tools":[{"type":)"
      R"("function","function":{"name":"weather"}}],"options":{"temperature":0})";
  const Json whole = server.post("/api/chat", body + ",\"stream\":false}").json();
  EXPECT_EQ(whole["message"]["thinking"], "Bern is a city.");
  EXPECT_EQ(whole["message"]["content"], "I look.");
  EXPECT_EQ(whole["message"]["tool_calls"][0]["function"]["name"], "weather");
  EXPECT_EQ(whole["message"]["tool_calls"][0]["function"]["arguments"], kParrotArguments);
  EXPECT_EQ(whole["done_reason"], "stop");
  EXPECT_EQ(whole["eval_count"], 12);
  EXPECT_GT(whole["prompt_eval_duration"].get<int64_t>(), 0);
  EXPECT_GE(whole["total_duration"].get<int64_t>(), whole["eval_duration"].get<int64_t>());
  std::string thinking;
  std::string content;
  Json calls = Json::array();
  const std::vector<Json> lines = lines_of(server.post("/api/chat", body + "}"));
  for (size_t i = 0; i < lines.size(); ++i) {
    EXPECT_EQ(lines[i]["done"], i + 1 == lines.size());
    thinking += lines[i]["message"].value("thinking", "");
    content += lines[i]["message"].value("content", "");
    for (const Json& call : lines[i]["message"].value("tool_calls", Json::array())) {
      calls.push_back(call["function"]);
    }
  }
  EXPECT_EQ(thinking, "Bern is a city.");
  EXPECT_EQ(content, "I look.");
  EXPECT_EQ(calls, Json::array({{{"name", "weather"}, {"arguments", kParrotArguments}}}));
  EXPECT_EQ(lines.back()["eval_count"], 12);
}

TEST(Ollama, generates_loads_and_cuts) {
  ParrotServer server;
  const Json answer =
      server.post("/api/generate", R"({"prompt":"hi","stream":false,"think":false})").json();
  EXPECT_NE(answer["response"].get<std::string>().find("I look."), std::string::npos);
  EXPECT_FALSE(answer.contains("thinking"));
  EXPECT_EQ(server.post("/api/generate", R"({"model":"parrot"})").json()["done_reason"], "load");
  EXPECT_EQ(server.post("/api/chat", R"({"model":"parrot","messages":[]})").json()["done_reason"],
            "load");
  const std::vector<Json> lines =
      lines_of(server.post("/api/generate", R"({"prompt":"hi","options":{"num_predict":2}})"));
  EXPECT_EQ(lines.back()["done_reason"], "length");
  // A call that is cut off in its arguments is not told.
  const Json cut =
      server
          .post("/api/chat", R"({"stream":false,"messages":[{"role":"user","content":"hi"}],)"
                             R"("tools":[{"type":"function","function":{"name":"weather"}}],)"
                             R"("options":{"num_predict":9}})")
          .json();
  EXPECT_EQ(cut["done_reason"], "length");
  EXPECT_FALSE(cut["message"].contains("tool_calls"));
}

TEST(Ollama, tells_of_the_model) {
  ParrotServer server;
  const Json row = server.get("/api/tags").json()["models"][0];
  EXPECT_EQ(row["name"], "parrot");
  EXPECT_EQ(row["digest"].get<std::string>().size(), 64u);
  EXPECT_EQ(row["details"]["quantization_level"], "F32");
  EXPECT_EQ(server.get("/api/ps").json()["models"][0]["context_length"], 1024);
  EXPECT_TRUE(server.get("/api/version").json().contains("version"));
  const Json shown = server.post("/api/show", R"({"model":"parrot"})").json();
  EXPECT_EQ(shown["capabilities"], Json::array({"completion", "tools", "thinking"}));
  EXPECT_EQ(shown["model_info"]["qwen2.embedding_length"], 64);
  const Response missing = server.post("/api/show", R"({"model":"gone"})");
  EXPECT_EQ(missing.status, 404);
  EXPECT_TRUE(missing.json()["error"].is_string());
  EXPECT_TRUE(server.post("/api/pull", "{}").json()["error"].is_string());
}

}  // namespace
}  // namespace ration
