// The words of the model without its engine, as llama.cpp's server has them: POST /tokenize,
// /detokenize, /apply-template.
#include <fmt/format.h>

#include <array>
#include <functional>

#include "base/format.h"
#include "base/text.h"
#include "serve/face/face.h"
#include "serve/face/openai.h"
#include "serve/messages.h"

namespace ration {
namespace {

constexpr size_t kContentBytesMax = size_t{1} << 20;

using WordsReply = std::variant<std::string, ApiError>;

// [104,105] for bytes that are no text.
void append_piece(std::string& out, const std::string& piece) {
  if (is_valid_utf8(piece)) return append_json_string(out, piece);
  out += '[';
  for (size_t i = 0; i < piece.size(); ++i) {
    append_format(out, "{}{}", i ? "," : "", static_cast<unsigned char>(piece[i]));
  }
  out += ']';
}

// A token may take thirty times its bytes in the answer.
Problem read_content_to_split(std::string_view param, const Json& value, std::string& out) {
  if (Problem problem = read_text(param, value, out)) return problem;
  if (out.size() <= kContentBytesMax) return {};
  return conflict(param,
                  fmt::format("found {} bytes, wanted at most {}", out.size(), kContentBytesMax));
}

// Reads what is asked by `read`, which knows each key or says that it does not.
Problem read_members(std::string_view body,
                     const std::function<Problem(const std::string&, const Json&)>& read) {
  std::variant<Json, ApiError> parsed = parse_body(body);
  if (ApiError* error = std::get_if<ApiError>(&parsed)) return std::move(*error);
  for (const auto& [key, value] : std::get<Json>(parsed).items()) {
    if (value.is_null()) continue;
    if (Problem problem = read(key, value)) return problem;
  }
  return {};
}

WordsReply tokenize(std::string_view body, const ServedModel& served) {
  std::optional<std::string> content;
  bool add_special = false;
  bool parse_special = true;
  bool with_pieces = false;
  Problem problem = read_members(body, [&](const std::string& key, const Json& value) -> Problem {
    if (key == "content") return read_content_to_split(key, value, content.emplace());
    if (key == "add_special") return read_bool(key, value, add_special);
    if (key == "parse_special") return read_bool(key, value, parse_special);
    if (key == "with_pieces") return read_bool(key, value, with_pieces);
    if (key == "model") return any_text(key, value);  // it was found by it
    return unknown(key, key,
                   std::array<std::string, 5>{"content", "add_special", "parse_special",
                                              "with_pieces", "model"});
  });
  if (!problem && !content) problem = missing("content", "a text");
  if (problem) return std::move(*problem);
  const Tokenizer& tokenizer = served.model.tokenizer();
  std::string out = "{\"tokens\":[";
  for (Token token :
       tokenizer.encode(*content, {.add_special = add_special, .parse_special = parse_special})) {
    if (!out.ends_with('[')) out += ',';
    if (!with_pieces) {
      out += std::to_string(token);
      continue;
    }
    append_format(out, "{{\"id\":{},\"piece\":", token);
    append_piece(out, tokenizer.piece(token, /*show_special=*/true));
    out += '}';
  }
  return out + "]}\n";
}

WordsReply detokenize(std::string_view body, const ServedModel& served) {
  std::optional<std::vector<Token>> tokens;
  const int64_t vocabulary = served.model.tokenizer().size();
  Problem problem = read_members(body, [&](const std::string& key, const Json& value) -> Problem {
    if (key == "model") return any_text(key, value);
    if (key != "tokens") return unknown(key, key, std::array<std::string, 2>{"tokens", "model"});
    if (!value.is_array()) return wrong(key, value, "an array of token ids");
    tokens.emplace();
    for (size_t i = 0; i < value.size(); ++i) {
      int64_t token = 0;
      if (Problem wrong_one =
              read_integer(fmt::format("tokens[{}]", i), value[i], 0, vocabulary - 1, token)) {
        return wrong_one;
      }
      tokens->push_back(static_cast<Token>(token));
    }
    return {};
  });
  if (!problem && !tokens) problem = missing("tokens", "an array of token ids");
  if (problem) return std::move(*problem);
  std::string out = "{\"content\":";
  append_json_string(out, served.model.tokenizer().decode(*tokens, /*show_special=*/true));
  return out + "}\n";
}

// Any chat request, so that what is tried here can be sent as it is.
WordsReply apply_template(std::string_view body, const ServedModel& served) {
  std::variant<Ask, ApiError> read =
      kOpenAiChat.read(body, {.vocabulary = served.model.tokenizer().size()});
  if (ApiError* error = std::get_if<ApiError>(&read)) return std::move(*error);
  Ask& ask = std::get<Ask>(read);
  if (std::optional<ApiError> refused = apply_traits(served.traits, ask)) return *refused;
  const Result<Prompt> prompt = served.model.render_chat(template_input(ask));
  if (!prompt) {
    return ApiError{
        .code = "template_refused",
        .message = "messages: the model's chat template refuses them: " + prompt.error().message,
        .param = "messages"};
  }
  std::string out = "{\"prompt\":";
  append_json_string(out, plain_text(*prompt));
  return out + "}\n";
}

}  // namespace

const Face kTokenize{.error = openai_error, .reply = tokenize};
const Face kDetokenize{.error = openai_error, .reply = detokenize};
const Face kApplyTemplate{.error = openai_error, .reply = apply_template};

}  // namespace ration
