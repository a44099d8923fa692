#include "serve/answer.h"

#include <algorithm>

namespace ration {

void AnswerChoice::add(const AnswerPart& part) {
  switch (part.kind) {
    case AnswerPart::Kind::kText:
      text += part.text;
      return;
    case AnswerPart::Kind::kReasoning:
      reasoning += part.text;
      return;
    case AnswerPart::Kind::kCall:
      calls.push_back({.id = part.id, .name = part.text, .arguments = {}});
      return;
    case AnswerPart::Kind::kArguments:
      calls.back().arguments += part.text;
      return;
  }
}

void add_bill(Bill& sum, const Bill& bill) {
  sum.prompt_tokens += bill.prompt_tokens;
  sum.cached_tokens += bill.cached_tokens;
  sum.generated_tokens += bill.generated_tokens;
  if (bill.drafts) {
    DraftCount drafts = sum.drafts.value_or(DraftCount{});
    drafts.drafted += bill.drafts->drafted;
    drafts.accepted += bill.drafts->accepted;
    sum.drafts = drafts;
  }
  sum.queue = std::max(sum.queue, bill.queue);
  sum.load = std::max(sum.load, bill.load);
  sum.prefill = std::max(sum.prefill, bill.prefill);
  sum.decode = std::max(sum.decode, bill.decode);
  for (size_t i = 0; i < kTagCount; ++i) {
    sum.peak_by_tag[i] = std::max(sum.peak_by_tag[i], bill.peak_by_tag[i]);
  }
  sum.peak = std::max(sum.peak, bill.peak);
  if (sum.energy.joules && bill.energy.joules) {
    sum.energy.joules->low += bill.energy.joules->low;
    sum.energy.joules->best += bill.energy.joules->best;
    sum.energy.joules->high += bill.energy.joules->high;
  } else {
    sum.energy.joules.reset();  // a part of it is unknown
  }
  sum.energy.method = std::min(sum.energy.method, bill.energy.method);
  sum.energy.coverage = std::min(sum.energy.coverage, bill.energy.coverage);
  sum.energy.concurrency = std::max(sum.energy.concurrency, bill.energy.concurrency);
  sum.network += bill.network;
}

}  // namespace ration
