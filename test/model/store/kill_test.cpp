#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "local_server.h"
#include "store_fixture.h"

namespace ration {
namespace {

namespace fs = std::filesystem;

class Killed : public StoreTest {
 protected:
  // Starts the puller beside this program.
  pid_t start(const std::vector<std::string>& arguments, const fs::path& errors = "/dev/null") {
    const std::string program = fs::canonical("/proc/self/exe").parent_path() / "store_puller";
    const pid_t id = ::fork();
    if (id != 0) return id;
    const int out = ::open(errors.c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0644);
    ::dup2(out, STDERR_FILENO);
    std::vector<char*> pointers{const_cast<char*>(program.c_str())};
    for (const std::string& argument : arguments)
      pointers.push_back(const_cast<char*>(argument.c_str()));
    pointers.push_back(nullptr);
    ::execv(program.c_str(), pointers.data());
    ::_exit(127);
  }
  static int ended(pid_t id) {
    int status = 0;
    EXPECT_EQ(::waitpid(id, &status, 0), id);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  template <class Condition>
  static bool wait_for(Condition condition) {
    for (int i = 0; i < 4000; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
  }
};

TEST_F(Killed, pull_loses_at_most_eight_mebibytes) {
  constexpr int64_t kSize = 64'000'000;
  const std::string content = model_bytes(kSize);
  std::atomic<bool> hurry = false;
  LocalServer server([&](const SeenRequest& request, int, Answer& answer) {
    const auto begin = static_cast<size_t>(request.range_begin());
    if (begin > 0) return answer.file(request, content, "\"1\"");
    answer.head("200 OK", {"Content-Length: " + std::to_string(kSize), "ETag: \"1\""});
    for (size_t at = 0; at < content.size();
         at += 256 * 1024) {  // slow enough to be hit in the middle
      if (!answer.body(std::string_view(content).substr(at, 256 * 1024))) return;
      if (!hurry) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  const std::string reference = server.url("/m.gguf");
  const pid_t id = start({reference});
  ASSERT_TRUE(wait_for([&] { return server.body_bytes() > kSize / 2; }));
  ::kill(id, SIGKILL);
  EXPECT_EQ(ended(id), -SIGKILL);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // the server notices
  const int64_t sent = server.body_bytes();
  ASSERT_LT(sent, kSize);
  const Result<ResolvedModel> model = store().pull(reference);
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_TRUE(read(model->files.front()) == content);
  ASSERT_EQ(server.seen().size(), 2u);
  EXPECT_GE(server.seen()[1].range_begin(), sent - 8 * kMiB);
  EXPECT_LE(server.body_bytes(), kSize + 8 * kMiB);
  RecordProperty("lost_bytes", std::to_string(sent - server.seen()[1].range_begin()));
}

TEST_F(Killed, file_size_limit_is_a_clear_error_and_a_larger_one_goes_on) {
  const std::string content = model_bytes(3'000'000);
  LocalServer server([&](const SeenRequest& request, int, Answer& answer) {
    answer.file(request, content, "\"1\"");
  });
  const std::string reference = server.url("/m.gguf");
  EXPECT_EQ(ended(start({reference, "1000000"}, folder_ / "errors")), 1);
  const std::string errors = read(folder_ / "errors");
  EXPECT_NE(errors.find("the file size limit is reached after 1.00 MB"), std::string::npos)
      << errors;
  EXPECT_NE(errors.find("make room and run the same command again"), std::string::npos) << errors;
  EXPECT_EQ(ended(start({reference, "4000000"})), 0);
  EXPECT_EQ(server.seen().back().range_begin(), 1'000'000);
  EXPECT_TRUE(store().resolve("m"));
}

TEST_F(Killed, two_processes_fetch_once) {
  const std::string content = model_bytes(3'000'000);
  std::atomic<bool> go = false;
  LocalServer server([&](const SeenRequest& request, int, Answer& answer) {
    while (!go) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    answer.file(request, content, "\"1\"");
  });
  const pid_t first = start({server.url("/m.gguf")});
  ASSERT_TRUE(wait_for([&] { return server.seen().size() == 1; }));
  const pid_t second = start({server.url("/m.gguf")});
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  go = true;
  EXPECT_EQ(ended(first), 0);
  EXPECT_EQ(ended(second), 0);
  EXPECT_EQ(server.seen().size(), 1u);
}

TEST_F(Killed, who_waits_takes_over_from_the_dead) {
  const std::string content = model_bytes(3'000'000);
  LocalServer server([&](const SeenRequest& request, int number, Answer& answer) {
    answer.file(request, content, "\"1\"", number == 1 ? 1'000'000 : std::string::npos);
    if (number == 1) answer.stall();
  });
  const pid_t first = start({server.url("/m.gguf")});
  ASSERT_TRUE(wait_for([&] { return server.body_bytes() == 1'000'000; }));
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // from the socket to the disk
  std::atomic<bool> waited = false;
  PullOptions options;
  options.progress = [&](const PullProgress& progress) {
    if (progress.stage == PullProgress::Stage::kWaiting && !waited.exchange(true))
      ::kill(first, SIGKILL);
    return true;
  };
  const Result<ResolvedModel> model = store().pull(server.url("/m.gguf"), options);
  EXPECT_EQ(ended(first), -SIGKILL);
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_TRUE(waited);
  EXPECT_EQ(server.seen().back().range_begin(), 1'000'000);
}

}  // namespace
}  // namespace ration
