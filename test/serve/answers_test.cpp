// Answers over HTTP: their shape, streamed and whole, alone and together.
#include <gtest/gtest.h>

#include <chrono>
#include <set>
#include <thread>

#include "base/text.h"
#include "test/serve/test_server.h"

namespace ration {
namespace {

TEST(Answers, a_whole_answer_has_the_shape_clients_read) {
  TestServer server;
  const Response response = server.ask(chat_body("hello there", 12));
  ASSERT_EQ(response.status, 200) << response.body;
  EXPECT_EQ(response.headers.at("content-type"), "application/json");
  const Json answer = response.json();
  EXPECT_TRUE(answer["id"].get<std::string>().starts_with("chatcmpl-"));
  EXPECT_EQ(answer["object"], "chat.completion");
  EXPECT_EQ(answer["model"], "tiny");
  EXPECT_GT(answer["created"].get<int64_t>(), 1'600'000'000);
  const Json& choice = answer["choices"][0];
  EXPECT_EQ(choice["index"], 0);
  EXPECT_EQ(choice["message"]["role"], "assistant");
  EXPECT_FALSE(choice["message"]["content"].get<std::string>().empty());
  EXPECT_TRUE(choice["message"]["refusal"].is_null());
  EXPECT_TRUE(choice["logprobs"].is_null());
  EXPECT_EQ(choice["finish_reason"], "length");
  const Json& usage = answer["usage"];
  EXPECT_EQ(usage["completion_tokens"], 12);
  EXPECT_EQ(usage["total_tokens"].get<int>(), usage["prompt_tokens"].get<int>() + 12);
  EXPECT_EQ(usage["prompt_tokens_details"]["cached_tokens"], 0);
  EXPECT_EQ(usage["ration"]["tokens"]["generated"], 12);
  EXPECT_EQ(usage["ration"]["stop_cause"], "tokens");
  EXPECT_GT(usage["ration"]["peak_bytes"].get<int64_t>(), 0);
}

TEST(Answers, a_stream_is_the_same_answer_in_pieces) {
  TestServer server;
  const std::string sampling = ",\"temperature\":0.9,\"seed\":7";
  std::string body = chat_body("tell me", 60);
  body.replace(body.find(",\"temperature\":0"), 16, sampling);
  const Json whole = server.ask(body).json();
  body.pop_back();
  const Response response =
      server.ask(body + ",\"stream\":true,\"stream_options\":{\"include_usage\":true}}");
  ASSERT_EQ(response.status, 200) << response.body;
  EXPECT_TRUE(response.headers.at("content-type").starts_with("text/event-stream"));
  EXPECT_TRUE(response.whole);
  const std::vector<Json> events = events_of(response.body);
  ASSERT_GE(events.size(), 5u);
  EXPECT_EQ(text_of(events), whole["choices"][0]["message"]["content"].get<std::string>());
  EXPECT_EQ(events.front()["choices"][0]["delta"]["role"], "assistant");
  for (size_t i = 0; i + 1 < events.size(); ++i) {
    EXPECT_EQ(events[i]["object"], "chat.completion.chunk");
    EXPECT_EQ(events[i]["id"], events[0]["id"]);
  }
  const Json& end = events[events.size() - 3];
  EXPECT_EQ(end["choices"][0]["finish_reason"], "length");
  EXPECT_TRUE(end["usage"].is_null());
  const Json& usage = events[events.size() - 2];
  EXPECT_TRUE(usage["choices"].empty());
  EXPECT_EQ(usage["usage"]["completion_tokens"], 60);
  EXPECT_EQ(usage["usage"]["ration"]["stop_cause"], "tokens");
  EXPECT_TRUE(events.back().is_null());  // [DONE]
}

TEST(Answers, usage_is_streamed_only_when_asked_for) {
  TestServer server;
  const Response response = server.ask(chat_body("x", 3, ",\"stream\":true"));
  EXPECT_EQ(response.body.find("usage"), std::string::npos);
  EXPECT_TRUE(response.body.ends_with("data: [DONE]\n\n"));
}

TEST(Answers, logprobs_name_every_token_and_its_rivals) {
  TestServer server;
  const Json answer =
      server.ask(chat_body("hello", 8, ",\"logprobs\":true,\"top_logprobs\":3")).json();
  const Json& content = answer["choices"][0]["logprobs"]["content"];
  ASSERT_EQ(content.size(), 8u);
  std::string text;
  for (const Json& token : content) {
    ASSERT_EQ(token["top_logprobs"].size(), 3u);
    EXPECT_LE(token["logprob"].get<double>(), 0.0);
    EXPECT_EQ(token["top_logprobs"][0]["logprob"], token["logprob"]);  // greedy
    for (const Json& byte : token["bytes"]) text += static_cast<char>(byte.get<int>());
  }
  EXPECT_EQ(to_valid_utf8(text), answer["choices"][0]["message"]["content"].get<std::string>());
  const std::vector<Json> events = events_of(
      server.ask(chat_body("hello", 8, ",\"logprobs\":true,\"top_logprobs\":3,\"stream\":true"))
          .body);
  Json streamed = Json::array();
  for (const Json& event : events) {
    if (event.is_null() || event["choices"][0]["logprobs"].is_null()) continue;
    for (const Json& token : event["choices"][0]["logprobs"]["content"]) streamed.push_back(token);
  }
  EXPECT_EQ(streamed, content);
}

TEST(Answers, stop_strings_end_the_answer_before_them) {
  TestServer server;
  const std::string full =
      server.ask(chat_body("count", 40)).json()["choices"][0]["message"]["content"];
  ASSERT_GT(full.size(), 10u);
  // A stretch of the answer that is plain ASCII can be named in JSON as it is.
  size_t at = 4;
  while (at + 2 < full.size() && !(std::isalnum(static_cast<unsigned char>(full[at])) &&
                                   std::isalnum(static_cast<unsigned char>(full[at + 1])))) {
    ++at;
  }
  ASSERT_LT(at + 2, full.size()) << full;
  const std::string stop = full.substr(at, 2);
  const Json answer = server.ask(chat_body("count", 40, ",\"stop\":[\"" + stop + "\"]")).json();
  EXPECT_EQ(answer["choices"][0]["message"]["content"], full.substr(0, full.find(stop)));
  EXPECT_EQ(answer["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(answer["usage"]["ration"]["stop_cause"], "stop");
}

TEST(Answers, a_seed_repeats_an_answer_and_none_does_not) {
  TestServer server;
  const auto text = [&](const std::string& more) {
    return server
        .ask(R"({"messages":[{"role":"user","content":"hi"}],"temperature":2,"top_k":0,"top_p":1,)"
             R"("min_p":0,"ignore_eos":true,"max_tokens":30)" +
             more + "}")
        .json()["choices"][0]["message"]["content"]
        .get<std::string>();
  };
  EXPECT_EQ(text(",\"seed\":5"), text(",\"seed\":5"));
  EXPECT_NE(text(""), text(""));
}

TEST(Answers, that_arrive_together_are_interleaved_and_equal_their_solo_answers) {
  TestServer server;
  const std::string bodies[2] = {
      chat_body("the first question", 300, ",\"stream\":true"),
      chat_body("another, longer question about something else", 300, ",\"stream\":true")};
  std::string alone[2];
  for (int i = 0; i < 2; ++i) alone[i] = text_of(events_of(server.ask(bodies[i]).body));
  Client clients[2]{Client(server.port()), Client(server.port())};
  std::string streams[2];
  server.gate.hold();
  for (int i = 0; i < 2; ++i) clients[i].post(bodies[i]);
  // Step by step, until the engine has both.
  EXPECT_TRUE(comes_true([&] {
    server.gate.release(1);
    return server.get("/health").json()["answers"]["active"] == 2;
  }));
  server.gate.release(40);
  // Each gets pieces while the other is not finished: forty steps are fewer than each needs alone.
  for (Client& client : clients) EXPECT_EQ(client.read_head().status, 200);
  for (int round = 0; round < 20; ++round) {
    for (int i = 0; i < 2; ++i) streams[i] += clients[i].read_chunk().second;
  }
  for (const std::string& stream : streams) EXPECT_EQ(stream.find("[DONE]"), std::string::npos);
  EXPECT_EQ(server.get("/health").json()["answers"]["active"], 2);
  server.gate.release();
  for (int i = 0; i < 2; ++i) {
    for (auto chunk = clients[i].read_chunk(); chunk.first && !chunk.second.empty();
         chunk = clients[i].read_chunk()) {
      streams[i] += chunk.second;
    }
    EXPECT_EQ(text_of(events_of(streams[i])), alone[i]) << i;
  }
}

TEST(Answers, more_than_fit_the_engine_wait_their_turn) {
  EngineOptions engine = serving_engine();
  engine.logit_rows_max = 2;
  TestServer server({}, engine);
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 6; ++i) {
    clients.push_back(std::make_unique<Client>(server.port()));
    clients.back()->post(chat_body("number " + std::to_string(i), 50));
  }
  for (auto& client : clients) {
    const Response response = client->read_response();
    EXPECT_EQ(response.status, 200) << response.body;
    EXPECT_EQ(response.json()["usage"]["completion_tokens"], 50);
  }
}

TEST(Answers, a_deadline_ends_an_answer_and_says_so) {
  TestServer server;
  server.gate.hold(10);
  Client client(server.port());
  client.post(chat_body("go on", 1000,
                        ",\"ration\":{\"max_ms\":60000},\"stream\":true,\"stream_options\":"
                        "{\"include_usage\":true}"));
  EXPECT_EQ(client.read_head().status, 200);  // the first token is written
  server.clock.advance(Millis{61'000});
  server.gate.release();
  std::string stream;
  for (auto chunk = client.read_chunk(); chunk.first && !chunk.second.empty();
       chunk = client.read_chunk()) {
    stream += chunk.second;
  }
  const std::vector<Json> events = events_of(stream);
  ASSERT_GE(events.size(), 4u) << stream;
  EXPECT_EQ(events[events.size() - 3]["choices"][0]["finish_reason"], "length");
  const Json& usage = events[events.size() - 2]["usage"];
  EXPECT_GE(usage["completion_tokens"].get<int>(), 1);
  EXPECT_LE(usage["completion_tokens"].get<int>(), 10);
  EXPECT_EQ(usage["ration"]["stop_cause"], "deadline");
}

TEST(Answers, slow_streams_are_kept_alive_with_comments) {
  TestServer server({.ping_every = Millis{20}});
  server.gate.hold();
  Client client(server.port());
  client.post(chat_body("short", 3, ",\"stream\":true"));
  EXPECT_EQ(client.read_head().status, 200);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(client.read_chunk().second, ": ping\n\n");
  server.gate.release();
  std::string stream;
  for (auto chunk = client.read_chunk(); chunk.first && !chunk.second.empty();
       chunk = client.read_chunk()) {
    stream += chunk.second;
  }
  EXPECT_EQ(events_of(stream).size(), 1 + 3 + 1 + 1u) << stream;
}

TEST(Answers, several_choices_draw_apart_and_the_first_as_if_alone) {
  TestServer server;
  const auto body = [](int n, const std::string& more) {
    return R"({"messages":[{"role":"user","content":"hi"}],"temperature":1.5,"ignore_eos":true,)"
           R"("max_tokens":12,"seed":5,"n":)" +
           std::to_string(n) + more + "}";
  };
  const Json alone = server.ask(body(1, "")).json();
  const Json answer = server.ask(body(3, "")).json();
  ASSERT_EQ(answer["choices"].size(), 3u);
  std::set<std::string> texts;
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(answer["choices"][i]["index"], i);
    texts.insert(answer["choices"][i]["message"]["content"]);
  }
  EXPECT_EQ(texts.size(), 3u);
  EXPECT_EQ(answer["choices"][0]["message"], alone["choices"][0]["message"]);
  EXPECT_EQ(answer["usage"]["prompt_tokens"], alone["usage"]["prompt_tokens"]);
  EXPECT_EQ(answer["usage"]["completion_tokens"], 36);
  // The same in a stream, with the choices between each other.
  std::vector<std::string> streamed(3);
  int ends = 0;
  for (const Json& event : events_of(server.ask(body(3, ",\"stream\":true")).body)) {
    if (event.is_null()) continue;
    const Json& choice = event["choices"][0];
    ends += choice["finish_reason"] == "length";
    streamed[choice["index"].get<size_t>()] += choice["delta"].value("content", "");
  }
  EXPECT_EQ(ends, 3);
  for (size_t i = 0; i < 3; ++i)
    EXPECT_EQ(Json(streamed[i]), answer["choices"][i]["message"]["content"]);
}

TEST(Answers, choices_count_in_the_queue_and_are_given_back) {
  TestServer server({.waiting_max = 2});  // and 8 sequences
  const Response refused = server.ask(chat_body("x", 5, ",\"n\":11"));
  EXPECT_EQ(refused.status, 400) << refused.body;
  EXPECT_EQ(refused.json()["error"]["param"], "n");
  server.gate.hold();
  Client busy(server.port());
  busy.post(chat_body("x", 900, ",\"n\":10"));
  EXPECT_TRUE(server.has_answers(10));
  EXPECT_EQ(server.ask(chat_body("x", 5)).json()["error"]["code"], "queue_full");
  busy.close();
  EXPECT_TRUE(comes_true([&] {
    server.gate.release(1);
    const Json answers = server.get("/health").json()["answers"];
    return answers["active"] == 0 && answers["waiting"] == 0;
  }));
  server.gate.release();
  EXPECT_EQ(server.ask(chat_body("x", 5, ",\"n\":2")).status, 200);
}

TEST(Answers, headers_name_the_model_and_what_is_left) {
  TestServer server;
  for (const Response& response :
       {server.get("/health"), server.get("/nothing"), server.ask(chat_body("x", 2)),
        server.ask(chat_body("x", 2, ",\"stream\":true")), server.ask("{}")}) {
    EXPECT_EQ(response.header("x-ration-model"), "tiny");
    EXPECT_TRUE(response.header("x-ration-budget-remaining").starts_with("bytes="));
    EXPECT_TRUE(response.header("x-request-id").starts_with("req-"));
  }
  EXPECT_EQ(server.ask(chat_body("x", 2)).header("x-ration-reason"), "named");
}

TEST(TextCompletion, continues_texts_and_tokens_with_old_logprobs) {
  TestServer server;
  const auto ask = [&](const std::string& more) {
    Client client(server.port());
    client.post(R"({"temperature":0,"ignore_eos":true,"max_tokens":6,)" + more + "}",
                "/v1/completions");
    return client.read_response();
  };
  const Json answer = ask(R"("prompt":["once","the end"],"n":2,"logprobs":2)").json();
  EXPECT_EQ(answer["object"], "text_completion");
  ASSERT_EQ(answer["choices"].size(), 4u);
  EXPECT_EQ(answer["usage"]["completion_tokens"], 24);
  for (int i = 0; i < 4; ++i) {
    const Json& choice = answer["choices"][i];
    EXPECT_EQ(choice["index"], i);
    EXPECT_EQ(choice["finish_reason"], "length");
    const Json& logprobs = choice["logprobs"];
    ASSERT_EQ(logprobs["tokens"].size(), 6u);
    ASSERT_EQ(logprobs["token_logprobs"].size(), 6u);
    EXPECT_LE(logprobs["top_logprobs"][0].size(), 2u);
    EXPECT_EQ(logprobs["text_offset"][0], 0);
  }
  EXPECT_EQ(answer["choices"][0]["text"], answer["choices"][1]["text"]);  // greedy
  const std::string alone = ask(R"("prompt":"the end")").json()["choices"][0]["text"];
  EXPECT_EQ(answer["choices"][2]["text"], alone);
  EXPECT_EQ(ask(R"("prompt":"the end","echo":true)").json()["choices"][0]["text"],
            "the end" + alone);
  std::string streamed;
  for (const Json& event : events_of(ask(R"("prompt":"the end","echo":true,"stream":true)").body)) {
    if (!event.is_null()) streamed += event["choices"][0]["text"].get<std::string>();
  }
  EXPECT_EQ(streamed, "the end" + alone);
}

TEST(Answers, an_energy_tariff_prices_them) {
  TestServer server({.tariff = Tariff{.usd_per_million_tokens = 1e6}});
  const Json usage = server.ask(chat_body("x", 5)).json()["usage"];
  EXPECT_DOUBLE_EQ(usage["ration"]["usd"].get<double>(), usage["total_tokens"].get<double>());
}

TEST(Routes, models_are_listed_and_found_by_every_name) {
  TestServer server({.models = {{.names = {"tiny", "user/tiny model"}}}});
  const Json list = server.get("/v1/models").json();
  EXPECT_EQ(list["object"], "list");
  ASSERT_EQ(list["data"].size(), 1u);
  const Json& model = list["data"][0];
  EXPECT_EQ(model["id"], "tiny");
  EXPECT_EQ(model["object"], "model");
  EXPECT_EQ(model["owned_by"], "ration");
  EXPECT_EQ(model["meta"]["n_ctx"], 1024);
  EXPECT_EQ(model["meta"]["n_ctx_train"], 1024);
  EXPECT_GT(model["meta"]["n_params"].get<int64_t>(), 1000);
  for (const char* path : {"/v1/models/tiny", "/v1/models/user/tiny%20model", "/v1/models/tiny/"}) {
    EXPECT_EQ(server.get(path).json(), model) << path;
  }
}

TEST(Routes, health_tells_memory_and_answers) {
  TestServer server;
  const Json health = server.get("/health").json();
  EXPECT_EQ(health["status"], "ok");
  EXPECT_EQ(health["model"], "tiny");
  EXPECT_EQ(health["memory"]["limit_bytes"], 256 * kMiB);
  EXPECT_GT(health["memory"]["used_bytes"].get<int64_t>(), 0);
  EXPECT_EQ(health["answers"]["active"], 0);
  EXPECT_EQ(health["answers"]["waiting"], 0);
  EXPECT_EQ(server.get("/").status, 200);
}

}  // namespace
}  // namespace ration
