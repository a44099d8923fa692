// Vectors of texts over HTTP: OpenAI's and Ollama's ways, rerank, and what is refused.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "test/serve/test_server.h"

namespace ration {
namespace {

struct EncoderServer : TestServer {
  EncoderServer()
      : TestServer({.models = {{.names = {"bert"}}}},
                   {.context = 430, .kv_tokens = 2048, .step_tokens_max = 512, .logit_rows_max = 8},
                   Bytes{256 * kMiB}, "bert") {}
  Json embeddings(const Json& body) const {
    const Response response = post("/v1/embeddings", body.dump());
    EXPECT_EQ(response.status, 200) << response.body;
    return response.json();
  }
  // The vector that the model itself makes.
  std::vector<float> vector(const std::string& text) const {
    Budget budget("test", {.hard = Bytes{64 * kMiB}});
    Pool pool(1);
    const Model& model = *engine.model;
    auto made = Engine::make(engine.model, *available_kernels().front(), pool, budget,
                             encoder_options(model.network()));
    Embedder embedder(**made);
    const std::vector<Token> tokens = model.encode_for_embedding(text);
    return embedder.embed(std::span(&tokens, 1)).value().front();
  }
};

double product(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  }
  return sum;
}

// A text of so many tokens, marks included.
std::string cats(int tokens) {
  std::string text;
  for (int i = 0; i < tokens - 2; ++i) text += "cat ";
  return text;
}

TEST(Vectors, of_one_text_or_several_in_openais_shape) {
  EncoderServer server;
  const Json answer = server.embeddings({{"model", "bert"}, {"input", {"the cat", "a dog sat"}}});
  EXPECT_EQ(answer["object"], "list");
  EXPECT_EQ(answer["model"], "bert");
  ASSERT_EQ(answer["data"].size(), 2u);
  EXPECT_EQ(answer["data"][1]["object"], "embedding");
  EXPECT_EQ(answer["data"][1]["index"], 1);
  EXPECT_EQ(answer["data"][0]["embedding"].get<std::vector<float>>(), server.vector("the cat"));
  EXPECT_EQ(answer["data"][1]["embedding"].get<std::vector<float>>(), server.vector("a dog sat"));
  EXPECT_EQ(answer["usage"]["prompt_tokens"], 9);
  EXPECT_EQ(answer["usage"]["total_tokens"], 9);
  EXPECT_EQ(answer["usage"]["ration"]["tokens"]["prompt"], 9);
  const Json one = server.embeddings({{"input", "the cat"}});
  EXPECT_EQ(one["data"][0], answer["data"][0]);
}

TEST(Vectors, of_token_ids_are_those_of_the_text) {
  EncoderServer server;
  const Json wanted = server.embeddings({{"input", "the cat"}})["data"][0]["embedding"];
  const std::vector<Token> ids = server.engine.model->encode_for_embedding("the cat");
  EXPECT_EQ(server.embeddings({{"input", ids}})["data"][0]["embedding"], wanted);
  const Json both = server.embeddings({{"input", {ids, ids}}})["data"];
  ASSERT_EQ(both.size(), 2u);
  EXPECT_EQ(both[1]["embedding"], wanted);
}

TEST(Vectors, come_as_base64_of_little_endian_floats) {
  EncoderServer server;
  const Json answer = server.embeddings({{"input", "the cat"}, {"encoding_format", "base64"}});
  const auto text = answer["data"][0]["embedding"].get<std::string>();
  std::string bytes;
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    constexpr std::string_view kLetters =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if (c == '=') break;
    bits = bits << 6 | static_cast<uint32_t>(kLetters.find(c));
    if ((count += 6) < 8) continue;
    count -= 8;
    bytes += static_cast<char>(bits >> count & 255);
  }
  std::vector<float> vector(bytes.size() / sizeof(float));
  std::memcpy(vector.data(), bytes.data(), vector.size() * sizeof(float));
  EXPECT_EQ(vector, server.vector("the cat"));
}

TEST(Vectors, of_fewer_dimensions_have_length_one_again) {
  EncoderServer server;
  const std::vector<float> whole = server.vector("the cat");
  const auto cut =
      server.embeddings({{"input", "the cat"}, {"dimensions", 7}})["data"][0]["embedding"]
          .get<std::vector<float>>();
  ASSERT_EQ(cut.size(), 7u);
  EXPECT_NEAR(product(cut, cut), 1, 1e-6);
  for (size_t i = 0; i < 7; ++i) EXPECT_NEAR(cut[i] / cut[0], whole[i] / whole[0], 1e-4);
}

TEST(Vectors, of_long_texts_are_refused_or_cut_as_the_protocol_has_it) {
  EncoderServer server;
  const Response refused =
      server.post("/v1/embeddings", Json{{"input", {"the cat", cats(431)}}}.dump());
  EXPECT_EQ(refused.status, 400);
  const Json error = refused.json()["error"];
  EXPECT_EQ(error["code"], "context_length_exceeded");
  EXPECT_EQ(error["message"], "text 2 of 2: it has 431 tokens, the context holds 430");
  EXPECT_EQ(error["needed_tokens"], 431);
  const Response cut = server.post("/api/embed", Json{{"input", cats(500)}}.dump());
  EXPECT_EQ(cut.status, 200) << cut.body;
  EXPECT_EQ(cut.json()["prompt_eval_count"], 430);
  EXPECT_EQ(cut.json()["embeddings"][0].get<std::vector<float>>(), server.vector(cats(430)));
  const Response whole =
      server.post("/api/embed", Json{{"input", cats(500)}, {"truncate", false}}.dump());
  EXPECT_EQ(whole.status, 400);
  EXPECT_EQ(whole.json()["code"], "context_length_exceeded");
}

TEST(Vectors, in_ollamas_shapes) {
  EncoderServer server;
  const Json answer =
      server.post("/api/embed", R"({"model":"bert","input":["the cat","a dog"]})").json();
  EXPECT_EQ(answer["model"], "bert");
  ASSERT_EQ(answer["embeddings"].size(), 2u);
  EXPECT_EQ(answer["embeddings"][0].get<std::vector<float>>(), server.vector("the cat"));
  EXPECT_GE(answer["total_duration"], answer["load_duration"]);
  EXPECT_EQ(answer["ration"]["tokens"]["prompt"], answer["prompt_eval_count"]);
  const Json old = server.post("/api/embeddings", R"({"model":"bert","prompt":"a dog"})").json();
  EXPECT_EQ(old["embedding"], answer["embeddings"][1]);
  EXPECT_EQ(server.post("/api/embed", R"({"model":"bert"})").json()["embeddings"], Json::array());
  EXPECT_EQ(server.post("/api/embeddings", "{}").json()["embedding"], Json::array());
}

TEST(Vectors, rerank_sorts_by_cosine) {
  EncoderServer server;
  const std::vector<std::string> texts{"a river", "the cat sat", "where is the mat", "the cat sat"};
  const Json body{{"query", "the cat"}, {"documents", texts}, {"return_documents", true}};
  for (const char* path : {"/rerank", "/v1/rerank"}) {
    const Json answer = server.post(path, body.dump()).json();
    ASSERT_EQ(answer["results"].size(), 4u) << path;
    double before = 2;
    for (const Json& result : answer["results"]) {
      const auto& text = texts[result["index"].get<size_t>()];
      const double score = result["relevance_score"].get<double>();
      EXPECT_NEAR(score, product(server.vector("the cat"), server.vector(text)), 1e-6);
      EXPECT_LE(score, before);
      EXPECT_EQ(result["document"]["text"], text);
      before = score;
    }
  }
  const Json short_answer =
      server
          .post("/rerank", Json{{"query", "the cat"},
                                {"documents", {Json{{"text", "a river"}}, "the cat sat", "mat"}},
                                {"top_n", 2}}
                               .dump())
          .json();
  ASSERT_EQ(short_answer["results"].size(), 2u);
  EXPECT_FALSE(short_answer["results"][0].contains("document"));
}

TEST(Vectors, a_chat_model_makes_them_and_an_encoder_does_not_chat) {
  TestServer decoder;
  const Response made = decoder.post("/v1/embeddings", R"({"input":["hello","some words"]})");
  ASSERT_EQ(made.status, 200) << made.body;
  const auto vector = made.json()["data"][1]["embedding"].get<std::vector<float>>();
  EXPECT_NEAR(product(vector, vector), 1, 1e-6);
  EXPECT_EQ(decoder.ask(chat_body("hi", 3)).status, 200);

  EncoderServer server;
  const Response chat = server.ask(R"({"messages":[{"role":"user","content":"hi"}]})");
  EXPECT_EQ(chat.status, 400);
  EXPECT_EQ(chat.json()["error"]["code"], "chat_unsupported");
  const Response text = server.post("/v1/completions", R"({"prompt":"hi"})");
  EXPECT_EQ(text.status, 400);
  EXPECT_EQ(text.json()["error"]["code"], "completion_unsupported");
  EXPECT_EQ(server.post("/api/generate", R"({"prompt":"hi","raw":true})").status, 400);
}

TEST(Vectors, refusals_name_the_field) {
  EncoderServer server;
  const std::tuple<const char*, const char*, const char*> cases[] = {
      {"/v1/embeddings", "{}", "input"},
      {"/v1/embeddings", R"({"input":[]})", "input"},
      {"/v1/embeddings", R"({"input":7})", "input"},
      {"/v1/embeddings", R"({"input":["a",7]})", "input[1]"},
      {"/v1/embeddings", R"({"input":[99999]})", "input[0]"},
      {"/v1/embeddings", R"({"input":"a","dimensions":25})", "dimensions"},
      {"/v1/embeddings", R"({"input":"a","dimensions":0})", "dimensions"},
      {"/v1/embeddings", R"({"input":"a","encoding_format":"hex"})", "encoding_format"},
      {"/v1/embeddings", R"({"input":"a","truncate":true})", "truncate"},
      {"/rerank", R"({"documents":["a"]})", "query"},
      {"/rerank", R"({"query":"a"})", "documents"},
      {"/rerank", R"({"query":"a","documents":[]})", "documents"},
      {"/rerank", R"({"query":"a","documents":["b",{"title":"c"}]})", "documents[1]"},
      {"/rerank", R"({"query":"a","documents":["b"],"top_n":0})", "top_n"},
      {"/rerank", R"({"query":"a","documents":["b"],"max_tokens_per_doc":5})",
       "max_tokens_per_doc"},
  };
  for (const auto& [path, body, param] : cases) {
    const Response response = server.post(path, body);
    EXPECT_EQ(response.status, 400) << body;
    EXPECT_EQ(response.json()["error"]["param"], param) << response.body;
  }
  EXPECT_EQ(server.post("/api/embed", R"({"input":[1,2]})").json()["param"], "input");
  EXPECT_EQ(server.post("/api/embed", R"({"input":"a","format":"json"})").json()["param"],
            "format");
}

}  // namespace
}  // namespace ration
