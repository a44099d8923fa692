// serve/answer.h - an answer in the making, whatever protocol it goes out in. Private to serve/.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "measure/measure.h"
#include "run/run.h"
#include "serve/api_error.h"
#include "serve/ask.h"

namespace ration {

// A token as `logprobs` reports it.
struct TokenReport {
  struct Alternative {
    std::string bytes;
    float logprob = 0;
  };
  std::string bytes;
  float logprob = 0;
  std::vector<Alternative> top;
};

// A piece of what a model wrote, once its reasoning and its calls are told apart from its words.
struct AnswerPart {
  enum class Kind : uint8_t {
    kText,
    kReasoning,
    kCall,       // a call of a tool begins: its id and name are known
    kArguments,  // a fragment of the JSON object it is called with
  };
  Kind kind = Kind::kText;
  std::string text{};  // of a call: the tool's name
  int call = 0;        // which one of the answer, from 0; of calls and arguments
  std::string id{};    // of a call
};

struct ToolCall {
  std::string id;
  std::string name;
  std::string arguments;  // JSON; an object unless the answer was cut off in it
};

enum class Ending : uint8_t { kEnd, kStopString, kLength, kCalls };

// One whole answer.
struct AnswerChoice {
  std::string text;
  std::string reasoning;
  std::vector<ToolCall> calls;
  std::vector<TokenReport> tokens;  // when they are wanted
  Ending ending = Ending::kEnd;
  std::string stop;                         // the stop string that was met, or ""
  std::vector<std::vector<float>> vectors;  // of texts, where those are wanted

  void add(const AnswerPart& part);
};

// What a writer knows before the first token.
struct AnswerHead {
  std::string id;             // unlike any other; faces put their prefix before it
  std::string model;          // its name
  int64_t created = 0;        // seconds since 1970
  int64_t choices = 1;        // how many there will be
  int64_t prompt_tokens = 0;  // of all prompts
  bool include_usage = false;
  bool logprobs = false;
  bool unloads = false;             // nothing is asked but that the model may go
  std::string repeated_json;        // members of an object that the answer repeats, or ""
  std::vector<std::string> echoes;  // of each prompt, when its text comes first; else empty
  AskedVectors vectors{};
};

// Writes one answer in the words of a protocol: either whole() alone, or start(), piece()... and
// end_choice() for every choice, end(). What a stream is made of is appended to `out`.
// single-thread.
class AnswerWriter {
 public:
  virtual ~AnswerWriter() = default;

  virtual std::string whole(std::span<const AnswerChoice> choices, const Bill& bill) = 0;

  virtual std::string_view stream_type() const { return "text/event-stream"; }
  virtual void start(std::string& /*out*/) {}
  // tokens: empty unless the head says logprobs.
  virtual void piece(std::string& out, int64_t choice, std::span<const AnswerPart> parts,
                     std::span<const TokenReport> tokens) = 0;
  virtual void end_choice(std::string& out, int64_t choice, Ending ending,
                          std::string_view stop) = 0;
  virtual void end(std::string& out, const Bill& bill) = 0;
  // What goes wrong after the first byte.
  virtual void error(std::string& out, const ApiError& error) = 0;
  // A sign of life; nothing where the protocol has none.
  virtual void ping(std::string& out) { out += ": ping\n\n"; }
};

// What several answers of one request cost together: what was used adds up, what passed at the same
// time does not. tokens.prompt of the sum counts a prompt as often as it was read.
void add_bill(Bill& sum, const Bill& bill);

}  // namespace ration
