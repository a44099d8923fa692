#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <thread>

#include "base/text.h"
#include "model/store/reporter.h"
#include "model/store/store.h"

namespace ration {
namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kCallEveryNs = kSecond / 20;
constexpr int64_t kWindowNs = 8 * kSecond;  // speed is an average over this
constexpr int64_t kSampleEveryNs = kSecond / 4;
constexpr Millis kPlainLineEvery{30'000};

std::string duration_text(Millis span) {
  const auto seconds = static_cast<int64_t>(std::ceil(span.count / 1000));
  if (seconds < 60) return fmt::format("{} s", seconds);
  if (seconds < 3600) return fmt::format("{} min {} s", seconds / 60, seconds % 60);
  return fmt::format("{} h {} min", seconds / 3600, seconds / 60 % 60);
}

// "44.1 of 98.4 MB (45%), 12.3 MB/s, 5 s left"
std::string amount_text(const PullProgress& progress) {
  std::string text = to_text(progress.done);
  if (progress.total.count > 0) {
    text += fmt::format(" of {} ({}%)", to_text(progress.total),
                        progress.done.count * 100 / progress.total.count);
  }
  if (progress.bytes_per_second >= 1) {
    text += fmt::format(", {}/s", to_text(Bytes{static_cast<int64_t>(progress.bytes_per_second)}));
  }
  if (progress.left.count >= 0) text += fmt::format(", {} left", duration_text(progress.left));
  return text;
}

std::string line_text(const PullProgress& progress) {
  using Stage = PullProgress::Stage;
  const std::string note = progress.note.empty() ? "" : ": " + progress.note;
  switch (progress.stage) {
    case Stage::kWaiting:
      return fmt::format("{}: waiting{}", progress.name, note);
    case Stage::kChecking:
      return fmt::format("{}: checking {}{}", progress.name, amount_text(progress), note);
    case Stage::kConnecting:
      return fmt::format("{}: connecting{}", progress.name, note);
    case Stage::kDownloading:
      return fmt::format("{}: {}{}", progress.name, amount_text(progress), note);
    case Stage::kPacking:
      return fmt::format("{}: packing {}{}", progress.name, amount_text(progress), note);
    case Stage::kRetrying:
      return fmt::format("{}: trying again{}", progress.name, note);
    case Stage::kDone: {
      const double seconds = std::max(progress.elapsed.count / 1000, 1e-3);
      return fmt::format(
          "{}: {} in {}{}", progress.name, to_text(progress.done),
          seconds < 10 ? fmt::format("{:.1f} s", seconds) : duration_text(progress.elapsed), note);
    }
  }
  return progress.name;
}

// At most `columns` code points, and nothing that moves the cursor.
std::string fit(std::string_view text, int columns) {
  std::string out;
  for (int used = 0; !text.empty() && used < columns; ++used) {
    const CodePoint point = read_code_point(text);
    if (point.value < 0x20 || point.value == 0x7f) {
      out += '?';
    } else {
      append_code_point(out, point.value);
    }
    text.remove_prefix(static_cast<size_t>(point.length));
  }
  return out;
}

}  // namespace

Reporter::Reporter(const Clock& clock, const ProgressSink& sink, std::string name)
    : clock_(clock), sink_(sink), start_ns_(clock.now_ns()) {
  progress_.name = std::move(name);
}

void Reporter::measure_speed(int64_t now_ns, PullProgress::Stage stage) {
  if (stage != progress_.stage || (!samples_.empty() && progress_.done < samples_.back().done)) {
    samples_.clear();
  }
  if (samples_.empty() || now_ns - samples_.back().at_ns >= kSampleEveryNs) {
    samples_.push_back({now_ns, progress_.done});
  }
  while (samples_.size() > 2 && now_ns - samples_.front().at_ns > kWindowNs) samples_.pop_front();
  const double seconds = static_cast<double>(now_ns - samples_.front().at_ns) * 1e-9;
  const auto bytes = static_cast<double>((progress_.done - samples_.front().done).count);
  progress_.bytes_per_second = seconds > 0.2 ? bytes / seconds : 0;
  progress_.left = Millis{-1};
  if (progress_.total.count >= 0 && progress_.bytes_per_second >= 1) {
    const int64_t rest = std::max<int64_t>(0, (progress_.total - progress_.done).count);
    progress_.left = Millis{static_cast<double>(rest) / progress_.bytes_per_second * 1000};
  }
}

bool Reporter::report(PullProgress::Stage stage, Bytes done, std::string_view note) {
  const int64_t now_ns = clock_.now_ns();
  const bool news = !called_ || stage != progress_.stage || note != progress_.note;
  if (stopped_ || !(news || now_ns - last_call_ns_ >= kCallEveryNs)) return !stopped_;
  progress_.done = base_ + done;
  measure_speed(now_ns, stage);
  progress_.stage = stage;
  progress_.note = note;
  progress_.elapsed = clock_.since(start_ns_);
  called_ = true;
  last_call_ns_ = now_ns;
  if (sink_ && !sink_(progress_)) stopped_ = true;
  return !stopped_;
}

bool Reporter::wait(Millis span, Bytes done, std::string_view why) {
  const int64_t start_ns = clock_.now_ns();
  while (clock_.since(start_ns) < span) {
    if (!report(PullProgress::Stage::kRetrying, done, why)) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return true;
}

ProgressLine::ProgressLine(const Options& options, std::function<void(std::string_view)> write)
    : options_(options), write_(std::move(write)) {}

void ProgressLine::update(const PullProgress& progress) {
  const std::string text = line_text(progress);
  const bool new_stage = !started_ || progress.stage != last_stage_;
  const int64_t tenth =
      progress.total.count > 0 ? progress.done.count * 10 / progress.total.count : -1;
  started_ = true;
  last_stage_ = progress.stage;
  if (options_.terminal) {
    const std::string line = fit(text, options_.columns - 1);
    if (line == last_line_) return;
    last_line_ = line;
    write_("\r" + line + "\x1b[K");
    open_line_ = true;
    if (progress.stage == PullProgress::Stage::kDone) finish();
    return;
  }
  const bool late = progress.elapsed - last_written_ >= kPlainLineEvery;
  if (!new_stage && tenth <= last_tenth_ && !late) return;
  last_tenth_ = new_stage ? tenth : std::max(tenth, last_tenth_);
  last_written_ = progress.elapsed;
  write_(fit(text, 500) + "\n");
}

void ProgressLine::finish() {
  if (open_line_) write_("\n");
  open_line_ = false;
}

ProgressSink ProgressLine::sink(const std::atomic<bool>* cancelled) {
  return [this, cancelled](const PullProgress& progress) {
    update(progress);
    return !(cancelled && cancelled->load());
  };
}

}  // namespace ration
