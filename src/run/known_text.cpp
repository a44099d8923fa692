#include "run/known_text.h"

#include <algorithm>

namespace ration {

bool covers(const KnownText& longer, const KnownText& text) {
  if (longer.owner != text.owner || longer.tokens.size() < text.tokens.size() ||
      longer.length_min > std::ssize(text.tokens)) {
    return false;
  }
  for (size_t i = 0; i < text.roles.size(); ++i) {
    const bool last = i + 1 == text.roles.size();
    const RoleRun& run = text.roles[i];
    const RoleRun& other = longer.roles[i];
    if (run.role != other.role) return false;
    if (last ? other.end < run.end : other.end != run.end) return false;
  }
  return std::ranges::equal(text.tokens, longer.tokens.first(text.tokens.size()));
}

int64_t reusable_length(const PrefixQuery& query, const KnownText& text) {
  if (query.owner != text.owner || query.tokens.empty()) return 0;
  const auto most = std::min(std::ssize(query.tokens) - 1, std::ssize(text.tokens));
  const auto end = query.tokens.begin() + most;
  int64_t length =
      std::mismatch(query.tokens.begin(), end, text.tokens.begin()).first - query.tokens.begin();
  int64_t begin = 0;
  for (const RoleRun& run : text.roles) {
    if (run.role == Role::kPrompt && run.end > query.prompt) {
      length = std::min(length, std::max(begin, query.prompt));
    }
    if (run.role == Role::kGenerated && query.prompt_only && begin < query.prompt) {
      length = std::min(length, begin);
    }
    begin = run.end;
  }
  return length < text.length_min ? 0 : length;
}

}  // namespace ration
