// How a file's experts are read: the keys that say how many, and their tensors.
#include <fmt/format.h>

#include "model/arch/reader.h"

namespace ration {

void NetworkReader::use_experts(Network& network, const ExpertShape& shape) {
  constexpr int64_t kExpertsMax = 4096;
  network.experts = required_int("expert_count", 1, kExpertsMax);
  network.experts_used = required_int("expert_used_count", 1, network.experts);
  network.inner = network.experts_used * shape.inner + shape.shared_inner;
  // Values that say what we do anyway are welcome; 1 stands for a softmax.
  if (int_or("expert_gating_func", 1, 0, 1 << 16) != 1) {
    fail({Code::kUnsupported,
          fmt::format("key '{}': found {}, wanted 1, a softmax", full_key("expert_gating_func"),
                      int_or("expert_gating_func", 1, 0, 1 << 16))});
  }
  if (const double scale = float_or("expert_weights_scale", 1); scale != 0 && scale != 1) {
    fail({Code::kUnsupported,
          fmt::format("key '{}': found {}, wanted 1", full_key("expert_weights_scale"), scale)});
  }
  if (const int64_t groups = int_or("expert_group_count", 1, 0, 1 << 16); groups > 1) {
    fail({Code::kUnsupported,
          fmt::format("key '{}': found {}, wanted 1", full_key("expert_group_count"), groups)});
  }
  const Result<std::optional<bool>> norm = file_.find_bool(full_key("expert_weights_norm"));
  if (!norm) {
    fail(norm.error());
  } else if (norm->value_or(shape.renormalised) != shape.renormalised) {
    fail({Code::kUnsupported,
          fmt::format("key '{}': found {}, wanted {} in family {}", full_key("expert_weights_norm"),
                      !shape.renormalised, shape.renormalised, architecture_)});
  }
}

// All experts of a layer as one matrix, expert after expert.
Matrix NetworkReader::expert_matrix(const std::string& name, int64_t experts, int64_t rows,
                                    int64_t cols) {
  const Matrix all = matrix(name, experts * rows, cols);
  if (failed()) return {};
  const std::vector<int64_t>& shape = file_.find_tensor(name)->shape;
  const int64_t found = shape.size() > 2 ? shape[2] : 1;
  if (found != experts) {
    fail({Code::kCorrupt, fmt::format("tensor '{}': found shape {}, wanted {} x {} x {}", name,
                                      fmt::join(shape, " x "), cols, rows, experts)});
  }
  return all;
}

ExpertStage NetworkReader::experts(Network& network, const ExpertShape& shape, int64_t layer) {
  const std::string ffn = fmt::format("blk.{}.ffn_", layer);
  ExpertStage stage;
  stage.before = norm(network, ffn + "norm", network.width);
  stage.experts = network.experts;
  stage.used = network.experts_used;
  stage.renormalised = shape.renormalised;
  stage.router = matrix(ffn + "gate_inp.weight", network.experts, network.width);
  stage.gate = expert_matrix(ffn + "gate_exps.weight", network.experts, shape.inner, network.width);
  stage.up = expert_matrix(ffn + "up_exps.weight", network.experts, shape.inner, network.width);
  stage.down = expert_matrix(ffn + "down_exps.weight", network.experts, network.width, shape.inner);
  if (shape.shared_inner == 0) return stage;
  stage.shared_gate = matrix(ffn + "gate_shexp.weight", shape.shared_inner, network.width);
  stage.shared_up = matrix(ffn + "up_shexp.weight", shape.shared_inner, network.width);
  stage.shared_down = matrix(ffn + "down_shexp.weight", network.width, shape.shared_inner);
  if (shape.shared_router) {
    stage.shared_router = matrix(ffn + "gate_inp_shexp.weight", 1, network.width);
  }
  return stage;
}

}  // namespace ration
