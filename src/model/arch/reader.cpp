#include "model/arch/reader.h"

#include <fmt/core.h>

#include <cmath>

#include "tensor/kernels.h"

namespace ration {

NetworkReader::NetworkReader(const Gguf& file, std::set<std::string_view> known)
    : file_(file), known_(std::move(known)) {
  Result<std::string_view> architecture = file.get_string("general.architecture");
  if (architecture) {
    architecture_ = *architecture;
  } else {
    fail(architecture.error());
  }
}

void NetworkReader::fail(Error error) {
  if (!error_) error_ = std::move(error);
}

int64_t NetworkReader::required_int(std::string_view key, int64_t least, int64_t most) {
  if (!file_.has(full_key(key))) {
    fail({Code::kCorrupt, fmt::format("key '{}' is missing", full_key(key))});
    return least;
  }
  return int_or(key, least, least, most);
}

int64_t NetworkReader::int_or(std::string_view key, int64_t fallback, int64_t least, int64_t most) {
  Result<std::optional<int64_t>> value = file_.find_int(full_key(key));
  if (!value) {
    fail(value.error());
    return fallback;
  }
  if (!*value) return fallback;
  const int64_t number = **value;
  if (number < least || number > most) {
    fail({Code::kCorrupt,
          fmt::format("key '{}': found {}, wanted {} to {}", full_key(key), number, least, most)});
    return fallback;
  }
  return number;
}

std::vector<int64_t> NetworkReader::layer_ints(std::string_view key, int64_t layers) {
  const GgufValue* value = file_.find(full_key(key));
  if (!value) return {};
  const auto count = static_cast<size_t>(layers);
  if (value->type != GgufValue::Type::kArray) {
    return std::vector<int64_t>(count, int_or(key, 0, 0, int64_t{1} << 31));
  }
  Result<std::vector<int64_t>> values = file_.get_ints(full_key(key));
  if (!values) {
    fail(values.error());
    return {};
  }
  if (values->size() < count) {
    fail({Code::kCorrupt, fmt::format("key '{}': found {} values, wanted one for each of {} layers",
                                      full_key(key), values->size(), layers)});
    return {};
  }
  return *values;
}

double NetworkReader::float_or(std::string_view key, double fallback) {
  Result<std::optional<double>> value = file_.find_float(full_key(key));
  if (!value) {
    fail(value.error());
    return fallback;
  }
  const double number = value->value_or(fallback);
  if (!std::isfinite(number)) {
    fail({Code::kCorrupt,
          fmt::format("key '{}': found {}, wanted a number", full_key(key), number)});
    return fallback;
  }
  return number;
}

std::string NetworkReader::string_or(std::string_view key, std::string_view fallback) {
  Result<std::optional<std::string_view>> value = file_.find_string(full_key(key));
  if (!value) {
    fail(value.error());
    return std::string(fallback);
  }
  return std::string(value->value_or(fallback));
}

const GgufTensor* NetworkReader::take(const std::string& name, int64_t rows, int64_t cols,
                                      bool required) {
  const GgufTensor* tensor = file_.find_tensor(name);
  if (!tensor) {
    if (required) fail({Code::kCorrupt, fmt::format("tensor '{}' is missing", name)});
    return nullptr;
  }
  taken_.insert(name);
  if (tensor->cols() != cols || tensor->rows() != rows) {
    fail({Code::kCorrupt, fmt::format("tensor '{}': found shape {} x {}, wanted {} x {}", name,
                                      tensor->rows(), tensor->cols(), rows, cols)});
    return nullptr;
  }
  return tensor;
}

Matrix NetworkReader::matrix(const std::string& name, int64_t rows, int64_t cols) {
  const GgufTensor* tensor = take(name, rows, cols, true);
  return tensor ? tensor->matrix() : Matrix{};
}

Matrix NetworkReader::optional_matrix(const std::string& name, int64_t rows, int64_t cols) {
  const GgufTensor* tensor = take(name, rows, cols, false);
  return tensor ? tensor->matrix() : Matrix{};
}

Matrix NetworkReader::table(const std::string& name, int64_t rows_least, int64_t cols) {
  const GgufTensor* tensor = file_.find_tensor(name);
  const int64_t rows = tensor ? tensor->rows() : rows_least;
  if (rows < rows_least) {
    fail({Code::kCorrupt,
          fmt::format("tensor '{}': found {} rows, wanted at least {}", name, rows, rows_least)});
  }
  return matrix(name, rows, cols);
}

const float* NetworkReader::vector(Network& network, const std::string& name, int64_t n) {
  if (!has_tensor(name)) {
    fail({Code::kCorrupt, fmt::format("tensor '{}' is missing", name)});
    return nullptr;
  }
  return optional_vector(network, name, n);
}

const float* NetworkReader::optional_vector(Network& network, const std::string& name, int64_t n) {
  const GgufTensor* tensor = take(name, 1, n, false);
  if (!tensor) return nullptr;
  const std::byte* bytes = tensor->bytes.data();
  if (tensor->dtype == DType::kF32 && reinterpret_cast<uintptr_t>(bytes) % alignof(float) == 0) {
    return reinterpret_cast<const float*>(bytes);
  }
  std::vector<float>& values = network.owned.emplace_back(static_cast<size_t>(n));
  dequantize(tensor->dtype, bytes, n, values.data());
  return values.data();
}

Linear NetworkReader::linear(Network& network, const std::string& name, int64_t rows,
                             int64_t cols) {
  return {matrix(name + ".weight", rows, cols), optional_vector(network, name + ".bias", rows)};
}

Norm NetworkReader::norm(Network& network, const std::string& name, int64_t n) {
  const double epsilon = float_or("attention.layer_norm_rms_epsilon", -1);
  if (epsilon < 0) {
    fail({Code::kCorrupt, fmt::format("key '{}' is missing or negative",
                                      full_key("attention.layer_norm_rms_epsilon"))});
  }
  return {vector(network, name + ".weight", n), static_cast<float>(epsilon)};
}

Norm NetworkReader::layer_norm(Network& network, const std::string& name, int64_t n) {
  const double epsilon = float_or("attention.layer_norm_epsilon", -1);
  if (epsilon < 0) {
    fail({Code::kCorrupt, fmt::format("key '{}' is missing or negative",
                                      full_key("attention.layer_norm_epsilon"))});
  }
  return {vector(network, name + ".weight", n), static_cast<float>(epsilon),
          vector(network, name + ".bias", n)};
}

void NetworkReader::read_pooling(Network& network) {
  switch (int_or("pooling_type", 0, 0, 16)) {
    case 0:  // none is stated
      return;
    case 1:
      network.pooling = Pooling::kMean;
      return;
    case 2:
      network.pooling = Pooling::kFirst;
      return;
    case 3:
      network.pooling = Pooling::kLast;
      return;
    default:
      fail({Code::kUnsupported, fmt::format("key '{}': found another pooling, wanted 1 (mean), 2 "
                                            "(first token) or 3 (last token)",
                                            full_key("pooling_type"))});
  }
}

Network NetworkReader::sizes(Pooling pooling) {
  Network network;
  network.pooling = pooling;
  network.family = architecture_;
  network.width = required_int("embedding_length", 1, kSizeMax);
  network.layers = required_int("block_count", 1, 4096);
  network.heads = required_int("attention.head_count", 1, 65536);
  network.kv_heads = int_or("attention.head_count_kv", network.heads, 1, network.heads);
  network.inner = required_int("feed_forward_length", 1, kSizeMax);
  network.context_trained = required_int("context_length", 1, int64_t{1} << 31);
  network.head_size = int_or("attention.key_length", network.width / network.heads, 1, 65536);
  const int64_t value_size = int_or("attention.value_length", network.head_size, 1, 65536);
  if (value_size != network.head_size) {
    fail({Code::kUnsupported,
          fmt::format("key length {} and value length {} differ", network.head_size, value_size)});
  }
  if (network.heads % network.kv_heads != 0) {
    fail({Code::kCorrupt, fmt::format("found {} heads over {} key/value heads, wanted a multiple",
                                      network.heads, network.kv_heads)});
  }
  read_pooling(network);
  const GgufTensor* embedding = file_.find_tensor("token_embd.weight");
  if (!embedding) {
    fail({Code::kCorrupt, file_.tensors().empty()
                              ? std::string("the file holds a vocabulary and no weights")
                              : std::string("tensor 'token_embd.weight' is missing")});
    return network;
  }
  network.vocabulary = embedding->rows();
  if (network.vocabulary > kSizeMax) {
    fail({Code::kCorrupt,
          fmt::format("found {} tokens, wanted at most {}", network.vocabulary, kSizeMax)});
  }
  network.embedding = matrix("token_embd.weight", network.vocabulary, network.width);
  return network;
}

Network NetworkReader::common() {
  Network network = sizes();
  refuse_unknown_arithmetic();
  network.final_norm = norm(network, "output_norm", network.width);
  network.output.weight = optional_matrix("output.weight", network.vocabulary, network.width);
  if (network.output.weight.empty()) network.output.weight = network.embedding;
  network.output.bias = optional_vector(network, "output.bias", network.vocabulary);
  return network;
}

// Keys that change the arithmetic of other families: a file that has one was made for something
// else.
void NetworkReader::refuse_unknown_arithmetic() {
  for (const char* key : {"attention.scale", "attention.clamp_kqv", "attn_logit_softcapping",
                          "attention.temperature_scale", "logit_scale", "embedding_scale",
                          "residual_scale", "rope.dimension_sections"}) {
    if (has_key(key) && !known_.contains(key)) {
      fail({Code::kUnsupported, fmt::format("key '{}' is not one that family {} has as we know it",
                                            full_key(key), architecture_)});
    }
  }
  for (const char* key : {"expert_count", "nextn_predict_layers"}) {
    if (known_.contains(key)) continue;
    if (const int64_t count = int_or(key, 0, 0, 65536); count > 0) {
      fail({Code::kUnsupported, fmt::format("key '{}': found {}, wanted 0", full_key(key), count)});
    }
  }
  Result<std::optional<bool>> causal = file_.find_bool(full_key("attention.causal"));
  if (!causal) {
    fail(causal.error());
  } else if (!causal->value_or(true)) {
    fail({Code::kUnsupported, "a model that attends to later tokens"});
  }
}

void NetworkReader::refuse_window(const Network& network) {
  const int64_t window = int_or("attention.sliding_window", 0, 0, int64_t{1} << 31);
  if (window > 0 && window < network.context_trained) {
    fail({Code::kUnsupported,
          fmt::format("a sliding window of {} in family {}", window, architecture_)});
  }
}

Result<Network> NetworkReader::finish(Network network) {
  for (const GgufTensor& tensor : file_.tensors()) {
    if (failed()) break;
    if (!taken_.contains(tensor.name)) {
      fail({Code::kUnsupported, fmt::format("tensor '{}' is not part of family {} as we know it",
                                            tensor.name, architecture_)});
    }
  }
  if (error_) {
    return Error{error_->code, fmt::format("{}: {}", file_.path().string(), error_->message)};
  }
  return network;
}

void NetworkReader::split_fused(Network& network, const std::string& name, AttentionStage& stage) {
  const int64_t query_rows = network.heads * network.head_size;
  const int64_t kv_rows = network.kv_heads * network.head_size;
  const Linear fused = linear(network, name, query_rows + 2 * kv_rows, network.width);
  if (failed()) return;
  const auto part = [&fused](int64_t begin, int64_t rows) {
    return Linear{fused.weight.slice(begin, rows), fused.bias ? fused.bias + begin : nullptr};
  };
  stage.query = part(0, query_rows);
  stage.key = part(query_rows, kv_rows);
  stage.value = part(query_rows + kv_rows, kv_rows);
}

AttentionStage NetworkReader::attention(Network& network, int64_t layer) {
  AttentionStage stage = bare_attention(network, layer);
  stage.before = norm(network, fmt::format("blk.{}.attn_norm", layer), network.width);
  return stage;
}

AttentionStage NetworkReader::bare_attention(Network& network, int64_t layer) {
  const std::string block = fmt::format("blk.{}.", layer);
  const int64_t query_rows = network.heads * network.head_size;
  const int64_t kv_rows = network.kv_heads * network.head_size;
  AttentionStage stage;
  if (has_tensor(block + "attn_qkv.weight")) {
    split_fused(network, block + "attn_qkv", stage);
  } else {
    stage.query = linear(network, block + "attn_q", query_rows, network.width);
    stage.key = linear(network, block + "attn_k", kv_rows, network.width);
    stage.value = linear(network, block + "attn_v", kv_rows, network.width);
  }
  stage.output = linear(network, block + "attn_output", network.width, query_rows);
  stage.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(network.head_size)));
  return stage;
}

AttentionStage NetworkReader::biased_attention(Network& network, int64_t layer) {
  AttentionStage stage = attention(network, layer);
  for (const Linear* projection : {&stage.query, &stage.key, &stage.value}) {
    if (!failed() && !projection->bias) {
      fail({Code::kCorrupt,
            fmt::format("a bias of attn_q, attn_k or attn_v is missing in layer {}", layer)});
    }
  }
  return stage;
}

void NetworkReader::norm_heads(Network& network, int64_t layer, AttentionStage& stage) {
  const std::string block = fmt::format("blk.{}.", layer);
  stage.query_norm = norm(network, block + "attn_q_norm", network.head_size);
  stage.key_norm = norm(network, block + "attn_k_norm", network.head_size);
}

FeedForwardStage NetworkReader::feed_forward(Network& network, int64_t layer) {
  const std::string block = fmt::format("blk.{}.", layer);
  FeedForwardStage stage;
  stage.before = norm(network, block + "ffn_norm", network.width);
  if (has_tensor(block + "ffn_gate.weight")) {
    stage.gate = linear(network, block + "ffn_gate", network.inner, network.width);
    stage.up = linear(network, block + "ffn_up", network.inner, network.width);
  } else {  // gate and up stored as one: gate first
    const Linear fused = linear(network, block + "ffn_up", 2 * network.inner, network.width);
    if (!failed()) {
      const float* bias = fused.bias;
      stage.gate = {fused.weight.slice(0, network.inner), bias};
      stage.up = {fused.weight.slice(network.inner, network.inner),
                  bias ? bias + network.inner : nullptr};
    }
  }
  stage.down = linear(network, block + "ffn_down", network.width, network.inner);
  return stage;
}

}  // namespace ration
