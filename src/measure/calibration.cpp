#include <fmt/core.h>

#include <algorithm>
#include <initializer_list>

#include "base/json.h"
#include "measure/measure.h"

namespace ration {
namespace {

constexpr std::string_view kFormat = "ration-energy-calibration-1";

Error bad_field(std::string_view name, std::string_view found, std::string_view wanted) {
  return {Code::kInvalid,
          fmt::format("calibration: field '{}': found {}, wanted {}", name, found, wanted)};
}

Status only_fields(const Json& object, std::string_view where,
                   std::initializer_list<std::string_view> known) {
  for (const auto& [key, value] : object.items()) {
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      return Error{Code::kInvalid, fmt::format("calibration: unknown field '{}{}'", where, key)};
    }
  }
  return {};
}

Result<std::string> text_field(const Json& object, const char* name, size_t length_max = 200) {
  const auto found = object.find(name);
  if (found == object.end()) return bad_field(name, "nothing", "a string");
  if (!found->is_string()) return bad_field(name, to_text(*found), "a string");
  const auto& text = found->get_ref<const std::string&>();
  if (text.empty() || text.size() > length_max) {
    return bad_field(name, fmt::format("{} bytes", text.size()),
                     fmt::format("1 to {}", length_max));
  }
  return text;
}

Result<double> number_field(const Json& object, const char* name, double low, double high) {
  const auto found = object.find(name);
  const std::string wanted = fmt::format("a number from {:g} to {:g}", low, high);
  if (found == object.end()) return bad_field(name, "nothing", wanted);
  if (!found->is_number()) return bad_field(name, to_text(*found), wanted);
  const double number = found->get<double>();
  if (!(number >= low && number <= high))
    return bad_field(name, fmt::format("{:g}", number), wanted);
  return number;
}

bool is_date(std::string_view text) {
  if (text.size() != 10) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool dash = i == 4 || i == 7;
    if (dash ? text[i] != '-' : text[i] < '0' || text[i] > '9') return false;
  }
  return true;
}

Status read_coefficients(const Json& object, const Machine& machine, EnergyModel& model) {
  const auto busy = number_field(object, "watts_busy_per_cpu", 0, 200);
  if (!busy) return busy.error();
  const auto byte = number_field(object, "picojoules_per_byte", 0, 10'000);
  if (!byte) return byte.error();
  const auto idle = number_field(object, "watts_idle_per_cpu", 0, 200);
  if (!idle) return idle.error();
  if (*busy == 0 && *byte == 0) {
    return bad_field("watts_busy_per_cpu", "0, and picojoules_per_byte 0", "one of them above 0");
  }
  const auto quantiles = object.find("residual_quantiles");
  if (quantiles == object.end() || !quantiles->is_object()) {
    return bad_field("residual_quantiles", "none", "an object with p05 and p95");
  }
  if (Status known = only_fields(*quantiles, "residual_quantiles.", {"p05", "p95"}); !known) {
    return known;
  }
  const auto low = number_field(*quantiles, "p05", 0.01, 1);
  if (!low) return low.error();
  const auto high = number_field(*quantiles, "p95", 1, 100);
  if (!high) return high.error();
  model.watts_busy = *busy;
  model.picojoules_per_byte = *byte;
  model.watts_idle = *idle * machine.cpus_usable;
  model.factor_low = *low;
  model.factor_high = *high;
  return {};
}

}  // namespace

Result<EnergyModel> parse_calibration(std::string_view json, const Machine& machine) {
  const Result<Json> parsed = parse_json(json, 4);
  if (!parsed) return Error{Code::kInvalid, "calibration: " + parsed.error().message};
  const Json& object = *parsed;
  if (!object.is_object()) {
    return Error{Code::kInvalid, "calibration: found no object, wanted {\"format\": ...}"};
  }
  if (Status known =
          only_fields(object, "",
                      {"format", "id", "date", "cpu", "scope", "watts_busy_per_cpu",
                       "picojoules_per_byte", "watts_idle_per_cpu", "residual_quantiles"});
      !known) {
    return known.error();
  }
  const auto format = text_field(object, "format");
  if (!format) return format.error();
  if (*format != kFormat) return bad_field("format", *format, kFormat);
  EnergyModel model;
  model.method = Method::kCalibratedModel;
  const auto id = text_field(object, "id", 64);
  if (!id) return id.error();
  const auto date = text_field(object, "date");
  if (!date) return date.error();
  if (!is_date(*date)) return bad_field("date", *date, "year-month-day such as 2026-01-31");
  const auto cpu = text_field(object, "cpu");
  if (!cpu) return cpu.error();
  const auto scope = text_field(object, "scope");
  if (!scope) return scope.error();
  if (*scope != scope_name(Scope::kPackage) && *scope != scope_name(Scope::kPackageDram)) {
    return bad_field("scope", *scope, "package or package+dram");
  }
  if (*cpu != machine.cpu_name) {
    return Error{Code::kUnsupported, fmt::format("calibration '{}' was made on '{}', this is '{}'",
                                                 *id, *cpu, machine.cpu_name)};
  }
  model.id = *id;
  model.date = *date;
  model.scope = *scope == scope_name(Scope::kPackage) ? Scope::kPackage : Scope::kPackageDram;
  if (Status read = read_coefficients(object, machine, model); !read) return read.error();
  return model;
}

}  // namespace ration
