#include "base/text.h"

#include <gtest/gtest.h>

#include "base/json.h"
#include "base/rng.h"

namespace ration {
namespace {

TEST(Text, every_code_point_round_trips) {
  for (uint32_t value = 0; value <= 0x10ffff; ++value) {
    if (value >= 0xd800 && value < 0xe000) continue;
    std::string bytes;
    append_code_point(bytes, value);
    const CodePoint point = read_code_point(bytes);
    ASSERT_TRUE(point.valid);
    ASSERT_EQ(point.value, value);
    ASSERT_EQ(static_cast<size_t>(point.length), bytes.size());
  }
}

TEST(Text, refuses_overlong_surrogate_and_cut_forms) {
  for (const char* text :
       {"\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82", "\xff", "\x80"}) {
    EXPECT_FALSE(is_valid_utf8(text));
    EXPECT_TRUE(is_valid_utf8(to_valid_utf8(text)));
  }
}

TEST(Text, holds_back_only_a_tail_that_can_still_be_completed) {
  const std::string euro = "\xe2\x82\xac";
  EXPECT_EQ(incomplete_utf8_tail("ab"), 0u);
  EXPECT_EQ(incomplete_utf8_tail("ab" + euro.substr(0, 1)), 1u);
  EXPECT_EQ(incomplete_utf8_tail("ab" + euro.substr(0, 2)), 2u);
  EXPECT_EQ(incomplete_utf8_tail("ab" + euro), 0u);
  EXPECT_EQ(incomplete_utf8_tail("\xf0\x9f\x98"), 3u);
  EXPECT_EQ(incomplete_utf8_tail("\x80\x80\x80\x80"), 0u);
}

TEST(Text, json_strings_parse_back_for_random_bytes) {
  Rng rng(1);
  for (int round = 0; round < 2000; ++round) {
    std::string bytes(rng.below(40), '\0');
    for (char& c : bytes) c = static_cast<char>(rng.below(256));
    std::string json;
    append_json_string(json, bytes);
    Result<Json> parsed = parse_json(json);
    ASSERT_TRUE(parsed) << json;
    EXPECT_EQ(parsed->get<std::string>(), to_valid_utf8(bytes));
  }
}

TEST(Text, suggests_near_names_only) {
  const std::vector<std::string> names{"smollm2-135m", "qwen2.5-coder-0.5b", "gemma-3-270m"};
  EXPECT_EQ(nearest_names("smolm2-135m", names).at(0), "smollm2-135m");
  EXPECT_EQ(nearest_names("gemma", names).at(0), "gemma-3-270m");
  EXPECT_TRUE(nearest_names("zzzzzz", names).empty());
  EXPECT_EQ(did_you_mean("gemma", names), "did you mean 'gemma-3-270m'?");
}

TEST(JsonEdge, refuses_deep_duplicate_and_broken_values) {
  EXPECT_TRUE(parse_json(R"({"a":[1,2,{"b":null}]})"));
  EXPECT_FALSE(parse_json(std::string(100, '[') + std::string(100, ']')));
  EXPECT_FALSE(parse_json(R"({"a":1,"a":2})"));
  EXPECT_FALSE(parse_json("{\"a\":\"\xff\"}"));
  EXPECT_FALSE(parse_json("{} x"));
  EXPECT_FALSE(parse_json(""));
}

}  // namespace
}  // namespace ration
