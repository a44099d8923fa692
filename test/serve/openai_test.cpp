// What the faces of OpenAI take and refuse.
#include <gtest/gtest.h>

#include "base/json.h"
#include "base/text.h"
#include "serve/face/face.h"

namespace ration {
namespace {

const AskDefaults kDefaults{.sampler = {.temperature = 0.8f, .top_k = 40}, .vocabulary = 100};

Ask accepted(const std::string& fields) {
  auto result =
      kOpenAiChat.read(R"({"messages":[{"role":"user","content":"hi"}])" + fields + "}", kDefaults);
  if (const ApiError* error = std::get_if<ApiError>(&result)) {
    ADD_FAILURE() << fields << ": " << error->message;
    return {};
  }
  return std::move(std::get<Ask>(result));
}

ApiError refused_body(const std::string& body) {
  auto result = kOpenAiChat.read(body, kDefaults);
  if (ApiError* error = std::get_if<ApiError>(&result)) {
    EXPECT_EQ(error->status, 400);
    EXPECT_EQ(error->type, "invalid_request_error");
    EXPECT_FALSE(error->message.empty());
    return *error;
  }
  ADD_FAILURE() << "accepted: " << body;
  return {};
}

ApiError refused(const std::string& fields) {
  return refused_body(R"({"messages":[{"role":"user","content":"hi"}])" + fields + "}");
}

ApiError refused_messages(const std::string& messages) {
  return refused_body(R"({"messages":)" + messages + "}");
}

TEST(OpenAiChat, takes_every_field_it_knows) {
  const Ask chat = accepted(
      R"(,"model":"m","stream":true,"stream_options":{"include_usage":true},"max_tokens":7,
      "max_completion_tokens":7,"temperature":0.5,"top_p":0.9,"top_k":5,"min_p":0.1,
      "repetition_penalty":1.1,"presence_penalty":-1,"frequency_penalty":2,"stop":["a","b"],
      "seed":-1,"logit_bias":{"3":-100,"99":1.5},"n":3,"keep_alive":"5m",
      "cache_prompt":true,"logprobs":true,"top_logprobs":20,
      "user":"u","metadata":{},"store":false,"response_format":{"type":"text"},
      "tools":[],"tool_choice":"none",
      "parallel_tool_calls":true,"chat_template_kwargs":{"enable_thinking":false},
      "service_tier":"auto","modalities":["text"],
      "ration":{"max_ms":1500,"priority":-3},"ignore_eos":true)");
  EXPECT_EQ(chat.model, "m");
  EXPECT_TRUE(chat.stream && chat.include_usage && chat.logprobs && chat.ignore_end);
  EXPECT_EQ(chat.tokens_max, 7);
  EXPECT_EQ(chat.priority, -3);
  EXPECT_FLOAT_EQ(chat.sampler.temperature, 0.5f);
  EXPECT_FLOAT_EQ(chat.sampler.top_p, 0.9f);
  EXPECT_EQ(chat.sampler.top_k, 5);
  EXPECT_FLOAT_EQ(chat.sampler.min_p, 0.1f);
  EXPECT_FLOAT_EQ(chat.sampler.repetition_penalty, 1.1f);
  EXPECT_FLOAT_EQ(chat.sampler.presence_penalty, -1.0f);
  EXPECT_FLOAT_EQ(chat.sampler.frequency_penalty, 2.0f);
  EXPECT_EQ(chat.stops, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(chat.seed, ~uint64_t{0});
  EXPECT_EQ(chat.sampler.logit_bias,
            (std::vector<std::pair<Token, float>>{{3, -100.0f}, {99, 1.5f}}));
  EXPECT_EQ(chat.sampler.top_logprobs, 20);
  EXPECT_EQ(chat.arguments_json, R"({"enable_thinking":false})");
  EXPECT_EQ(chat.deadline, Millis{1500});
  EXPECT_EQ(chat.choices, 3);
}

TEST(OpenAiChat, null_is_as_if_absent) {
  const Ask chat = accepted(
      R"(,"temperature":null,"stop":null,"tools":null,"seed":null,"stream_options":null,"n":null,
      "max_tokens":null,"reasoning_effort":null,"response_format":null)");
  EXPECT_FLOAT_EQ(chat.sampler.temperature, 0.8f);
  EXPECT_EQ(chat.sampler.top_k, 40);
  EXPECT_FALSE(chat.tokens_max || chat.seed || chat.stream);
}

TEST(OpenAiChat, one_stop_string_and_whole_floats) {
  const Ask chat = accepted(R"(,"stop":"\n\n","max_tokens":5.0,"seed":18446744073709551615)");
  EXPECT_EQ(chat.stops, std::vector<std::string>{"\n\n"});
  EXPECT_EQ(chat.tokens_max, 5);
  EXPECT_EQ(chat.seed, ~uint64_t{0});
}

TEST(OpenAiChat, messages_reach_the_template_in_one_shape) {
  auto result = kOpenAiChat.read(
      R"({"messages":[{"role":"developer","content":"be kind"},
      {"role":"user","name":"ann",
       "content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},
      {"role":"assistant","content":null,"refusal":null,"tool_calls":[],"reasoning":"hm"},
      {"role":"tool","tool_call_id":"1","content":"42"}]})",
      kDefaults);
  ASSERT_TRUE(std::holds_alternative<Ask>(result));
  EXPECT_EQ(
      std::get<Ask>(result).messages_json,
      R"([{"role":"system","content":"be kind"},{"role":"user","content":"a\nb","name":"ann"},)"
      R"({"role":"assistant","content":"","reasoning_content":"hm"},)"
      R"({"role":"tool","content":"42","tool_call_id":"1"}])");
}

TEST(OpenAiChat, names_the_field_with_a_wrong_value) {
  const std::pair<const char*, const char*> cases[] = {
      {R"(,"model":3)", "model"},
      {R"(,"temperature":"hot")", "temperature"},
      {R"(,"temperature":-0.1)", "temperature"},
      {R"(,"temperature":1e999)", ""},  // no such number in JSON
      {R"(,"top_p":1.5)", "top_p"},
      {R"(,"top_k":-1)", "top_k"},
      {R"(,"top_k":1.5)", "top_k"},
      {R"(,"top_k":3000000000)", "top_k"},
      {R"(,"min_p":2)", "min_p"},
      {R"(,"repetition_penalty":0)", "repetition_penalty"},
      {R"(,"presence_penalty":2.1)", "presence_penalty"},
      {R"(,"frequency_penalty":[])", "frequency_penalty"},
      {R"(,"max_tokens":0)", "max_tokens"},
      {R"(,"max_tokens":-5)", "max_tokens"},
      {R"(,"max_tokens":18446744073709551615)", "max_tokens"},
      {R"(,"max_tokens":1e300)", "max_tokens"},
      {R"(,"max_tokens":5,"max_completion_tokens":6)", "max_tokens"},
      {R"(,"max_completion_tokens":"5")", "max_completion_tokens"},
      {R"(,"stop":"")", "stop"},
      {R"(,"stop":[1])", "stop"},
      {R"(,"stop":{"a":1})", "stop"},
      {R"(,"stop":["1","2","3","4","5","6","7","8","9","a","b","c","d","e","f","g","h"])", "stop"},
      {R"(,"seed":1.5)", "seed"},
      {R"(,"seed":"x")", "seed"},
      {R"(,"logit_bias":[1])", "logit_bias"},
      {R"(,"logit_bias":{"100":1})", "logit_bias"},
      {R"(,"logit_bias":{"-1":1})", "logit_bias"},
      {R"(,"logit_bias":{"007":1})", "logit_bias"},
      {R"(,"logit_bias":{"x":1})", "logit_bias"},
      {R"(,"logit_bias":{"7":101})", "logit_bias.7"},
      {R"(,"logprobs":1)", "logprobs"},
      {R"(,"top_logprobs":5)", "top_logprobs"},
      {R"(,"logprobs":true,"top_logprobs":21)", "top_logprobs"},
      {R"(,"stream":"yes")", "stream"},
      {R"(,"stream_options":{"include_usage":true})", "stream_options"},
      {R"(,"stream":true,"stream_options":{"include_usage":1})", "stream_options.include_usage"},
      {R"(,"user":5)", "user"},
      {R"(,"metadata":"x")", "metadata"},
      {R"(,"parallel_tool_calls":"x")", "parallel_tool_calls"},
      {R"(,"chat_template_kwargs":"x")", "chat_template_kwargs"},
      {R"(,"n":0)", "n"},
      {R"(,"n":129)", "n"},
      {R"(,"keep_alive":"soon")", "keep_alive"},
      {R"(,"reasoning_effort":"huge")", "reasoning_effort"},
      {R"(,"tools":{})", "tools"},
      {R"(,"tools":[{"type":"function","function":{"name":""}}])", "tools[0].function.name"},
      {R"(,"tools":[{"type":"function","function":{"name":"f","parameters":3}}])",
       "tools[0].function.parameters"},
      {R"(,"ration":5)", "ration"},
      {R"(,"ration":{"max_ms":-1})", "ration.max_ms"},
      {R"(,"ration":{"priority":101})", "ration.priority"},
      {R"(,"ration":{"priority":0.5})", "ration.priority"},
  };
  for (const auto& [fields, param] : cases) {
    const ApiError error = refused(fields);
    EXPECT_EQ(error.param, param) << fields << ": " << error.message;
    EXPECT_EQ(error.code, *param ? "invalid_value" : "invalid_json") << fields;
  }
}

TEST(OpenAiChat, refuses_what_it_cannot_do_by_name) {
  const std::pair<const char*, const char*> cases[] = {
      {R"(,"store":true)", "store"},
      {R"(,"tools":[{"type":"custom"}])", "tools[0].type"},
      {R"(,"tools":[{"type":"function","function":{"name":"f","strict":true}}])",
       "tools[0].function.strict"},
      {R"(,"tool_choice":"required")", "tool_choice"},
      {R"(,"tool_choice":{"type":"function","function":{"name":"f"}})", "tool_choice"},
      {R"(,"functions":[{}])", "functions"},
      {R"(,"response_format":{"type":"json_object"})", "response_format"},
      {R"(,"response_format":{"type":"text","schema":{}})", "response_format"},
      {R"(,"service_tier":"priority")", "service_tier"},
      {R"(,"modalities":["audio"])", "modalities"},
      {R"(,"audio":{})", "audio"},
      {R"(,"stream":true,"stream_options":{"include_obfuscation":true})",
       "stream_options.include_obfuscation"},
      {R"(,"chat_template_kwargs":{"messages":[]})", "chat_template_kwargs.messages"},
  };
  for (const auto& [fields, param] : cases) {
    const ApiError error = refused(fields);
    EXPECT_EQ(error.param, param) << fields;
    EXPECT_EQ(error.code, "unsupported_parameter") << fields;
  }
}

TEST(OpenAiChat, refuses_unknown_fields_with_the_nearest_name) {
  const ApiError error = refused(R"(,"max_token":5)");
  EXPECT_EQ(error.param, "max_token");
  EXPECT_EQ(error.code, "unknown_parameter");
  EXPECT_NE(error.message.find("max_tokens"), std::string::npos) << error.message;
  EXPECT_EQ(refused(R"(,"xyzzy":1)").code, "unknown_parameter");
  EXPECT_EQ(refused(R"(,"ration":{"max_joules":1})").param, "ration.max_joules");
  EXPECT_EQ(refused(R"(,"stream":true,"stream_options":{"x":1})").param, "stream_options.x");
  // A long name does not become a long message.
  EXPECT_LT(refused(",\"" + std::string(100'000, 'a') + "\":1").message.size(), 600u);
}

TEST(OpenAiChat, names_the_message_at_fault) {
  const std::pair<const char*, const char*> cases[] = {
      {R"([])", "messages"},
      {R"("hi")", "messages"},
      {R"({})", "messages"},
      {R"([3])", "messages[0]"},
      {R"([{"content":"hi"}])", "messages[0].role"},
      {R"([{"role":"robot","content":"hi"}])", "messages[0].role"},
      {R"([{"role":7,"content":"hi"}])", "messages[0].role"},
      {R"([{"role":"user"}])", "messages[0].content"},
      {R"([{"role":"user","content":null}])", "messages[0].content"},
      {R"([{"role":"user","content":5}])", "messages[0].content"},
      {R"([{"role":"user","content":[]}])", "messages[0].content"},
      {R"([{"role":"user","content":["x"]}])", "messages[0].content[0]"},
      {R"([{"role":"user","content":[{"text":"x"}]}])", "messages[0].content[0].type"},
      {R"([{"role":"user","content":[{"type":"text"}]}])", "messages[0].content[0].text"},
      {R"([{"role":"user","content":[{"type":"text","text":"x","y":1}]}])",
       "messages[0].content[0].y"},
      {R"([{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}])",
       "messages[0].content[0].type"},
      {R"([{"role":"user","content":"a"},{"role":"assistant","tool_calls":[{}]}])",
       "messages[1].tool_calls[0].function"},
      {R"([{"role":"user","content":"a","name":5}])", "messages[0].name"},
      {R"([{"role":"user","content":"a","colour":"red"}])", "messages[0].colour"},
  };
  for (const auto& [messages, param] : cases) {
    EXPECT_EQ(refused_messages(messages).param, param) << messages;
  }
  EXPECT_EQ(refused_body("{}").param, "messages");
  EXPECT_EQ(refused_body(R"({"messages":null})").code, "missing_required_parameter");
}

TEST(OpenAiChat, refuses_what_is_not_json) {
  for (const char* body :
       {"", "hello", "{", "[1,2]", "null", "\"x\"", "{\"messages\":[}", "{\"a\":1,\"a\":2}",
        "{\"messages\":\"\xff\"}", "{} {}", "{\"messages\":\"\\ud800\"}"}) {
    EXPECT_EQ(refused_body(body).code, "invalid_json") << body;
  }
  EXPECT_EQ(refused_body(std::string(10'000, '[')).code, "invalid_json");
  EXPECT_TRUE(is_valid_utf8(refused_body("{\"a\":\"im\xa4ge\"}").message));
  EXPECT_LT(refused_body("{\"a\":\"" + std::string(100'000, 'x')).message.size(), 1000u);
}

TEST(OpenAiChat, bounds_the_number_of_values) {
  std::string body = "{\"messages\":[";
  for (int i = 0; i < 300'000; ++i) body += "[],";
  EXPECT_EQ(refused_body(body + "[]]}").code, "too_many_values");
  // Commas inside a text are no values.
  const std::string text(1'000'000, ',');
  auto result =
      kOpenAiChat.read(R"({"messages":[{"role":"user","content":")" + text + R"("}]})", kDefaults);
  EXPECT_TRUE(std::holds_alternative<Ask>(result));
}

TEST(OpenAiChat, tools_and_calls_reach_the_template_in_one_shape) {
  auto result = kOpenAiChat.read(
      R"({"messages":[{"role":"user","content":"a"},
      {"role":"assistant","content":null,"tool_calls":[
        {"id":"x1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}},
        {"id":"x2","type":"function","function":{"name":"g","arguments":"no json"}}]},
      {"role":"tool","tool_call_id":"x1","content":"42"}],
      "tools":[{"type":"function","function":{"name":"f","description":"d",
        "parameters":{"type":"object"},"strict":false}}],"parallel_tool_calls":false})",
      kDefaults);
  ASSERT_TRUE(std::holds_alternative<Ask>(result)) << std::get<ApiError>(result).message;
  const Ask& chat = std::get<Ask>(result);
  const Json messages = *parse_json(chat.messages_json);
  EXPECT_EQ(messages[1]["tool_calls"][0]["function"]["arguments"], Json::parse(R"({"a":1})"));
  EXPECT_EQ(messages[1]["tool_calls"][1]["function"]["arguments"], "no json");
  EXPECT_EQ(messages[2]["tool_call_id"], "x1");
  EXPECT_EQ(chat.tools.json, R"([{"type":"function","function":{"name":"f","description":"d",)"
                             R"("parameters":{"type":"object"}}}])");
  EXPECT_EQ(chat.tools.names, std::vector<std::string>{"f"});
  EXPECT_FALSE(chat.tools.parallel);
}

TEST(OpenAiChat, tools_that_must_not_be_used_are_left_out) {
  const Ask chat =
      accepted(R"(,"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"none")");
  EXPECT_EQ(chat.tools.json, "");
  EXPECT_TRUE(chat.tools.names.empty());
}

std::variant<Ask, ApiError> text_completion(const std::string& fields) {
  return kOpenAiText.read("{" + fields + "}", kDefaults);
}

TEST(OpenAiText, takes_texts_and_token_ids) {
  const auto prompts = [](const std::string& json) {
    auto result = text_completion("\"prompt\":" + json);
    EXPECT_TRUE(std::holds_alternative<Ask>(result)) << json;
    return std::get<Ask>(result).prompts;
  };
  using Tokens = std::vector<Token>;
  EXPECT_EQ(prompts("\"once\""), std::vector<AskedPrompt>{"once"});
  EXPECT_EQ(prompts(R"(["a","b"])"), (std::vector<AskedPrompt>{"a", "b"}));
  EXPECT_EQ(prompts("[1,2,99]"), (std::vector<AskedPrompt>{Tokens{1, 2, 99}}));
  EXPECT_EQ(prompts("[[1],[2,3]]"), (std::vector<AskedPrompt>{Tokens{1}, Tokens{2, 3}}));
}

TEST(OpenAiText, refuses_by_name) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "prompt"},
      {R"("prompt":5)", "prompt"},
      {R"("prompt":[])", "prompt"},
      {R"("prompt":["a",5])", "prompt[1]"},
      {R"("prompt":[100])", "prompt[0]"},
      {R"("prompt":[[1],[-1]])", "prompt[1][0]"},
      {R"("prompt":"a","suffix":"b")", "suffix"},
      {R"("prompt":"a","echo":true,"logprobs":1)", "echo"},
      {R"("prompt":"a","logprobs":6)", "logprobs"},
      {R"("prompt":"a","best_of":2)", "best_of"},
      {R"("prompt":"a","messages":[])", "messages"},
      {R"("prompt":["a","b"],"n":128)", "n"},
  };
  for (const auto& [fields, param] : cases) {
    const auto result = text_completion(fields);
    ASSERT_TRUE(std::holds_alternative<ApiError>(result)) << fields;
    EXPECT_EQ(std::get<ApiError>(result).param, param) << fields;
  }
}

TEST(ApiError, is_written_as_clients_read_it) {
  const ApiError error{.status = 503,
                       .type = "unavailable_error",
                       .code = "insufficient_memory",
                       .message = "say \"no\"",
                       .bytes = Shortfall{.wanted = 10, .available = 4}};
  EXPECT_EQ(kOpenAiChat.error(error),
            R"({"error":{"message":"say \"no\"","type":"unavailable_error","param":null,)"
            R"("code":"insufficient_memory","needed_bytes":10,"available_bytes":4}})");
}

}  // namespace
}  // namespace ration
