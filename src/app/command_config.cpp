// ration config: the configuration file checked, its schema, and new keys for it.
#include <fmt/core.h>

#include "app/commands.h"
#include "app/config.h"
#include "app/exit_code.h"
#include "app/option_sources.h"
#include "app/output.h"

namespace ration {

Result<int> run_config(const Settings& settings) {
  const std::string& what = settings.model;
  if (what == "schema" && settings.words.empty()) {
    return print(config_schema()) ? kDone : kFailed;
  }
  if (what == "key" && settings.words.size() == 1) {
    const Result<std::string> lines = new_key(settings.words.front());
    if (!lines) return lines.error();
    return print(*lines) ? kDone : kFailed;
  }
  if (what != "check" || settings.words.size() > 1) {
    return Error{Code::kInvalid,
                 fmt::format("found '{}', wanted check, check FILE, schema or key NAME", what)};
  }
  Settings named = settings;
  if (!settings.words.empty()) named.config_file = settings.words.front();
  const Result<Config> config = read_config(named);
  if (!config) return config.error();
  const std::string file = config->file.string();
  const std::string said = !config->found ? file.empty() ? "there is no configuration\n"
                                                         : fmt::format("there is no {}\n", file)
                                          : fmt::format("{} is fine\n", file);
  return print(said) ? kDone : kFailed;
}

}  // namespace ration
