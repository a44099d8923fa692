// serve/fields.h - the fields of a request's body: each is checked, or refused by its name. Costs
// the JSON headers. Private to serve/.
//
// A face is a table of fields. A field we do not know, or know and do not do, is refused; null is
// as if absent. To add a field: one row in the table of its face.
#pragma once

#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/json.h"
#include "serve/api_error.h"
#include "serve/ask.h"

namespace ration {

// Why a request is refused; nullopt when it is fine.
using Problem = std::optional<ApiError>;

// ---- the words of refusals

// A value as a message shows it: cut short, with its kind where that says more.
std::string describe(const Json& value);
// 400 invalid_value: "temperature: found "hot", wanted a number from 0 to 100".
Problem wrong(std::string_view param, const Json& found, std::string_view wanted);
// 400 unsupported_parameter.
Problem unsupported(std::string_view param, std::string_view why);
// 400 unknown_parameter, with the nearest of `known`.
Problem unknown(std::string_view param, std::string_view name, std::span<const std::string> known);
// Only `wanted` is what we do.
Problem only(std::string_view param, const Json& value, const Json& wanted);
// What several fields say together.
Problem conflict(std::string_view param, std::string message);
// 400 missing_required_parameter: "messages: found nothing, wanted a conversation".
Problem missing(std::string_view param, std::string_view wanted);

// ---- values

Problem read_number(std::string_view param, const Json& value, double least, double most,
                    double& out);
Problem read_number(std::string_view param, const Json& value, double least, double most,
                    float& out);
// 3.0 is an integer too: some clients write all numbers so.
Problem read_integer(std::string_view param, const Json& value, int64_t least, int64_t most,
                     int64_t& out);
Problem read_bool(std::string_view param, const Json& value, bool& out);
Problem read_text(std::string_view param, const Json& value, std::string& out);
// A hint for services that we are not: any will do.
Problem any_text(std::string_view param, const Json& value);
Problem any_object(std::string_view param, const Json& value);

// ---- fields

// What a request has said so far.
struct Reading {
  Ask ask{};
  const AskDefaults& defaults;
  // What the face weighs against the rest when it has read every field.
  std::optional<int64_t> max_tokens{};
  std::optional<int64_t> max_completion_tokens{};
  bool stream_options = false;
  std::optional<int64_t> top_logprobs{};
  bool tools_off = false;  // tools are given and must not be used
};

struct Field {
  std::string_view name;
  Problem (*read)(std::string_view param, const Json& value, Reading& reading);
};
using Fields = std::span<const Field>;

// Reads each member of `object` by the first table that has its name. prefix: "options." and the
// like. refused: known elsewhere; to leave them out in silence would change what the client gets.
Problem read_fields(const Json& object, std::string_view prefix,
                    std::initializer_list<Fields> tables, std::span<const std::string_view> refused,
                    Reading& reading);

// Checked by the face itself, together with others.
Problem read_later(std::string_view param, const Json& value, Reading& reading);

// model, sampling and limits as OpenAI's clients and ours say them: temperature, top_p, top_k,
// min_p, the penalties, seed, stop, logit_bias, ignore_eos, ration{max_ms}, user, metadata, ...
extern const Fields kCommonFields;
// One row of kCommonFields, for faces that share a few of them only.
Problem read_common(std::string_view name, std::string_view param, const Json& value,
                    Reading& reading);
// A string, strings, token ids, or lists of token ids -> Ask::prompts; at most so many.
Problem read_texts(std::string_view param, const Json& value, int64_t most, Reading& reading);
extern const std::string_view kWantedTexts;
Problem read_stops(std::string_view param, const Json& value, Reading& reading);
// Seconds or "5m"; negative: for ever; 0: it goes when it is idle.
Problem read_keep_alive(std::string_view param, const Json& value, Reading& reading);
Problem read_tokens_max(std::string_view param, const Json& value, Reading& reading);

// The body as an object. Bounded: its size by the caller, its nesting by 32 levels, the values in
// it by 200'000.
std::variant<Json, ApiError> parse_body(std::string_view body);

// What the table's fields made, checked as a whole. REQUIRES: every field was read.
std::variant<Ask, ApiError> finish_reading(Reading& reading);

}  // namespace ration
