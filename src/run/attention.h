// run/attention.h - attention of one batch over the paged cache, dealt to the pool's threads.
//
// Source    Dao et al. 2023, "Flash-Decoding for long-context inference" (segments of the context
//           in parallel, joined by their running maxima and sums).
// Computes  per segment s of positions: o_s, m_s, l_s (tensor/kernels.h, attend); joined in order:
//           m = max(m, m_s); o = e^(m' - m) o + e^(m_s - m) o_s; l the same way. A segment has 128
//           positions a kv head, at most kAttendSegment: four pieces of work at the least
// Departs   segments begin at fixed positions and are joined first to last, whoever computed them:
//           results are bit-identical for every batch, chunk and thread count
// Costs     a segment of keys and values is read once for all query heads of its kv head and up to
//           64 rows of a sequence's tokens; a few results a thread in memory, whatever the context
// Proved    test/run/attention_test.cpp
// Private to run/.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "run/forward.h"

namespace ration {

class Attention {
 public:
  // Borrows both. The batch: tokens of a sequence stand side by side in rising positions.
  Attention(const ForwardContext& context, std::span<const BatchToken> batch);

  // workspace.query -> workspace.attended, for a layer whose keys and values are in the cache.
  void run(const AttentionStage& stage, int64_t layer);

 private:
  // Tokens [first, first + count) of one sequence, attended together.
  struct Group {
    int64_t first;
    int64_t count;
    int64_t seen_end;  // one past the last position that any of them sees
  };
  // A segment that the rows of one group and one kv head see.
  struct Piece {
    Group group;
    int64_t kv_head;
    int64_t begin;  // positions
    int64_t end;
    bool is_first;  // of its rows' segments
    bool is_last;
    bool is_done = false;
  };

  int64_t position(int64_t token) const { return batch_[static_cast<size_t>(token)].position; }
  void find_seen();
  void add_pieces(const AttentionStage& stage, int64_t layer, const Group& group, int64_t kv_head);
  void flush(const AttentionStage& stage, int64_t layer);
  void attend(const AttentionStage& stage, int64_t layer, int64_t slot);
  void join(Share slots);
  void finish(const Piece& piece, int64_t slot);

  const ForwardContext& context_;
  const std::span<const BatchToken> batch_;
  const int64_t heads_;  // query heads a kv head
  const int64_t columns_;
  const int64_t segment_;  // positions; of the network, not of the threads
  std::vector<Group> groups_;
  std::vector<Piece> pieces_;  // of this round; the result of each is in the slot of its number
  std::vector<Share> chains_;  // slots of one row of segments
};

}  // namespace ration
