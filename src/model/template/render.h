// model/template/render.h - walks the tree: one render of one program.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "model/template/machine.h"
#include "model/template/syntax.h"
#include "model/template/tables.h"
#include "model/template/value.h"

namespace ration::jinja {

// The names of one scope. A look-up goes on in the parent.
struct Frame : Object {
  Frame* parent = nullptr;
  std::vector<std::pair<NameId, Value>> variables;
  bool captured = false;  // a macro was made here and may be called later: not used again
};

struct MacroObject : Object {
  const Statement* statement = nullptr;  // kMacro, or kCall for a caller
  Frame* scope = nullptr;
};

// The `loop` of a for statement, and the walk itself.
struct LoopObject : Object {
  const Statement* statement = nullptr;
  Frame* scope = nullptr;  // around the loop
  Cursor cursor;
  std::optional<int64_t> length;  // once known
  bool has_after = false;         // `after` was looked at early
  bool ended = false;             // and there was none
  std::optional<Value> drained;   // an iterator: the rest, taken early to know the length
  Value after, current, before;
  int64_t index0 = -1;
  int64_t depth0 = 0;
  std::optional<std::vector<Value>> changed;
};

// single-thread: one render. Failures are in the machine.
class Renderer {
 public:
  Renderer(Machine& machine, const Program& program, int64_t now_unix_seconds);

  // A variable of the outermost scope.
  void define(std::string_view name, const Value& value);
  Text run();

  // For filters, tests, methods and functions.
  Machine& machine() { return machine_; }
  int64_t now() const { return now_unix_seconds_; }
  Value call(const Value& callee, CallArguments& arguments);
  // x.name and x[key], with the sandbox's rules.
  Value attribute(const Value& of, const StringObject& name);
  Value item(const Value& of, const Value& key);
  // What x itself has of that name, before any look at its items; nothing when it has none.
  std::optional<Value> own_attribute(const Value& of, const StringObject& name);
  Value loop_attribute(LoopObject& loop, std::string_view name);
  bool loop_next(LoopObject& loop, Value& item);

 private:
  enum class Flow : uint8_t { kNext, kBreak, kContinue };
  class Scope;    // a frame for as long as it lives
  class Capture;  // output goes into a text for as long as it lives

  // execute.cpp
  Flow execute(const Body& body);
  Flow execute(const Statement& statement);
  Flow execute_if(const Statement& statement);
  Flow execute_inner(const Body& body);
  Flow execute_set_block(const Statement& statement);
  Flow execute_filter_block(const Statement& statement);
  Flow execute_with(const Statement& statement);
  void execute_call(const Statement& statement);
  void emit(const Value& value);
  void emit_string(const Value& value);
  void assign(const Target& target, const Value& value);
  void set(NameId name, const Value& value);

  // loop.cpp
  LoopObject* make_loop(const Statement& statement, Frame* scope, const Value& iterable,
                        int64_t depth0);
  Flow execute_for(const Statement& statement);
  Flow walk(LoopObject& loop);
  bool pull(LoopObject& loop, Value& item);
  bool peek(LoopObject& loop, Value& item);
  int64_t loop_length(LoopObject& loop);
  Value call_loop(LoopObject& loop, CallArguments& arguments);

  // evaluate.cpp
  Value evaluate(const Expression& expression);
  Value look_up(NameId name);
  std::vector<Value> evaluate_all(const std::vector<ExpressionPtr>& expressions);
  Value evaluate_dict(const Expression& expression);
  Value evaluate_logic(const Expression& expression);
  Value evaluate_sign(const Expression& expression);
  Value evaluate_compare(const Expression& expression);
  Value evaluate_arithmetic(const Expression& expression);
  Value evaluate_concat(const Expression& expression);
  Value evaluate_choice(const Expression& expression);
  Value evaluate_slice(const Expression& expression);
  Value evaluate_call(const Expression& expression, const Value* caller);
  Value evaluate_filter(const Expression& expression, const Value* block);
  Value evaluate_test(const Expression& expression);
  void evaluate_arguments(const Arguments& arguments, CallArguments& evaluated);

  // call.cpp
  Value make_macro(const Statement& statement);
  Value call_macro(const MacroObject& macro, CallArguments& arguments);
  void bind_macro(const MacroObject& macro, CallArguments& arguments);
  Value macro_attribute(const MacroObject& macro, std::string_view name);

  Frame* new_frame(Frame* parent);
  void drop_frame(Frame* frame);

  Machine& machine_;
  const Program& program_;
  int64_t now_unix_seconds_;
  Frame* frame_;
  Builder* out_ = nullptr;
  std::vector<Frame*> spare_frames_;
};

class Renderer::Scope {
 public:
  Scope(Renderer& renderer, Frame* parent)
      : renderer_(renderer), before_(renderer.frame_), own_(renderer.new_frame(parent)) {
    renderer_.frame_ = own_;
  }
  ~Scope() {
    renderer_.frame_ = before_;
    renderer_.drop_frame(own_);
  }
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

  // An empty frame for the next round.
  void renew() {
    Frame* parent = own_->parent;
    renderer_.drop_frame(own_);
    own_ = renderer_.new_frame(parent);
    renderer_.frame_ = own_;
  }

 private:
  Renderer& renderer_;
  Frame* before_;
  Frame* own_;
};

class Renderer::Capture {
 public:
  explicit Capture(Renderer& renderer)
      : renderer_(renderer), before_(renderer.out_), text_(renderer.machine_) {
    renderer_.out_ = &text_;
  }
  ~Capture() { renderer_.out_ = before_; }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  Value take() { return make_string(renderer_.machine_, text_.take()); }

 private:
  Renderer& renderer_;
  Builder* before_;
  Builder text_;
};

}  // namespace ration::jinja
