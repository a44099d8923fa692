// The templates of real models, against what Python's jinja2 makes of them: expected.txt, which
// make_expected.py wrote. The templates themselves are not ours to keep, so they are fetched; what
// is not there is skipped, and the counts are printed.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "base/sha256.h"
#include "model/gguf.h"
#include "model/template/template.h"
#include "test/model/template/reference.h"

namespace ration {
namespace {

namespace fs = std::filesystem;

std::string text_of(const fs::path& path) {
  const Result<std::string> text = read_file(path, Bytes{kMiB});
  EXPECT_TRUE(text) << path << ": " << text.error().message;
  return text ? *text : "";
}

std::string sha256(std::string_view data) {
  const Result<std::string> digest = sha256_of(data);
  EXPECT_TRUE(digest) << digest.error().message;
  return digest ? *digest : "";
}

struct Expected {
  std::string name;
  std::map<std::string, std::string> results;  // by conversation: "error" or "LENGTH DIGEST"
};

std::map<std::string, Expected> read_expected(const fs::path& path) {
  std::map<std::string, Expected> templates;
  std::ifstream file(path);
  Expected* current = nullptr;
  for (std::string line; std::getline(file, line);) {
    const size_t space = line.find(' ');
    const std::string first = line.substr(0, space), rest = line.substr(space + 1);
    if (first == "template") {
      current = &templates[rest.substr(0, 64)];
      current->name = rest.substr(65);
    } else {
      current->results[first] = rest;
    }
  }
  return templates;
}

// The source of every template found, by sha256.
std::map<std::string, std::string> find_templates() {
  std::vector<fs::path> places;
  const char* cache = std::getenv("RATION_TEST_CACHE");
  const char* home = std::getenv("HOME");
  fs::path root = cache ? fs::path(cache) : fs::path(home ? home : ".") / ".cache/ration/test";
  places.push_back(root / "llama-vocabularies/templates");
  places.push_back(root / "models");
  std::map<std::string, std::string> sources;
  for (const fs::path& place : places) {
    if (!fs::is_directory(place)) continue;
    for (const auto& entry : fs::directory_iterator(place)) {
      std::string source;
      if (entry.path().extension() == ".jinja") source = text_of(entry.path());
      if (entry.path().extension() == ".gguf") {
        const Result<Gguf> file = Gguf::open(entry.path());
        if (!file) continue;
        const auto found = file->find_string("tokenizer.chat_template");
        if (found && *found) source = **found;
      }
      if (!source.empty()) sources[sha256(source)] = source;
    }
  }
  return sources;
}

TemplateInput input_of(const Json& conversation) {
  TemplateInput input;
  input.messages_json = conversation["messages"].dump();
  if (conversation.contains("tools")) input.tools_json = conversation["tools"].dump();
  if (conversation.contains("arguments")) input.arguments_json = conversation["arguments"].dump();
  input.add_generation_prompt = conversation.value("add_generation_prompt", true);
  input.bos_token = "<|begin|>";
  input.eos_token = "<|end|>";
  input.now_unix_seconds = kReferenceNow;
  return input;
}

struct Count {
  int equal = 0, both_refuse = 0, unsupported = 0, different = 0;
};

// What we make of it in the words of expected.txt.
std::string outcome(const Result<Prompt>& prompt) {
  if (!prompt) return "error";
  const std::string text = plain_text(*prompt);
  return fmt::format("{} {}", text.size(), sha256(text).substr(0, 16));
}

void check_template(const std::string& source, const Expected& expected, const Json& conversations,
                    Count& count) {
  const Result<ChatTemplate> compiled = ChatTemplate::compile(source);
  for (const Json& conversation : conversations) {
    const auto name = conversation["name"].get<std::string>();
    const auto wanted = expected.results.find(name);
    ASSERT_NE(wanted, expected.results.end()) << "expected.txt is older than conversations.json";
    const Result<Prompt> prompt =
        compiled ? compiled->render(input_of(conversation)) : Result<Prompt>(compiled.error());
    if (outcome(prompt) == wanted->second) {
      ++(prompt ? count.equal : count.both_refuse);
    } else if (!prompt && prompt.error().code == Code::kUnsupported) {
      ++count.unsupported;
      std::printf("refused by name: %s, %s: %s\n", expected.name.c_str(), name.c_str(),
                  prompt.error().message.c_str());
    } else {
      ++count.different;
      ADD_FAILURE() << expected.name << ", " << name << ": found " << outcome(prompt) << ", wanted "
                    << wanted->second << (prompt ? "" : ": " + prompt.error().message);
      if (const char* folder = std::getenv("RATION_TEMPLATE_OUTPUT"); folder && prompt) {
        std::ofstream(fs::path(folder) / (expected.name + "." + name)) << plain_text(*prompt);
      }
    }
  }
}

TEST(RealTemplates, render_as_jinja2_does) {
  const fs::path here = fs::path(RATION_SOURCE_DIR) / "test/model/template";
  const auto expected = read_expected(here / "expected.txt");
  const Result<Json> conversations = parse_json(text_of(here / "conversations.json"));
  ASSERT_TRUE(conversations) << conversations.error().message;
  const auto sources = find_templates();
  int found = 0, all_equal = 0;
  Count total;
  for (const auto& [digest, wanted] : expected) {
    const auto source = sources.find(digest);
    if (source == sources.end()) continue;
    ++found;
    Count count;
    check_template(source->second, wanted, *conversations, count);
    all_equal += count.unsupported + count.different == 0 ? 1 : 0;
    total.equal += count.equal;
    total.both_refuse += count.both_refuse;
    total.unsupported += count.unsupported;
    total.different += count.different;
  }
  std::printf(
      "%d of %zu templates found, %d with every conversation equal; conversations: "
      "%d equal, %d refused as jinja2 does, %d refused by name, %d different\n",
      found, expected.size(), all_equal, total.equal, total.both_refuse, total.unsupported,
      total.different);
  if (found == 0) GTEST_SKIP() << "no templates here: test/fetch_vocabularies.sh fetches them";
  EXPECT_GE(all_equal * 10, found * 9);
}

}  // namespace
}  // namespace ration
