#include "run/attention.h"

#include <algorithm>
#include <cmath>
#include <iterator>

namespace ration {
namespace {

// What attend() leaves of one segment: rows of sums, their maxima and totals.
struct Partial {
  float* out;      // [rows, columns]
  float* largest;  // [rows]
  float* total;    // [rows]
};

// Four pieces of work for each kAttendSegment positions of a token.
int64_t segment_of(const Network& network) {
  constexpr int64_t kPieces = 4;
  return std::max(kAttendSegment / kPieces,
                  std::min(kAttendSegment, kAttendSegment / kPieces * network.kv_heads));
}

Partial partial_at(const Workspace& space, int64_t slot, int64_t columns) {
  float* base = space.attend_slots + slot * space.attend_rows * (columns + 2);
  float* largest = base + space.attend_rows * columns;
  return {base, largest, largest + space.attend_rows};
}

// a = a joined with b, the segment after it.
void join_row(const Partial& a, const Partial& b, int64_t row, int64_t columns) {
  if (b.total[row] == 0) return;
  float* out = a.out + row * columns;
  const float* next = b.out + row * columns;
  if (a.total[row] == 0) {
    std::copy_n(next, columns, out);
    a.largest[row] = b.largest[row];
    a.total[row] = b.total[row];
    return;
  }
  const float largest = std::max(a.largest[row], b.largest[row]);
  const float keep = std::exp(a.largest[row] - largest);
  const float take = std::exp(b.largest[row] - largest);
  for (int64_t c = 0; c < columns; ++c) out[c] = keep * out[c] + take * next[c];
  a.total[row] = keep * a.total[row] + take * b.total[row];
  a.largest[row] = largest;
}

}  // namespace

Attention::Attention(const ForwardContext& context, std::span<const BatchToken> batch)
    : context_(context),
      batch_(batch),
      heads_(context.network.heads / context.network.kv_heads),
      columns_(attend_columns_of(context.network.head_size)),
      segment_(segment_of(context.network)) {
  const int64_t together = context.workspace.attend_rows / heads_;
  const auto tokens = static_cast<int64_t>(batch.size());
  for (int64_t t = 0; t < tokens; ++t) {
    const bool joins =
        !groups_.empty() && groups_.back().count < together &&
        batch[static_cast<size_t>(t)].tables == batch[static_cast<size_t>(t) - 1].tables;
    if (joins) {
      ++groups_.back().count;
    } else {
      groups_.push_back({t, 1, 0});
    }
  }
  find_seen();
  pieces_.reserve(static_cast<size_t>(context.workspace.attend_slot_count));
}

// The last token of a group sees most; of an encoder, the last of its text is seen.
void Attention::find_seen() {
  for (auto group = groups_.rbegin(); group != groups_.rend(); ++group) {
    const int64_t last = group->first + group->count - 1;
    const bool continues =
        context_.network.sees_later && group != groups_.rbegin() &&
        batch_[static_cast<size_t>(last)].tables == batch_[static_cast<size_t>(last) + 1].tables;
    group->seen_end = continues ? std::prev(group)->seen_end : position(last) + 1;
  }
}

void Attention::run(const AttentionStage& stage, int64_t layer) {
  for (const Group& group : groups_) {
    for (int64_t kv_head = 0; kv_head < context_.network.kv_heads; ++kv_head) {
      add_pieces(stage, layer, group, kv_head);
    }
  }
  flush(stage, layer);
  CHECK(pieces_.empty());
}

// The segments that these rows see, first to last; a full round is worked off.
void Attention::add_pieces(const AttentionStage& stage, int64_t layer, const Group& group,
                           int64_t kv_head) {
  const int64_t seen_end = group.seen_end;
  const int64_t before = position(group.first) + 1 - stage.window;
  int64_t begin =
      stage.window > 0 && before > 0 ? before / kKvBlockTokens * kKvBlockTokens : int64_t{0};
  for (bool is_first = true; begin < seen_end; is_first = false) {
    if (static_cast<int64_t>(pieces_.size()) == context_.workspace.attend_slot_count) {
      flush(stage, layer);
    }
    const int64_t end = std::min((begin / segment_ + 1) * segment_, seen_end);
    pieces_.push_back({.group = group,
                       .kv_head = kv_head,
                       .begin = begin,
                       .end = end,
                       .is_first = is_first,
                       .is_last = end == seen_end});
    begin = end;
  }
}

// Computes and joins the pieces. Rows whose last segment is not among them leave one piece behind,
// whose result is in slot 0.
void Attention::flush(const AttentionStage& stage, int64_t layer) {
  const int threads = context_.pool.threads();
  const auto count = static_cast<int64_t>(pieces_.size());
  Dealer dealer(count, threads, 1, 1);
  context_.pool.run([&](int worker) {
    dealer.work(worker, [&](Share share) {
      for (int64_t slot = share.begin; slot < share.end; ++slot) attend(stage, layer, slot);
    });
  });
  chains_.clear();
  for (int64_t i = 0; i < count; ++i) {
    const Piece& piece = pieces_[static_cast<size_t>(i)];
    if (piece.is_first && piece.is_last) continue;
    if (i == 0 || piece.is_first) chains_.push_back({i, i});
    ++chains_.back().end;
  }
  if (chains_.empty()) return pieces_.clear();
  context_.pool.run([&](int worker) {
    const Share share = share_of(static_cast<int64_t>(chains_.size()), worker, threads);
    for (int64_t i = share.begin; i < share.end; ++i) join(chains_[static_cast<size_t>(i)]);
  });
  const Piece last = pieces_.back();
  pieces_.clear();
  if (last.is_last) return;
  const Partial from = partial_at(context_.workspace, chains_.back().begin, columns_);
  const Partial to = partial_at(context_.workspace, 0, columns_);
  if (from.out != to.out) {
    std::copy_n(from.out, context_.workspace.attend_rows * (columns_ + 2), to.out);
  }
  pieces_.push_back(last);
  pieces_.back().is_done = true;
}

void Attention::attend(const AttentionStage& stage, int64_t layer, int64_t slot) {
  const Piece& piece = pieces_[static_cast<size_t>(slot)];
  if (piece.is_done) return;
  const Network& network = context_.network;
  const KvPlace place = context_.kv.places[static_cast<size_t>(layer)];
  const KvShape& shape = context_.kv.groups[place.group].shape;
  const int64_t stride = network.heads * network.head_size;
  const Partial partial = partial_at(context_.workspace, slot, columns_);
  context_.kernels.attend(
      {.query = context_.workspace.query + piece.group.first * stride +
                piece.kv_head * heads_ * network.head_size,
       .query_stride = stride,
       .tokens = piece.group.count,
       .heads = heads_,
       .head_size = network.head_size,
       .type = shape.type,
       .blocks = batch_[static_cast<size_t>(piece.group.first)].tables[place.group],
       .key_offset = shape.key_offset(place.layer, piece.kv_head),
       .value_offset = shape.value_offset(place.layer, piece.kv_head),
       .position = position(piece.group.first),
       .window = stage.window,
       .sees_later = network.sees_later,
       .begin = piece.begin,
       .end = piece.end,
       .scale = stage.scale,
       .softcap = stage.softcap,
       .out = partial.out,
       .largest = partial.largest,
       .total = partial.total});
  if (piece.is_first && piece.is_last) finish(piece, slot);
}

// Joins the slots of one row of segments into its first slot.
void Attention::join(Share slots) {
  const Piece& last = pieces_[static_cast<size_t>(slots.end - 1)];
  const Partial sum = partial_at(context_.workspace, slots.begin, columns_);
  for (int64_t slot = slots.begin + 1; slot < slots.end; ++slot) {
    const Partial next = partial_at(context_.workspace, slot, columns_);
    for (int64_t row = 0; row < last.group.count * heads_; ++row) {
      join_row(sum, next, row, columns_);
    }
  }
  if (last.is_last) finish(last, slots.begin);
}

// attended = out / total
void Attention::finish(const Piece& piece, int64_t slot) {
  const Network& network = context_.network;
  const int64_t size = network.head_size;
  const Partial partial = partial_at(context_.workspace, slot, columns_);
  for (int64_t row = 0; row < piece.group.count * heads_; ++row) {
    const int64_t token = piece.group.first + row / heads_;
    const int64_t head = piece.kv_head * heads_ + row % heads_;
    float* attended = context_.workspace.attended + (token * network.heads + head) * size;
    const float inverse = 1 / partial.total[row];
    for (int64_t i = 0; i < size; ++i) attended[i] = partial.out[row * columns_ + i] * inverse;
    if (turns_heads(context_.kv.groups.front().shape)) turn_head(attended, size);
  }
}

}  // namespace ration
