#include "serve/output_parser.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/json.h"

namespace ration {
namespace {

constexpr std::string_view kBlanks = " \t\r\n";
constexpr size_t kCallIdBytes = 9;  // what the templates of Mistral want

bool is_blank(char c) { return kBlanks.find(c) != std::string_view::npos; }

// The string that a JSON literal is; "" when it is none.
std::string text_of_literal(const std::string& literal) {
  const Result<Json> parsed = parse_json(literal);
  return parsed && parsed->is_string() ? parsed->get<std::string>() : std::string();
}

// Without marks an object with other keys is an answer, and is not held back to its end.
bool is_call_key(std::string_view key) {
  constexpr std::array<std::string_view, 5> kKeys{"\"name\"", "\"arguments\"", "\"parameters\"",
                                                  "\"type\"", "\"id\""};
  return std::ranges::find(kKeys, key) != kKeys.end();
}

std::string call_id(Rng& rng) {
  constexpr std::string_view kLetters =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
  std::string id;
  while (id.size() < kCallIdBytes) id += kLetters[rng.below(kLetters.size())];
  return id;
}

}  // namespace

// ---------------------------------------------------------------------------------------- a call

CallReader::State CallReader::write(char c) {
  if (!named_) unnamed_ += c;
  switch (step_) {
    case Step::kOpen:
      if (is_blank(c)) return State::kMore;
      if (c == '[' && !list_) {
        list_ = true;
        return State::kMore;
      }
      step_ = Step::kKey;
      return c == '{' ? State::kMore : State::kBroken;
    case Step::kKey:
      if (is_blank(c) || c == ',') return State::kMore;
      if (c == '}') return end_object();
      key_ = c;
      step_ = Step::kInKey;
      return c == '"' ? State::kMore : State::kBroken;
    case Step::kInKey:
      key_ += c;
      if (c != '"') return c == '\\' ? State::kBroken : State::kMore;
      step_ = Step::kColon;
      return known_ == nullptr || is_call_key(key_) ? State::kMore : State::kBroken;
    case Step::kColon:
      if (is_blank(c)) return State::kMore;
      step_ = Step::kValue;
      return c == ':' ? State::kMore : State::kBroken;
    case Step::kValue:
      return begin_value(c);
    case Step::kInValue:
      return in_value(c);
    case Step::kNext:
      if (is_blank(c) || c == ',') return State::kMore;
      if (c == ']') return State::kDone;
      step_ = Step::kKey;
      return c == '{' ? State::kMore : State::kBroken;
  }
  return State::kBroken;
}

CallReader::State CallReader::begin_value(char c) {
  if (is_blank(c)) return State::kMore;
  value_.clear();
  depth_ = 0;
  in_string_ = escaped_ = false;
  step_ = Step::kInValue;
  return in_value(c);
}

CallReader::State CallReader::in_value(char c) {
  const bool is_arguments = key_ == "\"arguments\"" || key_ == "\"parameters\"";
  const auto keep = [&] {
    const bool streams = is_arguments && (value_.empty() ? c == '{' : value_[0] == '{');
    if (streams) arguments(std::string_view(&c, 1));
    if (!streams || value_.empty()) value_ += c;
    return State::kMore;
  };
  if (in_string_) {
    if (escaped_) {
      escaped_ = false;
    } else if (c == '\\') {
      escaped_ = true;
    } else if (c == '"') {
      in_string_ = false;
      keep();
      return depth_ == 0 ? end_value() : State::kMore;
    }
    return keep();
  }
  if (depth_ == 0 && !value_.empty() && (c == ',' || c == '}' || is_blank(c))) {
    const State ended = end_value();  // of a number or a word
    return c == '}' && ended == State::kMore ? end_object() : ended;
  }
  if (c == '"') in_string_ = true;
  if (c == '{' || c == '[') ++depth_;
  if (c == '}' || c == ']') {
    if (--depth_ < 0) return State::kBroken;
    keep();
    return depth_ == 0 ? end_value() : State::kMore;
  }
  return keep();
}

CallReader::State CallReader::end_value() {
  step_ = Step::kKey;
  if (key_ == "\"name\"") {
    std::string name = text_of_literal(value_);
    if (named_ || name.empty()) return State::kBroken;
    if (known_ && std::ranges::find(*known_, name) == known_->end()) return State::kBroken;
    out_.push_back({.kind = AnswerPart::Kind::kCall, .text = std::move(name)});
    named_ = true;
    unnamed_.clear();
    if (!early_arguments_.empty()) arguments(std::exchange(early_arguments_, {}));
  } else if ((key_ == "\"arguments\"" || key_ == "\"parameters\"") && value_[0] == '"') {
    arguments(text_of_literal(value_));  // an object in a string
  }
  return State::kMore;
}

CallReader::State CallReader::end_object() {
  if (!named_) return State::kBroken;
  if (!has_arguments_) arguments("{}");
  named_ = has_arguments_ = false;
  step_ = Step::kNext;
  return list_ ? State::kMore : State::kDone;
}

void CallReader::arguments(std::string_view text) {
  if (!named_) {
    early_arguments_ += text;
    return;
  }
  has_arguments_ = true;
  if (out_.empty() || out_.back().kind != AnswerPart::Kind::kArguments) {
    out_.push_back({.kind = AnswerPart::Kind::kArguments});
  }
  out_.back().text += text;
}

// -------------------------------------------------------------------------------------- an answer

OutputParser::OutputParser(const ChatTraits& traits, OutputOptions options)
    : think_open_(traits.think_open),
      think_close_(traits.think_close),
      call_open_(traits.call_open),
      call_close_(traits.call_close),
      options_(std::move(options)),
      rng_(options_.id_seed),
      plain_(!(options_.split_thinking && traits.thinks()) && !wants_calls()),
      state_(State::kBegin),
      may_think_(options_.split_thinking && traits.thinks()) {
  if (may_think_ && options_.begins_thinking) {
    state_ = State::kThinking;
    trims_ = true;
  }
}

void OutputParser::write(std::string_view text, std::vector<AnswerPart>& out) {
  if (plain_) return say(out, AnswerPart::Kind::kText, text);
  held_ += text;
  while (advance(out, /*last=*/false)) {
  }
}

void OutputParser::finish(std::vector<AnswerPart>& out) {
  while (!held_.empty() && advance(out, /*last=*/true)) {
  }
  if (state_ == State::kCall && reader_ && !reader_->unnamed().empty()) {
    say(out, AnswerPart::Kind::kText, marked_ + reader_->unnamed());
  }
}

// False when more text is needed.
bool OutputParser::advance(std::vector<AnswerPart>& out, bool last) {
  switch (state_) {
    case State::kBegin:
      return begin(last);
    case State::kThinking:
      return think(out, last);
    case State::kText:
      return text(out, last);
    case State::kCall:
      return call(out, last);
    case State::kAfterCall:
      return after_call(last);
  }
  return false;
}

// At the beginning of the answer, or after the reasoning: what comes first decides.
bool OutputParser::begin(bool last) {
  const size_t first = held_.find_first_not_of(kBlanks);
  if (first == std::string::npos && !last) return false;
  const std::string_view rest =
      first == std::string::npos ? std::string_view() : std::string_view(held_).substr(first);
  if (may_think_ && rest.starts_with(think_open_)) {
    held_.erase(0, first + think_open_.size());
    state_ = State::kThinking;
    trims_ = true;
    return true;
  }
  if (may_think_ && !last && rest.size() < think_open_.size() && think_open_.starts_with(rest)) {
    return false;
  }
  if (wants_calls() && rest.starts_with('{')) {
    bare_ = true;
    open_call();
    return true;
  }
  state_ = State::kText;
  return true;
}

bool OutputParser::think(std::vector<AnswerPart>& out, bool last) {
  const size_t end = held_.find(think_close_);
  if (end != std::string::npos) {
    const size_t words = held_.find_last_not_of(kBlanks, end == 0 ? 0 : end - 1);
    const size_t size = end == 0 || words == std::string::npos ? 0 : words + 1;
    say(out, AnswerPart::Kind::kReasoning, std::string_view(held_).substr(0, size));
    held_.erase(0, end + think_close_.size());
    may_think_ = false;
    trims_ = true;
    state_ = State::kBegin;
    return true;
  }
  const size_t size = held_.size() - (last ? 0 : kept_back(think_close_));
  say(out, AnswerPart::Kind::kReasoning, std::string_view(held_).substr(0, size));
  held_.erase(0, size);
  return false;
}

bool OutputParser::text(std::vector<AnswerPart>& out, bool last) {
  const size_t mark = wants_calls() ? held_.find(call_open_) : std::string::npos;
  if (mark != std::string::npos) {
    size_t size = mark;
    while (size > 0 && is_blank(held_[size - 1])) --size;
    say(out, AnswerPart::Kind::kText, std::string_view(held_).substr(0, size));
    held_.erase(0, mark + call_open_.size());
    bare_ = false;
    open_call();
    return true;
  }
  const size_t size = held_.size() - (last || !wants_calls() ? 0 : kept_back(call_open_));
  say(out, AnswerPart::Kind::kText, std::string_view(held_).substr(0, size));
  held_.erase(0, size);
  return false;
}

void OutputParser::open_call() {
  state_ = State::kCall;
  marked_ = bare_ ? std::string() : call_open_;
  reader_ = std::make_unique<CallReader>(bare_ ? &options_.tool_names : nullptr, read_);
}

bool OutputParser::call(std::vector<AnswerPart>& out, bool /*last*/) {
  CallReader::State read = CallReader::State::kMore;
  size_t used = 0;
  while (used < held_.size() && read == CallReader::State::kMore) {
    read = reader_->write(held_[used++]);
  }
  take_read(out);
  std::string rest = held_.substr(used);
  held_.clear();
  if (read == CallReader::State::kMore) return false;
  if (read == CallReader::State::kBroken) {
    say(out, AnswerPart::Kind::kText, marked_ + reader_->unnamed());
    state_ = State::kText;
  } else {
    state_ = State::kAfterCall;
  }
  held_ = std::move(rest);
  reader_.reset();
  return !held_.empty();
}

// The closing mark and white space are dropped; then comes text, or the next call.
bool OutputParser::after_call(bool last) {
  held_.erase(0, std::min(held_.find_first_not_of(" \t\r\n;"), held_.size()));
  if (held_.empty()) return false;
  if (!call_close_.empty() && held_.starts_with(call_close_)) {
    held_.erase(0, call_close_.size());
    return true;
  }
  if (!last && !call_close_.empty() && call_close_.starts_with(held_)) return false;
  if (held_.starts_with('{')) {
    bare_ = true;
    open_call();
    return true;
  }
  state_ = State::kText;
  return true;
}

// What the reader told, with the calls numbered and named.
void OutputParser::take_read(std::vector<AnswerPart>& out) {
  for (AnswerPart& part : read_) {
    if (part.kind == AnswerPart::Kind::kCall) {
      ++calls_;
      part.id = call_id(rng_);
      marked_.clear();  // so much of the text is told
    }
    part.call = calls_ - 1;
    if (calls_ > 1 && !options_.parallel_calls) continue;
    out.push_back(std::move(part));
  }
  read_.clear();
}

void OutputParser::say(std::vector<AnswerPart>& out, AnswerPart::Kind kind,
                       std::string_view words) {
  if (trims_) {
    words.remove_prefix(std::min(words.find_first_not_of(kBlanks), words.size()));
    if (!words.empty()) trims_ = false;
  }
  if (words.empty()) return;
  if (!out.empty() && out.back().kind == kind) {
    out.back().text += words;
    return;
  }
  out.push_back({.kind = kind, .text = std::string(words)});
}

// Bytes at the end of what is held that may begin `mark`, with the white space before them.
size_t OutputParser::kept_back(std::string_view mark) const {
  const std::string_view held = held_;
  size_t kept = std::min(held.size(), mark.size() - 1);
  while (kept > 0 && held.substr(held.size() - kept) != mark.substr(0, kept)) --kept;
  while (kept < held.size() && is_blank(held[held.size() - kept - 1])) ++kept;
  return kept;
}

}  // namespace ration
