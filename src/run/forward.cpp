#include "run/forward.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "run/attention.h"
#include "run/deal.h"
#include "run/experts.h"
#include "run/vocabulary.h"

namespace ration {
namespace {

// One pass over a batch: the state every stage shares.
class Pass {
 public:
  Pass(const ForwardContext& context, std::span<const BatchToken> batch)
      : network_(context.network),
        kernels_(context.kernels),
        pool_(context.pool),
        space_(context.workspace),
        kv_(context.kv),
        long_context_(context.long_context),
        batch_(batch),
        tokens_(static_cast<int64_t>(batch.size())),
        prompts_(std::ranges::count(batch, Role::kPrompt, &BatchToken::role)),
        attention_(context, batch) {}

  void embed();
  void run(const AttentionStage& stage, int64_t layer);
  void run(const FeedForwardStage& stage);
  int64_t prompts() const { return prompts_; }
  Bytes write_logits();
  void write_hidden();

 private:
  // What a matmul's worker reads: its own copy in small batches, the shared rows in large ones.
  const ActivationRows& rows_for(int worker) const {
    return private_rows() ? space_.own[static_cast<size_t>(worker)] : space_.shared;
  }
  bool private_rows() const { return tokens_ <= kPrivateTokens; }
  void prepare(const float* x, const Norm& norm, int64_t cols, const Formats& formats,
               const ActivationRows& rows, int64_t row, int worker) {
    prepare_row(kernels_, x, norm, cols, formats, rows, row,
                space_.normed[static_cast<size_t>(worker)]);
  }
  void prepare_shared(const float* x, const Norm& norm, int64_t cols, const RoleFormats& formats);
  void prepare_private(const float* x, const Norm& norm, int64_t cols, const RoleFormats& formats,
                       int worker);
  void multiply(const Linear& linear, const ActivationRows& rows, Share share, float* out,
                int64_t stride);
  void project(const Linear& linear, const float* input, const Norm& after, const Norm& closing);
  // y: the columns [share) of what a stage gives token t; changed.
  void add_to_residual(int64_t t, Share share, float* y) {
    const int64_t count = share.end - share.begin;
    if (network_.residual_scale != 1) {
      for (int64_t i = 0; i < count; ++i) y[i] *= network_.residual_scale;
    }
    kernels_.add(space_.residual + t * network_.width + share.begin, y, count);
  }
  // Rows of a product, dealt to the workers.
  Dealer deal(const Matrix& weight) const {
    return deal_rows(pool_, weight.rows, weight.row_bytes(), tokens_);
  }
  void normalise_whole(const AttentionStage& stage, int worker);
  void rotate_and_store(const AttentionStage& stage, int64_t layer, int worker);
  void place_head(const AttentionStage& stage, int64_t layer, int64_t t, int64_t head, int worker);

  const Network& network_;
  const Kernels& kernels_;
  Pool& pool_;
  Workspace& space_;
  const KvLayout& kv_;
  const bool long_context_;
  const std::span<const BatchToken> batch_;
  const int64_t tokens_;
  const int64_t prompts_;  // the first tokens, whose role is kPrompt
  Attention attention_;
};

void Pass::embed() {
  pool_.run([&](int worker) {
    const Share share = share_of(tokens_, worker, pool_.threads());
    for (int64_t t = share.begin; t < share.end; ++t) {
      const BatchToken& token = batch_[static_cast<size_t>(t)];
      float* x = space_.residual + t * network_.width;
      dequantize_row(network_.embedding, token.token, x);
      if (network_.embedding_scale != 1) {
        for (int64_t i = 0; i < network_.width; ++i) x[i] *= network_.embedding_scale;
      }
      if (!network_.positions.empty()) {
        float* place = space_.normed[static_cast<size_t>(worker)];
        dequantize_row(network_.positions, token.position, place);
        kernels_.add(x, place, network_.width);
      }
      if (network_.segment) kernels_.add(x, network_.segment, network_.width);
      if (network_.embedding_norm.present()) {
        normalise(kernels_, network_.embedding_norm, x, network_.width, x);
      }
      for (size_t r = 0; r < network_.ropes.size(); ++r) {
        const Rope& rope = network_.ropes[r];
        const bool is_long = long_context_ && !rope.long_frequencies.empty();
        const std::vector<float>& frequencies = is_long ? rope.long_frequencies : rope.frequencies;
        const float magnitude = is_long ? rope.long_magnitude : rope.magnitude;
        const auto pairs = static_cast<int64_t>(frequencies.size());
        for (int64_t i = 0; i < pairs; ++i) {
          const double angle = static_cast<double>(token.position) *
                               static_cast<double>(frequencies[static_cast<size_t>(i)]);
          space_.cosines[r][t * pairs + i] = static_cast<float>(std::cos(angle)) * magnitude;
          space_.sines[r][t * pairs + i] = static_cast<float>(std::sin(angle)) * magnitude;
        }
      }
    }
  });
}

void Pass::prepare_shared(const float* x, const Norm& norm, int64_t cols,
                          const RoleFormats& formats) {
  if (private_rows()) return;
  pool_.run([&](int worker) {
    const Share share = share_of(tokens_, worker, pool_.threads());
    for (int64_t t = share.begin; t < share.end; ++t) {
      prepare(x + t * cols, norm, cols, of_token(formats, prompts_, t), space_.shared, t, worker);
    }
  });
}

void Pass::prepare_private(const float* x, const Norm& norm, int64_t cols,
                           const RoleFormats& formats, int worker) {
  if (!private_rows()) return;
  for (int64_t t = 0; t < tokens_; ++t) {
    prepare(x + t * cols, norm, cols, of_token(formats, prompts_, t),
            space_.own[static_cast<size_t>(worker)], t, worker);
  }
}

// out[t * stride + r] = weight[r, :] . x[t, :] + bias[r] for the rows of this share.
void Pass::multiply(const Linear& linear, const ActivationRows& rows, Share share, float* out,
                    int64_t stride) {
  const Matrix& weight = linear.weight;
  const bool differ = roles_differ(kernels_, {&weight});
  visit_roles(differ, prompts_, {0, tokens_}, [&](Role role, Share part) {
    const ActivationFormat format = kernels_.format_for(weight, role);
    kernels_.matmul(weight, rows.view(format, part, weight.cols), share.begin, share.end,
                    out + part.begin * stride, stride);
  });
  if (!linear.bias) return;
  for (int64_t t = 0; t < tokens_; ++t) {
    kernels_.add(out + t * stride + share.begin, linear.bias + share.begin,
                 share.end - share.begin);
  }
}

// residual = closing(residual + scale * after(linear(input))); input: [tokens, linear.weight.cols]
void Pass::project(const Linear& linear, const float* input, const Norm& after,
                   const Norm& closing) {
  const int64_t width = network_.width;
  const int64_t cols = linear.weight.cols;
  const RoleFormats formats = formats_of(kernels_, {&linear.weight});
  prepare_shared(input, {}, cols, formats);
  Dealer dealer = deal(linear.weight);
  pool_.run([&](int worker) {
    prepare_private(input, {}, cols, formats, worker);
    dealer.work(worker, [&](Share share) {
      multiply(linear, rows_for(worker), share, space_.projected, width);
      if (after.present()) return;
      for (int64_t t = 0; t < tokens_; ++t) {
        add_to_residual(t, share, space_.projected + t * width + share.begin);
      }
    });
  });
  if (!after.present() && !closing.present()) return;
  pool_.run([&](int worker) {
    const Share share = share_of(tokens_, worker, pool_.threads());
    for (int64_t t = share.begin; t < share.end; ++t) {
      if (after.present()) {
        float* y = space_.projected + t * width;
        normalise(kernels_, after, y, width, y);
        add_to_residual(t, {0, width}, y);
      }
      if (!closing.present()) continue;
      float* x = space_.residual + t * width;
      normalise(kernels_, closing, x, width, x);
    }
  });
}

void Pass::run(const AttentionStage& stage, int64_t layer) {
  const int64_t width = network_.width;
  const int64_t query_size = network_.heads * network_.head_size;
  const int64_t kv_size = network_.kv_heads * network_.head_size;
  const RoleFormats formats =
      formats_of(kernels_, {&stage.query.weight, &stage.key.weight, &stage.value.weight});
  prepare_shared(space_.residual, stage.before, width, formats);
  Dealer queries = deal(stage.query.weight), keys = deal(stage.key.weight),
         values = deal(stage.value.weight);
  pool_.run([&](int worker) {
    prepare_private(space_.residual, stage.before, width, formats, worker);
    const ActivationRows& rows = rows_for(worker);
    queries.work(
        worker, [&](Share share) { multiply(stage.query, rows, share, space_.query, query_size); });
    keys.work(worker, [&](Share share) { multiply(stage.key, rows, share, space_.key, kv_size); });
    values.work(worker,
                [&](Share share) { multiply(stage.value, rows, share, space_.value, kv_size); });
  });
  if (stage.norms_span_heads) pool_.run([&](int worker) { normalise_whole(stage, worker); });
  pool_.run([&](int worker) { rotate_and_store(stage, layer, worker); });
  attention_.run(stage, layer);
  project(stage.output, space_.attended, stage.after, stage.closing);
}

// Queries and keys of whole tokens, where the norms span all heads.
void Pass::normalise_whole(const AttentionStage& stage, int worker) {
  const Share share = share_of(tokens_, worker, pool_.threads());
  const auto normalise = [&](const Norm& norm, float* x, int64_t size) {
    for (int64_t t = share.begin; t < share.end; ++t) {
      kernels_.rms_norm(x + t * size, norm.weight, norm.epsilon, size, x + t * size);
    }
  };
  normalise(stage.query_norm, space_.query, network_.heads * network_.head_size);
  normalise(stage.key_norm, space_.key, network_.kv_heads * network_.head_size);
}

// Each (token, head) of queries, keys and values is one piece of work.
void Pass::rotate_and_store(const AttentionStage& stage, int64_t layer, int worker) {
  const int64_t pieces = network_.heads + 2 * network_.kv_heads;
  const Share share = share_of(tokens_ * pieces, worker, pool_.threads());
  for (int64_t i = share.begin; i < share.end; ++i) {
    place_head(stage, layer, i / pieces, i % pieces, worker);
  }
}

// piece: a query head, then a key head, then a value head.
void Pass::place_head(const AttentionStage& stage, int64_t layer, int64_t t, int64_t piece,
                      int worker) {
  const KvPlace place = kv_.places[static_cast<size_t>(layer)];
  const KvShape& shape = kv_.groups[place.group].shape;
  const int64_t size = network_.head_size;
  const auto turn = [&](float* head, const Norm& norm) {
    if (norm.present() && !stage.norms_span_heads) {
      kernels_.rms_norm(head, norm.weight, norm.epsilon, size, head);
    }
    if (network_.ropes.empty()) return;
    const Rope& rope = network_.ropes[stage.rope];
    const auto pairs = static_cast<int64_t>(rope.frequencies.size());
    kernels_.rotate(head, space_.cosines[stage.rope] + t * pairs,
                    space_.sines[stage.rope] + t * pairs, pairs, rope.interleaved);
  };
  if (piece < network_.heads) {
    float* x = space_.query + (t * network_.heads + piece) * size;
    turn(x, stage.query_norm);
    if (turns_heads(shape)) turn_head(x, size);
    return;
  }
  const bool is_key = piece < network_.heads + network_.kv_heads;
  const int64_t head = piece - network_.heads - (is_key ? 0 : network_.kv_heads);
  float* x = (is_key ? space_.key : space_.value) + (t * network_.kv_heads + head) * size;
  if (is_key) turn(x, stage.key_norm);
  if (turns_heads(shape)) turn_head(x, size);
  const BatchToken& token = batch_[static_cast<size_t>(t)];
  std::byte* block = token.tables[place.group][token.position / kKvBlockTokens];
  store_cached(kernels_, shape, place.layer, head, is_key, x, token.position, block);
}

void Pass::run(const FeedForwardStage& stage) {
  const int64_t inner = network_.inner;
  const RoleFormats formats = formats_of(kernels_, {&stage.gate.weight, &stage.up.weight});
  prepare_shared(space_.residual, stage.before, network_.width, formats);
  const bool gated = !stage.gate.weight.empty();
  Dealer dealer = deal(stage.up.weight);
  pool_.run([&](int worker) {
    prepare_private(space_.residual, stage.before, network_.width, formats, worker);
    const ActivationRows& rows = rows_for(worker);
    const auto activate =
        stage.activation == Activation::kSilu ? kernels_.silu_multiply : kernels_.gelu_multiply;
    dealer.work(worker, [&](Share share) {
      multiply(gated ? stage.gate : stage.up, rows, share, space_.gate, inner);
      if (gated) multiply(stage.up, rows, share, space_.up, inner);
      for (int64_t t = 0; t < tokens_; ++t) {
        float* gate = space_.gate + t * inner + share.begin;
        const int64_t count = share.end - share.begin;
        if (gated) {
          activate(gate, space_.up + t * inner + share.begin, count, gate);
        } else {
          kernels_.gelu(gate, count, gate);
        }
      }
    });
  });
  project(stage.down, space_.gate, stage.after, stage.closing);
}

// In place: of tokens whose logits are wanted too after them.
void Pass::write_hidden() {
  const Norm& norm = network_.final_norm;
  if (!norm.present() || std::ranges::none_of(batch_, &BatchToken::wants_hidden)) return;
  pool_.run([&](int worker) {
    const Share share = share_of(tokens_, worker, pool_.threads());
    for (int64_t t = share.begin; t < share.end; ++t) {
      if (!batch_[static_cast<size_t>(t)].wants_hidden) continue;
      float* x = space_.residual + t * network_.width;
      normalise(kernels_, norm, x, network_.width, x);
    }
  });
}

Bytes Pass::write_logits() {
  const int64_t rows = tokens_ - std::ranges::count(batch_, int64_t{-1}, &BatchToken::logit_row);
  if (rows == 0) return {};
  std::vector<int64_t> wanted(static_cast<size_t>(rows));
  int64_t best = 0;
  bool wants_all = false;
  for (int64_t t = 0; t < tokens_; ++t) {
    const BatchToken& token = batch_[static_cast<size_t>(t)];
    if (token.logit_row < 0) continue;
    wanted[static_cast<size_t>(token.logit_row)] = t;
    best = std::max<int64_t>(best, token.best_logits);
    wants_all |= token.best_logits == 0;
  }
  const Linear& output = network_.output;
  const int64_t width = network_.width;
  // One arithmetic for both roles: few rows are wanted, and they decide.
  const ActivationFormat format = kernels_.format_of(output.weight.dtype);
  Formats formats;
  formats.add(format);
  pool_.run([&](int worker) {
    const Share share = share_of(rows, worker, pool_.threads());
    for (int64_t i = share.begin; i < share.end; ++i) {
      prepare(space_.residual + wanted[static_cast<size_t>(i)] * width, network_.final_norm, width,
              formats, space_.shared, i, worker);
    }
  });
  const Activations x = space_.shared.view(format, {0, rows}, width);
  VocabularyProduct product(network_, kernels_, pool_, x, space_.logits);
  if (wants_all) {
    product.write_all();
  } else {
    product.write_best(best);
  }
  return product.bytes_read();
}

}  // namespace

Bytes forward(const ForwardContext& context, std::span<const BatchToken> batch) {
  Pass pass(context, batch);
  pass.embed();
  int64_t layer = 0;
  for (const Stage& stage : context.network.stages) {
    if (const auto* attention = std::get_if<AttentionStage>(&stage)) {
      pass.run(*attention, layer++);
    } else if (const auto* feed_forward = std::get_if<FeedForwardStage>(&stage)) {
      pass.run(*feed_forward);
    } else {
      run_experts(context.network, std::get<ExpertStage>(stage), context.kernels, context.pool,
                  context.workspace, pass.prompts(), static_cast<int64_t>(batch.size()));
    }
  }
  const Bytes read = pass.write_logits();
  pass.write_hidden();
  return read;
}

}  // namespace ration
