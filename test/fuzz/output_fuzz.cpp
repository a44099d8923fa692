// Any text as what a model writes: its parts do not depend on how it was cut, and nothing is said
// of a call that has not begun. The first byte chooses the template's kind, the second the cut.
#include <array>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "serve/output_parser.h"

namespace ration {
namespace {

AnswerChoice parse_in_steps(const ChatTraits& traits, std::string_view text, size_t step) {
  OutputParser parser(traits, {.split_thinking = true, .tool_names = {"f"}});
  AnswerChoice choice;
  std::vector<AnswerPart> parts;
  for (size_t at = 0; at < text.size(); at += step) parser.write(text.substr(at, step), parts);
  parser.finish(parts);
  for (const AnswerPart& part : parts) {
    CHECK(part.kind != AnswerPart::Kind::kArguments || !choice.calls.empty());
    choice.add(part);
  }
  return choice;
}

void check_output(const ChatTraits& traits, std::string_view text, size_t step) {
  const AnswerChoice whole = parse_in_steps(traits, text, text.size() + 1);
  const AnswerChoice cut = parse_in_steps(traits, text, step);
  CHECK(whole.text == cut.text, whole.text + " | " + cut.text);
  CHECK(whole.reasoning == cut.reasoning, whole.reasoning + " | " + cut.reasoning);
  CHECK(whole.calls.size() == cut.calls.size());
  for (size_t i = 0; i < whole.calls.size(); ++i) {
    CHECK(whole.calls[i].arguments == cut.calls[i].arguments);
    CHECK(whole.calls[i].name == cut.calls[i].name);
  }
}

}  // namespace
}  // namespace ration

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::array traits{ration::chat_traits("tools <tool_call> </think>"),
                                 ration::chat_traits("tools [TOOL_CALLS] [/THINK]"),
                                 ration::chat_traits("tools <|python_tag|>"),
                                 ration::chat_traits("tools <|tool_call|>")};
  if (size < 2) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 2, size - 2);
  ration::check_output(traits[data[0] % traits.size()], text, size_t{1} + data[1] % 16);
  return 0;
}
