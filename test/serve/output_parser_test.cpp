// Reasoning and calls told apart from an answer's words, however it is cut into pieces.
#include "serve/output_parser.h"

#include <gtest/gtest.h>

#include "base/json.h"

namespace ration {
namespace {

const ChatTraits kQwen = chat_traits("tools <tool_call> </think> enable_thinking");
const ChatTraits kMistral = chat_traits("tools [TOOL_CALLS]");
const ChatTraits kLlama = chat_traits("tools \"parameters\": dictionary of");
const ChatTraits kGranite = chat_traits("tools <|tool_call|>");

const OutputOptions kTools{.split_thinking = true, .tool_names = {"f", "weather"}};

AnswerChoice parse(const ChatTraits& traits, const OutputOptions& options, std::string_view text,
                   size_t step) {
  OutputParser parser(traits, options);
  AnswerChoice choice;
  std::vector<AnswerPart> parts;
  for (size_t at = 0; at < text.size(); at += step) parser.write(text.substr(at, step), parts);
  parser.finish(parts);
  for (const AnswerPart& part : parts) choice.add(part);
  EXPECT_EQ(parser.has_calls(), !choice.calls.empty());
  return choice;
}

// The same for every way of cutting the text.
AnswerChoice parsed(const ChatTraits& traits, const OutputOptions& options, std::string_view text) {
  AnswerChoice whole = parse(traits, options, text, text.size() + 1);
  for (size_t step = 1; step < 12; ++step) {
    const AnswerChoice cut = parse(traits, options, text, step);
    EXPECT_EQ(cut.text, whole.text) << step << ": " << text;
    EXPECT_EQ(cut.reasoning, whole.reasoning) << step << ": " << text;
    EXPECT_EQ(cut.calls.size(), whole.calls.size()) << step << ": " << text;
    for (size_t i = 0; i < std::min(cut.calls.size(), whole.calls.size()); ++i) {
      EXPECT_EQ(cut.calls[i].id, whole.calls[i].id) << step;
      EXPECT_EQ(cut.calls[i].name, whole.calls[i].name) << step;
      EXPECT_EQ(cut.calls[i].arguments, whole.calls[i].arguments) << step;
    }
  }
  return whole;
}

TEST(ChatTraits, are_found_in_the_template) {
  EXPECT_TRUE(kQwen.thinks() && kQwen.switches_thinking && kQwen.reads_tools && kQwen.knows_calls);
  EXPECT_EQ(kQwen.call_open, "<tool_call>");
  const ChatTraits none = chat_traits("{{ messages[0].content }}");
  EXPECT_FALSE(none.thinks() || none.reads_tools || none.knows_calls || none.reads_effort);
  // A way of calling that we do not read is known to be one.
  const ChatTraits xml = chat_traits("tools <tool_call><function=name>");
  EXPECT_TRUE(xml.reads_tools);
  EXPECT_FALSE(xml.knows_calls);
}

TEST(ChatTraits, say_what_is_asked_in_the_templates_variables) {
  Ask ask{.arguments_json = R"({"a":1})", .thinking = {.on = false, .param = "think"}};
  EXPECT_FALSE(apply_traits(kQwen, ask));
  EXPECT_EQ(ask.arguments_json, R"({"a":1,"enable_thinking":false})");
  Ask effort{.thinking = {.effort = "none", .param = "reasoning_effort"}};
  EXPECT_FALSE(apply_traits(kQwen, effort));
  EXPECT_EQ(effort.arguments_json, R"({"enable_thinking":false})");
  Ask low{.thinking = {.effort = "low", .param = "reasoning_effort"}};
  EXPECT_EQ(apply_traits(kQwen, low)->param, "reasoning_effort");
  EXPECT_FALSE(apply_traits(chat_traits("reasoning_effort"), low));
  EXPECT_EQ(low.arguments_json, R"({"reasoning_effort":"low"})");
  Ask think{.thinking = {.on = true, .param = "think"}};
  EXPECT_EQ(apply_traits(kLlama, think)->param, "think");
  Ask still{.thinking = {.on = false, .param = "think"}};
  EXPECT_FALSE(apply_traits(kLlama, still));
  EXPECT_TRUE(apply_traits(chat_traits("</think>"), still));
}

TEST(OutputParser, leaves_plain_text_alone) {
  const std::string text = " <think>\nhm</think> <tool_call>{\"name\":\"f\"} \n";
  EXPECT_EQ(parsed(kQwen, {}, text).text, text);
  EXPECT_EQ(parsed(kLlama, kTools, "Hello {\"name\":\"f\"} \n").text, "Hello {\"name\":\"f\"} \n");
}

TEST(OutputParser, splits_reasoning) {
  AnswerChoice choice = parsed(kQwen, kTools, "<think>\nLet me < see.\n</think>\n\nForty two.\n");
  EXPECT_EQ(choice.reasoning, "Let me < see.");
  EXPECT_EQ(choice.text, "Forty two.\n");
  choice = parsed(kQwen, {.split_thinking = true, .begins_thinking = true}, "\nYes.</think>No");
  EXPECT_EQ(choice.reasoning, "Yes.");
  EXPECT_EQ(choice.text, "No");
  choice = parsed(kQwen, {.split_thinking = true}, "<think>cut off");
  EXPECT_EQ(choice.reasoning, "cut off");
  EXPECT_EQ(choice.text, "");
  choice = parsed(kQwen, {.split_thinking = true}, "<think>\n\n</think>\n\nOnly words");
  EXPECT_EQ(choice.reasoning, "");
  EXPECT_EQ(choice.text, "Only words");
  // Only at the beginning.
  choice = parsed(kQwen, {.split_thinking = true}, "a <think>b</think>");
  EXPECT_EQ(choice.text, "a <think>b</think>");
  EXPECT_EQ(parsed(kQwen, {.split_thinking = true}, "<thin").text, "<thin");
}

TEST(OutputParser, reads_calls_in_every_syntax) {
  const std::string call = R"({"name": "weather", "arguments": {"city": "Z\"}rich", "n": [1]}})";
  const std::string arguments = R"({"city": "Z\"}rich", "n": [1]})";
  const std::tuple<const ChatTraits&, std::string, std::string> cases[] = {
      {kQwen, "<think>x</think>I look.\n<tool_call>\n" + call + "\n</tool_call>", "I look."},
      {kMistral, "[TOOL_CALLS] [" + call + "]", ""},
      {kGranite, "<|tool_call|>[" + call + "]", ""},
      {kLlama, call, ""},
      {kQwen, "<think>x</think>\n" + call, ""},
      {kLlama, "<|python_tag|>" + call, ""},
      {kLlama, R"( {"type":"function","name":"weather","parameters":)" + arguments + "}", ""},
      {kQwen, "<tool_call>{\"arguments\":" + arguments + ", \"name\":\"weather\"}</tool_call>", ""},
  };
  for (const auto& [traits, text, words] : cases) {
    const AnswerChoice choice = parsed(traits, kTools, text);
    EXPECT_EQ(choice.text, words) << text;
    ASSERT_EQ(choice.calls.size(), 1u) << text;
    EXPECT_EQ(choice.calls[0].name, "weather");
    EXPECT_EQ(choice.calls[0].arguments, arguments);
    EXPECT_EQ(choice.calls[0].id.size(), 9u);
    EXPECT_TRUE(parse_json(choice.calls[0].arguments));
  }
}

TEST(OutputParser, reads_several_calls) {
  const std::string two =
      "<tool_call>{\"name\":\"f\"}</tool_call>\n<tool_call>\n"
      "{\"name\":\"weather\",\"arguments\":{\"a\":{}}}</tool_call>";
  AnswerChoice choice = parsed(kQwen, kTools, two);
  ASSERT_EQ(choice.calls.size(), 2u);
  EXPECT_EQ(choice.calls[0].arguments, "{}");
  EXPECT_EQ(choice.calls[1].arguments, "{\"a\":{}}");
  EXPECT_NE(choice.calls[0].id, choice.calls[1].id);
  OutputOptions one = kTools;
  one.parallel_calls = false;
  EXPECT_EQ(parsed(kQwen, one, two).calls.size(), 1u);
  choice =
      parsed(kMistral, kTools,
             R"([TOOL_CALLS][{"name":"f","arguments":{}}, {"name":"f","arguments":"{\"b\":2}"}])");
  ASSERT_EQ(choice.calls.size(), 2u);
  EXPECT_EQ(choice.calls[1].arguments, "{\"b\":2}");
  choice = parsed(kLlama, kTools, R"({"name":"f","parameters":{}}; {"name":"f","parameters":{}})");
  EXPECT_EQ(choice.calls.size(), 2u);
}

TEST(OutputParser, a_call_that_is_none_is_text) {
  for (const std::string text :
       {"<tool_call>hello</tool_call>", "<tool_call>{\"nam\":1}</tool_call> and more",
        "<tool_call>{\"name\":", "<tool_call", "<tool_call>[]x"}) {
    const AnswerChoice choice = parsed(kQwen, kTools, text);
    EXPECT_TRUE(choice.calls.empty()) << text;
    if (text != "<tool_call>[]x") EXPECT_EQ(choice.text, text);
  }
  // Without marks only a tool that there is can be called.
  const std::string json = R"({"name":"Bob","parameters":{}})";
  EXPECT_EQ(parsed(kLlama, kTools, json).text, json);
  EXPECT_EQ(parsed(kLlama, kTools, "{}").text, "{}");
}

TEST(OutputParser, an_answer_in_json_is_not_held_back) {
  OutputParser parser(kQwen, kTools);
  std::vector<AnswerPart> parts;
  parser.write("{\"colour\": ", parts);
  ASSERT_EQ(parts.size(), 1u);
  EXPECT_EQ(parts[0].text, "{\"colour\":");
}

TEST(OutputParser, a_call_that_is_cut_off_keeps_what_there_is) {
  const AnswerChoice choice =
      parsed(kQwen, kTools, "<tool_call>{\"name\":\"f\",\"arguments\":{\"a\":\"b");
  ASSERT_EQ(choice.calls.size(), 1u);
  EXPECT_EQ(choice.calls[0].arguments, "{\"a\":\"b");
  EXPECT_EQ(choice.text, "");
}

}  // namespace
}  // namespace ration
