// run/experts.h - a feed-forward stage with experts, for one batch. Private to run/.
//
// Source    Shazeer et al. 2017, "Outrageously Large Neural Networks: The Sparsely-Gated
//           Mixture-of-Experts Layer", sec. 2; Gale et al. 2022, "MegaBlocks", sec. 5, groups the
//           tokens by expert, so that an expert's weights are read once a batch.
// Computes  p = softmax(router . y); x += sum over chosen e of p[e] down_e(silu(gate_e y) * up_e y)
// Departs   the weight p[e] is applied in front of down, which is linear; the sum runs in the order
//           of expert numbers, straight into the residual
// Costs     the weights of the experts that somebody in the batch was sent to, once
// Proved    test/run/engine_test.cpp, test/run/experts_test.cpp, test/gate/f32_gate_test.cpp
//
// The rule of roles: which experts a token is sent to, with what weights and in which order their
// outputs are added depends on that token alone.
#pragma once

#include <cstdint>
#include <span>

#include "base/pool.h"
#include "model/network.h"
#include "run/workspace.h"
#include "tensor/kernels.h"

namespace ration {

// The experts of one token. logits: [experts] of the router. ids and weights: [used] out, the
// largest logit first, of equal ones the lower id. Logits that are no numbers: some ids.
void choose_experts(std::span<const float> logits, bool renormalised, std::span<int32_t> ids,
                    std::span<float> weights);

// residual += the stage, for the workspace's first `tokens` tokens, of which the first `prompts`
// are of prompts.
void run_experts(const Network& network, const ExpertStage& stage, const Kernels& kernels,
                 Pool& pool, Workspace& space, int64_t prompts, int64_t tokens);

}  // namespace ration
