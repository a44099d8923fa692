#include "model/template/template.h"

#include "base/text.h"
#include "model/template/json_input.h"
#include "model/template/lexer.h"
#include "model/template/machine.h"
#include "model/template/parser.h"
#include "model/template/render.h"

namespace ration {

struct ChatTemplate::Program {
  jinja::Program program;
  TemplateLimits limits;
};

ChatTemplate::ChatTemplate(std::unique_ptr<Program> program) : program_(std::move(program)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

Result<ChatTemplate> ChatTemplate::compile(std::string_view source, const TemplateLimits& limits) {
  const auto size = static_cast<int64_t>(source.size());
  if (size > limits.source_bytes_max) {
    return Error{Code::kOverBudget, "the template's source is too long",
                 Shortfall{size, limits.source_bytes_max}};
  }
  if (!is_valid_utf8(source)) return Error{Code::kInvalid, "the template is not valid UTF-8"};
  auto program = std::make_unique<Program>();
  program->limits = limits;
  jinja::Parser parser(jinja::Lexer::normalized(source), limits, program->program);
  if (Status parsed = parser.parse(); !parsed) return parsed.error();
  return ChatTemplate(std::move(program));
}

const ChatTemplate& ChatTemplate::chatml() {
  static const ChatTemplate kChatml = [] {
    constexpr std::string_view kSource =
        "{% for message in messages %}"
        "{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
    return compile(kSource).value();
  }();
  return kChatml;
}

namespace {

using jinja::Machine;
using jinja::Origin;
using jinja::Renderer;
using jinja::Value;

// What Hugging Face's apply_chat_template passes; the extra arguments may replace any of it.
Status define_variables(Machine& machine, Renderer& renderer, const TemplateInput& input) {
  const Result<Value> messages = read_json(machine, "messages", input.messages_json);
  if (!messages) return messages.error();
  if (!messages->is(Value::Kind::kList)) {
    return Error{Code::kInvalid, "messages: wanted a JSON array"};
  }
  Value tools = Value::none();
  if (!input.tools_json.empty()) {
    const Result<Value> read = read_json(machine, "tools", input.tools_json);
    if (!read) return read.error();
    tools = *read;
  }
  renderer.define("messages", *messages);
  renderer.define("tools", tools);
  renderer.define("documents", Value::none());
  renderer.define("add_generation_prompt", Value::of(input.add_generation_prompt));
  const auto token = [&machine](const std::string& text) {
    return make_string(machine, to_valid_utf8(text), Origin::kTemplate);
  };
  renderer.define("bos_token", token(input.bos_token));
  renderer.define("eos_token", token(input.eos_token));
  if (input.arguments_json.empty()) return {};
  const Result<Value> arguments = read_json(machine, "template arguments", input.arguments_json);
  if (!arguments) return arguments.error();
  if (!arguments->is(Value::Kind::kDict)) {
    return Error{Code::kInvalid, "template arguments: wanted a JSON object"};
  }
  for (const auto& [name, value] : arguments->dict().entries) renderer.define(name.text(), value);
  return {};
}

}  // namespace

Result<Prompt> ChatTemplate::render(const TemplateInput& input) const {
  Machine machine(program_->limits);
  Renderer renderer(machine, program_->program, input.now_unix_seconds);
  if (Status defined = define_variables(machine, renderer, input); !defined) return defined.error();
  const jinja::Text text = renderer.run();
  if (machine.failed()) return machine.error();
  return text.to_prompt();
}

}  // namespace ration
