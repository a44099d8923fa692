#include "run/workspace.h"

#include <fmt/core.h>
#include <sys/mman.h>

#include <algorithm>

#include "base/file.h"

namespace ration {
namespace {

constexpr std::array kFormats{ActivationFormat::kF32, ActivationFormat::kInt8x32,
                              ActivationFormat::kInt8x256, ActivationFormat::kInt8Deep};

bool wants(const Formats& formats, ActivationFormat format) {
  switch (format) {
    case ActivationFormat::kF32:
      return formats.f32;
    case ActivationFormat::kInt8x32:
      return formats.int8x32;
    case ActivationFormat::kInt8x256:
      return formats.int8x256;
    case ActivationFormat::kInt8Deep:
      return formats.int8deep;
  }
  return false;
}

// What tokens of either role want for these matrices.
void add_formats(const Kernels& kernels, std::initializer_list<const Matrix*> matrices,
                 Formats& formats) {
  for (const Matrix* matrix : matrices) {
    if (matrix->empty()) continue;
    formats.add(kernels.format_for(*matrix, Role::kPrompt));
    formats.add(kernels.format_for(*matrix, Role::kGenerated));
  }
}

// Every format some matrix of the network wants.
Formats formats_of_network(const Kernels& kernels, const Network& network) {
  Formats formats;
  const auto add = [&](std::initializer_list<const Matrix*> matrices) {
    add_formats(kernels, matrices, formats);
  };
  add({&network.output.weight});
  for (const Stage& stage : network.stages) {
    if (const auto* attention = std::get_if<AttentionStage>(&stage)) {
      add({&attention->query.weight, &attention->key.weight, &attention->value.weight,
           &attention->output.weight});
    } else if (const auto* feed_forward = std::get_if<FeedForwardStage>(&stage)) {
      add({&feed_forward->gate.weight, &feed_forward->up.weight, &feed_forward->down.weight});
    } else {
      const auto& experts = std::get<ExpertStage>(stage);
      add({&experts.router, &experts.gate, &experts.up, &experts.down});
      add({&experts.shared_router});
      add({&experts.shared_gate, &experts.shared_up, &experts.shared_down});
    }
  }
  return formats;
}

// The widest row that any matrix is multiplied with.
int64_t widest_of(const Network& network) {
  int64_t widest = std::max(network.width, network.heads * network.head_size);
  for (const Stage& stage : network.stages) {
    if (const auto* feed_forward = std::get_if<FeedForwardStage>(&stage)) {
      widest = std::max(widest, feed_forward->down.weight.cols);
    } else if (const auto* experts = std::get_if<ExpertStage>(&stage)) {
      widest = std::max({widest, experts->inner(), experts->shared_inner()});
    }
  }
  return widest;
}

// What experts read: formats of a token and of a slot, numbers a slot.
struct ExpertNeeds {
  Formats token;
  Formats slot;
  int64_t inner = 0;
};

ExpertNeeds expert_needs(const Kernels& kernels, const Network& network) {
  ExpertNeeds needs;
  for (const Stage& stage : network.stages) {
    const auto* experts = std::get_if<ExpertStage>(&stage);
    if (!experts) continue;
    add_formats(kernels, {&experts->gate, &experts->up}, needs.token);
    add_formats(kernels, {&experts->down}, needs.slot);
    needs.inner = std::max(needs.inner, experts->inner());
  }
  return needs;
}

// Hands out 64-byte aligned parts of one allocation.
class Cutter {
 public:
  explicit Cutter(std::byte* base) : base_(base) {}

  std::byte* bytes(int64_t count) {
    std::byte* part = base_ ? base_ + used_ : nullptr;
    used_ += (count + 63) / 64 * 64;
    return part;
  }
  float* floats(int64_t count) {
    return reinterpret_cast<float*>(bytes(count * static_cast<int64_t>(sizeof(float))));
  }
  int64_t used() const { return used_; }

 private:
  std::byte* base_;
  int64_t used_ = 0;
};

}  // namespace

void Formats::add(ActivationFormat format) {
  f32 |= format == ActivationFormat::kF32;
  int8x32 |= format == ActivationFormat::kInt8x32;
  int8x256 |= format == ActivationFormat::kInt8x256;
  int8deep |= format == ActivationFormat::kInt8Deep;
}

bool roles_differ(const Kernels& kernels, std::initializer_list<const Matrix*> matrices) {
  return std::ranges::any_of(matrices, [&](const Matrix* matrix) {
    return kernels.format_for(*matrix, Role::kPrompt) !=
           kernels.format_for(*matrix, Role::kGenerated);
  });
}

RoleFormats formats_of(const Kernels& kernels, std::initializer_list<const Matrix*> matrices) {
  RoleFormats formats;
  for (const Role role : {Role::kPrompt, Role::kGenerated}) {
    for (const Matrix* matrix : matrices) {
      if (matrix->empty()) continue;
      formats[static_cast<size_t>(role)].add(kernels.format_for(*matrix, role));
    }
  }
  return formats;
}

void normalise(const Kernels& kernels, const Norm& norm, const float* x, int64_t n, float* out) {
  if (norm.bias) {
    kernels.layer_norm(x, norm.weight, norm.bias, norm.epsilon, n, out);
  } else {
    kernels.rms_norm(x, norm.weight, norm.epsilon, n, out);
  }
}

void prepare_row(const Kernels& kernels, const float* x, const Norm& norm, int64_t cols,
                 const Formats& formats, const ActivationRows& rows, int64_t row, float* normed) {
  if (norm.present()) {
    normalise(kernels, norm, x, cols, normed);
    x = normed;
  }
  for (const ActivationFormat format : kFormats) {
    if (!wants(formats, format)) continue;
    kernels.quantize(
        format, x, cols,
        rows.data[static_cast<size_t>(format)] + row * activation_row_bytes(format, cols));
  }
}

Activations ActivationRows::view(ActivationFormat format, Share rows, int64_t cols) const {
  CHECK(rows.begin >= 0 && rows.end <= capacity);
  const int64_t bytes = activation_row_bytes(format, cols);
  return {format, rows.end - rows.begin, cols,
          data[static_cast<size_t>(format)] + rows.begin * bytes, bytes};
}

int64_t Workspace::lay_out(const Network& network, const Kernels& kernels, int threads,
                           const EngineOptions& options, std::byte* base) {
  const int64_t n = options.step_tokens_max;
  const int64_t query_size = network.heads * network.head_size;
  const int64_t kv_size = network.kv_heads * network.head_size;
  const int64_t widest = widest_of(network);
  const Formats formats = formats_of_network(kernels, network);
  Cutter cut(base);
  residual = cut.floats(n * network.width);
  query = cut.floats(n * query_size);
  key = cut.floats(n * kv_size);
  value = cut.floats(n * kv_size);
  attended = cut.floats(n * query_size);
  gate = cut.floats(n * network.inner);
  up = cut.floats(n * network.inner);
  projected = cut.floats(n * network.width);
  if (!network.output.weight.empty()) {
    logits = cut.floats(options.logit_rows_max * network.vocabulary);
  }
  for (const Rope& rope : network.ropes) {
    const auto pairs = static_cast<int64_t>(rope.frequencies.size());
    cosines.push_back(cut.floats(n * pairs));
    sines.push_back(cut.floats(n * pairs));
  }
  const auto activation_rows = [&](int64_t rows, int64_t cols, const Formats& wanted) {
    ActivationRows result;
    result.capacity = rows;
    for (ActivationFormat format : kFormats) {
      if (!wants(wanted, format)) continue;
      result.data[static_cast<size_t>(format)] =
          cut.bytes(rows * activation_row_bytes(format, cols));
    }
    return result;
  };
  shared = activation_rows(std::max(n, options.logit_rows_max), widest, formats);
  for (int worker = 0; worker < threads; ++worker) {
    own.push_back(activation_rows(kPrivateTokens, widest, formats));
    normed.push_back(cut.floats(widest));
  }
  const int64_t group = network.heads / network.kv_heads;
  attend_rows = std::clamp<int64_t>(kAttendRows / group, 1, n) * group;
  attend_slot_count = (network.sees_later ? kAttendSlotsOfTexts : kAttendSlots) * threads + 1;
  attend_slots =
      cut.floats(attend_slot_count * attend_rows * (attend_columns_of(network.head_size) + 2));
  if (network.experts == 0) return cut.used();
  const ExpertNeeds needs = expert_needs(kernels, network);
  const int64_t slot_count = n * network.experts_used;
  const auto ints = [&](int64_t count) { return reinterpret_cast<int32_t*>(cut.floats(count)); };
  routes = {.logits = cut.floats(n * network.experts),
            .shared_logits = cut.floats(n),
            .ids = ints(slot_count),
            .weights = cut.floats(slot_count),
            .ends = ints(network.experts),
            .tokens = ints(slot_count),
            .slot_weights = cut.floats(slot_count)};
  slots = activation_rows(slot_count, needs.inner, needs.slot);
  for (int worker = 0; worker < threads; ++worker) {
    own_slots.push_back(
        activation_rows(kPrivateTokens * network.experts_used, needs.inner, needs.slot));
    gathered.push_back(activation_rows(n, network.width, needs.token));
    expert_out.push_back(cut.floats(n * kExpertRows));
  }
  return cut.used();
}

Bytes Workspace::bytes(const Network& network, const Kernels& kernels, int threads,
                       const EngineOptions& options) {
  Workspace probe;
  return Bytes{probe.lay_out(network, kernels, threads, options, nullptr)};
}

Result<std::unique_ptr<Workspace>> Workspace::make(const Network& network, const Kernels& kernels,
                                                   int threads, const EngineOptions& options,
                                                   Budget& budget) {
  const Bytes size = bytes(network, kernels, threads, options);
  Result<Charge> charge = budget.reserve(Tag::kActivations, size);
  if (!charge) return charge.error();
  void* base = ::mmap(nullptr, static_cast<size_t>(size.count), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) {
    return Error{
        Code::kOverBudget,
        fmt::format("the system refused {} for activations: {}", to_text(size), error_text(errno)),
        Shortfall{.wanted = size.count, .available = 0}};
  }
  std::unique_ptr<Workspace> workspace(new Workspace);
  workspace->base_ = static_cast<std::byte*>(base);
  workspace->size_ = size.count;
  workspace->charge_ = std::move(*charge);
  const int64_t used = workspace->lay_out(network, kernels, threads, options, workspace->base_);
  CHECK(used == size.count);
  return workspace;
}

Workspace::~Workspace() {
  if (base_) ::munmap(base_, static_cast<size_t>(size_));
}

}  // namespace ration
