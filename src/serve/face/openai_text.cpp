// OpenAI's plain completions: POST /v1/completions.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/format.h"
#include "base/text.h"
#include "serve/face/face.h"
#include "serve/face/openai.h"

namespace ration {
namespace {

constexpr int64_t kRivalsMax = 5;  // that the old form of logprobs can ask for

// ---------------------------------------------------------------------------------------- reading

// A number here, where chats have true or false.
Problem read_rivals(std::string_view param, const Json& value, Reading& reading) {
  if (value == false) return {};
  int64_t count = 0;
  if (Problem problem = read_integer(param, value, 0, kRivalsMax, count)) return problem;
  reading.ask.logprobs = true;
  reading.top_logprobs = count;
  return {};
}

constexpr std::array kTextFields{
    Field{"prompt", [](auto p, auto& v, auto& r) { return read_texts(p, v, kChoicesMax, r); }},
    Field{"echo", [](auto p, auto& v, auto& r) { return read_bool(p, v, r.ask.echo); }},
    Field{"logprobs", read_rivals},
    Field{"best_of", read_later},
    Field{"suffix",
          [](auto p, auto& v, auto&) -> Problem {
            if (v == "") return {};
            return unsupported(p, "this model is not asked to fill in between two texts");
          }},
};

constexpr std::array<std::string_view, 12> kTextRefused{
    "response_format", "grammar",     "json_schema",  "lora",
    "use_beam_search", "guided_json", "guided_regex", "guided_choice",
    "guided_grammar",  "min_tokens",  "tools",        "n_probs"};

std::variant<Ask, ApiError> read_text_completion(std::string_view body,
                                                 const AskDefaults& defaults) {
  std::variant<Json, ApiError> parsed = parse_body(body);
  if (ApiError* error = std::get_if<ApiError>(&parsed)) return std::move(*error);
  const Json& object = std::get<Json>(parsed);
  Reading reading{.ask = {.sampler = defaults.sampler}, .defaults = defaults};
  Ask& ask = reading.ask;
  Problem problem =
      read_fields(object, "", {kTextFields, kOpenAiFields, kCommonFields}, kTextRefused, reading);
  if (!problem && ask.prompts.empty()) problem = missing("prompt", kWantedTexts);
  if (!problem && ask.echo && ask.logprobs) {
    problem = unsupported("echo",
                          "the tokens of a prompt have no logprobs here, wanted one of "
                          "echo and logprobs");
  }
  if (!problem && object.contains("best_of") && !object["best_of"].is_null()) {
    problem = only("best_of", object["best_of"], ask.choices);
  }
  if (!problem) problem = check_openai(reading);
  if (problem) return std::move(*problem);
  ask.sampler.top_logprobs = static_cast<int32_t>(reading.top_logprobs.value_or(0));
  return finish_reading(reading);
}

// ---------------------------------------------------------------------------------------- writing

class TextWriter final : public AnswerWriter {
 public:
  explicit TextWriter(AnswerHead head)
      : head_(std::move(head)), states_(static_cast<size_t>(head_.choices)) {}

  std::string whole(std::span<const AnswerChoice> choices, const Bill& bill) override {
    std::string out = open();
    for (size_t i = 0; i < choices.size(); ++i) {
      if (i) out += ',';
      append_choice(out, i, std::string(echo(i)) + choices[i].text, choices[i].tokens,
                    openai_finish(choices[i].ending));
    }
    out += "],\"usage\":";
    append_openai_usage(out, head_.prompt_tokens, bill);
    out += "}\n";
    return out;
  }

  void piece(std::string& out, int64_t choice, std::span<const AnswerPart> parts,
             std::span<const TokenReport> tokens) override {
    const auto index = static_cast<size_t>(choice);
    std::string text;
    if (!std::exchange(states_[index].begun, true)) text = echo(index);
    for (const AnswerPart& part : parts) text += part.text;
    append_event(out, index, text, tokens, "");
  }

  void end_choice(std::string& out, int64_t choice, Ending ending, std::string_view) override {
    const auto index = static_cast<size_t>(choice);
    const std::string_view text = states_[index].begun ? std::string_view() : echo(index);
    append_event(out, index, text, {}, openai_finish(ending));
  }

  void end(std::string& out, const Bill& bill) override {
    if (head_.include_usage) {
      out += "data: " + open() + "],\"usage\":";
      append_openai_usage(out, head_.prompt_tokens, bill);
      out += "}\n\n";
    }
    out += "data: [DONE]\n\n";
  }

  void error(std::string& out, const ApiError& error) override {
    out += "data: " + openai_error(error) + "\n\n";
  }

 private:
  struct State {
    bool begun = false;
    size_t offset = 0;  // of the next token in the text, in bytes
  };

  std::string_view echo(size_t choice) const {
    if (head_.echoes.empty()) return {};
    return head_.echoes[choice / (states_.size() / head_.echoes.size())];
  }

  std::string open() const {
    std::string out = "{\"id\":";
    append_json_string(out, "cmpl-" + head_.id);
    append_format(out, ",\"object\":\"text_completion\",\"created\":{},\"model\":", head_.created);
    append_json_string(out, head_.model);
    out += ",\"system_fingerprint\":\"ration-" RATION_VERSION "\",\"choices\":[";
    return out;
  }

  void append_event(std::string& out, size_t index, std::string_view text,
                    std::span<const TokenReport> tokens, std::string_view finish) {
    out += "data: " + open();
    append_choice(out, index, text, tokens, finish);
    out += head_.include_usage ? "],\"usage\":null}\n\n" : "]}\n\n";
  }

  void append_choice(std::string& out, size_t index, std::string_view text,
                     std::span<const TokenReport> tokens, std::string_view finish) {
    out += "{\"text\":";
    append_json_string(out, text);
    append_format(out, ",\"index\":{},\"logprobs\":", index);
    if (head_.logprobs) {
      append_old_logprobs(out, states_[index], tokens);
    } else {
      out += "null";
    }
    out += ",\"finish_reason\":";
    out += finish.empty() ? "null}" : fmt::format("\"{}\"}}", finish);
  }

  // Four lists side by side, one entry a token.
  static void append_old_logprobs(std::string& out, State& state,
                                  std::span<const TokenReport> tokens) {
    std::string texts;
    std::string logprobs;
    std::string tops;
    std::string offsets;
    for (const TokenReport& token : tokens) {
      for (std::string* list : {&texts, &logprobs, &tops, &offsets}) {
        if (!list->empty()) *list += ',';
      }
      append_json_string(texts, token.bytes);
      append_format(logprobs, "{:.7g}", shown_logprob(token.logprob));
      append_rivals(tops, token);
      append_format(offsets, "{}", state.offset);
      state.offset += token.bytes.size();
    }
    append_format(out,
                  "{{\"tokens\":[{}],\"token_logprobs\":[{}],\"top_logprobs\":[{}],"
                  "\"text_offset\":[{}]}}",
                  texts, logprobs, tops, offsets);
  }

  // An object: of tokens that look the same the likeliest counts.
  static void append_rivals(std::string& out, const TokenReport& token) {
    std::vector<std::string> seen;
    out += '{';
    for (const TokenReport::Alternative& rival : token.top) {
      std::string name;
      append_json_string(name, rival.bytes);
      if (std::ranges::find(seen, name) != seen.end()) continue;
      if (!seen.empty()) out += ',';
      append_format(out, "{}:{:.7g}", name, shown_logprob(rival.logprob));
      seen.push_back(std::move(name));
    }
    out += '}';
  }

  const AnswerHead head_;
  std::vector<State> states_;  // of each choice
};

std::unique_ptr<AnswerWriter> write_text(AnswerHead head) {
  return std::make_unique<TextWriter>(std::move(head));
}

}  // namespace

const Face kOpenAiText{.error = openai_error, .read = read_text_completion, .writer = write_text};

}  // namespace ration
