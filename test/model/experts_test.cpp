// Families with experts: what their files must hold, and what is refused, by name.
#include <gtest/gtest.h>
#include <unistd.h>

#include <functional>
#include <map>

#include "model/arch/arch.h"
#include "test/model/gguf_writer.h"

namespace ration {
namespace {

// A file of one layer, before it is written.
struct Draft {
  std::string family;
  std::map<std::string, uint32_t> ints;  // without the family's prefix
  std::map<std::string, float> floats;
  std::map<std::string, std::vector<int64_t>> tensors;  // without ".weight": the shape

  explicit Draft(std::string name) : family(std::move(name)) {
    ints = {{"embedding_length", 32},   {"block_count", 1},  {"attention.head_count", 4},
            {"context_length", 64},     {"expert_count", 4}, {"expert_used_count", 2},
            {"feed_forward_length", 16}};
    floats = {{"attention.layer_norm_rms_epsilon", 1e-5f}};
    tensors = {{"token_embd", {32, 8}},
               {"output_norm", {32}},
               {"blk.0.attn_norm", {32}},
               {"blk.0.attn_q", {32, 32}},
               {"blk.0.attn_k", {32, 32}},
               {"blk.0.attn_v", {32, 32}},
               {"blk.0.attn_output", {32, 32}},
               {"blk.0.ffn_norm", {32}},
               {"blk.0.ffn_gate_inp", {32, 4}},
               {"blk.0.ffn_gate_exps", {32, 16, 4}},
               {"blk.0.ffn_up_exps", {32, 16, 4}},
               {"blk.0.ffn_down_exps", {16, 32, 4}}};
    if (family == "olmoe") {
      tensors["blk.0.attn_q_norm"] = tensors["blk.0.attn_k_norm"] = {32};
    } else if (family == "qwen3moe") {
      tensors["blk.0.attn_q_norm"] = tensors["blk.0.attn_k_norm"] = {8};
      ints["expert_feed_forward_length"] = 16;
    } else if (family == "granitemoe") {
      floats["logit_scale"] = 6;
    }
  }

  // "" when it loads; else the message, without the path.
  std::string problem() const {
    const std::filesystem::path path =
        std::filesystem::temp_directory_path() / ("ration_arch_test." + std::to_string(::getpid()));
    test::GgufWriter writer;
    writer.add("general.architecture", family);
    for (const auto& [key, value] : ints) writer.add_u32(family + "." + key, value);
    for (const auto& [key, value] : floats) writer.add_f32(family + "." + key, value);
    for (const auto& [name, shape] : tensors) {
      int64_t count = 4;
      for (const int64_t size : shape) count *= size;
      writer.add_tensor(name + ".weight", DType::kF32, shape,
                        std::vector<std::byte>(static_cast<size_t>(count)));
    }
    writer.write(path);
    const Result<Gguf> file = Gguf::open(path);
    std::filesystem::remove(path);
    CHECK(file, file ? "" : file.error().message);
    const Result<Network> network = load_network(*file);
    if (network) return "";
    return network.error().message.substr(path.string().size() + 2);
  }
};

TEST(ExpertFamilies, load_when_everything_is_there) {
  for (const char* family : {"llama", "olmoe", "qwen3moe", "granitemoe"}) {
    EXPECT_EQ(Draft(family).problem(), "") << family;
  }
}

TEST(ExpertFamilies, refuse_what_is_missing_misshapen_or_unknown) {
  struct Case {
    const char* family;
    std::function<void(Draft&)> change;
    const char* message;
  };
  const std::vector<Case> cases = {
      {"olmoe", [](Draft& d) { d.ints.erase("expert_count"); }, "key 'olmoe.expert_count' is"},
      {"olmoe", [](Draft& d) { d.ints["expert_count"] = 0; }, "found 0, wanted 1 to 4096"},
      {"olmoe", [](Draft& d) { d.ints["expert_count"] = 0xffffffff; }, "found 4294967295, wanted"},
      {"olmoe", [](Draft& d) { d.ints["expert_used_count"] = 5; }, "found 5, wanted 1 to 4"},
      {"olmoe", [](Draft& d) { d.ints["expert_used_count"] = 0; }, "found 0, wanted 1 to 4"},
      {"olmoe", [](Draft& d) { d.ints["expert_gating_func"] = 2; }, "expert_gating_func': found 2"},
      {"olmoe", [](Draft& d) { d.ints["expert_group_count"] = 2; }, "expert_group_count': found 2"},
      {"olmoe", [](Draft& d) { d.floats["expert_weights_scale"] = 2; }, "found 2, wanted 1"},
      {"olmoe", [](Draft& d) { d.floats["logit_scale"] = 2; }, "'olmoe.logit_scale' is not one"},
      {"olmoe", [](Draft& d) { d.floats["attention.clamp_kqv"] = 8; }, "attention.clamp_kqv' is"},
      {"granitemoe", [](Draft& d) { d.floats.erase("logit_scale"); }, "logit_scale' is missing"},
      {"granitemoe", [](Draft& d) { d.ints["expert_shared_feed_forward_length"] = 16; },
       "blk.0.ffn_gate_shexp.weight' is missing"},
      {"qwen3moe", [](Draft& d) { d.ints.erase("expert_feed_forward_length"); },
       "expert_feed_forward_length' is missing"},
      {"qwen3moe", [](Draft& d) { d.ints["expert_feed_forward_length"] = 1 << 24; }, "found shape"},
      {"llama", [](Draft& d) { d.ints["expert_count"] = 0; }, "blk.0.ffn_up.weight' is missing"},
      {"llama", [](Draft& d) { d.tensors.erase("blk.0.ffn_up_exps"); }, "up_exps.weight' is"},
      {"llama", [](Draft& d) { d.tensors.erase("blk.0.ffn_gate_inp"); }, "gate_inp.weight' is"},
      {"llama", [](Draft& d) { d.tensors["blk.0.ffn_gate_inp"] = {32, 5}; }, "found shape 5 x 32"},
      // As many numbers, cut into experts in another way.
      {"llama", [](Draft& d) { d.tensors["blk.0.ffn_gate_exps"] = {32, 4, 16}; },
       "gate_exps.weight': found shape 32 x 4 x 16, wanted 32 x 16 x 4"},
      {"llama", [](Draft& d) { d.tensors["blk.0.ffn_down_exps"] = {16, 128}; },
       "down_exps.weight': found shape 16 x 128, wanted 16 x 32 x 4"},
      {"llama", [](Draft& d) { d.tensors["blk.0.ffn_gate_shexp"] = {32, 16}; },
       "'blk.0.ffn_gate_shexp.weight' is not part of family llama"},
      {"qwen2moe", [](Draft& d) { d.ints["expert_feed_forward_length"] = 16; },
       "a bias of attn_q, attn_k or attn_v is missing"}};
  for (const Case& wrong : cases) {
    Draft draft(wrong.family);
    wrong.change(draft);
    const std::string found = draft.problem();
    EXPECT_NE(found.find(wrong.message), std::string::npos)
        << wrong.family << ": found '" << found << "', wanted '" << wrong.message << "'";
  }
}

}  // namespace
}  // namespace ration
