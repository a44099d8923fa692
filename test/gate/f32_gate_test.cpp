// The F32 gate: the reference kernels compute what llama.cpp computes in F32. And the gate's own
// test: with one thing in the file changed, it must not be passed.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <iostream>

#include "base/file.h"
#include "test/gate/reference.h"
#include "test/gate/teacher.h"

namespace ration {
namespace {

constexpr double kMeanMax = 0.0005;  // nat; gemma3 needs 0.0003: the peer looks GELU up in F16
constexpr double kMostMax = 0.005;

bool within_gate(const Distance& distance) {
  return distance.changed == 0 && distance.mean() <= kMeanMax && distance.most <= kMostMax;
}

// The distance of the reference kernels' rows. They compute prompts and answers alike.
Distance reference_distance(const std::shared_ptr<const Model>& model, const ReferenceRun& run) {
  constexpr int kThreads = 2;
  Teacher teacher(model, *available_kernels().back(), run.context, kThreads, KvType::kF32);
  Distance distance;
  const std::span<const Token> ids(run.ids);
  for (size_t begin = 0; begin < run.top.size(); begin += Teacher::kStepMax) {
    const size_t count = std::min<size_t>(Teacher::kStepMax, run.top.size() - begin);
    teacher.feed(ids.subspan(begin, count), Role::kPrompt, true);
    for (size_t i = 0; i < count; ++i) {
      distance.add(teacher.logits(static_cast<int64_t>(i)), run, begin + i);
    }
  }
  return distance;
}

std::filesystem::path tiny_path(const std::string& name) {
  return std::string(RATION_SOURCE_DIR) + "/data/tiny/" + name + ".gguf";
}

std::shared_ptr<const Model> load(const std::filesystem::path& path) {
  Result<std::shared_ptr<const Model>> model = Model::load(path);
  if (!model) {
    ADD_FAILURE() << model.error().message;
    return nullptr;
  }
  return *model;
}

std::string test_name(const ::testing::TestParamInfo<const char*>& info) {
  std::string name = info.param;
  for (char& letter : name) {
    if (letter == '-' || letter == '.') letter = '_';
  }
  return name;
}

class TinyGate : public ::testing::TestWithParam<const char*> {};

TEST_P(TinyGate, reference_kernels_agree_with_llama_cpp) {
  const std::string name = GetParam();
  const auto model = load(tiny_path(name));
  ASSERT_TRUE(model);
  const std::vector<ReferenceRun> runs = tiny_reference(name);
  ASSERT_FALSE(runs.empty());
  for (const ReferenceRun& run : runs) {
    const Distance found = reference_distance(model, run);
    EXPECT_TRUE(within_gate(found)) << found.text();
    std::cout << name << ", context " << run.context << ": " << found.text() << '\n';
  }
}

INSTANTIATE_TEST_SUITE_P(EveryVariant, TinyGate,
                         ::testing::Values("llama-plain", "llama-gqa", "llama-bias", "llama3",
                                           "llama-linear", "llama-yarn", "mistral", "qwen2",
                                           "qwen2-yarn", "qwen3-tied", "qwen3-untied", "gemma3",
                                           "gemma3-linear", "gemma3-softcap", "phi3-long",
                                           "phi3-partial", "mixtral", "qwen2moe", "qwen3moe",
                                           "olmoe", "granitemoe", "granite-shared"),
                         test_name);

// A tiny model's file with one thing changed.
struct Change {
  const char* model;
  const char* what;  // a metadata key or a tensor
  std::function<void(std::byte* value)> apply;
};

template <typename Number>
std::function<void(std::byte*)> changed_by(std::function<Number(Number)> change) {
  return [change](std::byte* bytes) {
    Number value;
    std::memcpy(&value, bytes, sizeof value);
    value = change(value);
    std::memcpy(bytes, &value, sizeof value);
  };
}

std::function<void(std::byte*)> times(float factor) {
  return changed_by<float>([factor](float value) { return value * factor; });
}

std::function<void(std::byte*)> plus(int32_t more) {
  return changed_by<int32_t>([more](int32_t value) { return value + more; });
}

std::function<void(std::byte*)> all(float value, size_t count) {
  return [value, count](std::byte* bytes) {
    for (size_t i = 0; i < count; ++i) std::memcpy(bytes + i * sizeof value, &value, sizeof value);
  };
}

// The place in the file's bytes that holds the value of a scalar key or the numbers of a tensor.
size_t place_of(const std::string& bytes, const Gguf& file, const std::string& what) {
  if (const GgufTensor* tensor = file.find_tensor(what)) {
    const std::string_view data(reinterpret_cast<const char*>(tensor->bytes.data()),
                                tensor->bytes.size());
    return bytes.find(data);
  }
  constexpr size_t kTypeTag = 4;
  return bytes.find(what) + what.size() + kTypeTag;
}

std::shared_ptr<const Model> load_changed(const Change& change) {
  const std::filesystem::path path = tiny_path(change.model);
  Result<std::string> bytes = read_file(path, Bytes{1 << 20});
  Result<Gguf> file = Gguf::open(path);
  CHECK(bytes && file);
  const size_t place = place_of(*bytes, *file, change.what);
  CHECK(place < bytes->size(), change.what);
  change.apply(reinterpret_cast<std::byte*>(bytes->data()) + place);
  const std::filesystem::path out =
      std::filesystem::path(::testing::TempDir()) / "ration_gate_changed.gguf";
  CHECK(write_file_atomically(out, *bytes));
  auto model = load(out);
  std::filesystem::remove(out);  // the mapping keeps it
  return model;
}

TEST(F32Gate, is_not_passed_when_anything_that_matters_is_changed) {
  const std::vector<Change> changes = {
      {"llama-gqa", "llama.rope.freq_base", times(1.1f)},
      {"qwen2", "qwen2.rope.freq_base", times(1.1f)},
      {"gemma3", "gemma3.rope.freq_base", times(1.1f)},
      {"gemma3-linear", "gemma3.rope.freq_base_swa", times(1.1f)},
      {"llama3", "rope_freqs.weight", all(1, 8)},
      {"llama-linear", "llama.rope.scaling.factor", times(1.05f)},
      {"llama-yarn", "llama.rope.scaling.factor", times(1.05f)},
      {"llama-yarn", "llama.rope.scaling.original_context_length", plus(700)},
      {"phi3-long", "phi3.rope.scaling.attn_factor", times(1.05f)},
      {"phi3-long", "rope_factors_short.weight", all(1, 8)},
      {"phi3-long", "rope_factors_long.weight", all(1, 8)},
      {"llama-gqa", "llama.attention.layer_norm_rms_epsilon", times(1.25f)},
      {"qwen3-tied", "qwen3.attention.layer_norm_rms_epsilon", times(1.25f)},
      {"gemma3", "gemma3.attention.layer_norm_rms_epsilon", times(1.25f)},
      {"phi3-partial", "phi3.attention.layer_norm_rms_epsilon", times(1.25f)},
      {"qwen2", "blk.2.attn_q.bias", all(0, 32)},
      {"qwen2", "blk.2.attn_k.bias", all(0, 16)},
      {"qwen2", "blk.2.attn_v.bias", all(0, 16)},
      {"llama-bias", "blk.2.attn_output.bias", all(0, 32)},
      {"llama-bias", "blk.2.ffn_gate.bias", all(0, 80)},
      {"qwen3-tied", "blk.2.attn_q_norm.weight", all(1, 12)},
      {"qwen3-tied", "blk.2.attn_k_norm.weight", all(1, 12)},
      {"gemma3", "blk.5.post_attention_norm.weight", all(1, 32)},
      {"gemma3", "blk.5.post_ffw_norm.weight", all(1, 32)},
      {"gemma3", "gemma3.attention.sliding_window", plus(1)},
      {"gemma3", "gemma3.attention.sliding_window", plus(-1)},
      {"gemma3-softcap", "gemma3.final_logit_softcapping", times(1.05f)},
      {"mixtral", "llama.expert_used_count", plus(-1)},
      {"qwen2moe", "qwen2moe.expert_used_count", plus(1)},
      {"olmoe", "olmoe.expert_used_count", plus(1)},
      {"qwen2moe", "blk.1.ffn_gate_inp_shexp.weight", all(0, 32)},
      {"olmoe", "blk.1.attn_q_norm.weight", all(1, 32)},
      {"olmoe", "blk.1.attn_k_norm.weight", all(1, 32)},
      {"granitemoe", "granitemoe.embedding_scale", times(1.05f)},
      {"granitemoe", "granitemoe.residual_scale", times(1.05f)},
      {"granitemoe", "granitemoe.attention.scale", times(1.05f)},
      {"granite-shared", "granitemoe.logit_scale", times(1.05f)},
      {"granite-shared", "blk.1.ffn_down_shexp.weight", all(0, 40)},
  };
  for (const Change& change : changes) {
    const auto model = load_changed(change);
    ASSERT_TRUE(model);
    bool noticed = false;
    for (const ReferenceRun& run : tiny_reference(change.model)) {
      const Distance found = reference_distance(model, run);
      noticed = noticed || !within_gate(found);
    }
    EXPECT_TRUE(noticed) << change.model << ": " << change.what;
  }
}

}  // namespace
}  // namespace ration
