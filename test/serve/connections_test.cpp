// Clients that come, vanish and dawdle: nothing of them stays.
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "test/serve/test_server.h"

namespace ration {
namespace {

using Milliseconds = std::chrono::milliseconds;

bool blocks_all_free(const TestServer& server) {
  const BudgetReport report = server.engine.budget.report();
  return report.used[static_cast<size_t>(Tag::kKv)] == Bytes{0} &&
         report.used[static_cast<size_t>(Tag::kIo)] == Bytes{0};
}

// Whether the engine hears within a few steps that the one client has gone.
bool ends_soon_without(TestServer& server, std::unique_ptr<Client> client) {
  client.reset();
  // The second look comes after what the first one's news have set off.
  for (int i = 0; i < 2; ++i) {
    if (!comes_true([&] { return server.get("/health").json()["connections"] == 1; })) return false;
  }
  const int64_t reads = server.gate.reads();
  server.gate.release();
  return server.idle() && server.gate.reads() - reads <= 5;
}

TEST(Connections, a_client_that_goes_in_mid_stream_ends_its_answer) {
  TestServer server;
  server.gate.hold(20);
  auto client = std::make_unique<Client>(server.port());
  client->post(chat_body("measure", 900, ",\"stream\":true"));
  EXPECT_EQ(client->read_head().status, 200);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(client->read_chunk().first);
  EXPECT_FALSE(blocks_all_free(server));
  EXPECT_TRUE(ends_soon_without(server, std::move(client)));
  EXPECT_TRUE(blocks_all_free(server));
}

TEST(Connections, a_client_that_goes_while_it_waits_for_the_whole_ends_its_answer) {
  TestServer server;
  server.gate.hold(20);
  auto client = std::make_unique<Client>(server.port());
  client->post(chat_body("measure", 900));
  EXPECT_TRUE(comes_true([&] { return !blocks_all_free(server); }));
  EXPECT_TRUE(ends_soon_without(server, std::move(client)));
  EXPECT_TRUE(blocks_all_free(server));
}

TEST(Connections, a_slow_client_holds_up_nobody) {
  TestServer server;
  // One that reads nothing of a long stream, one that sends its request a byte at a time.
  Client reader(server.port(), 4096);
  reader.post(chat_body("much", 900, ",\"stream\":true,\"logprobs\":true,\"top_logprobs\":5"));
  Client writer(server.port());
  const std::string body = chat_body("slowly", 3);
  const std::string request =
      "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
      "Content-Length: " +
      std::to_string(body.size()) + "\r\n\r\n" + body;
  for (size_t i = 0; i < request.size(); ++i) {
    EXPECT_TRUE(writer.send(request.substr(i, 1)));
    if (i % 20 == 0) EXPECT_EQ(server.ask(chat_body("quick", 3)).status, 200);
  }
  EXPECT_EQ(writer.read_response().status, 200);
  const Response late = reader.read_response();  // and it has all of it, when it reads at last
  EXPECT_EQ(late.status, 200);
  EXPECT_TRUE(late.whole);
  EXPECT_TRUE(late.body.ends_with("data: [DONE]\n\n"));
}

TEST(Connections, fifty_that_vanish_at_any_stage_leave_nothing) {
  TestServer server;
  EXPECT_EQ(server.ask(chat_body("warm", 3)).status, 200);
  EXPECT_TRUE(server.idle() && server.empty());
  const int64_t descriptors = descriptors_open();
  const int64_t threads = threads_now();
  const std::string body = chat_body("go", 900, ",\"stream\":true");
  const std::string head =
      "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: " +
      std::to_string(body.size()) + "\r\n\r\n";
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 50; ++i) {
    clients.push_back(std::make_unique<Client>(server.port()));
    Client& client = *clients.back();
    switch (i % 6) {
      case 0:
        break;  // says nothing
      case 1:
        client.send("POST /v1/ch");
        break;
      case 2:
        client.send(head + body.substr(0, 20));
        break;
      case 3:
        client.send(head + body);
        break;  // goes before the answer
      case 4:
        client.send(head + body);
        if (i < 30) client.read_head();  // goes in mid-stream
        break;
      case 5:
        client.send(head + body + head + body + "garbage");
        break;
    }
    if (i % 3 == 0) clients.erase(clients.begin());
  }
  clients.clear();
  EXPECT_TRUE(server.idle() && server.empty());
  EXPECT_TRUE(blocks_all_free(server));
  EXPECT_EQ(descriptors_open(), descriptors);
  EXPECT_EQ(threads_now(), threads);
  EXPECT_EQ(server.ask(chat_body("still here", 3)).status, 200);
}

TEST(Connections, a_reader_that_stops_reading_is_cancelled) {
  // Log-probabilities make a stream of some megabytes of a thousand tokens.
  TestServer server({.unsent_max = Bytes{64 * kKiB}});
  Client client(server.port(), 4096);
  const std::string body =
      chat_body("much", 1000, ",\"stream\":true,\"logprobs\":true,\"top_logprobs\":20");
  for (int i = 0; i < 6; ++i) client.post(body);
  EXPECT_EQ(client.read_head().status, 200);
  EXPECT_TRUE(server.empty());
  EXPECT_TRUE(server.idle());
  EXPECT_TRUE(blocks_all_free(server));
}

TEST(Connections, one_serves_chats_one_after_the_other) {
  TestServer server;
  Client client(server.port());
  for (int i = 0; i < 5; ++i) {
    client.post(chat_body("again", 5, i % 2 ? ",\"stream\":true" : ""));
    const Response response = client.read_response();
    EXPECT_EQ(response.status, 200);
    EXPECT_TRUE(response.whole);
  }
}

TEST(Connections, an_idle_server_uses_no_cpu) {
  TestServer server;
  EXPECT_EQ(server.ask(chat_body("warm", 3)).status, 200);
  Client open(server.port());
  std::this_thread::sleep_for(Milliseconds(150));
  const double before = process_cpu_seconds();
  std::this_thread::sleep_for(Milliseconds(500));
  EXPECT_LT(process_cpu_seconds() - before, 0.01);
}

TEST(Connections, stopping_breaks_streams_off_and_leaves_nothing) {
  const int64_t descriptors = descriptors_open();
  const int64_t threads = threads_now();
  {
    TestServer server;
    server.gate.hold(20);
    Client client(server.port());
    client.post(chat_body("long", 900, ",\"stream\":true"));
    EXPECT_EQ(client.read_head().status, 200);
    Client waiting(server.port());
    waiting.post(chat_body("long", 900));
    EXPECT_TRUE(server.has_answers(2));
    std::thread stopping([&] { server.stop(); });
    std::string stream;
    std::pair<bool, std::string> chunk;
    for (chunk = client.read_chunk(); chunk.first && !chunk.second.empty();
         chunk = client.read_chunk()) {
      stream += chunk.second;
    }
    EXPECT_FALSE(chunk.first);
    EXPECT_NE(stream.find("\"code\":\"stopping\""), std::string::npos) << stream;
    client.close();
    EXPECT_EQ(waiting.read_response().status, 503);
    waiting.close();
    stopping.join();
    EXPECT_TRUE(blocks_all_free(server));
    EXPECT_FALSE(Client(server.port()).connected());
  }
  EXPECT_EQ(descriptors_open(), descriptors);
  EXPECT_EQ(threads_now(), threads);
}

}  // namespace
}  // namespace ration
