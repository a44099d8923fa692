// run/forward.h - the stages of a network executed over one batch. Private to run/.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "base/pool.h"
#include "model/network.h"
#include "run/kv.h"
#include "run/workspace.h"
#include "tensor/kernels.h"

namespace ration {

// One token of the batch. Those of prompts come first.
struct BatchToken {
  int32_t token = 0;
  Role role = Role::kPrompt;
  int64_t position = 0;  // in its sequence
  // Its sequence's block tables, one a group of layers (KvLayout).
  std::array<std::byte* const*, kKvGroups> tables{};
  int64_t logit_row = -1;     // where its logits go; -1: not wanted
  int32_t best_logits = 0;    // how many of them are looked at; 0: all
  bool wants_hidden = false;  // its last state, normalised, is left in workspace.residual
};

struct ForwardContext {
  const Network& network;
  const Kernels& kernels;
  Pool& pool;
  Workspace& workspace;
  const KvLayout& kv;
  bool long_context;  // the engine's context is beyond what longrope calls short
};

// Embeds the tokens, runs every stage, writes the logits and states that are wanted.
// Returns how many bytes of the output matrix were read; only the best logits may take few.
// REQUIRES: the rows wanted are 0 .. n - 1, each once.
Bytes forward(const ForwardContext& context, std::span<const BatchToken> batch);

}  // namespace ration
