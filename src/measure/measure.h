// measure/measure.h - what was spent, and how surely we know: bytes, CPU seconds, joules, dollars,
// and the bill that goes under every answer.
//
// Everything the machine tells us is read through Files, so a made-up /proc, /sys or cgroup tree
// works like the real one. In order below: Files, memory, CPU, the machine, its roofs, energy
// (meter, then attribution to requests), tariff, bill. Metrics for Prometheus are in metrics.h.
//
//   SystemFiles files;
//   const Machine machine = describe_machine(files);
//   EnergyMeter meter(files, machine, {.calibration_file = config / kCalibrationFile});
//   Attributor attributor(meter, clock, {});
//   attributor.begin(id);  attributor.step({...});  Energy spent = attributor.end(id);
//
// To add an energy source: a Method below, a rung in energy.cpp and its words in doctor().
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/budget.h"
#include "base/clock.h"
#include "base/pool.h"
#include "base/result.h"
#include "base/unit.h"
#include "measure/metrics.h"  // IWYU pragma: export
#include "tensor/kernels.h"

namespace ration {

// ---------------------------------------------------------------------------------------- files

// Small files of the kernel. Paths are absolute. shared-const.
class Files {
 public:
  enum class State : uint8_t { kRead, kMissing, kDenied, kFailed };
  struct Text {
    State state = State::kMissing;
    std::string text;
    bool read() const { return state == State::kRead; }
  };

  virtual ~Files() = default;
  virtual Text read(const std::string& path) const = 0;
  // Names in a folder, sorted; empty when there is no such folder.
  virtual std::vector<std::string> list(const std::string& folder) const = 0;
  virtual State write(const std::string& path, std::string_view text) const = 0;

  bool has(const std::string& path) const { return read(path).state != State::kMissing; }
};

// The running machine, or a tree below `root` that looks like one. Reads at most 4 MiB of a file.
class SystemFiles final : public Files {
 public:
  explicit SystemFiles(std::string root = "") : root_(std::move(root)) {}
  Text read(const std::string& path) const override;
  std::vector<std::string> list(const std::string& folder) const override;
  State write(const std::string& path, std::string_view text) const override;

 private:
  std::string root_;
};

// --------------------------------------------------------------------------------------- memory

// This process, from /proc/self/status.
struct ProcessMemory {
  Bytes resident{};       // VmRSS
  Bytes resident_peak{};  // VmHWM: since start or the last reset_resident_peak()
  Bytes file{};           // RssFile: mapped files, such as weights
  Bytes anonymous{};      // RssAnon: what was allocated
  Bytes swapped{};        // VmSwap
};
// kUnavailable when the file or the two main fields are missing.
Result<ProcessMemory> read_process_memory(const Files& files);

// Starts resident_peak anew from what is resident now. kUnavailable where the kernel forbids it.
Status reset_resident_peak(const Files& files);

// What the machine and the cgroup leave us. Absent facts are null.
struct MachineMemory {
  std::optional<Bytes> total{};
  std::optional<Bytes> available{};  // MemAvailable: without pushing others out
  std::optional<Bytes> swap_total{};
  std::optional<Bytes> swap_free{};
  std::optional<Bytes> cgroup_limit{};  // the least on the way to the root, version 1 or 2
  // Of the group with that limit, without file cache it can drop.
  std::optional<Bytes> cgroup_used{};
  // The lesser of `available` and what the cgroup leaves; null when neither is known.
  std::optional<Bytes> usable() const;
};
MachineMemory read_machine_memory(const Files& files);

// ------------------------------------------------------------------------------------------ CPU

// CPU seconds of this process since it started, all threads; and of the calling thread.
double process_cpu_seconds();
double thread_cpu_seconds();

struct ThreadCpu {
  int64_t id = 0;
  std::string name{};
  double cpu_seconds = 0;
};
// Every thread of this process, by id; a thread that ends while we read is left out.
std::vector<ThreadCpu> read_thread_cpu(const Files& files);

// The whole machine since it started, from /proc/stat. In a container these are the host's.
struct MachineCpu {
  double busy_seconds = 0;   // summed over CPUs: user, nice, system, interrupts
  double steal_seconds = 0;  // wanted to run, but the hypervisor ran somebody else
};
std::optional<MachineCpu> read_machine_cpu(const Files& files);

// -------------------------------------------------------------------------------------- machine

struct Machine {
  std::string cpu_name{};  // "AMD EPYC 7763 64-Core Processor"; "" when unknown
  std::string vendor{};    // "AuthenticAMD"
  int family = 0;
  int model = 0;
  std::vector<std::string> flags{};  // of those that choose a kernel or tell of a hypervisor
  int cpus_online = 0;               // hardware threads the system shows
  int cores = 0;
  int sockets = 0;
  int cpus_allowed = 0;               // in this process's affinity mask
  std::optional<double> cpu_quota{};  // of the cgroup, in CPUs
  int cpus_usable = 0;                // the least of these, rounded up, at least 1
  std::optional<Bytes> l2_bytes{};    // of one core
  std::optional<Bytes> l3_bytes{};    // all there is
  MachineMemory memory{};
  bool virtual_machine = false;
  bool container = false;
};
Machine describe_machine(const Files& files);
// A JSON object; and a few lines for `ration doctor`.
void append_json(std::string& out, const Machine& machine);
std::string to_text(const Machine& machine);

// ---------------------------------------------------------------------------------------- roofs

// What this machine reaches at best with a pool's threads: what speeds are held against.
struct Roofs {
  std::optional<double> read_per_second{};  // bytes from memory; null: no room to measure it in
  Bytes read_set{};                         // what was read again and again
  double multiply_per_second = 0;  // 8-bit products and their additions, each counted, by the set
  std::string remark{};            // what is amiss with the figures, or ""
};
// Takes about half a second. The buffer is charged to `budget` and given back; where little is left
// it is smaller, and `remark` says what that means.
Roofs measure_roofs(const Kernels& kernels, Pool& pool, const Clock& clock, Budget& budget,
                    const Machine& machine);
// A JSON object.
void append_json(std::string& out, const Roofs& roofs);

// How products of one token walk panels fastest here, and by how much.
struct WalkChoice {
  Walk walk{};            // all zero: as the kernel does unasked
  double per_second = 0;  // bytes
  double usual_per_second = 0;
};
// Tries a few walks in turns for about `span`. One is chosen when it is faster by two per cent in
// the median round and still faster in three of four. All zero when the span ended too soon to
// tell. Takes a row of activations and one of results.
// REQUIRES: all of one type, in panels, together more than any cache holds (kWalkPass, say).
WalkChoice measure_walk(const Kernels& kernels, Pool& pool, const Clock& clock,
                        std::span<const Matrix> matrices, Millis span);
inline constexpr Bytes kWalkPass{64 * kMiB};

// --------------------------------------------------------------------------------------- energy

// How a figure came about, worst first.
enum class Method : uint8_t {
  kUnknown,           // null, never 0
  kPriorModel,        // a CPU family's published figures, scaled to this work: factor 2 each way
  kCalibratedModel,   // this machine's own coefficients: residual quantiles of its calibration
  kCounterAmortised,  // a counter, split by work done or over a window too short: 15 % each way
  kCounter,  // a counter over at least 20 of its updates, for this work alone: 5 % each way
};
enum class Scope : uint8_t { kUnknown, kPackage, kPackageDram };
// Who pays for the watts that flow when nothing runs.
enum class Idle : uint8_t {
  kExcluded,  // nobody: they are in the idle bucket
  kShared,    // requests, while they run
  kCharged,   // requests, while they run and for the wait before them
};
std::string_view method_name(Method method);
std::string_view scope_name(Scope scope);
std::string_view idle_name(Idle idle);

struct JouleRange {
  Joules low{};
  Joules best{};
  Joules high{};  // budgets are enforced on this one
};

struct Energy {
  std::optional<JouleRange> joules{};  // null when unknown
  Method method = Method::kUnknown;
  Scope scope = Scope::kUnknown;
  Idle idle = Idle::kExcluded;
  double coverage = 0;        // share of the time that had data, 0..1
  double concurrency = 0;     // mean number of requests computed together
  std::string calibration{};  // id of the calibration, or of the prior's row
};

// A JSON object {best, low, high, method, scope, idle, concurrency, coverage, calibration}, or
// null; and "≈ 21 J (10–42, prior model)". Modelled figures have two significant digits,
// measured ones three.
void append_json(std::string& out, const Energy& energy);
std::string to_text(const Energy& energy);

// E = busy * cpu_seconds + byte * bytes moved + idle * wall: the models, and the key by which a
// counter's joules are split.
struct EnergyModel {
  Method method = Method::kUnknown;  // kPriorModel, kCalibratedModel or kUnknown
  std::string id{};                  // "amd-zen3-server", or the calibration's
  std::string date{};                // of the calibration; "" for a prior
  Scope scope = Scope::kPackageDram;
  double watts_busy = 0;           // of one hardware thread that runs, above idle
  double picojoules_per_byte = 0;  // DRAM traffic
  double watts_idle = 0;           // of all usable hardware threads together
  double factor_low = 0.5;         // low = best * this
  double factor_high = 2.0;
};

inline constexpr std::string_view kCalibrationFile = "energy-calibration.json";

// Reads a calibration: {"format": "ration-energy-calibration-1", "id", "date": "2026-01-31",
// "cpu": Machine::cpu_name, "scope": "package" | "package+dram", "watts_busy_per_cpu",
// "picojoules_per_byte", "watts_idle_per_cpu", "residual_quantiles": {"p05", "p95"}}, the quantiles
// being those of measured / predicted. kInvalid names the field; kUnsupported when it was made on
// another CPU.
Result<EnergyModel> parse_calibration(std::string_view json, const Machine& machine);

// The prior of this CPU's family; null for a family we have no figures of.
std::optional<EnergyModel> prior_model(const Machine& machine);

struct EnergyOptions {
  std::string powercap = "/sys/class/powercap";
  std::string calibration_file{};  // "" or missing: none
  Millis counter_update{1.0};      // how often the counter moves
};

// One rung of the ladder, for `ration doctor`.
struct EnergyRung {
  Method method = Method::kUnknown;
  bool available = false;
  std::string reason{};  // what is there, or what is missing
  // The command, or words, that would make it available; "" when nothing would.
  std::string remedy{};
};

// The energy sources of this machine. Opening never fails: what is missing is in doctor().
// single-thread. REQUIRES: `files` outlives it.
class EnergyMeter {
 public:
  EnergyMeter(const Files& files, const Machine& machine, EnergyOptions options);
  ~EnergyMeter();
  EnergyMeter(EnergyMeter&&) noexcept;

  bool has_counter() const;
  Scope counter_scope() const;
  // Joules since the last call (nullopt: the first one, or no data for that time, because the
  // counter vanished or may have wrapped more than once). now_ns rises.
  std::optional<Joules> counter_delta(int64_t now_ns);
  // The best model there is; its method is kUnknown when there is none.
  const EnergyModel& model() const { return model_; }
  // CPU seconds the whole machine was busy so far; null when unknown.
  std::optional<double> machine_busy_seconds() const;
  Millis counter_update() const { return options_.counter_update; }
  // The best method a long enough request will get.
  Method best_method() const;
  // Rungs from best to worst.
  std::span<const EnergyRung> doctor() const { return doctor_; }

 private:
  struct Counter;
  void open_model(const Machine& machine);

  const Files* files_;
  EnergyOptions options_;
  std::unique_ptr<Counter> counter_;  // null: none
  EnergyModel model_;
  std::vector<EnergyRung> doctor_;
};
// A JSON array of rungs; and lines for `ration doctor`.
void append_json(std::string& out, std::span<const EnergyRung> rungs);
std::string to_text(std::span<const EnergyRung> rungs);

// ---------------------------------------------------------------------------------- attribution

// What one request did in one step of the engine.
struct RequestWork {
  uint64_t request = 0;
  int64_t tokens = 0;  // computed for it in this step
  Bytes own_bytes{};   // read for it alone: its keys and values
};
struct StepWork {
  double cpu_seconds = 0;  // of this process during the step
  Bytes shared_bytes{};    // read once for all: weights
  std::span<const RequestWork> requests{};
};

struct AttributorOptions {
  Idle idle = Idle::kExcluded;
  Millis window{100.0};  // how often the counter is read; at least 20 of its updates
};

// Where the joules of one source went: meter == requests + idle + outside whenever no request is
// open.
struct EnergyAccount {
  Joules meter{};     // what the source said in all
  Joules requests{};  // billed to requests
  Joules idle{};  // nothing ran, or the idle part while something did, or a correction of estimates
  Joules outside{};  // other programs on this machine
};

// Splits the energy of steps among the requests in them, so that the sum is the meter's. A step's
// joules are split by work: its bytes and its CPU seconds, weighed by the model; the shared part by
// tokens, each request's own bytes to it. Deterministic. single-thread.
// REQUIRES: meter and clock outlive it.
class Attributor {
 public:
  Attributor(EnergyMeter& meter, const Clock& clock, AttributorOptions options);
  ~Attributor();

  // The request takes part from now on. REQUIRES: its id is not open.
  void begin(uint64_t request);
  // Call at the end of each step. REQUIRES: every request in it is open.
  void step(const StepWork& work);
  // What an open request has used so far: for joule budgets in mid-answer.
  Energy so_far(uint64_t request) const;
  // The request is done: its energy. REQUIRES: it is open.
  Energy end(uint64_t request);

  EnergyAccount counter_account() const;
  EnergyAccount model_account() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// --------------------------------------------------------------------------------- tariff, bill

// What energy, tokens and time cost; an input with a source and a date, never a guess of ours.
struct Tariff {
  std::optional<double> usd_per_kwh{};
  double usd_per_million_tokens = 0;  // prompt (not cached) and generated
  double usd_per_second = 0;          // prefill and decode
  std::string source{};               // "my electricity bill"
  std::string date{};                 // "2026-01-31"
};

struct DollarRange {
  Dollars low{};
  Dollars best{};
  Dollars high{};
};

// Speculation: tokens that were guessed and run, and those of them that the answer kept.
struct DraftCount {
  int64_t drafted = 0;
  int64_t accepted = 0;
};

// What one answer cost.
struct Bill {
  int64_t prompt_tokens = 0;  // all of them, the cached ones too
  int64_t cached_tokens = 0;
  int64_t generated_tokens = 0;
  std::optional<DraftCount> drafts{};  // none: there was no speculation
  Millis queue{};
  Millis load{};
  Millis prefill{};
  Millis decode{};
  std::array<Bytes, kTagCount> peak_by_tag{};  // each tag's own peak
  Bytes peak{};                                // the largest sum at any instant
  Energy energy{};
  Bytes network{};
  std::optional<DollarRange> dollars{};
  // "end", "stop", "tokens", "context", "deadline", "joules", "cancelled", ...
  std::string stop_cause{};
};

// Copies the peaks of `report`.
void set_peaks(Bill& bill, const BudgetReport& report);

// Prices a bill whose other fields are set. Null without a price, and null when energy has a price
// but is unknown.
std::optional<DollarRange> price(const Bill& bill, const std::optional<Tariff>& tariff);

// A JSON object: {"tokens": {prompt, cached, generated; with speculation drafted, accepted}, "ms":
// {queue, load, prefill, decode}, "peak_bytes", "peak_bytes_by_tag": {tags that are not zero},
// "energy_j": as of an Energy, "net_bytes", "usd" or null, "usd_range", "stop_cause"}.
void append_json(std::string& out, const Bill& bill);

// One line for people: "38 + 120 tokens · prefill 0.21 s (181 tok/s) · decode 1.40 s (86 tok/s) ·
// peak 142 MB (weights 98, kv 12, ...) · ≈ 21 J (10–42, prior model)".
std::string to_text(const Bill& bill);

}  // namespace ration
