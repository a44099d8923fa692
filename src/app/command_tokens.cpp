// ration tokenize, detokenize, template: what a model's vocabulary and template make of a text.
#include <fmt/format.h>

#include <charconv>

#include "app/commands.h"
#include "app/exit_code.h"
#include "app/output.h"
#include "app/session.h"
#include "app/tokens.h"
#include "base/json.h"
#include "base/text.h"

namespace ration {
namespace {

struct Vocabulary {
  Gguf file;
  std::unique_ptr<Tokenizer> tokenizer;
};

// Opens only what tokenising needs, so vocabulary-only files work.
Result<Vocabulary> open_vocabulary(const Settings& settings) {
  const SteadyClock clock;
  Result<ResolvedModel> resolved = resolve_model(settings, clock);
  if (!resolved) return resolved.error();
  Result<Gguf> file = Gguf::open(resolved->files.front());
  if (!file) return file.error();
  Result<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::make(*file);
  if (!tokenizer) return tokenizer.error();
  return Vocabulary{std::move(*file), std::move(*tokenizer)};
}

// Numbers apart by anything that is not one: "1 2 3", "[1, 2, 3]" and {"ids": [1, 2, 3]} all do.
Result<std::vector<Token>> parse_ids(std::string_view text, int32_t vocabulary) {
  std::vector<Token> ids;
  size_t i = 0;
  while (i < text.size()) {
    const char c = text[i];
    if (c == '"') {  // a key
      i = std::min(text.find('"', i + 1), text.size() - 1) + 1;
      continue;
    }
    if ((c < '0' || c > '9') && c != '-') {
      ++i;
      continue;
    }
    Token id = -1;
    const auto [end, error] = std::from_chars(text.data() + i, text.data() + text.size(), id);
    if (error != std::errc() || id < 0 || id >= vocabulary) {
      const std::string_view word = text.substr(i, text.find_first_of(" ,]}\n\t", i) - i);
      return Error{Code::kInvalid,
                   fmt::format("found token id '{}', wanted 0 to {}", word, vocabulary - 1)};
    }
    ids.push_back(id);
    i = static_cast<size_t>(end - text.data());
  }
  return ids;
}

}  // namespace

Result<std::vector<Token>> read_ids(const std::string& path, int32_t vocabulary) {
  Result<std::string> text = read_input(path);
  if (!text) return text.error();
  return parse_ids(*text, vocabulary);
}

Result<int> run_tokenize(const Settings& settings) {
  Result<Vocabulary> vocabulary = open_vocabulary(settings);
  if (!vocabulary) return vocabulary.error();
  Result<std::string> text = read_input("-");
  if (!text) return text.error();
  const std::vector<Token> ids = vocabulary->tokenizer->encode(
      *text, {.add_special = true, .parse_special = settings.special});
  if (settings.json)
    return print(fmt::format("{{\"ids\":[{}]}}\n", fmt::join(ids, ","))) ? kDone : kFailed;
  std::string out;
  for (Token id : ids) {
    out += fmt::format("{}\t", id);
    append_json_string(out, vocabulary->tokenizer->piece(id, true));
    out += '\n';
  }
  return print(out) ? kDone : kFailed;
}

Result<int> run_detokenize(const Settings& settings) {
  Result<Vocabulary> vocabulary = open_vocabulary(settings);
  if (!vocabulary) return vocabulary.error();
  const int32_t size = vocabulary->tokenizer->size();
  Result<std::vector<Token>> ids =
      settings.words.empty() ? read_ids("-", size)
                             : parse_ids(fmt::format("{}", fmt::join(settings.words, " ")), size);
  if (!ids) return ids.error();
  return print(vocabulary->tokenizer->decode(*ids, settings.special)) ? kDone : kFailed;
}

Result<int> run_template(const Settings& settings) {
  const SteadyClock clock;
  Result<ResolvedModel> resolved = resolve_model(settings, clock);
  if (!resolved) return resolved.error();
  Result<std::shared_ptr<const Model>> model = Model::load(resolved->files.front());
  if (!model) return model.error();
  Result<std::string> text = read_input("-");
  if (!text) return text.error();
  Result<Json> input = parse_json(*text);
  if (!input) return input.error();
  TemplateInput conversation{.now_unix_seconds = unix_seconds()};
  if (input->is_array()) {
    conversation.messages_json = to_text(*input);
  } else if (input->is_object() && input->contains("messages")) {
    conversation.messages_json = to_text((*input)["messages"]);
    if (input->contains("tools")) conversation.tools_json = to_text((*input)["tools"]);
    conversation.add_generation_prompt = input->value("add_generation_prompt", true);
  } else {
    return Error{Code::kInvalid,
                 "found other JSON, wanted an array of messages or an object with 'messages'"};
  }
  Result<Prompt> prompt = (*model)->render_chat(std::move(conversation));
  if (!prompt) return prompt.error();
  return print(plain_text(*prompt)) ? kDone : kFailed;
}

}  // namespace ration
