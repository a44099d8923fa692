// serve/keys.h - who may use the server, and what each may do.
//
// A client shows a secret: the bearer token of Authorization, or X-Api-Key. Only digests are kept,
// and how long a comparison takes does not depend on where two differ. Without any key everybody is
// served, and who shows a secret is told apart by it for fair shares alone.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ration {

// Priorities go from the negative of this.
inline constexpr int64_t kPriorityMax = 100;

struct ServeKey {
  std::string name;          // in logs; its requests share what is shared by key
  std::string sha256;        // of the secret, 64 lower-case hex digits
  int32_t priority_max = 0;  // the most that its requests may ask for, and what they have at most
  std::vector<std::string> models{};  // that it may ask for; empty: all
};

// shared-const.
class Keys {
 public:
  Keys() = default;
  explicit Keys(std::vector<ServeKey> keys) : keys_(std::move(keys)) {}

  bool empty() const { return keys_.empty(); }
  // Null when it is nobody's. An error where secrets cannot be digested on this machine.
  Result<const ServeKey*> find(std::string_view secret) const;

 private:
  std::vector<ServeKey> keys_;
};

// Whose request it is: a key, which keeps its Keys alive; null: there are no keys.
using Caller = std::shared_ptr<const ServeKey>;

}  // namespace ration
