// Small templates against what Python's jinja2 makes of them: cases.json, filled in by
// make_cases.py, which says what each field means.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <string_view>

#include "base/json.h"
#include "model/template/template.h"
#include "test/model/template/reference.h"

namespace ration {
namespace {

namespace fs = std::filesystem;

std::string read_file(const fs::path& path) {
  std::ifstream file(fs::path(RATION_SOURCE_DIR) / path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

Json read_cases() {
  const Result<Json> cases = parse_json(read_file("test/model/template/cases.json"));
  CHECK(cases, "cases.json does not parse");
  return *cases;
}

Result<std::string> outcome(const Json& test) {
  const Result<ChatTemplate> compiled = ChatTemplate::compile(test["template"].get<std::string>());
  if (!compiled) return compiled.error();
  TemplateInput input;
  input.messages_json = "[]";
  input.arguments_json = test.contains("variables") ? test["variables"].dump() : "";
  input.bos_token = "<|begin|>";
  input.eos_token = "<|end|>";
  input.now_unix_seconds = kReferenceNow;
  const Result<Prompt> prompt = compiled->render(input);
  if (!prompt) return prompt.error();
  return plain_text(*prompt);
}

// Where two texts part, with a little of both: "... at byte 12: found 'x', wanted 'y'".
std::string difference(const std::string& found, const std::string& wanted) {
  const auto [in_found, in_wanted] =
      std::mismatch(found.begin(), found.end(), wanted.begin(), wanted.end());
  const auto at = static_cast<size_t>(in_found - found.begin());
  const auto rest = [at](const std::string& text) {
    return testing::PrintToString(std::string_view(text).substr(std::min(at, text.size()), 60));
  };
  std::ostringstream text;
  text << "they part at byte " << at << "\n  found  " << rest(found) << "\n  wanted "
       << rest(wanted);
  return text.str();
}

TEST(TemplateCases, render_as_jinja2_does) {
  int number = 0;
  for (const Json& test : read_cases()) {
    SCOPED_TRACE(test["group"].get<std::string>() + ", case " + std::to_string(++number) + ": " +
                 test["template"].dump());
    const Result<std::string> found = outcome(test);
    if (test.contains("error")) {
      EXPECT_FALSE(found) << "wanted an error, found " << testing::PrintToString(*found);
      continue;
    }
    const std::string wanted = test["expected"];
    if (!found) {
      ADD_FAILURE() << found.error().message << "\n  wanted " << testing::PrintToString(wanted);
    } else {
      EXPECT_TRUE(*found == wanted) << difference(*found, wanted);
    }
  }
  EXPECT_GE(number, 250);
}

// What `pattern` captures, everywhere in `text`.
std::set<std::string> captures(const std::string& text, const std::string& pattern) {
  const std::regex regex(pattern);
  std::set<std::string> found;
  for (std::sregex_iterator match(text.begin(), text.end(), regex), end; match != end; ++match) {
    found.insert((*match)[1]);
  }
  return found;
}

TEST(TemplateCases, name_every_filter_test_function_and_method) {
  std::string all;
  for (const Json& test : read_cases()) all += test["template"].get<std::string>() + "\n";
  const std::set<std::string> used = captures(all, R"((\w+))");
  size_t rows = 0;
  for (const auto& [file, row] :
       {std::pair{"filters.cpp", R"~(Row\{"(\w+)")~"}, std::pair{"tests.cpp", R"~(Row\{"(\w+)")~"},
        std::pair{"functions.cpp", R"~(Row\{"(\w+)")~"},
        std::pair{"methods.cpp", R"~(Row\{Kind::\w+, "(\w+)")~"}}) {
    const auto names = captures(read_file(fs::path("src/model/template") / file), row);
    EXPECT_FALSE(names.empty()) << file << " has no table";
    for (const std::string& name : names) {
      EXPECT_TRUE(used.contains(name)) << file << " has '" << name << "', and no case uses it";
    }
    rows += names.size();
  }
  EXPECT_GE(rows, 140U);
}

}  // namespace
}  // namespace ration
