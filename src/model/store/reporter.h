// model/store/reporter.h - turns bytes into progress: speed, time left, not too often. Private to
// the store.
#pragma once

#include <cstdint>
#include <deque>
#include <string>

#include "base/clock.h"
#include "model/store/store.h"

namespace ration {

// single-thread.
class Reporter {
 public:
  // Borrows all three.
  Reporter(const Clock& clock, const ProgressSink& sink, std::string name);

  // What one file adds to the whole: `base` bytes are done before it. total negative: not known.
  void expect(Bytes total) { progress_.total = total; }
  void set_base(Bytes base) { base_ = base; }
  Bytes total() const { return progress_.total; }

  // Says where the current file is. False: the caller of the pull wants it to stop. Calls the sink
  // at most 20 times a second unless the stage or the note changes.
  bool report(PullProgress::Stage stage, Bytes done, std::string_view note = {});
  // Reports kRetrying, with `why`, until the time has passed. False: stopped before.
  bool wait(Millis span, Bytes done, std::string_view why);
  // The same again, for waiting loops.
  bool again() { return report(progress_.stage, progress_.done - base_, progress_.note); }

  const std::string& name() const { return progress_.name; }
  const Clock& clock() const { return clock_; }
  bool stopped() const { return stopped_; }

 private:
  void measure_speed(int64_t now_ns, PullProgress::Stage stage);

  const Clock& clock_;
  const ProgressSink& sink_;
  PullProgress progress_;
  Bytes base_{0};
  int64_t start_ns_;
  int64_t last_call_ns_ = 0;
  bool called_ = false;
  bool stopped_ = false;
  struct Sample {
    int64_t at_ns;
    Bytes done;
  };
  std::deque<Sample> samples_;
};

}  // namespace ration
