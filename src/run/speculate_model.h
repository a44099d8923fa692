// run/speculate_model.h - the next tokens of an answer, guessed by a smaller model of the same
// vocabulary. Private to run/; run/run.h hands it on.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "run/engine.h"

namespace ration {

// Whether tokens of one model mean the same in the other. kInvalid names both, and where they part.
Status check_same_vocabulary(const std::string& name, const Model& model,
                             const std::string& draft_name, const Model& draft);

// single-thread: one object an answer. REQUIRES: the engine outlives it.
class DraftModel {
 public:
  explicit DraftModel(Engine& engine) : engine_(engine) {}

  // Appends the `count` tokens that the smaller model finds most likely after `tokens`, reading
  // first what it has not read yet. Appends nothing, and gives its cache back, where they do not
  // fit its context or its memory.
  void propose(std::span<const Token> tokens, int64_t count, std::vector<Token>& draft);
  // Gives its cache back; what comes next is read anew.
  void forget();

 private:
  Result<Token> read(std::span<const Token> tokens);

  Engine& engine_;
  std::unique_ptr<Sequence> sequence_;
  std::vector<Token> read_;  // what the sequence holds
};

}  // namespace ration
