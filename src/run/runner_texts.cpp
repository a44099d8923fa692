// Texts whose vectors are wanted: they take turns with the answers that are being written.
#include "run/runner_texts.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace ration {

Result<RequestId> Runner::submit_texts(Request request, Listener& listener) {
  auto job = std::make_unique<TextsJob>(TextsJob{.id = next_id_++,
                                                 .listener = listener,
                                                 .deadline = request.deadline,
                                                 .load = request.load,
                                                 .first = next_text_,
                                                 .left = request.texts.size(),
                                                 .submitted_ns = clock_.now_ns()});
  job->vectors.resize(job->left);
  if (waiting_.empty() && active() == 0) budget_.reset_peaks();
  for (std::vector<Token>& text : request.texts) {
    job->tokens += std::ssize(text);
    const Status added = embedder_.add(next_text_++, std::move(text));
    if (added) continue;
    for (uint64_t id = job->first; id < next_text_; ++id) embedder_.drop(id);
    return added.error();
  }
  attributor_.begin(job->id);
  jobs_.push_back(std::move(job));
  return jobs_.back()->id;
}

Runner::TextsJob* Runner::job_of(uint64_t text) {
  for (const auto& job : jobs_) {
    if (text >= job->first && text - job->first < job->vectors.size()) return job.get();
  }
  return nullptr;
}

// A step for them. While answers are being written it is no longer than these may wait.
bool Runner::read_texts() {
  if (jobs_.empty()) return false;
  const bool alone = active_.empty();
  int64_t tokens = 0;
  if (const double each = scheduler_.times().least_read_token().count; !alone) {
    constexpr double kLeast = 16;
    const double most = each > 0 ? options_.inter_token.count / each : kLeast;
    tokens = static_cast<int64_t>(std::max(kLeast, most));
  }
  const double cpu_before = process_cpu_seconds();
  const int64_t start_ns = clock_.now_ns();
  std::vector<Embedder::Done> done;
  const Embedder::Outcome outcome = embedder_.step(done, tokens);
  if (outcome == Embedder::Outcome::kFull) {
    if (!alone) return false;  // answers end, and free the cache
    embedder_.fail_first(done);
  }
  account_texts(start_ns, process_cpu_seconds() - cpu_before);
  for (Embedder::Done& one : done) {
    TextsJob* job = job_of(one.id);
    if (!job || job->done) continue;
    if (!one.vector) {
      finish_texts(*job, FinishReason::kFailed, "failed", one.vector.error());
      continue;
    }
    job->vectors[one.id - job->first] = *std::move(one.vector);
    if (--job->left == 0) finish_texts(*job, FinishReason::kStop, "end");
  }
  return true;
}

void Runner::account_texts(int64_t start_ns, double cpu_seconds) {
  std::vector<RequestWork> work;
  for (const Embedder::Part& part : embedder_.last_step()) {
    TextsJob* job = job_of(part.id);
    if (!job) continue;
    if (!job->started_ns) job->started_ns = start_ns;
    const auto same = std::ranges::find(work, job->id, &RequestWork::request);
    if (same != work.end()) {
      same->tokens += part.tokens;
    } else {
      work.push_back({.request = job->id, .tokens = part.tokens});
    }
  }
  if (work.empty()) return;
  attributor_.step(
      {.cpu_seconds = cpu_seconds, .shared_bytes = engine_.last_weight_bytes(), .requests = work});
}

void Runner::drop_ended_texts() {
  for (size_t i = 0; i < jobs_.size(); ++i) {
    TextsJob& job = *jobs_[i];
    if (job.done) continue;
    if (job.cancelled) {
      finish_texts(job, FinishReason::kCancelled, "cancelled");
    } else if (job.deadline && clock_.since(job.submitted_ns) >= *job.deadline) {
      finish_texts(job, FinishReason::kFailed, "deadline",
                   Error{Code::kDeadline,
                         fmt::format("the deadline of {:.0f} ms passed before all texts were read",
                                     job.deadline->count)});
    }
  }
  std::erase_if(jobs_, [](const auto& job) { return job->done; });
}

void Runner::finish_texts(TextsJob& job, FinishReason reason, std::string_view cause,
                          std::optional<Error> error) {
  job.done = true;
  for (size_t i = 0; job.left > 0 && i < job.vectors.size(); ++i) embedder_.drop(job.first + i);
  const int64_t now_ns = clock_.now_ns();
  const int64_t started_ns = job.started_ns.value_or(now_ns);
  Finish result{.reason = reason, .bill = {}, .error = std::move(error)};
  result.bill.prompt_tokens = job.tokens;
  result.bill.queue = to_millis(started_ns - job.submitted_ns);
  result.bill.load = job.load;
  result.bill.prefill = to_millis(now_ns - started_ns);
  result.bill.energy = attributor_.end(job.id);
  result.bill.stop_cause = cause;
  set_peaks(result.bill, budget_.report());
  if (reason == FinishReason::kStop) result.vectors = std::move(job.vectors);
  job.listener.on_finish("", result);
}

}  // namespace ration
