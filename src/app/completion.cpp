// ration completion: scripts for the shells, made from the tables of commands and options.
#include <fmt/format.h>

#include <string>
#include <vector>

#include "app/commands.h"
#include "app/exit_code.h"
#include "app/output.h"

namespace ration {
namespace {

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const size_t end = std::min(text.find(separator), text.size());
    parts.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

std::string option_words(const Command& command) {
  std::vector<std::string> words;
  for (const Option& option : options()) {
    if (!takes(command, option)) continue;
    for (std::string& name : split(option.names, ',')) words.push_back(std::move(name));
  }
  words.emplace_back("--help");
  return fmt::format("{}", fmt::join(words, " "));
}

std::string command_words() {
  std::vector<std::string_view> names;
  for (const Command& command : commands()) names.push_back(command.name);
  return fmt::format("{}", fmt::join(names, " "));
}

std::string bash_script() {
  std::string cases;
  for (const Command& command : commands()) {
    cases += fmt::format("    {}) words=\"{}\" ;;\n", command.name, option_words(command));
  }
  return fmt::format(
      "_ration() {{\n"
      "  local word=\"${{COMP_WORDS[COMP_CWORD]}}\" words\n"
      "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
      "    COMPREPLY=($(compgen -W \"{}\" -- \"$word\"))\n"
      "    return\n"
      "  fi\n"
      "  case \"${{COMP_WORDS[1]}}\" in\n{}  esac\n"
      "  case \"$word\" in\n"
      "    -*) COMPREPLY=($(compgen -W \"$words\" -- \"$word\")) ;;\n"
      "    *) COMPREPLY=($(compgen -f -- \"$word\") $(compgen -W \"$(ration list 2>/dev/null |"
      " awk 'NF >= 3 && $1 != \"ration\" {{print $1}}')\" -- \"$word\")) ;;\n"
      "  esac\n"
      "}}\n"
      "complete -o filenames -F _ration ration\n",
      command_words(), cases);
}

std::string fish_script() {
  std::string out = "complete -c ration -f\n";
  for (const Command& command : commands()) {
    out += fmt::format("complete -c ration -n __fish_use_subcommand -a {} -d '{}'\n", command.name,
                       command.summary);
    for (const Option& option : options()) {
      if (!takes(command, option)) continue;
      out += fmt::format("complete -c ration -n '__fish_seen_subcommand_from {}'", command.name);
      for (const std::string& name : split(option.names, ',')) {
        out += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
      }
      out += fmt::format("{} -d '{}'\n", option.value.empty() ? "" : " -r", option.summary);
    }
  }
  return out + "complete -c ration -n 'not __fish_use_subcommand' -F\n";
}

}  // namespace

Result<int> run_completion(const Settings& settings) {
  const std::string& shell = settings.model;
  if (shell == "bash") return print(bash_script()) ? kDone : kFailed;
  if (shell == "zsh") {
    return print("autoload -U +X bashcompinit && bashcompinit\n" + bash_script()) ? kDone : kFailed;
  }
  if (shell == "fish") return print(fish_script()) ? kDone : kFailed;
  return Error{Code::kInvalid, fmt::format("found shell '{}', wanted bash, zsh or fish", shell)};
}

}  // namespace ration
