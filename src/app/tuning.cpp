#include "app/tuning.h"

#include <fmt/format.h>

#include "base/file.h"
#include "base/json.h"
#include "base/text.h"

namespace ration {
namespace {

constexpr std::string_view kFormat = "ration-tuning-1";
constexpr Bytes kFileMost{64 * kKiB};
constexpr int32_t kAheadMost = 64 * 1024;
constexpr Millis kStartSpan{600};  // for each type, of which a model has two or three
constexpr Millis kRenewSpan{400};
constexpr int64_t kMadeUpColumns = 1536;

std::string key_of(const Machine& machine, std::string_view isa, int threads) {
  std::string key =
      fmt::format("\"format\":\"{}\",\"version\":\"{}\",\"cpu\":", kFormat, RATION_VERSION);
  append_json_string(key, machine.cpu_name);
  return key + fmt::format(
                   ",\"family\":{},\"model\":{},\"l3_bytes\":{},\"isa\":\"{}\""
                   ",\"threads\":{}",
                   machine.family, machine.model, machine.l3_bytes.value_or(Bytes{0}).count, isa,
                   threads);
}

std::optional<WalkChoice> choice_of(const Json& value) {
  const auto whole = [&](const char* name) -> std::optional<int32_t> {
    const auto found = value.find(name);
    if (found == value.end() || !found->is_number_integer()) return std::nullopt;
    const auto number = found->get<int64_t>();
    if (number < 0 || number > kAheadMost) return std::nullopt;
    return static_cast<int32_t>(number);
  };
  const auto rate = [&](const char* name) {
    const auto found = value.find(name);
    return found != value.end() && found->is_number() ? found->get<double>() * 1e9 : 0.0;
  };
  const std::optional<int32_t> ahead = whole("ahead_bytes");
  const std::optional<int32_t> panels = whole("panels");
  if (!ahead || !panels || *panels > kWalkPanelsMost) return std::nullopt;
  return WalkChoice{.walk = {.ahead_bytes = *ahead, .panels = *panels},
                    .per_second = rate("gigabytes_per_second"),
                    .usual_per_second = rate("usual_gigabytes_per_second")};
}

}  // namespace

Tuning Tuning::open(const Machine& machine, std::string_view isa, int threads) {
  Tuning tuning;
  tuning.key_ = key_of(machine, isa, threads);
  const Result<std::filesystem::path> folder = cache_folder();
  if (!folder) return tuning;
  tuning.path_ = *folder / fmt::format("tuning-{}-{}.json", isa, threads);
  if (const Result<std::string> text = read_file(tuning.path_, kFileMost)) tuning.read(*text);
  return tuning;
}

void Tuning::read(std::string_view json) {
  const Result<Json> file = parse_json(json, 4);
  const Result<Json> key = parse_json("{" + key_ + "}");
  if (!file || !file->is_object() || !key) return;
  for (const auto& [name, wanted] : key->items()) {
    const auto found = file->find(name);
    if (found == file->end() || *found != wanted) return;
  }
  const auto types = file->find("types");
  if (types == file->end() || !types->is_object()) return;
  for (const DTypeInfo& info : kDTypes) {
    const auto entry = types->find(std::string(info.name));
    if (entry == types->end() || !entry->is_object()) continue;
    if (const std::optional<WalkChoice> choice = choice_of(*entry)) choices_[info.dtype] = *choice;
  }
}

Walk Tuning::walk_for(std::span<const Matrix> matrices, const Kernels& kernels, Pool& pool,
                      const Clock& clock) {
  const DType dtype = matrices.front().dtype;
  if (const auto known = choices_.find(dtype); known != choices_.end()) return known->second.walk;
  Bytes bytes{};
  for (const Matrix& matrix : matrices) bytes += Bytes{matrix.bytes()};
  if (bytes < kWalkPass) return {};
  const WalkChoice choice = measure_walk(kernels, pool, clock, matrices, kStartSpan);
  if (choice.per_second <= 0) return {};
  choices_[dtype] = choice;
  [[maybe_unused]] const Status saved = save();
  return choice.walk;
}

Status Tuning::renew(const Kernels& kernels, Pool& pool, const Clock& clock, Budget& budget) {
  const Result<Charge> charge = budget.reserve(Tag::kScratch, kWalkPass);
  if (!charge) return charge.error();
  const std::vector<std::byte> weights(static_cast<size_t>(kWalkPass.count), std::byte{1});
  choices_.clear();
  for (const DTypeInfo& info : kDTypes) {
    if (!has_panels(info.dtype) || kernels.layout != Layout::kPanels) continue;
    const int64_t panel_bytes = kRowsAPanel * row_bytes(info.dtype, kMadeUpColumns);
    const Matrix matrix{.dtype = info.dtype,
                        .layout = Layout::kPanels,
                        .rows = kWalkPass.count / panel_bytes * kRowsAPanel,
                        .cols = kMadeUpColumns,
                        .data = weights.data()};
    const WalkChoice choice = measure_walk(kernels, pool, clock, {&matrix, 1}, kRenewSpan);
    if (choice.per_second > 0) choices_[info.dtype] = choice;
  }
  return save();
}

std::string Tuning::to_json() const {
  std::string out = "{" + key_ + ",\"types\":";
  append_json(out, *this);
  return out + "}\n";
}

Status Tuning::save() const {
  if (path_.empty()) return Error{Code::kUnavailable, "there is no cache folder"};
  if (Status made = make_folder(path_.parent_path()); !made) return made;
  return write_file_atomically(path_, to_json());
}

void append_json(std::string& out, const Tuning& tuning) {
  out += '{';
  for (const auto& [dtype, choice] : tuning.choices()) {
    out += fmt::format(
        "{}\"{}\":{{\"ahead_bytes\":{},\"panels\":{},\"gigabytes_per_second\":{:.4g}"
        ",\"usual_gigabytes_per_second\":{:.4g}}}",
        out.ends_with('{') ? "" : ",", info_of(dtype).name, choice.walk.ahead_bytes,
        choice.walk.panels, choice.per_second * 1e-9, choice.usual_per_second * 1e-9);
  }
  out += '}';
}

std::string to_text(const Tuning& tuning) {
  std::string out;
  for (const auto& [dtype, choice] : tuning.choices()) {
    out += fmt::format("{:<10}{:<7}", out.empty() ? "tuning" : "", info_of(dtype).name);
    if (choice.walk == Walk{}) {
      out += fmt::format("as usual, {:.1f} GB/s\n", choice.per_second * 1e-9);
      continue;
    }
    out +=
        fmt::format("{} bytes ahead, {} panel{} at once: {:.1f} GB/s, {:.1f} as usual\n",
                    choice.walk.ahead_bytes, choice.walk.panels, choice.walk.panels == 1 ? "" : "s",
                    choice.per_second * 1e-9, choice.usual_per_second * 1e-9);
  }
  return out.empty() ? "tuning    none yet: the first start of a packed model does it\n" : out;
}

}  // namespace ration
