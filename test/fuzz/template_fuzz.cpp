// Any bytes as a chat template: refused with an error that is none of ours, or rendered, twice to
// the same pieces. What follows the first zero byte is a JSON object of variables for it; without
// one a conversation that has a bit of everything is rendered.
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "base/text.h"
#include "model/template/template.h"

namespace {

// Small, so that an input takes a moment and memory errors are not hidden behind a big budget.
constexpr ration::TemplateLimits kLimits{.steps_max = 20'000,
                                         .output_bytes_max = 1 << 16,
                                         .memory_bytes_max = 1 << 20,
                                         .depth_max = 40,
                                         .source_bytes_max = 1 << 14};

constexpr std::string_view kMessages =
    R"([{"role": "system", "content": " Be terse. "}, {"role": "user", "content": "Hé <b>\n日本"},)"
    R"( {"role": "assistant", "content": null, "tool_calls": [{"id": "a1", "function":)"
    R"( {"name": "f", "arguments": {"x": 1, "y": [2.5, true, null], "z": {"a": "b"}}}}]},)"
    R"( {"role": "tool", "content": [{"type": "text", "text": "ok"}]}])";
constexpr std::string_view kVariables =
    R"({"s": "Straße, 日本語 it's", "i": 7, "f": -2.5, "l": [3, 1, 2, "a"], "n": null, "t": true,)"
    R"( "d": {"b": 1, "a": [1, {"c": "x"}]}, "big": 18446744073709551615, "e": []})";

// The errors that bytes can bring about.
bool is_expected(const ration::Error& error) {
  if (error.code == ration::Code::kOverBudget) return error.shortfall.has_value();
  return error.code == ration::Code::kInvalid || error.code == ration::Code::kUnsupported;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t zero = input.find('\0');
  const ration::Result<ration::ChatTemplate> compiled =
      ration::ChatTemplate::compile(input.substr(0, zero), kLimits);
  if (!compiled) {
    CHECK(is_expected(compiled.error()), compiled.error().message);
    return 0;
  }
  const bool has_variables = zero != std::string_view::npos;
  const ration::TemplateInput values{
      .messages_json = std::string(kMessages),
      .tools_json = R"([{"type": "function", "function": {"name": "f"}}])",
      .arguments_json = std::string(has_variables ? input.substr(zero + 1) : kVariables),
      .bos_token = "<|begin|>",
      .eos_token = "<|end|>",
      .now_unix_seconds = 1753876800,
  };
  const ration::Result<ration::Prompt> prompt = compiled->render(values);
  const ration::Result<ration::Prompt> again = compiled->render(values);
  CHECK(static_cast<bool>(prompt) == static_cast<bool>(again), "renders once and not twice");
  if (!prompt) {
    CHECK(is_expected(prompt.error()), prompt.error().message);
    CHECK(prompt.error().message == again.error().message, prompt.error().message);
    return 0;
  }
  CHECK(*prompt == *again, "renders differently the second time");
  int64_t bytes = 0;
  for (size_t i = 0; i < prompt->size(); ++i) {
    const ration::PromptSpan& span = (*prompt)[i];
    CHECK(!span.text.empty() && ration::is_valid_utf8(span.text), span.text);
    CHECK(i == 0 || span.from_template != (*prompt)[i - 1].from_template, span.text);
    bytes += static_cast<int64_t>(span.text.size());
  }
  CHECK(bytes <= kLimits.output_bytes_max);
  return 0;
}
