#include "test/gate/reference.h"

#include "base/check.h"
#include "base/file.h"
#include "base/json.h"

namespace ration {
namespace {

Json read_json(const std::string& path) {
  const std::string whole = std::string(RATION_SOURCE_DIR) + "/data/" + path + ".json";
  Result<std::string> text = read_file(whole, Bytes{1 << 20});
  CHECK(text, whole + " is missing");
  Result<Json> parsed = parse_json(*text);
  CHECK(parsed, whole + ": " + (parsed ? "" : parsed.error().message));
  return std::move(*parsed);
}

// values: an object with top_ids, top_logprobs and gap
void fill(const Json& values, ReferenceRun& run) {
  for (const Json& ids : values.at("top_ids")) run.top.push_back(ids.at(0).get<Token>());
  for (const Json& all : values.at("top_logprobs")) run.logprob.push_back(all.at(0).get<double>());
  run.gap = values.at("gap").get<std::vector<double>>();
  CHECK(!run.top.empty());
  CHECK(run.top.size() == run.logprob.size() && run.top.size() == run.gap.size());
}

}  // namespace

std::vector<ReferenceRun> tiny_reference(const std::string& name) {
  const Json file = read_json("tiny/" + name);
  std::vector<ReferenceRun> runs;
  for (const Json& entry : file.at("runs")) {
    ReferenceRun run;
    run.context = entry.at("context").get<int64_t>();
    run.ids = entry.at("ids").get<std::vector<Token>>();
    fill(entry, run);
    runs.push_back(std::move(run));
  }
  return runs;
}

ModelReference model_reference(const std::string& name) {
  const Json file = read_json("reference/" + name);
  ModelReference reference;
  reference.f32.ids = file.at("ids").get<std::vector<Token>>();
  reference.f32.context = static_cast<int64_t>(reference.f32.ids.size());
  reference.f32.first = file.at("f32_gate").at("first").get<int64_t>();
  fill(file.at("f32_gate"), reference.f32);
  reference.llama_kl_prompt = file.at("kl_quantised_to_f32").at("prompt").get<double>();
  reference.llama_kl_generated = file.at("kl_quantised_to_f32").at("generated").get<double>();
  reference.llama_perplexity = file.at("perplexity").at("quantised").get<double>();
  reference.windows = file.at("perplexity").at("windows").get<std::vector<std::vector<Token>>>();
  for (const Json& entry : file.at("greedy_f32")) {
    const Json& diverges = entry.at("quantised_diverges_at");
    reference.greedy.push_back(
        {.name = entry.at("name").get<std::string>(),
         .prompt = entry.at("prompt").get<std::vector<Token>>(),
         .ids = entry.at("ids").get<std::vector<Token>>(),
         .gap = entry.at("gap").get<std::vector<double>>(),
         .llama_diverges = diverges.is_null() ? -1 : diverges.get<int64_t>()});
  }
  return reference;
}

}  // namespace ration
