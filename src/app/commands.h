// app/commands.h - the commands and options of the program, as two tables.
//
// --help, the parser, "did you mean" and shell completion are all made from these tables, so they
// cannot disagree. To add an option: one row in options.cpp. To add a command: one row in
// commands.cpp.
#pragma once

#include <span>
#include <string_view>

#include "app/settings.h"
#include "base/result.h"

namespace ration {

struct Command {
  std::string_view name;
  std::string_view arguments;  // as --help shows them: "MODEL [PROMPT]"
  std::string_view summary;
  int words_min;  // positional arguments
  int words_max;
  // Returns an exit code; an Error is printed by main and mapped to one.
  Result<int> (*run)(const Settings& settings);
};
std::span<const Command> commands();

struct Option {
  std::string_view names;  // "-f,--file"
  std::string_view value;  // what --help calls the value; "" for a flag
  std::string_view summary;
  std::string_view only;  // the commands that take it, space-separated; "" means all
  // `value` is "" for a flag.
  Status (*apply)(Settings& settings, std::string_view value);
};
std::span<const Option> options();
bool takes(const Command& command, const Option& option);

// Parses argv into settings. An exit code when the program should end now (--help, --version).
struct Parsed {
  Settings settings;
  const Command* command = nullptr;
  std::optional<int> exit;
};
Result<Parsed> parse_arguments(int argc, char** argv);

Result<int> run_run(const Settings& settings);
Result<int> run_chat(const Settings& settings);
Result<int> run_embed(const Settings& settings);
Result<int> run_serve(const Settings& settings);
Result<int> run_pull(const Settings& settings);
Result<int> run_list(const Settings& settings);
Result<int> run_show(const Settings& settings);
Result<int> run_rm(const Settings& settings);
Result<int> run_tokenize(const Settings& settings);
Result<int> run_detokenize(const Settings& settings);
Result<int> run_template(const Settings& settings);
Result<int> run_perplexity(const Settings& settings);
Result<int> run_bench(const Settings& settings);
Result<int> run_doctor(const Settings& settings);
Result<int> run_top(const Settings& settings);
Result<int> run_config(const Settings& settings);
Result<int> run_completion(const Settings& settings);

}  // namespace ration
