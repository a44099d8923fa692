// model/template/syntax.h - the tree a template becomes.
//
// Two node types, expressions and statements, each with a kind that says which fields count. Chains
// of one precedence (a + b - c, a ~ b, x and y) are flat, so only real nesting is deep.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "model/template/value.h"

namespace ration::jinja {

using NameId = uint32_t;  // into Program::names

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

struct Arguments {
  std::vector<ExpressionPtr> positional;
  std::vector<std::pair<NameId, ExpressionPtr>> keywords;
  ExpressionPtr more_positional;  // *args
  ExpressionPtr more_keywords;    // **kwargs
};

enum class Operator : uint8_t {
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kFloorDivide,
  kModulo,
  kPower,
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kIn,
  kNotIn
};

struct Expression {
  enum class Kind : uint8_t {
    kConstant,    // constant
    kName,        // name
    kTuple,       // children
    kList,        // children
    kDict,        // children: key, value, key, value ...
    kNot,         // children[0]
    kNegative,    // children[0]
    kPositive,    // children[0]
    kAnd,         // children
    kOr,          // children
    kCompare,     // children, operators[i] before children[i + 1]
    kArithmetic,  // the same, from left to right
    kConcat,      // children
    kChoice,      // children: then, condition, else (may be missing)
    kAttribute,   // children[0].name
    kItem,        // children[0][children[1]]
    kSlice,       // children[0][children[1]:children[2]:children[3]], the last three may be null
    kCall,        // children[0](arguments)
    kFilter,      // children[0] | name(arguments); children[0] null: the text of the block
    kTest,        // children[0] is name(arguments)
  };
  Kind kind = Kind::kConstant;
  uint32_t line = 0;
  NameId name = 0;
  int row = -1;  // kFilter, kTest: in the table; -1 when nobody knows that name
  std::vector<ExpressionPtr> children;
  std::vector<Operator> operators;
  std::unique_ptr<Arguments> arguments;
  Value constant;
};

// What `set` and `for` write to.
struct Target {
  enum class Kind : uint8_t { kName, kAttribute, kTuple };
  Kind kind = Kind::kName;
  NameId name = 0;
  NameId attribute = 0;       // of the namespace `name`
  std::vector<Target> items;  // kTuple
};

struct Statement;
using Body = std::vector<std::unique_ptr<Statement>>;

// A macro, or the body of a call block.
struct Signature {
  std::vector<NameId> parameters;
  std::vector<ExpressionPtr> defaults;  // of the last parameters
  bool uses_caller = false;
  bool uses_varargs = false;
  bool uses_kwargs = false;
};

struct Statement {
  enum class Kind : uint8_t {
    kText,         // text
    kOutput,       // expression
    kIf,           // branches, otherwise
    kFor,          // target, expression, condition, body, otherwise, recursive, uses_loop
    kSet,          // target, expression
    kSetBlock,     // target, body, expression: the filters on it, or null
    kMacro,        // name, signature, body
    kCall,         // expression: the call, signature, body
    kFilterBlock,  // expression: the filters, body
    kWith,         // assignments, body
    kScope,        // body: `generation`, names set inside stay inside
    kBreak,
    kContinue,
  };
  Kind kind = Kind::kText;
  uint32_t line = 0;
  NameId name = 0;
  bool recursive = false;
  bool uses_loop = false;
  Target target;
  std::string text;
  ExpressionPtr expression;
  ExpressionPtr condition;
  Body body;
  Body otherwise;
  std::unique_ptr<Signature> signature;
  std::vector<std::pair<ExpressionPtr, Body>> branches;
  std::vector<std::pair<Target, ExpressionPtr>> assignments;
};

// A compiled template. shared-const.
struct Program {
  Arena constants;
  std::vector<const StringObject*> names;  // by NameId
  std::unordered_map<std::string_view, NameId> name_ids;
  std::vector<int> functions;  // by NameId: the global function of that name, or -1
  Body body;
};

}  // namespace ration::jinja
