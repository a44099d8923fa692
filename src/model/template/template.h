// model/template/template.h - chat templates: the Jinja that real models carry, with bounds.
//
// The template arrives inside an untrusted model file, so parsing and rendering are bounded in
// steps, output bytes and depth, and reach nothing outside the values given. Every string knows
// whether the template or a user wrote it, and keeps knowing through filters, slices and joins.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "model/prompt.h"

namespace ration {

struct TemplateInput {
  std::string messages_json;   // a JSON array of {"role", "content", ...}
  std::string tools_json;      // a JSON array, or "" for none
  std::string arguments_json;  // an object of extra variables (enable_thinking ...), or ""
  bool add_generation_prompt = true;
  std::string bos_token;  // text of the special tokens, as template origin
  std::string eos_token;
  int64_t now_unix_seconds = 0;  // what strftime_now sees
};

struct TemplateLimits {
  int64_t steps_max = 5'000'000;
  int64_t output_bytes_max = 64 << 20;   // of the prompt, and of every text on the way to it
  int64_t memory_bytes_max = 256 << 20;  // all values of one render, which live until it ends
  int depth_max = 128;
  int64_t source_bytes_max = 1 << 20;
};

// shared-const after compile().
class ChatTemplate {
 public:
  // kUnsupported names the construct and the line; kInvalid a syntax error and its line.
  static Result<ChatTemplate> compile(std::string_view source, const TemplateLimits& limits = {});
  // The plain ChatML template, for models that bring none.
  static const ChatTemplate& chatml();

  // kInvalid carries the template's own raise_exception message, or what was missing;
  // kOverBudget when a limit is passed.
  Result<Prompt> render(const TemplateInput& input) const;

  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

 private:
  struct Program;
  explicit ChatTemplate(std::unique_ptr<Program> program);
  std::unique_ptr<Program> program_;
};

}  // namespace ration
