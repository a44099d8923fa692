#include "run/prefix_cache.h"

#include <algorithm>
#include <utility>

#include "run/kv.h"
#include "run/prefix_store.h"

namespace ration {
PrefixCache::PrefixCache(Engine& engine, Budget& budget, Bytes bytes_max, PrefixStore* store)
    : engine_(engine), budget_(budget), bytes_max_(bytes_max), store_(store) {}

PrefixCache::~PrefixCache() {
  if (store_) store_->wait();  // it holds blocks of the engine
}

std::unique_ptr<Sequence> PrefixCache::find(const PrefixQuery& query,
                                            std::span<const PrefixSource> running) {
  if (std::unique_ptr<Sequence> read = read_from_store(query, running)) return read;
  int64_t best = 0;
  const Sequence* from = nullptr;
  const auto offer = [&](const PrefixSource& source) {
    const int64_t length = reusable_length(query, source.known());
    if (length == 0 || length < best) return false;
    const int64_t prompt = std::min(length, source.sequence->prompt_length());
    if (length == best && prompt < std::min(best, from->prompt_length())) return false;
    best = length;
    from = source.sequence;
    return true;
  };
  auto used = kept_.end();
  for (auto text = kept_.begin(); text != kept_.end(); ++text) {
    if (offer(text->source())) used = text;
  }
  for (const PrefixSource& source : running) {
    if (offer(source)) used = kept_.end();
  }
  if (!from) return nullptr;
  Result<std::unique_ptr<Sequence>> fork = engine_.fork(*from, best);
  CHECK(fork, fork ? "" : fork.error().message);
  if (used != kept_.end()) std::rotate(used, used + 1, kept_.end());
  return std::move(*fork);
}

// What memory lacks, in place of texts that were not used for longest.
std::unique_ptr<Sequence> PrefixCache::read_from_store(const PrefixQuery& query,
                                                       std::span<const PrefixSource> running) {
  if (!store_) return nullptr;
  const std::optional<PrefixStore::Match> match = store_->find(query, longest(query, running));
  if (!match) return nullptr;
  while (engine_.kv_blocks_free() < match->blocks && shrink()) {
  }
  if (engine_.kv_blocks_free() < match->blocks) return nullptr;
  return store_->read(engine_, *match);
}

int64_t PrefixCache::longest(const PrefixQuery& query,
                             std::span<const PrefixSource> running) const {
  int64_t length = 0;
  for (const Text& text : kept_)
    length = std::max(length, reusable_length(query, text.source().known()));
  for (const PrefixSource& source : running) {
    length = std::max(length, reusable_length(query, source.known()));
  }
  return length;
}

void PrefixCache::keep(std::unique_ptr<Sequence> sequence, std::span<const Token> tokens,
                       std::string_view owner) {
  if (!sequence || sequence->length() == 0 || bytes_max_ == Bytes{0}) return;
  tokens = tokens.first(static_cast<size_t>(sequence->length()));
  const KnownText added = PrefixSource{tokens, sequence.get(), owner}.known();
  for (auto text = kept_.begin(); text != kept_.end(); ++text) {
    if (!covers(text->source().known(), added)) continue;
    std::rotate(text, text + 1, kept_.end());
    return;
  }
  std::erase_if(kept_, [&](const Text& text) { return covers(added, text.source().known()); });
  const auto bytes = Bytes{static_cast<int64_t>(tokens.size_bytes())};
  Result<Charge> charge = budget_.reserve(Tag::kPrefix, bytes);
  if (!charge) return;
  if (store_) store_->keep(engine_, *sequence, tokens, owner);
  sequence->set_kept();
  kept_.push_back({.sequence = std::move(sequence),
                   .tokens = {tokens.begin(), tokens.end()},
                   .owner = std::string(owner),
                   .charge = std::move(*charge)});
  while (engine_.kv_bytes_spare() > bytes_max_ && shrink()) {
  }
}

// A text loses its end first: others may share its beginning.
bool PrefixCache::shrink() {
  if (store_) store_->settle();
  const Bytes used = engine_.kv_bytes_used();
  for (auto text = kept_.begin(); text != kept_.end();) {
    if (!text->sequence->end_is_spare()) {
      ++text;  // somebody writes it: nothing would be won
      continue;
    }
    const int64_t shorter = (text->sequence->length() - 1) / kKvBlockTokens * kKvBlockTokens;
    if (shorter > 0 && shorter >= text->sequence->length_min()) {
      text->sequence->truncate(shorter);
    } else {
      text = kept_.erase(text);
    }
    if (engine_.kv_bytes_used() < used) return true;
  }
  return false;
}

}  // namespace ration
