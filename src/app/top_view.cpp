#include "app/top_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/text.h"

namespace ration {
namespace {

// The value of `label` in labels such as `a="x",b="y"`; escapes stay as they are.
std::string value_of(std::string_view labels, std::string_view label) {
  const std::string key = std::string(label) + "=\"";
  size_t at = labels.find(key);
  while (at != std::string_view::npos && at > 0 && labels[at - 1] != ',') {
    at = labels.find(key, at + 1);
  }
  if (at == std::string_view::npos) return "";
  const size_t begin = at + key.size();
  return std::string(labels.substr(begin, labels.find('"', begin) - begin));
}

std::string three(double number) {
  const int digits = number == 0 ? 0 : static_cast<int>(std::floor(std::log10(std::fabs(number))));
  return fmt::format("{:.{}f}", number, std::clamp(2 - digits, 0, 6));
}

std::string seconds_text(std::optional<double> seconds) {
  if (!seconds) return "-";
  return *seconds < 1 ? three(*seconds * 1000) + " ms" : three(*seconds) + " s";
}

std::string bytes_text(double bytes) { return to_text(Bytes{static_cast<int64_t>(bytes)}); }

std::string bar(double share, int width) {
  const auto full = static_cast<int>(std::lround(std::clamp(share, 0.0, 1.0) * width));
  std::string out;
  for (int i = 0; i < width; ++i) out += i < full ? "▓" : "░";
  return out;
}

std::string row(std::string_view name, std::string_view what) {
  return fmt::format("{:<10}{}\n", name, what);
}

}  // namespace

Result<MetricsReading> MetricsReading::parse(std::string_view text) {
  MetricsReading reading;
  while (!text.empty()) {
    const std::string_view line = take_line(text);
    if (line.empty() || line.starts_with('#')) continue;
    const size_t space = line.rfind(' ');
    const size_t brace = line.find('{');
    const size_t name_end = std::min(brace, space);
    Entry entry;
    if (space != std::string_view::npos) {
      const std::string_view value = line.substr(space + 1);
      const auto [rest, error] =
          std::from_chars(value.data(), value.data() + value.size(), entry.value);
      if (error == std::errc() && rest == value.data() + value.size()) {
        entry.name = line.substr(0, name_end);
        if (brace < space) entry.labels = line.substr(brace + 1, space - brace - 2);
        reading.entries_.push_back(std::move(entry));
        continue;
      }
    }
    return Error{Code::kInvalid,
                 fmt::format("found the line '{}', wanted a metric", line.substr(0, 80))};
  }
  return reading;
}

double MetricsReading::sum(std::string_view name, std::string_view label) const {
  double sum = 0;
  for (const Entry& entry : entries_) {
    const bool counts = label.empty() || entry.labels.find(label) != std::string::npos;
    if (entry.name == name && counts) sum += entry.value;
  }
  return sum;
}

bool MetricsReading::has(std::string_view name) const {
  return std::ranges::find(entries_, name, &Entry::name) != entries_.end();
}

std::map<std::string, double> MetricsReading::by(std::string_view name, std::string_view label,
                                                 std::string_view having) const {
  std::map<std::string, double> found;
  for (const Entry& entry : entries_) {
    if (entry.name != name || entry.labels.find(having) == std::string::npos) continue;
    found[value_of(entry.labels, label)] += entry.value;
  }
  return found;
}

std::optional<double> quantile_between(const MetricsReading& before, const MetricsReading& now,
                                       std::string_view name, double share) {
  const std::string buckets = std::string(name) + "_bucket";
  std::map<std::string, double> earlier = before.by(buckets, "le");
  std::map<double, double> counts;  // by bound, cumulative
  for (const auto& [bound, count] : now.by(buckets, "le")) {
    const double limit = bound == "+Inf" ? INFINITY : std::strtod(bound.c_str(), nullptr);
    counts[limit] = count - earlier[bound];
  }
  if (counts.empty() || counts.rbegin()->second <= 0) return std::nullopt;
  const double wanted = share * counts.rbegin()->second;
  double bound_below = 0, count_below = 0;
  for (const auto& [bound, count] : counts) {
    if (count >= wanted && count > count_below) {
      if (std::isinf(bound)) return bound_below;
      return bound_below + (bound - bound_below) * (wanted - count_below) / (count - count_below);
    }
    if (std::isfinite(bound)) bound_below = bound;
    count_below = count;
  }
  return bound_below;
}

std::string top_text(std::string_view url, const MetricsReading& before, const MetricsReading& now,
                     Millis span) {
  const double seconds = span.count / 1000;
  const auto grown = [&](std::string_view name, std::string_view label = "") {
    return now.sum(name, label) - before.sum(name, label);
  };
  const auto rate = [&](std::string_view name, std::string_view label = "") {
    return seconds > 0 ? grown(name, label) / seconds : 0;
  };
  const auto latency = [&](std::string_view name) {
    return fmt::format("{} / {}", seconds_text(quantile_between(before, now, name, 0.5)),
                       seconds_text(quantile_between(before, now, name, 0.99)));
  };
  std::string models;
  int64_t away = 0;
  for (const auto& [model, in] : now.by("ration_model_state", "model", "state=\"loaded\"")) {
    if (in > 0) models += (models.empty() ? "" : ", ") + model;
    if (in == 0) ++away;
  }
  if (away > 0) models += fmt::format("{}{} not loaded", models.empty() ? "" : "; ", away);
  const double used = now.sum("ration_memory_bytes"), limit = now.sum("ration_memory_budget_bytes");
  std::string kinds;
  for (const auto& [kind, bytes] : now.by("ration_memory_bytes", "kind")) {
    if (bytes > 0)
      kinds += fmt::format("{}{} {}", kinds.empty() ? "" : ", ", kind, bytes_text(bytes));
  }
  std::string codes;
  for (const auto& [code, count] : now.by("ration_requests_total", "code")) {
    codes += fmt::format("{}{}: {}", codes.empty() ? "" : ", ", code, count);
  }
  std::string out =
      fmt::format("ration at {}, up {:.0f} s{}{}\n", url, now.sum("ration_uptime_seconds"),
                  models.empty() ? "" : ": ", models);
  out += row("memory", fmt::format("{} of {}  {}  peak {}", bytes_text(used), bytes_text(limit),
                                   bar(limit > 0 ? used / limit : 0, 20),
                                   bytes_text(now.sum("ration_memory_peak_bytes"))));
  out += row("", kinds);
  out += row("answers",
             fmt::format("{} active, {} waiting; {} connections", now.sum("ration_answers_active"),
                         now.sum("ration_answers_waiting"), now.sum("ration_connections")));
  out += row("tokens/s", fmt::format("{} of prompts ({} cached), {} of answers",
                                     three(rate("ration_prompt_tokens_total")),
                                     three(rate("ration_cached_prompt_tokens_total")),
                                     three(rate("ration_inter_token_seconds_count"))));
  out += row("latency",
             fmt::format("first token {}, between tokens {} (half, 99 of 100)",
                         latency("ration_ttft_seconds"), latency("ration_inter_token_seconds")));
  std::string energy = "unknown";
  if (now.has("ration_energy_joules_total")) {
    const double tokens = now.sum("ration_generated_tokens_total");
    const double joules = now.sum("ration_energy_joules_total");
    energy = fmt::format("≈ {} J in all ({} to {}), {} J a token of answers, prompts included",
                         three(joules),
                         three(now.sum("ration_energy_bound_joules_total", "bound=\"low\"")),
                         three(now.sum("ration_energy_bound_joules_total", "bound=\"high\"")),
                         tokens > 0 ? three(joules / tokens) : "-");
  }
  out += row("energy", energy);
  out += row("requests", fmt::format("{}; left before the end: {}", codes.empty() ? "none" : codes,
                                     now.sum("ration_requests_broken_off_total")));
  return out;
}

}  // namespace ration
