#include "model/tokenizer/special.h"

#include <algorithm>

namespace ration {

namespace {

// More overlapping candidates than this, and they are no longer listed.
constexpr size_t kCandidatesMax = size_t{1} << 16;

bool is_ascii_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

}  // namespace

SpecialMatcher::SpecialMatcher(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {
  constexpr uint8_t kSpecial = kTokenControl | kTokenUserDefined | kTokenUnknown;
  for (Token token = 0; token < vocabulary.size(); ++token) {
    if (!vocabulary.is(token, kSpecial) && !vocabulary.is_template_only(token)) continue;
    by_rank_.push_back(token);
    strips_ = strips_ || vocabulary.is(token, kTokenStripLeft | kTokenStripRight);
  }
  std::sort(by_rank_.begin(), by_rank_.end(), [&](Token a, Token b) {
    const size_t a_size = vocabulary.text(a).size();
    const size_t b_size = vocabulary.text(b).size();
    return a_size != b_size ? a_size > b_size : a < b;
  });
  by_rank_.shrink_to_fit();
  by_text_.reserve(by_rank_.size());
  for (uint32_t rank = 0; rank < by_rank_.size(); ++rank) {
    const Token token = by_rank_[rank];
    by_text_.push_back({token, rank});
    const std::string_view text = vocabulary.text(token);
    const auto first = static_cast<unsigned char>(text[0]);
    const unsigned low = text.size() > 1 ? static_cast<unsigned char>(text[1]) : 0;
    const unsigned high = text.size() > 1 ? low : 255;
    for (unsigned second = low; second <= high; ++second) {
      const unsigned pair = first * 256u + second;
      starts_[pair / 64] |= uint64_t{1} << (pair % 64);
    }
  }
  std::sort(by_text_.begin(), by_text_.end(), [&](const Entry& a, const Entry& b) {
    return vocabulary.text(a.token) < vocabulary.text(b.token);
  });
}

// The work on one text. Candidates that overlap one another are settled together, in clusters.
class SpecialMatcher::Splitter {
 public:
  Splitter(const SpecialMatcher& matcher, std::string_view text, bool parse_special)
      : matcher_(matcher), text_(text), parse_special_(parse_special) {}

  void run() {
    for (size_t at = 0; at < text_.size(); ++at) {
      if (!matcher_.may_start(text_, at)) continue;
      // What a token strips may reach into the next cluster: then the whole text is one.
      if (at >= cluster_end_ && !matcher_.strips_) settle();
      list_candidates(at);
      if (candidates_.size() > kCandidatesMax) {
        settle_unlisted();
        return;
      }
    }
    settle();
  }

  // base: what offset 0 of the text is called in the result.
  void emit(uint32_t base, std::vector<Fragment>& out) {
    std::sort(accepted_.begin(), accepted_.end(),
              [](const Fragment& a, const Fragment& b) { return a.begin < b.begin; });
    uint32_t at = 0;
    const auto put_text = [&](uint32_t end) {
      if (end > at) out.push_back({kNoToken, base + at, base + end});
    };
    for (const Fragment& found : accepted_) {
      put_text(found.begin);
      out.push_back({found.token, base + found.begin, base + found.end});
      at = found.end;
    }
    put_text(static_cast<uint32_t>(text_.size()));
  }

 private:
  struct Candidate {
    uint32_t rank;
    uint32_t begin;
    uint32_t length;
  };

  bool wanted(Token token) const { return parse_special_ || matcher_.always_parsed(token); }

  void list_candidates(size_t at) {
    const Vocabulary& vocabulary = matcher_.vocabulary_;
    auto low = matcher_.by_text_.begin();
    auto high = matcher_.by_text_.end();
    for (size_t depth = 0; low != high && at + depth < text_.size(); ++depth) {
      const auto wanted_byte = static_cast<unsigned char>(text_[at + depth]);
      const auto byte = [&](const Entry& entry) {
        const std::string_view text = vocabulary.text(entry.token);
        return depth < text.size() ? static_cast<int>(static_cast<unsigned char>(text[depth])) : -1;
      };
      low = std::partition_point(low, high, [&](const Entry& e) { return byte(e) < wanted_byte; });
      high =
          std::partition_point(low, high, [&](const Entry& e) { return byte(e) <= wanted_byte; });
      if (low == high || vocabulary.text(low->token).size() != depth + 1) continue;
      if (!wanted(low->token)) continue;
      if (candidates_.empty()) cluster_begin_ = at;
      const auto length = static_cast<uint32_t>(depth + 1);
      candidates_.push_back({low->rank, static_cast<uint32_t>(at), length});
      cluster_end_ = std::max(cluster_end_, at + length);
    }
  }

  void settle() {
    if (candidates_.empty()) return;
    if (matcher_.strips_) cluster_begin_ = 0, cluster_end_ = text_.size();
    taken_.assign(cluster_end_ - cluster_begin_, false);
    // The usual cases: a token alone, or one that covers all others (a run of spaces).
    const auto best = std::min_element(candidates_.begin(), candidates_.end(), before);
    if (best->length == taken_.size()) {
      accept(matcher_.by_rank_[best->rank], best->begin, best->length);
    } else {
      std::sort(candidates_.begin(), candidates_.end(), before);
      for (const Candidate& c : candidates_) {
        if (is_free(c.begin, c.length)) accept(matcher_.by_rank_[c.rank], c.begin, c.length);
      }
    }
    candidates_.clear();
  }

  // The same result without a list: token by token through the rest of the text.
  void settle_unlisted() {
    if (matcher_.strips_) cluster_begin_ = 0;
    cluster_end_ = text_.size();
    taken_.assign(cluster_end_ - cluster_begin_, false);
    for (const Token token : matcher_.by_rank_) {
      if (!wanted(token)) continue;
      const std::string_view wanted_text = matcher_.vocabulary_.text(token);
      size_t at = cluster_begin_;
      while ((at = text_.find(wanted_text, at)) != std::string_view::npos) {
        const auto length = static_cast<uint32_t>(wanted_text.size());
        if (is_free(at, length)) accept(token, at, length);
        for (++at; at < text_.size() && taken_[at - cluster_begin_];) ++at;
      }
    }
    candidates_.clear();
  }

  static bool before(const Candidate& a, const Candidate& b) {
    return a.rank != b.rank ? a.rank < b.rank : a.begin < b.begin;
  }

  // Everything accepted so far is at least as long: an overlap covers one of the two ends.
  bool is_free(size_t begin, uint32_t length) const {
    return !taken_[begin - cluster_begin_] && !taken_[begin + length - 1 - cluster_begin_];
  }

  void accept(Token token, size_t begin, uint32_t length) {
    size_t end = begin + length;
    const Vocabulary& vocabulary = matcher_.vocabulary_;
    const auto strippable = [&](size_t at) {
      return !taken_[at - cluster_begin_] && is_ascii_space(text_[at]);
    };
    if (vocabulary.is(token, kTokenStripLeft)) {
      while (begin > cluster_begin_ && strippable(begin - 1)) --begin;
    }
    if (vocabulary.is(token, kTokenStripRight)) {
      while (end < cluster_end_ && strippable(end)) ++end;
    }
    for (size_t at = begin; at < end; ++at) taken_[at - cluster_begin_] = true;
    accepted_.push_back({token, static_cast<uint32_t>(begin), static_cast<uint32_t>(end)});
  }

  const SpecialMatcher& matcher_;
  std::string_view text_;
  bool parse_special_;
  std::vector<Candidate> candidates_;
  size_t cluster_begin_ = 0;
  size_t cluster_end_ = 0;
  std::vector<bool> taken_;  // bytes of the cluster that an accepted token covers or strips
  std::vector<Fragment> accepted_;
};

void SpecialMatcher::split(std::string_view text, uint32_t begin, uint32_t end, bool parse_special,
                           std::vector<Fragment>& out) const {
  if (by_rank_.empty()) {
    if (end > begin) out.push_back({kNoToken, begin, end});
    return;
  }
  Splitter splitter(*this, text.substr(begin, end - begin), parse_special);
  splitter.run();
  splitter.emit(begin, out);
}

}  // namespace ration
