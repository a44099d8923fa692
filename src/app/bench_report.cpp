#include "app/bench_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/text.h"

namespace ration {
namespace {

// Three significant digits, and all of those before the point: "0.912", "23.4", "1520".
std::string three(double value) {
  const double size = std::fabs(value);
  return fmt::format("{:.{}f}", value, size >= 99.95 ? 0 : size >= 9.995 ? 1 : size >= 1 ? 2 : 3);
}

std::string share_of_roof(double value, std::optional<double> roof) {
  if (!roof || *roof <= 0) return "-";
  const double percent = 100 * value / *roof;
  return fmt::format("{:.{}f} %", percent, percent < 9.5 ? 1 : 0);
}

std::string row(const BenchWork& work, const Roofs& roofs) {
  return fmt::format("{:<20}{:>8}{:>14}{:>9}{:>8}{:>6}{:>8}{:>6}\n", work.name,
                     three(work.tokens_per_second(work.median())),
                     fmt::format("{}-{}", three(work.tokens_per_second(work.most())),
                                 three(work.tokens_per_second(work.least()))),
                     three(work.step().count), three(work.read_per_second() * 1e-9),
                     share_of_roof(work.read_per_second(), roofs.read_per_second),
                     three(work.operations_per_second() * 1e-9),
                     share_of_roof(work.operations_per_second(), roofs.multiply_per_second));
}

std::string json_ratio(double value, std::optional<double> roof) {
  return roof && *roof > 0 ? fmt::format("{:.4g}", value / *roof) : "null";
}

void append_json(std::string& out, const std::optional<BenchWork>& work, const Roofs& roofs) {
  if (!work) {
    out += "null";
    return;
  }
  out += fmt::format(
      "{{\"tokens_per_second\":{:.6g},\"min\":{:.6g},\"max\":{:.6g},\"tokens\":{},\"ms\":{:.6g}"
      ",\"step_ms\":{:.6g},\"gigabytes_per_second\":{:.4g},\"of_read_roof\":{}"
      ",\"gigaops_per_second\":{:.4g},\"of_multiply_roof\":{},\"rounds_ms\":[",
      work->tokens_per_second(work->median()), work->tokens_per_second(work->most()),
      work->tokens_per_second(work->least()), work->tokens, work->median().count,
      work->step().count, work->read_per_second() * 1e-9,
      json_ratio(work->read_per_second(), roofs.read_per_second),
      work->operations_per_second() * 1e-9,
      json_ratio(work->operations_per_second(), roofs.multiply_per_second));
  for (size_t i = 0; i < work->rounds.size(); ++i) {
    out += fmt::format("{}{:.6g}", i ? "," : "", work->rounds[i].count);
  }
  out += "],\"energy_j_per_token\":";
  append_json(out, work->energy);
  out += '}';
}

std::string or_null(const std::optional<Bytes>& bytes) {
  return bytes ? std::to_string(bytes->count) : "null";
}

std::string roofs_text(const Roofs& roofs) {
  const std::string read = roofs.read_per_second ? fmt::format("{} GB/s read from memory, ",
                                                               three(*roofs.read_per_second * 1e-9))
                                                 : "";
  std::string text = fmt::format("roofs     {}{} GOP/s of 8-bit products (just now)\n", read,
                                 three(roofs.multiply_per_second * 1e-9));
  if (!roofs.remark.empty()) text += fmt::format("          {}\n", roofs.remark);
  return text;
}

std::string energy_text(const BenchReport& report) {
  std::string text;
  const auto add = [&](std::string_view what, const std::optional<BenchWork>& work) {
    if (!work || !work->energy.joules) return;
    Energy thousand = work->energy;
    JouleRange& range = *thousand.joules;
    range = {range.low * 1000, range.best * 1000, range.high * 1000};
    text += fmt::format("{}{} per 1000 {} tokens\n", text.empty() ? "energy    " : "          ",
                        to_text(thousand), what);
  };
  add("prompt", report.prefill);
  add("answer", report.decode);
  return text;
}

}  // namespace

Millis BenchWork::median() const {
  std::vector<Millis> sorted = rounds;
  std::ranges::sort(sorted);
  const size_t n = sorted.size();
  return n % 2 ? sorted[n / 2] : Millis{(sorted[n / 2 - 1] + sorted[n / 2]).count / 2};
}
Millis BenchWork::least() const { return *std::ranges::min_element(rounds); }
Millis BenchWork::most() const { return *std::ranges::max_element(rounds); }

std::optional<Millis> BenchReport::depth_adds() const {
  if (!decode || !shallow) return std::nullopt;
  return decode->step() - shallow->step();
}

std::string to_json(const BenchReport& report) {
  std::string out = "{\"model\":";
  append_json_string(out, report.model);
  out += fmt::format(
      ",\"family\":\"{}\",\"isa\":\"{}\",\"threads\":{},\"settings\":{{\"prefill\":{},\"decode\":{}"
      ",\"sequences\":{},\"depth\":{},\"rounds\":{}}},\"prefill\":",
      report.family, report.isa, report.threads, report.prefill_tokens, report.decode_tokens,
      report.sequences, report.depth, report.rounds);
  append_json(out, report.prefill, report.roofs);
  out += ",\"decode\":";
  append_json(out, report.decode, report.roofs);
  out += ",\"decode_at_depth_0\":";
  append_json(out, report.shallow, report.roofs);
  const std::optional<Millis> added = report.depth_adds();
  out += fmt::format(
      ",\"depth_adds_ms\":{},\"start\":{{\"load_ms\":{:.1f},\"first_token_ms\":{:.1f}"
      ",\"prompt_tokens\":{}}},\"bytes\":{{\"file\":{},\"read_per_step\":{},\"peak\":{}"
      ",\"resident\":{},\"resident_peak\":{}}},\"roofs\":",
      added ? fmt::format("{:.4g}", added->count) : "null", report.load.count,
      report.first_token.count, report.first_prompt, report.file.count, report.step_weights.count,
      report.peak.count, or_null(report.resident), or_null(report.resident_peak));
  append_json(out, report.roofs);
  out += ",\"machine\":";
  append_json(out, report.machine);
  return out + "}\n";
}

std::string to_text(const BenchReport& report) {
  std::string out = fmt::format(
      "{} ({}, {}) with {} on {}{}\n{} of {} round{}, least and most beside it\n\n", report.model,
      report.family, to_text(report.file), report.isa, report.threads,
      report.threads == 1 ? " thread" : " threads", report.rounds == 1 ? "Result" : "Medians",
      report.rounds, report.rounds == 1 ? "" : "s");
  out += fmt::format("{:<20}{:>8}{:>14}{:>9}{:>8}{:>6}{:>8}{:>6}\n", "", "tok/s", "", "ms/step",
                     "GB/s", "roof", "GOP/s", "roof");
  for (const auto* work : {&report.prefill, &report.shallow, &report.decode}) {
    if (*work) out += row(**work, report.roofs);
  }
  out += "\n";
  if (const std::optional<Millis> added = report.depth_adds()) {
    out += fmt::format("depth     {} tokens in the cache add {} ms to a step\n", report.depth,
                       three(added->count));
  }
  out += roofs_text(report.roofs);
  out += fmt::format(
      "start     loaded after {:.0f} ms, first token of a {}-token prompt after {:.0f}"
      " ms\n",
      report.load.count, report.first_prompt, report.first_token.count);
  out += fmt::format("memory    peak {} of budget", to_text(report.peak));
  if (report.resident_peak) out += fmt::format(", {} resident", to_text(*report.resident_peak));
  out += fmt::format("; a step reads {}\n", to_text(report.step_weights));
  return out + energy_text(report);
}

}  // namespace ration
