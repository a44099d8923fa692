// The bill: prices, JSON for programs, one line for people.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "measure/measure.h"

namespace ration {
namespace {

constexpr double kJoulesPerKwh = 3.6e6;

bool is_modelled(Method method) {
  return method == Method::kPriorModel || method == Method::kCalibratedModel;
}

// A figure that is known to a factor deserves two digits, a measured one three.
int digits_of(Method method) { return is_modelled(method) ? 2 : 3; }

// `value` with so many significant digits and no exponent where people would not write one:
// 123.4, 2 -> "120"; 0.0000051, 2 -> "0.0000051"; 30.5, 3 -> "30.5".
std::string significant(double value, int digits) {
  if (value == 0 || !std::isfinite(value)) return "0";
  const int magnitude = static_cast<int>(std::floor(std::log10(std::abs(value))));
  const int decimals = digits - 1 - magnitude;
  if (decimals > 15) return fmt::format("{:.{}e}", value, digits - 1);
  if (decimals <= 0) {
    const double unit = std::pow(10.0, -decimals);
    return fmt::format("{:.0f}", std::round(value / unit) * unit);
  }
  std::string text = fmt::format("{:.{}f}", value, decimals);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.ends_with('.')) text.pop_back();
  return text;
}

// Milliseconds to a tenth, as JSON.
std::string json_millis(Millis span) {
  const double tenths = std::round(std::max(0.0, span.count) * 10) / 10;
  std::string text = fmt::format("{:.1f}", tenths);
  if (text.ends_with(".0")) text.resize(text.size() - 2);
  return text;
}

int dollar_digits(const Bill& bill) {
  const bool exact = bill.dollars && bill.dollars->low == bill.dollars->high;
  return exact ? 6 : digits_of(bill.energy.method);
}

// "4 ms", "0.21 s", "12.3 s", "125 s".
std::string span_text(Millis span) {
  if (span.count < 99.5) return fmt::format("{:.0f} ms", span.count);
  const double seconds = span.count * 1e-3;
  return fmt::format("{:.{}f} s", seconds, seconds < 9.995 ? 2 : seconds < 99.95 ? 1 : 0);
}

std::string rate_text(int64_t tokens, Millis span) {
  if (tokens <= 0 || span.count <= 0) return "";
  const double rate = static_cast<double>(tokens) / (span.count * 1e-3);
  return fmt::format(" ({:.{}f} tok/s)", rate, rate < 9.95 ? 1 : 0);
}

std::string tokens_text(const Bill& bill) {
  const std::string cached =
      bill.cached_tokens > 0 ? fmt::format(" ({} cached)", bill.cached_tokens) : "";
  const std::string drafts =
      bill.drafts && bill.drafts->drafted > 0
          ? fmt::format(" ({} of {} drafts kept)", bill.drafts->accepted, bill.drafts->drafted)
          : "";
  return fmt::format("{}{} + {} tokens{}", bill.prompt_tokens, cached, bill.generated_tokens,
                     drafts);
}

// "peak 142 MB (weights 98, kv 12)": the tags in the unit of the total, largest first, without
// those below one per cent.
std::string peak_text(const Bill& bill) {
  const std::string total = to_text(bill.peak);
  std::vector<std::pair<Bytes, Tag>> parts;
  for (int i = 0; i < kTagCount; ++i) {
    const Bytes bytes = bill.peak_by_tag[static_cast<size_t>(i)];
    if (bytes.count > 0 && bytes.count * 100 >= bill.peak.count) {
      parts.emplace_back(bytes, static_cast<Tag>(i));
    }
  }
  std::sort(parts.begin(), parts.end(), [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : a.second < b.second;
  });
  double unit = 1;
  while (static_cast<double>(bill.peak.count) / unit >= 999.5) unit *= 1000;
  std::string list;
  for (const auto& [bytes, tag] : parts) {
    list += fmt::format("{}{} {}", list.empty() ? "" : ", ", tag_name(tag),
                        significant(static_cast<double>(bytes.count) / unit, 3));
  }
  return fmt::format("peak {}{}", total, list.empty() ? "" : fmt::format(" ({})", list));
}

// What cut the answer short; "" when it came to its own end.
std::string_view stop_text(std::string_view cause) {
  struct Words {
    std::string_view cause;
    std::string_view words;
  };
  constexpr Words kWords[] = {{"end", ""},
                              {"stop", ""},
                              {"tokens", "stopped at the token limit"},
                              {"context", "stopped: context full"},
                              {"deadline", "stopped at the deadline"},
                              {"joules", "stopped at the joule budget"},
                              {"memory", "stopped at the memory budget"},
                              {"dollars", "stopped at the money budget"},
                              {"cancelled", "cancelled"}};
  for (const Words& known : kWords) {
    if (known.cause == cause) return known.words;
  }
  return cause;
}

}  // namespace

void append_json(std::string& out, const Energy& energy) {
  if (!energy.joules) {
    out += "null";
    return;
  }
  const int digits = digits_of(energy.method);
  out += fmt::format(
      "{{\"best\":{},\"low\":{},\"high\":{},\"method\":\"{}\",\"scope\":\"{}\",\"idle\":\"{}\""
      ",\"concurrency\":{},\"coverage\":{},\"calibration\":",
      significant(energy.joules->best.count, digits), significant(energy.joules->low.count, digits),
      significant(energy.joules->high.count, digits), method_name(energy.method),
      scope_name(energy.scope), idle_name(energy.idle), significant(energy.concurrency, 3),
      significant(energy.coverage, 3));
  if (energy.calibration.empty()) {
    out += "null";
  } else {
    append_json_string(out, energy.calibration);
  }
  out += '}';
}

std::string to_text(const Energy& energy) {
  if (!energy.joules) return "energy unknown";
  const JouleRange& range = *energy.joules;
  const double unit = range.best.count >= 9999.5 ? 1000 : 1;
  const int digits = digits_of(energy.method);
  std::string method(method_name(energy.method));
  std::replace(method.begin(), method.end(), '-', ' ');
  std::string text = fmt::format("{}{} {} ({}–{}, {}", is_modelled(energy.method) ? "≈ " : "",
                                 significant(range.best.count / unit, digits),
                                 unit > 1 ? "kJ" : "J", significant(range.low.count / unit, digits),
                                 significant(range.high.count / unit, digits), method);
  if (energy.concurrency > 1.05)
    text += fmt::format(", batch of {}", significant(energy.concurrency, 2));
  if (energy.coverage < 0.995) text += fmt::format(", {:.0f} % covered", energy.coverage * 100);
  return text + ")";
}

void set_peaks(Bill& bill, const BudgetReport& report) {
  bill.peak_by_tag = report.peak;
  bill.peak = report.peak_total;
}

std::optional<DollarRange> price(const Bill& bill, const std::optional<Tariff>& tariff) {
  if (!tariff) return std::nullopt;
  const bool fixed = tariff->usd_per_million_tokens > 0 || tariff->usd_per_second > 0;
  if (!tariff->usd_per_kwh && !fixed) return std::nullopt;
  const auto tokens =
      static_cast<double>(bill.prompt_tokens - bill.cached_tokens + bill.generated_tokens);
  const double base = tokens * 1e-6 * tariff->usd_per_million_tokens +
                      (bill.prefill.count + bill.decode.count) * 1e-3 * tariff->usd_per_second;
  if (!tariff->usd_per_kwh) return DollarRange{Dollars{base}, Dollars{base}, Dollars{base}};
  if (!bill.energy.joules) return std::nullopt;
  const auto with = [&](Joules joules) {
    return Dollars{base + joules.count / kJoulesPerKwh * *tariff->usd_per_kwh};
  };
  const JouleRange& range = *bill.energy.joules;
  return DollarRange{with(range.low), with(range.best), with(range.high)};
}

void append_json(std::string& out, const Bill& bill) {
  out += fmt::format("{{\"tokens\":{{\"prompt\":{},\"cached\":{},\"generated\":{}",
                     bill.prompt_tokens, bill.cached_tokens, bill.generated_tokens);
  if (bill.drafts) {
    out +=
        fmt::format(",\"drafted\":{},\"accepted\":{}", bill.drafts->drafted, bill.drafts->accepted);
  }
  out += fmt::format(
      "}},\"ms\":{{\"queue\":{},\"load\":{},\"prefill\":{},\"decode\":{}}},\"peak_bytes\":{}"
      ",\"peak_bytes_by_tag\":{{",
      json_millis(bill.queue), json_millis(bill.load), json_millis(bill.prefill),
      json_millis(bill.decode), bill.peak.count);
  bool first = true;
  for (int i = 0; i < kTagCount; ++i) {
    const Bytes bytes = bill.peak_by_tag[static_cast<size_t>(i)];
    if (bytes == Bytes{0}) continue;
    out += fmt::format("{}\"{}\":{}", first ? "" : ",", tag_name(static_cast<Tag>(i)), bytes.count);
    first = false;
  }
  out += "},\"energy_j\":";
  append_json(out, bill.energy);
  out += fmt::format(",\"net_bytes\":{},\"usd\":", bill.network.count);
  if (bill.dollars) {
    const int digits = dollar_digits(bill);
    out += fmt::format("{},\"usd_range\":{{\"low\":{},\"high\":{}}}",
                       significant(bill.dollars->best.count, digits),
                       significant(bill.dollars->low.count, digits),
                       significant(bill.dollars->high.count, digits));
  } else {
    out += "null,\"usd_range\":null";
  }
  out += ",\"stop_cause\":";
  if (bill.stop_cause.empty()) {
    out += "null";
  } else {
    append_json_string(out, bill.stop_cause);
  }
  out += '}';
}

std::string to_text(const Bill& bill) {
  std::vector<std::string> parts{tokens_text(bill)};
  if (bill.queue.count >= 0.5) parts.push_back("queued " + span_text(bill.queue));
  if (bill.load.count >= 0.5) parts.push_back("load " + span_text(bill.load));
  parts.push_back("prefill " + span_text(bill.prefill) +
                  rate_text(bill.prompt_tokens - bill.cached_tokens, bill.prefill));
  parts.push_back("decode " + span_text(bill.decode) +
                  rate_text(bill.generated_tokens, bill.decode));
  if (bill.peak > Bytes{0}) parts.push_back(peak_text(bill));
  if (bill.network > Bytes{0}) parts.push_back("net " + to_text(bill.network));
  parts.push_back(to_text(bill.energy));
  if (bill.dollars) {
    parts.push_back(fmt::format("{}${}", is_modelled(bill.energy.method) ? "≈ " : "",
                                significant(bill.dollars->best.count, dollar_digits(bill))));
  }
  if (const std::string_view words = stop_text(bill.stop_cause); !words.empty()) {
    parts.push_back(to_valid_utf8(words));
  }
  return fmt::format("{}", fmt::join(parts, " · "));
}

}  // namespace ration
