// ration pull, list, show, rm: the models on this machine.
#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "app/commands.h"
#include "app/exit_code.h"
#include "app/interrupt.h"
#include "app/output.h"
#include "app/session.h"
#include "base/text.h"

namespace ration {
namespace {

// Parameters and bytes of a model's tensors, by type.
struct QuantMix {
  int64_t tensors = 0;
  int64_t bytes = 0;
};

std::map<std::string, QuantMix> quant_mix(const Gguf& file) {
  std::map<std::string, QuantMix> mix;
  for (const GgufTensor& tensor : file.tensors()) {
    QuantMix& entry = mix[std::string(info_of(tensor.dtype).name)];
    entry.tensors += 1;
    entry.bytes += static_cast<int64_t>(tensor.bytes.size());
  }
  return mix;
}

int64_t parameters(const Gguf& file) {
  int64_t count = 0;
  for (const GgufTensor& tensor : file.tensors()) count += tensor.rows() * tensor.cols();
  return count;
}

std::string licence_of(const Gguf& file, const ResolvedModel& resolved) {
  if (!resolved.licence.empty()) return resolved.licence;
  const Result<std::optional<std::string_view>> stated = file.find_string("general.license");
  return stated && *stated ? std::string(**stated) : "not stated";
}

struct Shown {
  ResolvedModel resolved;
  std::shared_ptr<const Model> model;
};

std::string show_text(const Shown& shown) {
  const Model& model = *shown.model;
  const Network& network = model.network();
  std::string out;
  const auto line = [&](std::string_view name, const std::string& value) {
    out += fmt::format("{:<12}{}\n", name, value);
  };
  line("name", shown.resolved.name);
  line("file", shown.resolved.files.front().string());
  line("bytes", to_text(model.file().file_bytes()));
  line("family", network.family);
  line("parameters",
       fmt::format("{:.1f} million", static_cast<double>(parameters(model.file())) * 1e-6));
  line("shapes",
       fmt::format("{} layers, width {}, {} heads over {} key/value heads of {}, inner {}",
                   network.layers, network.width, network.heads, network.kv_heads,
                   network.head_size, network.inner));
  if (network.experts > 0) {
    line("experts", fmt::format("{} a layer, {} of them (counted by inner) for a token",
                                network.experts, network.experts_used));
  }
  line("vocabulary",
       fmt::format("{} tokens, {}", network.vocabulary, model.tokenizer().description()));
  line("context",
       fmt::format("{} tokens, {} each", network.context_trained,
                   to_text(Bytes{Engine::kv_block_bytes(network).count / kKvBlockTokens})));
  std::string mix;
  for (const auto& [name, entry] : quant_mix(model.file())) {
    mix += fmt::format("{}{} {} in {} tensors", mix.empty() ? "" : ", ", name,
                       to_text(Bytes{entry.bytes}), entry.tensors);
  }
  line("quant", mix);
  line("template", model.chat_template() ? "yes" : "no: " + model.template_problem());
  line("licence", licence_of(model.file(), shown.resolved));
  line("source", shown.resolved.reference);
  return out;
}

std::string show_json(const Shown& shown) {
  const Model& model = *shown.model;
  const Network& network = model.network();
  std::string out = "{\"name\":";
  append_json_string(out, shown.resolved.name);
  out += ",\"file\":";
  append_json_string(out, shown.resolved.files.front().string());
  out += fmt::format(
      ",\"bytes\":{},\"family\":\"{}\",\"parameters\":{},\"layers\":{},\"width\":{},"
      "\"heads\":{},\"kv_heads\":{},\"head_size\":{},\"inner\":{},\"experts\":{},"
      "\"experts_used\":{},\"vocabulary\":{},"
      "\"context\":{},\"kv_bytes_per_token\":{},\"quant\":{{",
      model.file().file_bytes().count, network.family, parameters(model.file()), network.layers,
      network.width, network.heads, network.kv_heads, network.head_size, network.inner,
      network.experts, network.experts_used, network.vocabulary, network.context_trained,
      Engine::kv_block_bytes(network).count / kKvBlockTokens);
  bool first = true;
  for (const auto& [name, entry] : quant_mix(model.file())) {
    out += fmt::format("{}\"{}\":{{\"tensors\":{},\"bytes\":{}}}", first ? "" : ",", name,
                       entry.tensors, entry.bytes);
    first = false;
  }
  out += "},\"tokenizer\":";
  append_json_string(out, model.tokenizer().description());
  out += fmt::format(",\"template\":{},\"licence\":", model.chat_template() ? "true" : "false");
  append_json_string(out, licence_of(model.file(), shown.resolved));
  return out + "}\n";
}

Bytes packed_bytes(const ResolvedModel& model) {
  std::error_code none;
  const auto bytes = std::filesystem::file_size(packed_path(model), none);
  return Bytes{none ? 0 : static_cast<int64_t>(bytes)};
}

// What is kept against what may be; "" when that is nothing without a limit.
std::string disk_text(const Disk& disk) {
  const DiskUse use = disk.use();
  if (!disk.limit() && use.total().count == 0) return "";
  return fmt::format("on the disk: {} of models and {} packed, {} in all{}\n", to_text(use.models),
                     to_text(use.packed), to_text(use.total()),
                     disk.limit() ? " of " + to_text(*disk.limit()) : "");
}

std::string list_text(std::span<const ResolvedModel> models,
                      std::span<const CatalogueEntry> catalogue, const Disk& disk) {
  size_t width = 4;
  for (const ResolvedModel& model : models) width = std::max(width, model.name.size());
  for (const CatalogueEntry& entry : catalogue) width = std::max(width, entry.name.size());
  std::string out;
  for (const ResolvedModel& model : models) {
    const Bytes packed = packed_bytes(model);
    out += fmt::format("{:<{}}  {:>8}  {}{}\n", model.name, width, to_text(model.bytes),
                       origin_name(model.origin),
                       packed.count > 0 ? ", packed " + to_text(packed) : "");
  }
  const std::string kept = disk_text(disk);
  if (!out.empty() && !kept.empty()) out += "\n";
  out += kept;
  bool first = true;
  for (const CatalogueEntry& entry : catalogue) {
    const bool here = std::ranges::any_of(
        models, [&](const ResolvedModel& model) { return model.name == entry.name; });
    if (here) continue;
    if (first) out += fmt::format("{}ration pull NAME fetches:\n", out.empty() ? "" : "\n");
    first = false;
    out += fmt::format("{:<{}}  {:>8}  {}\n", entry.name, width, to_text(entry.bytes), entry.title);
  }
  return out;
}

std::string list_json(std::span<const ResolvedModel> models) {
  std::string out = "[";
  for (size_t i = 0; i < models.size(); ++i) {
    out += i ? ",{\"name\":" : "{\"name\":";
    append_json_string(out, models[i].name);
    out += fmt::format(
        ",\"bytes\":{},\"packed_bytes\":{},\"origin\":\"{}\",\"sha256\":\"{}\",\"file\":",
        models[i].bytes.count, packed_bytes(models[i]).count, origin_name(models[i].origin),
        models[i].sha256);
    append_json_string(out, models[i].files.front().string());
    out += ",\"reference\":";
    append_json_string(out, models[i].reference);
    out += '}';
  }
  return out + "]\n";
}

}  // namespace

Result<int> run_pull(const Settings& settings) {
  const SteadyClock clock;
  Result<Store> store = open_store(settings, clock);
  if (!store) return store.error();
  ProgressLine line = progress_line(settings);
  const std::string reference = settings.model.empty() ? Store::default_model() : settings.model;
  Result<ResolvedModel> model = store->pull(reference, {.progress = line.sink(&interrupted())});
  line.finish();
  if (!model) return model.error();
  return print(fmt::format("{}  {}  {}\n", model->name, to_text(model->bytes),
                           model->files.front().string()))
             ? kDone
             : kFailed;
}

Result<int> run_list(const Settings& settings) {
  const SteadyClock clock;
  Result<Store> store = open_store(settings, clock);
  if (!store) return store.error();
  Result<std::vector<ResolvedModel>> models = store->list();
  if (!models) return models.error();
  if (settings.json) return print(list_json(*models)) ? kDone : kFailed;
  Result<std::vector<CatalogueEntry>> catalogue = store->catalogue();
  if (!catalogue) return catalogue.error();
  return print(list_text(*models, *catalogue, store->disk())) ? kDone : kFailed;
}

Result<int> run_show(const Settings& settings) {
  const SteadyClock clock;
  Result<ResolvedModel> resolved = resolve_model(settings, clock);
  if (!resolved) return resolved.error();
  Result<std::shared_ptr<const Model>> model = Model::load(resolved->files.front());
  if (!model) return model.error();
  const Shown shown{std::move(*resolved), std::move(*model)};
  return print(settings.json ? show_json(shown) : show_text(shown)) ? kDone : kFailed;
}

Result<int> run_rm(const Settings& settings) {
  const SteadyClock clock;
  Result<Store> store = Store::open(clock, {.offline = true});
  if (!store) return store.error();
  const Result<ResolvedModel> model = store->resolve(settings.model);
  Result<RemovedModel> removed = store->remove(settings.model);
  if (!removed) return removed.error();
  std::error_code ignored;
  // Another name may still use the same file, and then its packed weights.
  if (model && !std::filesystem::exists(model->files.front(), ignored)) {
    const std::filesystem::path packed = packed_path(*model);
    const auto bytes = static_cast<int64_t>(std::filesystem::file_size(packed, ignored));
    if (std::filesystem::remove(packed, ignored)) removed->freed = removed->freed + Bytes{bytes};
  }
  return print(fmt::format("removed {}, {} freed\n", removed->name, to_text(removed->freed)))
             ? kDone
             : kFailed;
}

}  // namespace ration
