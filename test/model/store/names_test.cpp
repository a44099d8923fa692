// How names and paths are found: the catalogue, Ollama, files, and what is said when there is
// nothing.
#include <gtest/gtest.h>

#include "store_fixture.h"

namespace ration {
namespace {

namespace fs = std::filesystem;

class Names : public StoreTest {
 protected:
  // A model in Ollama's folders; gives the blob's path.
  fs::path add_to_ollama(const std::string& manifest, const std::string& content) {
    const fs::path folder = fs::path("user/.ollama/models");
    write(
        folder / "manifests" / manifest,
        "{\"schemaVersion\":2,\"layers\":[{\"mediaType\":\"application/vnd.ollama.image.template\","
        "\"digest\":\"sha256:00\",\"size\":1},{\"mediaType\":\"application/"
        "vnd.ollama.image.model\","
        "\"digest\":\"sha256:" +
            hash(content) + "\",\"size\":" + std::to_string(content.size()) + "}]}");
    return write(folder / "blobs" / ("sha256-" + hash(content)), content);
  }
};

TEST_F(Names, file_is_used_where_it_is) {
  const fs::path path = write("some/model.gguf", model_bytes(100));
  const Result<ResolvedModel> model = store(true).resolve(path.string());
  ASSERT_TRUE(model);
  EXPECT_EQ(model->origin, Origin::kFile);
  EXPECT_EQ(model->files, std::vector<fs::path>{path});
  EXPECT_EQ(model->bytes, Bytes{100});
  write("user/own.gguf", model_bytes(50));
  EXPECT_EQ(store(true).resolve("~/own.gguf")->bytes, Bytes{50});
  EXPECT_EQ(store(true).pull(path.string())->files.front(), path);
  const Error error = store().remove(path.string()).error();
  EXPECT_EQ(error.code, Code::kInvalid);
  EXPECT_TRUE(fs::exists(path));
}

TEST_F(Names, missing_file_offers_its_neighbour) {
  write("some/model-a.gguf", "x");
  const Error error = store().resolve((folder_ / "some/model-b.gguf").string()).error();
  EXPECT_EQ(error.code, Code::kNotFound);
  EXPECT_NE(error.message.find("did you mean 'model-a.gguf'?"), std::string::npos) << error.message;
  EXPECT_EQ(store().resolve(folder_.string()).error().code, Code::kInvalid);
}

TEST_F(Names, unknown_name_offers_the_nearest) {
  const Error error = store().resolve("smolm2-135m", {.pull_if_missing = true}).error();
  EXPECT_EQ(error.code, Code::kNotFound);
  EXPECT_NE(error.message.find("did you mean 'smollm2-135m'"), std::string::npos) << error.message;
  EXPECT_NE(
      store().resolve("user/repo-gguf").error().message.find("did you mean 'hf:user/repo-gguf'?"),
      std::string::npos);
  EXPECT_EQ(store().remove("nothing-like-it").error().code, Code::kNotFound);
}

TEST_F(Names, catalogue_model_that_is_not_here_says_how_to_get_it) {
  const Error error = store().resolve("smollm2").error();
  EXPECT_EQ(error.code, Code::kUnavailable);
  EXPECT_EQ(error.message, "smollm2-135m is not on this machine: 'ration pull smollm2' fetches it");
  EXPECT_EQ(store(true).resolve("smollm2", {.pull_if_missing = true}).error().code, Code::kNetwork);
  EXPECT_EQ(files(), std::vector<std::string>{});  // asking creates nothing
}

TEST_F(Names, catalogue_entry_may_point_at_a_file_or_at_ollama) {
  const fs::path path = write("own.gguf", model_bytes(100));
  add_to_ollama("registry.ollama.ai/library/llama3.2/1b", model_bytes(300));
  write("home/catalogue.toml",
        "[[model]]\nname = \"mine\"\nsource = \"" + path.string() +
            "\"\n[[model]]\nname = \"theirs\"\nsource = \"ollama:llama3.2:1b\"\n");
  EXPECT_EQ(store().resolve("mine")->name, "mine");
  EXPECT_EQ(store().resolve("mine")->files.front(), path);
  EXPECT_EQ(store().resolve("theirs")->bytes, Bytes{300});
}

TEST_F(Names, broken_user_catalogue_is_named) {
  write("home/catalogue.toml", "[[model]]\nname = \"mine\"\n");
  const Error error = store().resolve("mine").error();
  EXPECT_EQ(error.code, Code::kInvalid);
  EXPECT_NE(error.message.find("catalogue.toml, line 1"), std::string::npos) << error.message;
}

TEST_F(Names, models_of_ollama_are_used_in_place) {
  const std::string content = model_bytes(300);
  const fs::path blob = add_to_ollama("registry.ollama.ai/library/llama3.2/1b", content);
  add_to_ollama("registry.ollama.ai/user/own/latest", model_bytes(400, 2));
  add_to_ollama("hf.example/user/repo/Q4_0", model_bytes(500, 3));
  for (const char* name : {"llama3.2:1b", "ollama:llama3.2:1b"}) {
    const Result<ResolvedModel> model = store(true).resolve(name);
    ASSERT_TRUE(model) << model.error().message;
    EXPECT_EQ(model->origin, Origin::kOllama);
    EXPECT_EQ(model->files.front(), blob);
    EXPECT_EQ(model->sha256, hash(content));
  }
  EXPECT_EQ(store(true).resolve("user/own")->bytes, Bytes{400});
  EXPECT_EQ(store(true).resolve("ollama:hf.example/user/repo:Q4_0")->bytes, Bytes{500});
  std::vector<std::string> names;
  const Result<std::vector<ResolvedModel>> listed = store().list();
  for (const ResolvedModel& model : *listed) names.push_back(model.name);
  EXPECT_EQ(names, (std::vector<std::string>{"ollama:hf.example/user/repo:Q4_0",
                                             "ollama:llama3.2:1b", "ollama:user/own:latest"}));
  const Error error = store().remove("llama3.2:1b").error();
  EXPECT_EQ(error.code, Code::kInvalid);
  EXPECT_EQ(error.message,
            "ollama:llama3.2:1b belongs to Ollama: 'ollama rm llama3.2:1b' removes it");
  EXPECT_TRUE(fs::exists(blob));
  EXPECT_NE(store().resolve("ollama:llama3.2:3b").error().message.find("'ollama pull llama3.2:3b'"),
            std::string::npos);
}

TEST_F(Names, catalogue_model_that_ollama_holds_is_used_in_place) {
  const std::string content = model_bytes(300);
  const fs::path blob = add_to_ollama("registry.ollama.ai/library/other/1b", content);
  add_to_catalogue("mine", "http://127.0.0.1:1/m.gguf", content);
  const Result<ResolvedModel> model = store(true).pull("mine");
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(model->name, "ollama:other:1b");
  EXPECT_EQ(model->files.front(), blob);
  EXPECT_EQ(model->licence, "test licence");
  EXPECT_EQ(store().remove("mine").error().code, Code::kInvalid);
  add_to_catalogue("changed", "http://127.0.0.1:1/m.gguf", model_bytes(300, 2));
  EXPECT_EQ(store(true).pull("changed").error().code, Code::kNetwork);
}

TEST_F(Names, broken_ollama_manifest_is_explained) {
  const fs::path blob = add_to_ollama("registry.ollama.ai/library/cut/latest", model_bytes(300));
  fs::resize_file(blob, 100);
  const Error error = store().resolve("ollama:cut").error();
  EXPECT_EQ(error.code, Code::kCorrupt);
  EXPECT_NE(error.message.find("100 bytes, wanted 300"), std::string::npos) << error.message;
  write("user/.ollama/models/manifests/registry.ollama.ai/library/evil/latest",
        "{\"layers\":[{\"mediaType\":\"application/vnd.ollama.image.model\",\"digest\":\"sha256:../"
        "../etc/passwd\"}]}");
  EXPECT_EQ(store().resolve("ollama:evil").error().code, Code::kCorrupt);
  EXPECT_TRUE(store().list()->empty());
}

TEST_F(Names, blob_that_vanished_or_was_cut_is_not_offered) {
  const std::string content = model_bytes(300);
  write("home/blobs/sha256-" + hash(content), content);
  const std::string manifest =
      "{\"name\":\"m\",\"reference\":\"https://h.example/m.gguf\",\"licence\":\"\","
      "\"pulled_unix_seconds\":1,\"files\":[{\"name\":\"m.gguf\",\"sha256\":\"" +
      hash(content) + "\",\"bytes\":300}]}";
  write("home/models/m.json", manifest);
  EXPECT_TRUE(store().resolve("m"));
  fs::resize_file(home() / "blobs" / ("sha256-" + hash(content)), 200);
  EXPECT_FALSE(store().resolve("m"));
  EXPECT_TRUE(store().list()->empty());
  EXPECT_TRUE(store().remove("m"));
}

TEST_F(Names, hostile_manifests_are_left_out) {
  for (const char* text :
       {"", "[]", "{\"name\":\"m\"}", "{\"name\":\"m\",\"files\":[]}",
        "{\"name\":\"m\",\"reference\":\"\",\"licence\":\"\",\"pulled_unix_seconds\":1,"
        "\"files\":[{\"name\":\"../x\",\"sha256\":\"../../etc\",\"bytes\":1}]}"}) {
    write("home/models/m.json", text);
    EXPECT_FALSE(store().resolve("m")) << text;
    const Result<std::vector<ResolvedModel>> models = store().list();
    ASSERT_TRUE(models);
    EXPECT_TRUE(models->empty()) << text;
  }
}

TEST(ProgressLineText, is_one_line_on_a_terminal) {
  std::string out;
  ProgressLine line({.terminal = true, .columns = 60},
                    [&out](std::string_view text) { out += text; });
  PullProgress progress{.stage = PullProgress::Stage::kDownloading, .name = "model"};
  progress.done = Bytes{45'000'000};
  progress.total = Bytes{98'400'000};
  progress.bytes_per_second = 12.3e6;
  progress.left = Millis{4300};
  line.update(progress);
  EXPECT_EQ(out, "\rmodel: 45.0 MB of 98.4 MB (45%), 12.3 MB/s, 5 s left\x1b[K");
  out.clear();
  line.update(progress);
  EXPECT_EQ(out, "");  // nothing new
  progress.note = "a\nlong note that does not fit into the line any more";
  line.update(progress);
  EXPECT_LE(out.size(), 60u + 3);
  EXPECT_EQ(out.find('\n'), std::string::npos);
  out.clear();
  progress.note.clear();
  progress.stage = PullProgress::Stage::kDone;
  progress.elapsed = Millis{8000};
  line.update(progress);
  EXPECT_EQ(out, "\rmodel: 45.0 MB in 8.0 s\x1b[K\n");
}

TEST(ProgressLineText, is_sparse_elsewhere) {
  std::string out;
  ProgressLine line({}, [&out](std::string_view text) { out += text; });
  PullProgress progress{.stage = PullProgress::Stage::kDownloading, .name = "model"};
  progress.total = Bytes{1000};
  for (int i = 0; i <= 1000; ++i) {
    progress.done = Bytes{i};
    progress.elapsed = Millis{static_cast<double>(i)};
    line.update(progress);
  }
  EXPECT_EQ(std::count(out.begin(), out.end(), '\n'), 11);
  EXPECT_EQ(out.find('\r'), std::string::npos);
  out.clear();
  progress.elapsed = Millis{100'000};  // slow: a line every half minute nevertheless
  line.update(progress);
  line.update(progress);
  EXPECT_EQ(std::count(out.begin(), out.end(), '\n'), 1);
}

TEST(ProgressLineText, stops_when_asked) {
  ProgressLine line({}, [](std::string_view) {});
  std::atomic<bool> cancelled = false;
  const ProgressSink sink = line.sink(&cancelled);
  EXPECT_TRUE(sink({}));
  cancelled = true;
  EXPECT_FALSE(sink({}));
}

}  // namespace
}  // namespace ration
