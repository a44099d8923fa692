// run/known_text.h - texts whose keys and values are at hand, and what a prompt may take over of
// them: what prefix_cache.h and prefix_store.h share. Private to run/.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "run/engine.h"

namespace ration {

// What an answer may begin with.
struct PrefixQuery {
  std::span<const Token> tokens;
  int64_t prompt = 0;        // so many are its prompt; those behind must have the generated role
  std::string_view owner{};  // texts of other owners do not exist for it
  bool prompt_only = false;  // nothing of the prompt may have the generated role
};

// A text, wherever its keys and values are. Borrowed.
struct KnownText {
  std::span<const Token> tokens;  // those whose keys and values are cached
  std::span<const RoleRun> roles;
  int64_t length_min = 0;  // as Sequence::length_min()
  std::string_view owner{};
};

// How many tokens the query may take over: at most all but its last, whose logits are wanted.
int64_t reusable_length(const PrefixQuery& query, const KnownText& text);

// Whether `longer` can stand in for `text`: the same tokens in the same roles, none forgotten.
bool covers(const KnownText& longer, const KnownText& text);

}  // namespace ration
