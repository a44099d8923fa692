#include "run/prefix_store.h"

#include <filesystem>
#include <fstream>

#include "test/run/tiny_runner.h"

namespace ration {
namespace {

namespace fs = std::filesystem;

constexpr EngineOptions kStored{
    .context = 160, .kv_tokens = 160 * 8, .step_tokens_max = 32, .logit_rows_max = 4};

class PrefixStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) /
              testing::UnitTest::GetInstance()->current_test_info()->name();
    fs::remove_all(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::unique_ptr<PrefixStore> open(const std::string& fingerprint = "tiny",
                                    Bytes most = Bytes{64 * kMiB}) const {
    Result<std::unique_ptr<PrefixStore>> store = PrefixStore::open(
        {.folder = folder_, .bytes_max = most, .fingerprint = fingerprint, .tokens_least = 16});
    CHECK(store, store ? "" : store.error().message);
    return std::move(*store);
  }

  // One answer of a runner of its own, which has what the store has and nothing else.
  static Recorder ask(PrefixStore* store, Request request, const std::string& model = "llama-gqa") {
    TinyRunner tiny(kStored, {.prefix_bytes = Bytes{64 * kMiB}, .prefix_store = store}, model);
    Recorder recorder;
    CHECK(tiny.runner.submit(std::move(request), recorder));
    tiny.run_all();
    return recorder;
  }
  static Request request(uint64_t seed, int64_t prompt, int64_t tokens,
                         const std::string& model = "llama-gqa") {
    TinyRunner tiny(kStored, {}, model);
    return tiny.request(seed, prompt, tokens);
  }
  std::vector<fs::path> files() const {
    std::vector<fs::path> out;
    for (const auto& entry : fs::directory_iterator(folder_)) out.push_back(entry.path());
    return out;
  }

  fs::path folder_;
};

void expect_equal(const Recorder& found, const Recorder& wanted) {
  EXPECT_EQ(found.tokens, wanted.tokens);
  EXPECT_EQ(found.logprobs, wanted.logprobs);  // to the bit
}

// gemma3's layers with a window have forgotten the beginning when the prompt is kept.
TEST_F(PrefixStoreTest, what_was_computed_before_a_restart_is_taken_over) {
  for (const std::string model : {"llama-gqa", "gemma3"}) {
    fs::remove_all(folder_);
    const Recorder alone = ask(nullptr, request(1, 100, 20, model), model);
    {
      const auto store = open();
      const Recorder first = ask(store.get(), request(1, 100, 20, model), model);
      expect_equal(first, alone);
      EXPECT_EQ(first.finish.bill.cached_tokens, 0);
      EXPECT_GE(store->texts(), 1) << model;
    }
    const auto store = open();
    EXPECT_GE(store->texts(), 1) << model;
    const Recorder again = ask(store.get(), request(1, 100, 20, model), model);
    EXPECT_EQ(again.finish.bill.cached_tokens, 99) << model;
    expect_equal(again, alone);
  }
}

TEST_F(PrefixStoreTest, nothing_is_taken_over_from_another_key_or_another_model) {
  Request mine = request(1, 100, 4);
  mine.key = "a";
  ask(open().get(), mine);
  ASSERT_EQ(files().size(), 1u);
  EXPECT_EQ(fs::status(files()[0]).permissions() & fs::perms::all,
            fs::perms::owner_read | fs::perms::owner_write);
  Request theirs = request(1, 100, 4);
  theirs.key = "b";
  EXPECT_EQ(ask(open().get(), theirs).finish.bill.cached_tokens, 0);
  EXPECT_EQ(ask(open().get(), mine).finish.bill.cached_tokens, 99);
  EXPECT_EQ(open("another")->texts(), 0);
  EXPECT_TRUE(files().empty());  // they can never be of use again
}

TEST_F(PrefixStoreTest, a_spoilt_file_is_deleted_and_the_prompt_computed) {
  const Recorder alone = ask(nullptr, request(1, 100, 8));
  for (const double where : {0.0, 0.01, 0.2, 0.9}) {
    ask(open().get(), request(1, 100, 8));
    ASSERT_EQ(files().size(), 1u);
    const fs::path path = files()[0];
    {
      std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
      const auto at = static_cast<std::streamoff>(where * static_cast<double>(fs::file_size(path)));
      file.seekg(at);
      const char byte = static_cast<char>(file.get() ^ 1);
      file.seekp(at);
      file.put(byte);
    }
    const auto store = open();
    const Recorder answer = ask(store.get(), request(1, 100, 8));
    EXPECT_EQ(answer.finish.bill.cached_tokens, 0) << where;
    expect_equal(answer, alone);
  }
  fs::resize_file(files()[0], fs::file_size(files()[0]) / 2);
  EXPECT_EQ(ask(open().get(), request(1, 100, 8)).finish.bill.cached_tokens, 0);
  std::ofstream(folder_ / "cut.prefix") << "not one";
  std::ofstream(folder_ / "cut.part") << "half";
  EXPECT_EQ(open()->texts(), 1);
}

TEST_F(PrefixStoreTest, a_text_that_goes_on_takes_the_place_of_its_beginning) {
  const auto store = open();
  TinyRunner tiny(kStored, {.prefix_bytes = Bytes{64 * kMiB}, .prefix_store = store.get()});
  const Request longest = tiny.request(1, 150, 1);
  for (const size_t tokens : {60, 100, 150}) {
    Request next = longest;
    next.prompt.resize(tokens);
    Recorder recorder;
    ASSERT_TRUE(tiny.runner.submit(std::move(next), recorder));
    tiny.run_all();
    store->wait();
    EXPECT_EQ(store->texts(), 1) << tokens;
  }
}

TEST_F(PrefixStoreTest, what_was_not_used_for_longest_goes_when_the_limit_is_passed) {
  Bytes one{0};
  {
    const auto store = open();
    ask(store.get(), request(1, 100, 2));
    one = store->bytes();
  }
  const Bytes limit = one * 2 + Bytes{4 * kKiB};  // their heads differ by some bytes
  const auto store = open("tiny", limit);
  ask(store.get(), request(2, 100, 2));
  EXPECT_EQ(ask(store.get(), request(1, 100, 2)).finish.bill.cached_tokens, 99);
  ask(store.get(), request(3, 100, 2));
  EXPECT_LE(store->bytes(), limit);
  EXPECT_EQ(store->texts(), 2);
  EXPECT_EQ(ask(store.get(), request(1, 100, 2)).finish.bill.cached_tokens, 99);
  EXPECT_EQ(ask(store.get(), request(2, 100, 2)).finish.bill.cached_tokens, 0);
}

}  // namespace
}  // namespace ration
