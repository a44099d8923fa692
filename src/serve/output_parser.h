// serve/output_parser.h - tells a model's reasoning and its calls of tools apart from its words,
// while it writes. Private to serve/.
//
// What it says does not depend on how the text was cut into pieces. Text that may still turn out
// to be a mark, and white space before one, is held back. A call that turns out to be none is text.
// Small models forget the marks: an answer that begins with an object that names a tool is a call.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/rng.h"
#include "serve/answer.h"
#include "serve/chat_traits.h"

namespace ration {

struct OutputOptions {
  bool split_thinking = false;
  bool begins_thinking = false;         // the prompt has opened the reasoning already
  std::vector<std::string> tool_names;  // empty: nothing is a call
  bool parallel_calls = true;           // false: calls after the first are dropped
  uint64_t id_seed = 0;                 // of the calls' ids
};

// Reads one call after another from JSON that comes in pieces: {"name": ..., "arguments": {...}},
// or a list of such objects. "parameters" is another name for the arguments. single-thread.
class CallReader {
 public:
  enum class State : uint8_t {
    kMore,
    kDone,    // the object, or the list, is closed
    kBroken,  // this is no call
  };
  // known: names that count; null: any.
  CallReader(const std::vector<std::string>* known, std::vector<AnswerPart>& out)
      : known_(known), out_(out) {}

  State write(char c);
  // What was read of an object whose name is not known yet.
  const std::string& unnamed() const { return unnamed_; }

 private:
  enum class Step : uint8_t { kOpen, kKey, kInKey, kColon, kValue, kInValue, kNext };

  State begin_value(char c);
  State in_value(char c);
  State end_value();
  State end_object();
  void arguments(std::string_view text);

  const std::vector<std::string>* const known_;
  std::vector<AnswerPart>& out_;
  Step step_ = Step::kOpen;
  bool list_ = false;
  bool named_ = false;          // the call has been told
  bool has_arguments_ = false;  // and some of its arguments
  std::string unnamed_;
  std::string key_;
  std::string value_;
  std::string early_arguments_;  // that came before the name
  int depth_ = 0;                // inside the value
  bool in_string_ = false;
  bool escaped_ = false;
};

// single-thread: one object an answer.
class OutputParser {
 public:
  OutputParser(const ChatTraits& traits, OutputOptions options);

  // Appends what the text says to `out`.
  void write(std::string_view text, std::vector<AnswerPart>& out);
  // The answer is over: what was held back.
  void finish(std::vector<AnswerPart>& out);
  bool has_calls() const { return calls_ > 0; }

 private:
  enum class State : uint8_t { kBegin, kThinking, kText, kCall, kAfterCall };

  bool advance(std::vector<AnswerPart>& out, bool last);
  bool begin(bool last);
  bool think(std::vector<AnswerPart>& out, bool last);
  bool text(std::vector<AnswerPart>& out, bool last);
  bool call(std::vector<AnswerPart>& out, bool last);
  bool after_call(bool last);
  void open_call();
  void take_read(std::vector<AnswerPart>& out);
  void say(std::vector<AnswerPart>& out, AnswerPart::Kind kind, std::string_view words);
  size_t kept_back(std::string_view mark) const;
  bool wants_calls() const { return !options_.tool_names.empty(); }

  const std::string think_open_;
  const std::string think_close_;
  const std::string call_open_;
  const std::string call_close_;
  const OutputOptions options_;
  Rng rng_;
  const bool plain_;  // there is nothing to tell apart
  State state_;
  bool may_think_;
  bool trims_ = false;  // white space at the beginning of what comes is dropped
  bool bare_ = false;   // the present call had no mark
  int calls_ = 0;
  std::string held_;
  std::string marked_;  // of the present call: the mark that opened it
  std::vector<AnswerPart> read_;
  std::unique_ptr<CallReader> reader_;
};

}  // namespace ration
