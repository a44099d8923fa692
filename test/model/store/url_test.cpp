#include <gtest/gtest.h>
#include <sys/mount.h>

#include <atomic>
#include <thread>

#include "local_server.h"
#include "store_fixture.h"

namespace ration {
namespace {

namespace fs = std::filesystem;
using Stage = PullProgress::Stage;

class Url : public StoreTest {
 protected:
  // Patience of a test.
  PullOptions quick() {
    return {.progress =
                [this](const PullProgress& progress) {
                  stages_.push_back(progress.stage);
                  if (!progress.note.empty()) notes_ += progress.note + "\n";
                  return true;
                },
            .retry = {.attempts_max = 3,
                      .backoff_first = Millis{5},
                      .backoff_max = Millis{20},
                      .stall = Millis{200},
                      .connect = Millis{1000},
                      .redirects_max = 4}};
  }
  bool saw(Stage stage) const {
    return std::find(stages_.begin(), stages_.end(), stage) != stages_.end();
  }
  // The pull of url "/m.gguf" must end with this code; gives its message.
  std::string failure(const LocalServer& server, Code code, const std::string& fragment = "") {
    const Result<ResolvedModel> model = store().pull(server.url("/m.gguf") + fragment, quick());
    EXPECT_FALSE(model);
    if (model) return "";
    EXPECT_EQ(code_name(model.error().code), code_name(code)) << model.error().message;
    return model.error().message;
  }
  std::string partial() const {
    for (const std::string& file : files()) {
      if (file.ends_with(".partial")) return read(home() / file);
    }
    return "";
  }

  std::vector<Stage> stages_;
  std::string notes_;
};

TEST_F(Url, whole_file_gets_a_short_name) {
  const std::string content = model_bytes(500'000);
  LocalServer server([&](const SeenRequest& request, int, Answer& answer) {
    answer.file(request, content, "\"1\"");
  });
  const Result<ResolvedModel> model =
      store().pull(server.url("/dir/m.gguf?download=true"), quick());
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(model->name, "m");
  EXPECT_EQ(read(model->files.front()), content);
  EXPECT_EQ(model->sha256, hash(content));
  EXPECT_EQ(server.seen().front().target, "/dir/m.gguf?download=true");
  EXPECT_TRUE(server.seen().front().header("user-agent").starts_with("ration/"));
  EXPECT_TRUE(store(true).resolve("m"));
  EXPECT_TRUE(store(true).pull(server.url("/dir/m.gguf?download=true")));
  EXPECT_EQ(server.seen().size(), 1u);
  // Another file of that name keeps its whole address.
  const Result<ResolvedModel> other = store().pull(server.url("/other/m.gguf"), quick());
  ASSERT_TRUE(other);
  EXPECT_EQ(other->name, server.url("/other/m.gguf"));
  EXPECT_EQ(store().list()->size(), 2u);
}

TEST_F(Url, dropped_connection_is_resumed_where_it_broke) {
  const std::string content = model_bytes(1'000'000);
  LocalServer server([&](const SeenRequest& request, int number, Answer& answer) {
    answer.file(request, content, "\"1\"", number < 4 ? 200'000 : std::string::npos);
  });
  const Result<ResolvedModel> model = store().pull(server.url("/m.gguf"), quick());
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(read(model->files.front()), content);
  const std::vector<SeenRequest> seen = server.seen();
  ASSERT_EQ(seen.size(), 4u);
  EXPECT_EQ(seen[1].header("range"), "bytes=200000-");
  EXPECT_EQ(seen[1].header("if-range"), "\"1\"");
  EXPECT_EQ(seen[3].range_begin(), 600'000);
  EXPECT_EQ(server.body_bytes(), 1'000'000);
}

TEST_F(Url, stall_is_noticed_told_and_resumed) {
  const std::string content = model_bytes(300'000);
  LocalServer server([&](const SeenRequest& request, int number, Answer& answer) {
    answer.file(request, content, "\"1\"", number == 1 ? 100'000 : std::string::npos);
    if (number == 1) answer.stall();
  });
  const Result<ResolvedModel> model = store().pull(server.url("/m.gguf"), quick());
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(read(model->files.front()), content);
  EXPECT_TRUE(saw(Stage::kRetrying));
  EXPECT_NE(notes_.find(server.host() + " sent nothing for 0.2 s"), std::string::npos) << notes_;
  EXPECT_EQ(server.seen().back().range_begin(), 100'000);
}

TEST_F(Url, endless_stall_names_host_and_keeps_what_came_for_the_next_pull) {
  const std::string content = model_bytes(300'000);
  std::atomic<bool> well = false;
  LocalServer server([&](const SeenRequest& request, int number, Answer& answer) {
    if (!well && number > 1) return answer.stall();
    answer.file(request, content, "\"1\"", well ? std::string::npos : 100'000);
    if (!well) answer.stall();
  });
  const std::string message = failure(server, Code::kNetwork);
  EXPECT_NE(message.find(server.host() + " sent nothing"), std::string::npos) << message;
  EXPECT_NE(message.find("after 100000 of 300000 bytes"), std::string::npos) << message;
  EXPECT_EQ(server.seen().size(), 4u);  // the bytes of the first began the count anew
  well = true;
  stages_.clear();
  const Result<ResolvedModel> model = store().pull(server.url("/m.gguf"), quick());
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_TRUE(saw(Stage::kChecking));
  EXPECT_EQ(server.seen().back().range_begin(), 100'000);
  EXPECT_EQ(read(model->files.front()), content);
}

TEST_F(Url, announced_bytes_that_never_come_end_the_pull) {
  const std::string content = model_bytes(100'000);
  LocalServer server([&](const SeenRequest& request, int, Answer& answer) {
    const int64_t begin = request.range_begin();
    answer.head(
        begin > 0 ? "206 Partial Content" : "200 OK",
        {"Content-Length: " + std::to_string(200'000 - begin), "ETag: \"1\"",
         begin > 0 ? "Content-Range: bytes " + std::to_string(begin) + "-199999/200000" : "X: y"});
    answer.body(content.substr(static_cast<size_t>(begin)));
  });
  const std::string message = failure(server, Code::kNetwork);
  EXPECT_NE(message.find("closed the connection too early, after 100000 of 200000 bytes"),
            std::string::npos)
      << message;
}

TEST_F(Url, length_that_contradicts_the_catalogue_is_refused_before_the_body) {
  const std::string content = model_bytes(100'000);
  LocalServer server([&](const SeenRequest& request, int, Answer& answer) {
    answer.file(request, content.substr(0, 90'000), "\"1\"");
  });
  add_to_catalogue("mine", server.url("/m.gguf"), content);
  const Error error = store().pull("mine", quick()).error();
  EXPECT_EQ(error.code, Code::kNetwork);
  EXPECT_NE(error.message.find("found 90000 bytes, wanted 100000"), std::string::npos)
      << error.message;
  EXPECT_EQ(server.seen().size(), 1u);  // trying again would not help
}

TEST_F(Url, more_bytes_than_promised_are_cut_off) {
  const std::string content = model_bytes(100'000);
  LocalServer server([&](const SeenRequest&, int, Answer& answer) {
    answer.head("200 OK", {"ETag: \"1\""});  // no length: the body ends with the connection
    while (answer.body(content)) {
    }
  });
  add_to_catalogue("mine", server.url("/m.gguf"), content);
  const Error error = store().pull("mine", quick()).error();
  EXPECT_EQ(error.code, Code::kNetwork);
  EXPECT_NE(error.message.find("sends more than it should"), std::string::npos) << error.message;
}

TEST_F(Url, body_without_a_length_is_taken_until_it_ends) {
  const std::string content = model_bytes(100'000);
  LocalServer server([&](const SeenRequest&, int, Answer& answer) {
    answer.head("200 OK", {});
    answer.body(content);
  });
  const Result<ResolvedModel> model = store().pull(server.url("/m.gguf"), quick());
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(read(model->files.front()), content);
}

TEST_F(Url, wrong_bytes_are_deleted_and_both_hashes_named) {
  const std::string content = model_bytes(100'000);
  const std::string other = model_bytes(100'000, 2);
  LocalServer server([&](const SeenRequest& request, int, Answer& answer) {
    answer.file(request, other, "\"1\"");
  });
  const std::string message = failure(server, Code::kNetwork, "#sha256=" + hash(content));
  EXPECT_NE(message.find("found sha256 " + hash(other) + ", wanted " + hash(content)),
            std::string::npos)
      << message;
  EXPECT_EQ(partial(), "");
  EXPECT_FALSE(store().resolve("m"));
}

TEST_F(Url, server_that_ignores_ranges_is_started_over) {
  const std::string content = model_bytes(300'000);
  LocalServer server([&](const SeenRequest& request, int number, Answer& answer) {
    SeenRequest plain = request;
    plain.headers.erase("range");
    answer.file(plain, content, "\"1\"", number == 1 ? 100'000 : std::string::npos);
  });
  const Result<ResolvedModel> model = store().pull(server.url("/m.gguf"), quick());
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(read(model->files.front()), content);
  EXPECT_EQ(server.seen()[1].range_begin(), 100'000);
}

TEST_F(Url, server_that_ignores_ranges_and_always_drops_is_given_up) {
  const std::string content = model_bytes(300'000);
  LocalServer server([&](const SeenRequest& request, int, Answer& answer) {
    SeenRequest plain = request;
    plain.headers.erase("range");
    answer.file(plain, content, "\"1\"", 100'000);
  });
  failure(server, Code::kNetwork);
  EXPECT_LE(server.seen().size(), 6u);
}

TEST_F(Url, file_that_changed_meanwhile_is_started_over) {
  const std::string before = model_bytes(300'000);
  const std::string after = model_bytes(320'000, 2);
  for (const bool honest : {true, false}) {  // the dishonest one sends a 206 of the new file
    LocalServer server([&](const SeenRequest& request, int number, Answer& answer) {
      SeenRequest shown = request;
      if (!honest) shown.headers.erase("if-range");
      if (number == 1)
        answer.file(shown, before, "\"1\"", 100'000);
      else
        answer.file(shown, after, "\"2\"");
    });
    const Result<ResolvedModel> model = store().pull(server.url("/m.gguf"), quick());
    ASSERT_TRUE(model) << model.error().message;
    EXPECT_EQ(read(model->files.front()), after);
    ASSERT_TRUE(store().remove(server.url("/m.gguf")));
  }
}

TEST_F(Url, weak_etag_without_hash_is_not_trusted_for_a_resume) {
  const std::string content = model_bytes(300'000);
  LocalServer server([&](const SeenRequest& request, int number, Answer& answer) {
    answer.file(request, content, "W/\"1\"", number == 1 ? 100'000 : std::string::npos);
  });
  ASSERT_TRUE(store().pull(server.url("/m.gguf"), quick()));
  EXPECT_EQ(server.seen()[1].header("range"), "");
}

TEST_F(Url, complete_rest_of_an_earlier_pull_needs_one_question) {
  const std::string content = model_bytes(300'000);
  LocalServer server([&](const SeenRequest& request, int, Answer& answer) {
    answer.file(request, content, "\"1\"");
  });
  // As a kill between the last byte and the rename leaves it.
  const std::string url = server.url("/m.gguf");
  write("home/incoming/from-" + hash(url) + ".partial", content);
  write("home/incoming/from-" + hash(url) + ".state", "\"1\"\n" + url);
  const Result<ResolvedModel> model = store().pull(url, quick());
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(read(model->files.front()), content);
  EXPECT_EQ(server.body_bytes(), 0);
}

TEST_F(Url, damaged_rest_of_an_earlier_pull_is_fetched_anew) {
  const std::string content = model_bytes(300'000);
  LocalServer server([&](const SeenRequest& request, int, Answer& answer) {
    answer.file(request, content, "\"1\"");
  });
  std::string damaged = content.substr(0, 200'000);
  damaged[100] = static_cast<char>(damaged[100] ^ 1);
  write("home/incoming/" + hash(content) + ".partial", damaged);
  const Result<ResolvedModel> model =
      store().pull(server.url("/m.gguf") + "#sha256=" + hash(content), quick());
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(read(model->files.front()), content);
  EXPECT_EQ(server.seen().size(), 2u);
  EXPECT_EQ(server.seen().front().range_begin(), 200'000);
}

TEST_F(Url, redirects_are_followed_but_not_for_ever) {
  const std::string content = model_bytes(1000);
  LocalServer server([&](const SeenRequest& request, int, Answer& answer) {
    if (request.target == "/real.gguf") return answer.file(request, content, "\"1\"");
    const bool loop = request.target.starts_with("/loop");
    answer.head("302 Found", {std::string("Location: ") + (loop ? "/loop.gguf" : "/real.gguf"),
                              "Content-Length: 0"});
  });
  EXPECT_TRUE(store().pull(server.url("/m.gguf"), quick()));
  const Error error = store().pull(server.url("/loop.gguf"), quick()).error();
  EXPECT_EQ(error.code, Code::kNetwork);
  EXPECT_EQ(error.message, server.host() + " redirects more than 4 times");
}

TEST_F(Url, redirect_to_a_local_file_is_not_followed) {
  const fs::path secret = write("secret.gguf", model_bytes(1000));
  LocalServer server([&](const SeenRequest&, int, Answer& answer) {
    answer.head("302 Found", {"Location: file://" + secret.string(), "Content-Length: 0"});
  });
  EXPECT_NE(failure(server, Code::kNetwork).find("not safe to follow"), std::string::npos);
}

TEST_F(Url, statuses_have_words) {
  std::string status;
  LocalServer server(
      [&](const SeenRequest&, int, Answer& answer) { answer.head(status, {"Content-Length: 0"}); });
  const auto tells = [&](const std::string& now, Code code, const std::string& words) {
    status = now;
    const std::string message = failure(server, code);
    EXPECT_NE(message.find(words), std::string::npos) << message;
    EXPECT_NE(message.find(now.substr(0, 3)), std::string::npos) << message;
  };
  tells("401 Unauthorized", Code::kNetwork, "refused access");
  tells("403 Forbidden", Code::kNetwork, "refused access");
  tells("404 Not Found", Code::kNotFound, "no such file");
  tells("410 Gone", Code::kNotFound, "no such file");
  tells("407 Proxy Authentication Required", Code::kNetwork, "proxy");
  tells("418 Teapot", Code::kNetwork, "status 418");
  EXPECT_EQ(server.seen().size(), 6u);  // none of these is tried again
  tells("503 Unavailable", Code::kNetwork, "status 503");
  EXPECT_EQ(server.seen().size(), 9u);
}

TEST_F(Url, server_that_recovers_is_waited_for) {
  const std::string content = model_bytes(1000);
  LocalServer server([&](const SeenRequest& request, int number, Answer& answer) {
    if (number == 1) return answer.head("503 Busy", {"Content-Length: 0"});
    if (number == 2) return answer.head("429 Slow down", {"Content-Length: 0"});
    answer.file(request, content, "\"1\"");
  });
  EXPECT_TRUE(store().pull(server.url("/m.gguf"), quick()));
}

TEST_F(Url, web_page_in_place_of_a_model_is_refused_at_its_first_byte) {
  const std::string page = "<!doctype html>" + std::string(1'000'000, ' ');
  LocalServer server([&](const SeenRequest& request, int, Answer& answer) {
    answer.file(request, page, "\"1\"");
  });
  const std::string message = failure(server, Code::kNetwork);
  EXPECT_NE(message.find("not a GGUF file but a web page"), std::string::npos) << message;
  EXPECT_EQ(server.seen().size(), 1u);
}

TEST_F(Url, model_larger_than_the_disk_is_refused_with_the_shortfall) {
  LocalServer server([&](const SeenRequest&, int, Answer& answer) {
    answer.head("200 OK", {"Content-Length: 4000000000000000", "ETag: \"1\""});
    answer.body("GGUF");
    answer.stall();
  });
  const Error error = store().pull(server.url("/m.gguf"), quick()).error();
  EXPECT_EQ(code_name(error.code), code_name(Code::kOverBudget)) << error.message;
  ASSERT_TRUE(error.shortfall);
  EXPECT_EQ(error.shortfall->wanted, 4'000'000'000'000'000);
  EXPECT_NE(error.message.find("short"), std::string::npos);
}

TEST_F(Url, full_disk_in_the_middle_is_a_clear_error_and_resumes_elsewhere) {
  // A disk of 1 MiB that the announced length does not betray.
  fs::create_directories(home());
  if (::mount("tmpfs", home().c_str(), "tmpfs", 0, "size=1m") != 0) {
    GTEST_SKIP()
        << "mounting a small disk needs root; Killed.file_size_limit covers the same writes";
  }
  struct Unmount {
    fs::path folder;
    ~Unmount() { ::umount(folder.c_str()); }
  } const unmount{home()};
  const std::string content = model_bytes(3'000'000);
  LocalServer server([&](const SeenRequest&, int, Answer& answer) {
    answer.head("200 OK", {});
    answer.body(content);
  });
  const std::string message = failure(server, Code::kIo);
  EXPECT_NE(message.find("the disk is full after"), std::string::npos) << message;
  EXPECT_NE(message.find("make room"), std::string::npos) << message;
  EXPECT_GT(store().remove(server.url("/m.gguf"))->freed, Bytes{500'000});
  EXPECT_EQ(partial(), "");
}

TEST_F(Url, stopping_keeps_what_came) {
  const std::string content = model_bytes(2'000'000);
  LocalServer server([&](const SeenRequest& request, int number, Answer& answer) {
    answer.file(request, content, "\"1\"", number == 1 ? 1'000'000 : std::string::npos);
    if (number == 1) answer.stall();
  });
  PullOptions options = quick();
  options.retry.stall = Millis{60'000};
  options.progress = [](const PullProgress& progress) { return progress.done < Bytes{1'000'000}; };
  const Error error = store().pull(server.url("/m.gguf"), options).error();
  EXPECT_EQ(error.code, Code::kCancelled);
  EXPECT_NE(error.message.find("run the same command again"), std::string::npos);
  EXPECT_EQ(partial(), content.substr(0, 1'000'000));
  ASSERT_TRUE(store().pull(server.url("/m.gguf"), quick()));
  EXPECT_EQ(server.seen().back().range_begin(), 1'000'000);
}

TEST_F(Url, leftovers_of_a_pull_are_removed_by_its_reference) {
  const std::string content = model_bytes(300'000);
  LocalServer server([&](const SeenRequest& request, int, Answer& answer) {
    if (request.range_begin() > 0) return answer.head("403 Forbidden", {"Content-Length: 0"});
    answer.file(request, content, "\"1\"", 100'000);
  });
  failure(server, Code::kNetwork);
  EXPECT_EQ(partial().size(), 100'000u);
  const Result<RemovedModel> removed = store().remove(server.url("/m.gguf"));
  ASSERT_TRUE(removed) << removed.error().message;
  EXPECT_GE(removed->freed, Bytes{100'000});
  EXPECT_EQ(files(), std::vector<std::string>{});
}

TEST_F(Url, nobody_listening_is_told_soon) {
  std::string url;
  {
    LocalServer gone([](const SeenRequest&, int, Answer&) {});
    url = gone.url("/m.gguf");
  }
  const Error error = store().pull(url, quick()).error();
  EXPECT_EQ(error.code, Code::kNetwork);
  EXPECT_NE(error.message.find("cannot connect to 127.0.0.1"), std::string::npos) << error.message;
}

TEST_F(Url, host_without_address_is_named) {
  const Error error = store().pull("http://no-such-host.invalid/m.gguf", quick()).error();
  EXPECT_EQ(error.code, Code::kNetwork);
  EXPECT_NE(error.message.find("no-such-host.invalid has no address"), std::string::npos)
      << error.message;
}

TEST_F(Url, proxy_of_the_environment_is_used) {
  const std::string content = model_bytes(1000);
  LocalServer proxy([&](const SeenRequest& request, int, Answer& answer) {
    answer.file(request, content, "\"1\"");
  });
  set("http_proxy", proxy.url(""));
  ASSERT_TRUE(store().pull("http://models.invalid/m.gguf", quick()));
  EXPECT_EQ(proxy.seen().front().target, "http://models.invalid/m.gguf");
  set("no_proxy", "models.invalid");
  EXPECT_FALSE(store().pull("http://models.invalid/other.gguf", quick()));
  set("no_proxy", std::nullopt);
  set("http_proxy", "http://127.0.0.1:1");
  const Error error = store().pull("http://models.invalid/other.gguf", quick()).error();
  EXPECT_NE(error.message.find("(the proxy of http_proxy)"), std::string::npos) << error.message;
}

TEST_F(Url, offline_asks_nobody) {
  LocalServer server([](const SeenRequest&, int, Answer&) {});
  const Error error = store(true).pull(server.url("/m.gguf"), quick()).error();
  EXPECT_EQ(error.code, Code::kNetwork);
  EXPECT_NE(error.message.find("offline"), std::string::npos);
  EXPECT_EQ(store(true).resolve(server.url("/m.gguf"), {.pull_if_missing = true}).error().code,
            Code::kNetwork);
  EXPECT_TRUE(server.seen().empty());
}

TEST_F(Url, second_pull_waits_and_costs_nothing) {
  const std::string content = model_bytes(300'000);
  std::atomic<bool> go = false;
  LocalServer server([&](const SeenRequest& request, int, Answer& answer) {
    while (!go) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    answer.file(request, content, "\"1\"");
  });
  Result<ResolvedModel> first = Error{};
  std::thread other([&] { first = store().pull(server.url("/m.gguf"), {}); });
  while (server.seen().empty()) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  PullOptions options;
  options.progress = [&](const PullProgress& progress) {
    if (progress.stage == Stage::kWaiting) go = true;
    return true;
  };
  const Result<ResolvedModel> second = store().pull(server.url("/m.gguf"), options);
  other.join();
  ASSERT_TRUE(first) << first.error().message;
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_TRUE(go);
  EXPECT_EQ(server.seen().size(), 1u);
  EXPECT_EQ(second->files, first->files);
}

}  // namespace
}  // namespace ration
