// serve/ask.h - what is asked, in whatever protocol it came. Private to serve/.
//
// Each face (face/face.h) reads a body into an Ask; prepare.h makes engine requests of it; Answers
// (answers.h) sees them through. Nothing but its face knows how an Ask was written.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/unit.h"
#include "run/run.h"
#include "serve/keys.h"

namespace ration {

// The most answers one request may want: prompts times choices of each.
inline constexpr int64_t kChoicesMax = 128;

// Functions that the model may ask its caller to run.
struct AskedTools {
  std::string json;                // for the template, as OpenAI writes them; "": none
  std::vector<std::string> names;  // of the functions
  bool parallel = true;            // false: at most one call an answer
};

// What is said about thinking before the answer.
struct AskedThinking {
  std::optional<bool> on{};  // the template's enable_thinking
  std::string effort{};      // the template's reasoning_effort, or ""
  std::string param{};       // the field that said so, for a refusal
  bool split = true;         // reasoning is told apart from the answer
};

// What a plain completion continues.
using AskedPrompt = std::variant<std::string, std::vector<Token>>;

// How the vectors of texts are wanted.
struct AskedVectors {
  bool truncates = false;  // of a text that is too long, the beginning is read; else it is refused
  std::optional<int64_t> dimensions{};  // so many of the first numbers; none: all
  bool base64 = false;
  // Of a rerank:
  std::optional<int64_t> top_n{};
  bool returns_documents = false;
  std::vector<std::string> documents{};  // that the answer repeats; empty: none
};

struct Ask {
  std::string model;  // "" when absent
  // Either a conversation ...
  std::string messages_json;   // for the template: roles, plain text, tool calls; "": none
  std::string arguments_json;  // further variables of the template, an object, or ""
  AskedTools tools;
  AskedThinking thinking;
  // ... or texts to continue.
  std::vector<AskedPrompt> prompts;
  bool echo = false;                      // the prompt's text comes first in its answer
  std::optional<AskedVectors> vectors{};  // nothing is continued: the texts' vectors are wanted

  SamplerOptions sampler;
  std::optional<uint64_t> seed;
  std::vector<std::string> stops;
  std::optional<int64_t> tokens_max;
  std::optional<Millis> deadline;  // since the request came
  int32_t priority = 0;
  // How long the model stays when it is idle, from now on; infinite: until another wants its room.
  std::optional<Millis> keep_alive;
  bool ignore_end = false;
  int64_t choices = 1;        // answers to each prompt
  std::string repeated_json;  // members of an object that the answer repeats, or ""

  bool stream = false;
  bool include_usage = false;  // in a stream
  bool logprobs = false;
};

// What a request does not say.
struct AskDefaults {
  SamplerOptions sampler;
  int32_t vocabulary = 0;  // token ids are below
  int64_t context = 0;     // tokens of one conversation
};

}  // namespace ration
