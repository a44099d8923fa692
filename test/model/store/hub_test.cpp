#include "model/store/hub.h"

#include <gtest/gtest.h>

#include "base/json.h"
#include "local_server.h"
#include "store_fixture.h"

namespace ration {
namespace {

namespace fs = std::filesystem;

constexpr const char* kCommit = "0123456789abcdef0123456789abcdef01234567";

// A hub with one repository, user/repo, whose large files lie on another host.
class Hub : public StoreTest {
 protected:
  void SetUp() override {
    StoreTest::SetUp();
    set("HF_ENDPOINT", hub_.url("/"));
  }

  std::string listing() const {
    Json siblings = Json::array({{{"rfilename", "README.md"}, {"size", 10}}});
    for (const auto& [path, content] : files_) {
      siblings.push_back(
          {{"rfilename", path},
           {"size", content.size()},
           {"lfs", {{"sha256", hash(content)}, {"size", content.size()}, {"pointerSize", 130}}}});
    }
    return to_text(Json{{"id", "user/repo"},
                        {"sha", kCommit},
                        {"cardData", {{"license", "mit"}}},
                        {"siblings", siblings}});
  }

  void answer_hub(const SeenRequest& request, Answer& answer) {
    const std::string resolve = std::string("/user/repo/resolve/") + kCommit + "/";
    if (refusal_ != "") return answer.head(refusal_, {"Content-Length: 0"});
    if (request.target == "/api/models/user/repo/revision/main?blobs=true") {
      const std::string text = listing();
      answer.head("200 OK", {"Content-Length: " + std::to_string(text.size())});
      answer.body(text);
    } else if (request.target.starts_with(resolve)) {
      answer.head("302 Found",
                  {"Location: " + store_.url("/" + request.target.substr(resolve.size())),
                   "Content-Length: 0"});
    } else {
      answer.head("404 Not Found", {"Content-Length: 0", "X-Error-Code: RepoNotFound"});
    }
  }

  PullOptions quick() const {
    return {.progress = {},
            .retry = {.attempts_max = 2, .backoff_first = Millis{5}, .stall = Millis{500}}};
  }

  std::map<std::string, std::string> files_;
  std::string refusal_;
  size_t stall_after_ = std::string::npos;  // bytes of a file, of those that have more
  LocalServer store_{[this](const SeenRequest& request, int, Answer& answer) {
    answer.file(request, files_[request.target.substr(1)], "\"x\"", stall_after_);
    if (stall_after_ != std::string::npos) answer.stall();
  }};
  LocalServer hub_{
      [this](const SeenRequest& request, int, Answer& answer) { answer_hub(request, answer); }};
};

TEST_F(Hub, default_quant_is_chosen_and_becomes_part_of_the_name) {
  files_ = {{"m-Q4_K_M.gguf", model_bytes(2000)}, {"m-Q8_0.gguf", model_bytes(4000)}};
  const Result<ResolvedModel> model = store().pull("hf:user/repo", quick());
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(model->name, "hf:user/repo:Q4_K_M");
  EXPECT_EQ(model->licence, "mit");
  EXPECT_EQ(read(model->files.front()), files_["m-Q4_K_M.gguf"]);
  // Afterwards no network is needed, with or without the quant.
  EXPECT_EQ(store(true).resolve("hf:user/repo")->name, "hf:user/repo:Q4_K_M");
  EXPECT_EQ(store(true).resolve("hf:user/repo:q4_k_m")->name, "hf:user/repo:Q4_K_M");
  EXPECT_EQ(store(true).resolve("hf:user/repo:Q8_0").error().code, Code::kUnavailable);
  ASSERT_TRUE(store().pull("hf:user/repo:Q8_0", quick()));
  EXPECT_EQ(store(true).resolve("hf:user/repo")->name, "hf:user/repo:Q4_K_M");
  EXPECT_EQ(store(true).resolve("hf:user/repo:Q8_0")->bytes, Bytes{4000});
  EXPECT_EQ(store().remove("hf:user/repo:Q8_0")->freed, Bytes{4000});
}

TEST_F(Hub, split_model_keeps_the_names_of_its_parts_side_by_side) {
  files_ = {{"d/m-Q8_0-00001-of-00002.gguf", model_bytes(2000)},
            {"d/m-Q8_0-00002-of-00002.gguf", model_bytes(3000, 2)}};
  const Result<ResolvedModel> model = store().pull("hf:user/repo", quick());
  ASSERT_TRUE(model) << model.error().message;
  ASSERT_EQ(model->files.size(), 2u);
  EXPECT_EQ(model->bytes, Bytes{5000});
  EXPECT_EQ(model->files[0].filename(), "m-Q8_0-00001-of-00002.gguf");
  EXPECT_EQ(model->files[1], model->files[0].parent_path() / "m-Q8_0-00002-of-00002.gguf");
  EXPECT_EQ(read(model->files[1]), files_["d/m-Q8_0-00002-of-00002.gguf"]);
  EXPECT_EQ(store().remove("hf:user/repo")->freed, Bytes{5000});
  EXPECT_FALSE(fs::exists(model->files[0].parent_path()));
}

TEST_F(Hub, token_goes_to_the_hub_and_nowhere_else) {
  files_ = {{"m-Q4_0.gguf", model_bytes(2000)}};
  set("HF_TOKEN", "hf_secret\n");
  ASSERT_TRUE(store().pull("hf:user/repo", quick()));
  for (const SeenRequest& request : hub_.seen())
    EXPECT_EQ(request.header("authorization"), "Bearer hf_secret");
  ASSERT_FALSE(store_.seen().empty());
  for (const SeenRequest& request : store_.seen()) EXPECT_EQ(request.header("authorization"), "");
}

TEST_F(Hub, token_is_found_where_its_tools_put_it) {
  write("user/.cache/huggingface/token", "from-file\n");
  EXPECT_EQ(read_hub_settings().token, "from-file");
  set("HF_HOME", folder_ / "hf");
  EXPECT_EQ(read_hub_settings().token, "");
  set("HF_TOKEN_PATH", write("elsewhere", "from-path"));
  EXPECT_EQ(read_hub_settings().token, "from-path");
  set("HUGGING_FACE_HUB_TOKEN", "old-name");
  EXPECT_EQ(read_hub_settings().token, "old-name");
  set("HF_TOKEN", "new-name");
  EXPECT_EQ(read_hub_settings().token, "new-name");
}

TEST_F(Hub, refusals_say_what_to_do) {
  refusal_ = "401 Unauthorized";
  Error error = store().pull("hf:user/repo", quick()).error();
  EXPECT_EQ(error.code, Code::kNetwork);
  EXPECT_NE(error.message.find("HF_TOKEN"), std::string::npos) << error.message;
  set("HF_TOKEN", "wrong");
  refusal_ = "403 Forbidden";
  error = store().pull("hf:user/repo", quick()).error();
  EXPECT_NE(error.message.find("the token does not open it"), std::string::npos) << error.message;
  refusal_.clear();
  error = store().pull("hf:user/other", quick()).error();
  EXPECT_EQ(error.code, Code::kNotFound);
  EXPECT_EQ(error.message, "the hub has no repository hf:user/other");
  files_ = {{"m-Q4_0.gguf", model_bytes(10)}};
  error = store().pull("hf:user/repo:Q8_0", quick()).error();
  EXPECT_EQ(error.message, "hf:user/repo has no Q8_0, found Q4_0");
}

TEST_F(Hub, wrong_content_is_refused) {
  files_ = {{"m-Q4_0.gguf", model_bytes(2000)}};
  const std::string good = listing();
  LocalServer lying([&](const SeenRequest& request, int, Answer& answer) {
    if (!request.target.starts_with("/api/"))
      return answer.file(request, model_bytes(2000, 2), "\"x\"");
    answer.head("200 OK", {"Content-Length: " + std::to_string(good.size())});
    answer.body(good);
  });
  set("HF_ENDPOINT", lying.url(""));
  const Error error = store().pull("hf:user/repo", quick()).error();
  EXPECT_EQ(error.code, Code::kNetwork);
  EXPECT_NE(error.message.find("wanted " + hash(model_bytes(2000))), std::string::npos)
      << error.message;
}

TEST_F(Hub, pull_again_notices_a_new_version_and_drops_the_old) {
  files_ = {{"m-Q4_0.gguf", model_bytes(2000)}};
  ASSERT_TRUE(store().pull("hf:user/repo", quick()));
  ASSERT_TRUE(store().pull("hf:user/repo", quick()));
  EXPECT_EQ(store_.seen().size(), 1u);  // the same: only asked
  const std::string old = hash(files_["m-Q4_0.gguf"]);
  files_ = {{"m-Q4_0.gguf", model_bytes(3000, 2)}};
  const Result<ResolvedModel> model = store().pull("hf:user/repo", quick());
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(model->bytes, Bytes{3000});
  EXPECT_FALSE(fs::exists(home() / "blobs" / ("sha256-" + old)));
}

TEST_F(Hub, listings_that_lie_are_refused) {
  const auto refused = [](const std::string& text) {
    const Result<HubListing> listing = parse_hub_listing(text, "hf:user/repo");
    EXPECT_FALSE(listing) << text;
    return listing ? "" : listing.error().message;
  };
  const std::string sha = "{\"sha\": \"0123456789abcdef\", ";
  EXPECT_NE(refused("<html>").find("not valid JSON"), std::string::npos);
  EXPECT_NE(refused("[]").find("commit"), std::string::npos);
  EXPECT_NE(refused("{\"sha\": \"../../x\", \"siblings\": []}").find("commit"), std::string::npos);
  EXPECT_NE(refused(sha + "\"siblings\": {}}").find("lists no files"), std::string::npos);
  EXPECT_NE(refused(sha + "\"siblings\": [{}]}").find("file's name"), std::string::npos);
  EXPECT_NE(refused(sha + "\"siblings\": [3]}").find("file's name"), std::string::npos);
  EXPECT_NE(refused(sha + "\"siblings\": [{\"rfilename\": \"a/../../x.gguf\"}]}").find("leaves"),
            std::string::npos);
  const Result<HubListing> odd =
      parse_hub_listing(sha +
                            "\"cardData\": null, \"siblings\": [{\"rfilename\": \"x.gguf\", "
                            "\"size\": -5, \"lfs\": {\"sha256\": 7}}]}",
                        "x");
  ASSERT_TRUE(odd) << odd.error().message;
  EXPECT_EQ(odd->files.front().bytes, Bytes{-1});
  EXPECT_EQ(odd->files.front().sha256, "");
}

TEST_F(Hub, cache_of_its_libraries_is_used_in_place) {
  const std::string content = model_bytes(2000);
  const fs::path repository = folder_ / "user/.cache/huggingface/hub/models--user--repo";
  const fs::path snapshot = repository / "snapshots" / kCommit;
  write(repository / "blobs" / hash(content), content);
  write(repository / "refs" / "main", kCommit);
  fs::create_directories(snapshot);
  fs::create_symlink("../../blobs/" + hash(content), snapshot / "m-Q4_K_M.gguf");
  fs::create_symlink("../../blobs/not-there-yet", snapshot / "m-Q8_0.gguf");
  const Result<ResolvedModel> model = store(true).resolve("hf:user/repo");
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(model->origin, Origin::kHub);
  EXPECT_EQ(model->name, "hf:user/repo:Q4_K_M");
  EXPECT_EQ(model->files.front(), snapshot / "m-Q4_K_M.gguf");
  EXPECT_EQ(model->sha256, hash(content));
  EXPECT_TRUE(store(true).resolve("hf:user/repo/m-Q4_K_M.gguf"));
  EXPECT_TRUE(store(true).resolve(std::string("hf:user/repo@") + kCommit));
  EXPECT_FALSE(store(true).resolve("hf:user/repo:Q8_0"));  // its download is not finished
  EXPECT_EQ(store().list()->size(), 1u);
  EXPECT_EQ(store().list()->front().name, "hf:user/repo:Q4_K_M");
  const Error error = store().remove("hf:user/repo").error();
  EXPECT_EQ(error.code, Code::kInvalid);
  EXPECT_NE(error.message.find("belongs to the hub's cache"), std::string::npos);
  EXPECT_TRUE(fs::exists(repository / "blobs" / hash(content)));
  EXPECT_TRUE(hub_.seen().empty());
  set("HF_HUB_CACHE", folder_ / "empty");
  EXPECT_FALSE(store(true).resolve("hf:user/repo"));
}

TEST_F(Hub, its_own_offline_switch_counts) {
  set("HF_HUB_OFFLINE", "1");
  EXPECT_EQ(store().pull("hf:user/repo", quick()).error().code, Code::kNetwork);
  EXPECT_TRUE(hub_.seen().empty());
}

TEST_F(Hub, leftovers_are_removed_by_repository) {
  files_ = {{"m-Q4_0.gguf", model_bytes(200'000)}};
  stall_after_ = 100'000;
  PullOptions options = quick();
  options.retry.stall = Millis{60'000};
  options.progress = [](const PullProgress& progress) { return progress.done < Bytes{100'000}; };
  const Result<ResolvedModel> stopped = store().pull("hf:user/repo", options);
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code, Code::kCancelled);
  const Result<RemovedModel> removed = store().remove("hf:user/repo");
  ASSERT_TRUE(removed) << removed.error().message;
  EXPECT_GE(removed->freed, Bytes{100'000});
  EXPECT_EQ(files(), std::vector<std::string>{});
}

TEST_F(Hub, removing_a_repository_of_several_models_asks_which) {
  files_ = {{"m-Q4_0.gguf", model_bytes(2000)}, {"m-Q8_0.gguf", model_bytes(4000, 2)}};
  ASSERT_TRUE(store().pull("hf:user/repo:Q4_0", quick()));
  ASSERT_TRUE(store().pull("hf:user/repo:Q8_0", quick()));
  const Result<RemovedModel> removed = store().remove("hf:user/repo");
  ASSERT_FALSE(removed);
  EXPECT_EQ(removed.error().code, Code::kInvalid);
  EXPECT_EQ(removed.error().message,
            "hf:user/repo may mean any of hf:user/repo:Q4_0, hf:user/repo:Q8_0: name one");
  ASSERT_TRUE(store().remove("hf:user/repo:Q4_0"));
  EXPECT_EQ(store().remove("hf:user/repo")->name, "hf:user/repo:Q8_0");
}

}  // namespace
}  // namespace ration
