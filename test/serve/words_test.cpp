// The model's words without its engine: tokens, texts, templates.
#include <gtest/gtest.h>

#include "test/serve/test_server.h"

namespace ration {
namespace {

TEST(Words, tokens_of_a_text_and_back) {
  ParrotServer server;
  const std::string text = "the rain \u00e1";
  const Json tokens = server.post("/tokenize", Json{{"content", text}}.dump()).json()["tokens"];
  ASSERT_GT(tokens.size(), 3u);
  EXPECT_EQ(server.post("/detokenize", Json{{"tokens", tokens}}.dump()).json()["content"], text);
  const Json pieces =
      server.post("/tokenize", Json{{"content", "\u00e1"}, {"with_pieces", true}}.dump())
          .json()["tokens"];
  // The tiny vocabulary has a token for each byte of it, and none is a text.
  EXPECT_EQ(pieces[0]["piece"], Json::array({0xc3}));
  const auto count = [&](bool parses) {
    return server
        .post("/tokenize", Json{{"content", "<|im_end|>"}, {"parse_special", parses}}.dump())
        .json()["tokens"]
        .size();
  };
  EXPECT_EQ(count(true), 1u);
  EXPECT_GT(count(false), 1u);
}

TEST(Words, a_template_is_applied_as_an_answer_would_have_it) {
  ParrotServer server;
  const Json prompt =
      server
          .post("/apply-template",
                R"({"messages":[{"role":"user","content":"hi"}],"reasoning_effort":"none"})")
          .json()["prompt"];
  EXPECT_EQ(prompt, "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n<think></think>");
}

TEST(Words, refusals_name_the_field) {
  TestServer server;
  const std::tuple<const char*, const char*, const char*> cases[] = {
      {"/tokenize", "{}", "content"},
      {"/tokenize", R"({"content":5})", "content"},
      {"/tokenize", R"({"content":"a","with_piece":true})", "with_piece"},
      {"/detokenize", "{}", "tokens"},
      {"/detokenize", R"({"tokens":[-1]})", "tokens[0]"},
      {"/detokenize", R"({"tokens":[100000]})", "tokens[0]"},
      {"/apply-template", "{}", "messages"},
      {"/apply-template",
       R"({"messages":[{"role":"user","content":"a"}],"reasoning_effort":"low"})",
       "reasoning_effort"},
  };
  for (const auto& [path, body, param] : cases) {
    const Response response = server.post(path, body);
    EXPECT_EQ(response.status, 400) << body;
    EXPECT_EQ(response.json()["error"]["param"], param) << response.body;
  }
}

}  // namespace
}  // namespace ration
