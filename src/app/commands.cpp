#include "app/commands.h"

#include <algorithm>
#include <array>

namespace ration {
namespace {

constexpr std::array kCommands{
    Command{"run", "[MODEL] [PROMPT]", "answer one prompt (argument, -f FILE or standard input)", 0,
            64, run_run},
    Command{"chat", "[MODEL]", "talk with a model; Ctrl-C stops the answer, /help lists commands",
            0, 1, run_chat},
    Command{"embed", "MODEL [TEXT...]",
            "texts as vectors, a line of JSON each (arguments, or the lines of -f FILE or standard "
            "input)",
            1, 1 << 20, run_embed},
    Command{"serve", "[MODEL...]",
            "answer the OpenAI, Anthropic and Ollama APIs over HTTP, from one model or several", 0,
            64, run_serve},
    Command{"top", "[URL]", "watch a running server: answers, memory, tokens a second, joules", 0,
            1, run_top},
    Command{"pull", "[MODEL]", "fetch a model and keep it", 0, 1, run_pull},
    Command{"list", "", "models on this machine, and those that can be pulled", 0, 0, run_list},
    Command{"show", "[MODEL]", "family, shapes, quantisation, template and licence of a model", 0,
            1, run_show},
    Command{"rm", "MODEL", "forget a pulled model and free its disk", 1, 1, run_rm},
    Command{"tokenize", "[MODEL]", "standard input to token ids", 0, 1, run_tokenize},
    Command{"detokenize", "[MODEL] [ID...]", "token ids (arguments or standard input) to text", 0,
            1 << 20, run_detokenize},
    Command{"template", "[MODEL]", "messages as JSON on standard input to prompt text", 0, 1,
            run_template},
    Command{"perplexity", "[MODEL]", "how well a model predicts a text (--text or --tokens)", 0, 1,
            run_perplexity},
    Command{"bench", "[MODEL]", "tokens a second for prefill and decode on this machine", 0, 1,
            run_bench},
    Command{"doctor", "", "what this machine offers, and what would improve it", 0, 0, run_doctor},
    Command{"config", "check|schema|key [FILE|NAME]",
            "check the configuration file, print its JSON Schema, or make a key for it", 1, 2,
            run_config},
    Command{"completion", "SHELL", "completion script for bash, zsh or fish", 1, 1, run_completion},
};

}  // namespace

std::span<const Command> commands() { return kCommands; }

bool takes(const Command& command, const Option& option) {
  if (option.only.empty()) return true;
  std::string_view rest = option.only;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find(' '), rest.size());
    if (rest.substr(0, end) == command.name) return true;
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return false;
}

}  // namespace ration
