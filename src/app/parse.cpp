// The command line, by CLI11 from the tables of commands and options.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "app/commands.h"
#include "app/config.h"
#include "app/exit_code.h"
#include "app/option_sources.h"
#include "app/output.h"
#include "base/text.h"

namespace ration {
namespace {

std::string exit_footer() {
  std::string footer = "exit codes:";
  for (const ExitRow& row : kExitRows) {
    footer += fmt::format("\n  {:>3}  {}", static_cast<int>(row.code), row.meaning);
  }
  return footer;
}

const Command* find_command(std::string_view name) {
  for (const Command& command : commands()) {
    if (command.name == name) return &command;
  }
  return nullptr;
}

// Usage lines from the table of commands.
class Help final : public CLI::Formatter {
 public:
  std::string make_usage(const CLI::App* app, std::string name) const override {
    const Command* command = find_command(app->get_name());
    if (!command) return "usage: ration COMMAND [options]\n";
    return fmt::format("usage: ration {} {}{}[options]\n", command->name, command->arguments,
                       command->arguments.empty() ? "" : " ");
  }
};

// What the parser fills before it is applied to Settings.
struct Words {
  std::vector<std::string> positional;
  std::vector<std::pair<const Option*, std::string>> options;  // as they came, with their values
};

Status apply(const Words& words, Settings& settings) {
  for (const auto& [option, value] : words.options) {
    if (Status applied = option->apply(settings, value); !applied) {
      return Error{applied.error().code,
                   fmt::format("option --{}: {}", long_name(*option), applied.error().message)};
    }
  }
  return {};
}

// `config` reads the file that it is asked about.
bool reads_config(const Command& command) {
  return command.name != "config" && std::ranges::any_of(options(), [&](const Option& option) {
           return long_name(option) == "config" && takes(command, option);
         });
}

// The configuration and the environment first, so that the command line has the last word.
Status apply_all(const Command& command, const Words& words, Settings& settings) {
  Settings of_words;
  if (Status applied = apply(words, of_words); !applied) return applied;
  Config config;
  if (reads_config(command)) {
    Result<Config> read = read_config(of_words);
    if (!read) return read.error();
    config = std::move(*read);
  }
  if (Status applied = apply_sources(config, command, settings); !applied) return applied;
  return apply(words, settings);
}

void add_option(CLI::App& app, const Option& option, Words& words) {
  const std::string names(option.names);
  const auto apply = [&option, &words](const std::string& value) {
    words.options.emplace_back(&option, value);
  };
  if (option.value.empty()) {
    app.add_flag_callback(names, [apply] { apply(""); }, std::string(option.summary));
    return;
  }
  app.add_option_function<std::vector<std::string>>(
         names,
         [apply](const std::vector<std::string>& values) {
           for (const std::string& value : values) apply(value);
         },
         std::string(option.summary))
      ->type_name(std::string(option.value))
      ->expected(1)
      ->allow_extra_args(false)
      ->take_all();
}

CLI::App* add_command(CLI::App& app, const Command& command, Words& words) {
  CLI::App* sub = app.add_subcommand(std::string(command.name), std::string(command.summary));
  for (const Option& option : options()) {
    if (takes(command, option)) add_option(*sub, option, words);
  }
  if (command.words_max > 0) {
    sub->add_option("words", words.positional, std::string(command.arguments))
        ->expected(command.words_min, command.words_max)
        ->group("");
  }
  sub->footer(exit_footer());
  return sub;
}

std::vector<std::string> option_names(const Command* command) {
  std::vector<std::string> names{"--help", "--version"};
  for (const Option& option : options()) {
    if (command && !takes(*command, option)) continue;
    std::string_view rest = option.names;
    while (!rest.empty()) {
      const size_t end = std::min(rest.find(','), rest.size());
      names.emplace_back(rest.substr(0, end));
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
  }
  return names;
}

// The first word that looks like an option and is none of the command's, with the nearest that are.
Error explain(int argc, char** argv, const std::string& words_of_parser) {
  const Command* command = nullptr;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (!command && !word.starts_with('-')) {
      command = find_command(word);
      if (!command) {
        std::vector<std::string> names;
        for (const Command& known : commands()) names.emplace_back(known.name);
        const std::string hint = did_you_mean(word, names);
        return {Code::kInvalid,
                fmt::format("unknown command '{}'{}", word,
                            hint.empty() ? "; ration --help lists them" : ", " + hint)};
      }
      continue;
    }
    if (word == "--") break;
    if (!word.starts_with('-') || word == "-") continue;
    const std::string name = word.substr(0, word.find('='));
    const std::vector<std::string> names = option_names(command);
    if (std::ranges::find(names, name) != names.end()) continue;
    if (!name.starts_with("--") && name.size() > 2) continue;  // -n5
    const std::string hint = did_you_mean(name, names);
    return {Code::kInvalid, fmt::format("unknown option '{}'{}{}", name,
                                        command ? fmt::format(" of ration {}", command->name) : "",
                                        hint.empty() ? "; --help lists them" : ", " + hint)};
  }
  return {Code::kInvalid, words_of_parser};
}

}  // namespace

Result<Parsed> parse_arguments(int argc, char** argv) {
  Parsed parsed;
  Words words;
  CLI::App app(
      "Ration runs language models inside a stated budget and puts the bill on every answer.",
      "ration");
  app.set_version_flag("--version", std::string("ration ") + RATION_VERSION);
  app.footer(exit_footer());
  app.formatter(std::make_shared<Help>());  // inherited by the commands below
  app.require_subcommand(1);
  for (const Option& option : options()) {
    if (option.only.empty()) add_option(app, option, words);
  }
  std::vector<std::pair<CLI::App*, const Command*>> subs;
  for (const Command& command : commands()) {
    subs.emplace_back(add_command(app, command, words), &command);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {
    parsed.exit = app.exit(success);
    return parsed;
  } catch (const CLI::ParseError& error) {
    if (argc <= 1) {
      print(app.help());
      parsed.exit = kUsage;
      return parsed;
    }
    return explain(argc, argv, error.what());
  }
  for (const auto& [sub, command] : subs) {
    if (sub->parsed()) parsed.command = command;
  }
  if (Status applied = apply_all(*parsed.command, words, parsed.settings); !applied) {
    return applied.error();
  }
  parsed.settings.command = parsed.command->name;
  if (!words.positional.empty()) {
    parsed.settings.model = words.positional.front();
    parsed.settings.words.assign(words.positional.begin() + 1, words.positional.end());
  }
  return parsed;
}

}  // namespace ration
