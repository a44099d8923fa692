#include <fmt/core.h>

#include <array>
#include <charconv>
#include <limits>

#include "app/commands.h"

namespace ration {
namespace {

template <class Number>
Status put_number(std::string_view text, Number least, Number most, Number& out) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !(value >= least) ||
      !(value <= most)) {
    return Error{Code::kInvalid,
                 fmt::format("found '{}', wanted a number from {} to {}", text, least, most)};
  }
  out = value;
  return {};
}

template <class Number>
Status put_number(std::string_view text, Number least, Number most, std::optional<Number>& out) {
  Number value{};
  if (Status put = put_number(text, least, most, value); !put) return put;
  out = value;
  return {};
}

template <class Value, class Out>
Status put(const Result<Value>& value, Out& out) {
  if (!value) return value.error();
  out = *value;
  return {};
}

template <class Text>
Status put(std::string_view text, Text& out) {
  out = text;
  return {};
}

Status set(bool& flag) {
  flag = true;
  return {};
}

Status put_switch(std::string_view text, bool& out) {
  if (text != "on" && text != "off") {
    return Error{Code::kInvalid, fmt::format("found '{}', wanted on or off", text)};
  }
  out = text == "on";
  return {};
}

Status put_speculate(Settings& settings, std::string_view text) {
  constexpr std::array<std::pair<std::string_view, Speculate>, 3> kWays{
      {{"auto", Speculate::kAuto}, {"ngram", Speculate::kNgram}, {"off", Speculate::kOff}}};
  for (const auto& [name, way] : kWays) {
    if (text != name) continue;
    settings.speculate = way;
    return {};
  }
  return Error{Code::kInvalid, fmt::format("found '{}', wanted auto, ngram or off", text)};
}

constexpr std::string_view kModelCommands = "run chat embed serve perplexity bench";
constexpr std::string_view kSampling = "run chat";

constexpr std::array kOptions{
    Option{"-m,--memory", "SIZE", "most memory to use, such as 300MB (default: what is free)",
           kModelCommands,
           [](Settings& s, std::string_view v) { return put(parse_bytes(v), s.memory); }},
    Option{"--disk", "SIZE",
           "most to keep on the disk: models and their packed weights (default: what is free)",
           "run chat embed serve pull list perplexity bench",
           [](Settings& s, std::string_view v) { return put(parse_bytes(v), s.disk); }},
    Option{"-t,--threads", "N", "threads to compute with (default: the CPUs this process may use)",
           kModelCommands,
           [](Settings& s, std::string_view v) { return put_number(v, 1, 1024, s.threads); }},
    Option{"-c,--context", "N",
           "most tokens of one conversation (default: what model and memory allow)", kModelCommands,
           [](Settings& s, std::string_view v) {
             return put_number(v, int64_t{1}, kTokensMax, s.context);
           }},
    Option{"--kv", "f16|int8",
           "how keys and values are kept: int8 holds nearly twice the context (default: f16)",
           kModelCommands,
           [](Settings& s, std::string_view v) { return put(parse_kv_type(v), s.kv); }},
    Option{"--prefix-cache", "SIZE",
           "most to keep of earlier texts for prompts that begin alike; 0: nothing (default: all "
           "that is not needed)",
           "chat serve",
           [](Settings& s, std::string_view v) { return put(parse_bytes(v), s.prefix_cache); }},
    Option{"--prefix-disk", "SIZE",
           "most to keep of them on the disk, for each model; outlasts restarts (default: 0)",
           "chat serve",
           [](Settings& s, std::string_view v) { return put(parse_bytes(v), s.prefix_disk); }},
    Option{"--share-prefixes", "", "let prompts take over what was computed for other keys",
           "serve", [](Settings& s, std::string_view) { return set(s.share_prefixes); }},
    Option{"--reproducible", "",
           "take over from earlier texts only what a prompt computes to the same bits",
           "chat serve", [](Settings& s, std::string_view) { return set(s.reproducible); }},
    Option{"-n,--max-tokens", "N", "most tokens of an answer", kSampling,
           [](Settings& s, std::string_view v) {
             return put_number(v, int64_t{0}, kTokensMax, s.max_tokens);
           }},
    Option{"--deadline", "TIME", "stop an answer after this long, such as 3s", kSampling,
           [](Settings& s, std::string_view v) { return put(parse_millis(v), s.deadline); }},
    Option{"--seed", "N", "seed of the random choices (default: a new one each time)", kSampling,
           [](Settings& s, std::string_view v) {
             return put_number(v, uint64_t{0}, std::numeric_limits<uint64_t>::max(), s.seed);
           }},
    Option{"--temperature", "X", "0 takes the most likely token; higher is more varied", kSampling,
           [](Settings& s, std::string_view v) {
             return put_number(v, 0.0f, 100.0f, s.sampler.temperature);
           }},
    Option{
        "--top-k", "N", "choose among the N most likely tokens; 0: all", kSampling,
        [](Settings& s, std::string_view v) { return put_number(v, 0, 1 << 24, s.sampler.top_k); }},
    Option{
        "--top-p", "X", "choose among the most likely tokens that make up this share", kSampling,
        [](Settings& s, std::string_view v) { return put_number(v, 0.0f, 1.0f, s.sampler.top_p); }},
    Option{
        "--min-p", "X", "drop tokens less likely than this share of the best", kSampling,
        [](Settings& s, std::string_view v) { return put_number(v, 0.0f, 1.0f, s.sampler.min_p); }},
    Option{"--repetition-penalty", "X", "above 1: make repeated tokens less likely", kSampling,
           [](Settings& s, std::string_view v) {
             return put_number(v, 0.01f, 100.0f, s.sampler.repetition_penalty);
           }},
    Option{"--presence-penalty", "X", "-2 to 2, as in the OpenAI API", kSampling,
           [](Settings& s, std::string_view v) {
             return put_number(v, -2.0f, 2.0f, s.sampler.presence_penalty);
           }},
    Option{"--frequency-penalty", "X", "-2 to 2, as in the OpenAI API", kSampling,
           [](Settings& s, std::string_view v) {
             return put_number(v, -2.0f, 2.0f, s.sampler.frequency_penalty);
           }},
    Option{"--stop", "TEXT", "end the answer before this text; may be given again", kSampling,
           [](Settings& s, std::string_view v) -> Status {
             if (v.empty()) return Error{Code::kInvalid, "found an empty text, wanted characters"};
             s.stop.emplace_back(v);
             return {};
           }},
    Option{"--speculate", "auto|ngram|off",
           "guess tokens from the text so far where that pays; answers stay the same",
           "run chat serve", put_speculate},
    Option{"--draft", "MODEL", "a smaller model of the same vocabulary that guesses tokens too",
           "run chat serve", [](Settings& s, std::string_view v) { return put(v, s.draft); }},
    Option{"-f,--file", "FILE", "read the prompt, or texts, from a file; - is standard input",
           "run embed", [](Settings& s, std::string_view v) { return put(v, s.prompt_file); }},
    Option{"--system", "TEXT", "system message of the conversation", kSampling,
           [](Settings& s, std::string_view v) { return put(v, s.system); }},
    Option{"--raw", "", "continue the prompt as it is, without the chat template", "run",
           [](Settings& s, std::string_view) { return set(s.raw); }},
    Option{"--truncate", "", "of a text that is longer than the context, embed the beginning",
           "embed", [](Settings& s, std::string_view) { return set(s.truncate); }},
    Option{"--json", "", "print JSON instead of text",
           "run list show tokenize perplexity bench doctor",
           [](Settings& s, std::string_view) { return set(s.json); }},
    Option{"--special", "", "read or show special tokens such as <|im_end|>", "tokenize detokenize",
           [](Settings& s, std::string_view) { return set(s.special); }},
    Option{"-q,--quiet", "", "print the answer only: no bill, no progress",
           "run chat embed serve pull perplexity bench",
           [](Settings& s, std::string_view) { return set(s.quiet); }},
    Option{"--packed", "on|off",
           "keep the weights packed for this machine in a file beside the model (default: on)",
           kModelCommands, [](Settings& s, std::string_view v) { return put_switch(v, s.packed); }},
    Option{"--deep", "on|off",
           "with AMX or AVX-512, compute prompts in int8 throughout where the weights bear it "
           "(default: on)",
           kModelCommands, [](Settings& s, std::string_view v) { return put_switch(v, s.deep); }},
    Option{"--offline", "", "never use the network; fail where it would be needed", "",
           [](Settings& s, std::string_view) { return set(s.offline); }},
    Option{"--config", "FILE", "configuration file (default: ~/.config/ration/config.toml)",
           "run chat embed serve pull list perplexity bench doctor config",
           [](Settings& s, std::string_view v) { return put(v, s.config_file); }},
    Option{"--text", "FILE", "the text to predict; - is standard input", "perplexity",
           [](Settings& s, std::string_view v) { return put(v, s.text_file); }},
    Option{"--tokens", "FILE", "token ids to predict (whitespace or JSON); - is standard input",
           "perplexity", [](Settings& s, std::string_view v) { return put(v, s.tokens_file); }},
    Option{"--top", "K", "with --json: the K best tokens of every position", "perplexity",
           [](Settings& s, std::string_view v) {
             return put_number(v, int64_t{0}, int64_t{1} << 20, s.top);
           }},
    Option{"--prefill", "N", "tokens of the prompt (default 128)", "bench",
           [](Settings& s, std::string_view v) {
             return put_number(v, int64_t{0}, kTokensMax, s.prefill);
           }},
    Option{"--decode", "N", "tokens to generate (default 64)", "bench",
           [](Settings& s, std::string_view v) {
             return put_number(v, int64_t{0}, kTokensMax, s.decode);
           }},
    Option{"--sequences", "N", "conversations that decode together (default 1)", "bench",
           [](Settings& s, std::string_view v) {
             return put_number(v, int64_t{1}, int64_t{256}, s.sequences);
           }},
    Option{"--depth", "N", "tokens already in the cache before decoding (default 0)", "bench",
           [](Settings& s, std::string_view v) {
             return put_number(v, int64_t{0}, kTokensMax, s.depth);
           }},
    Option{"--rounds", "N", "measure this often and report the median (default 3)", "bench",
           [](Settings& s, std::string_view v) {
             return put_number(v, int64_t{1}, int64_t{1000}, s.rounds);
           }},
    Option{"--tune", "", "measure again how weights are read fastest, and keep it", "doctor",
           [](Settings& s, std::string_view) { return set(s.tune); }},
    Option{"--every", "TIME", "how often to look (default 1s)", "top",
           [](Settings& s, std::string_view v) -> Status {
             Result<Millis> millis = parse_millis(v);
             if (!millis) return millis.error();
             if (millis->count < 100) return Error{Code::kInvalid, "wanted at least 100ms"};
             s.every = *millis;
             return {};
           }},
    Option{"--host", "ADDRESS", "address to listen on (default 127.0.0.1)", "serve top",
           [](Settings& s, std::string_view v) { return put(v, s.host); }},
    Option{"-p,--port", "N", "port to listen on; 0 picks a free one (default 11500)", "serve top",
           [](Settings& s, std::string_view v) { return put_number(v, 0, 65535, s.port); }},
    Option{"--sequences-max", "N", "conversations answered at once (default 16)", "serve",
           [](Settings& s, std::string_view v) {
             return put_number(v, int64_t{1}, int64_t{256}, s.sequences_max);
           }},
    Option{"--connections-max", "N", "connections that are open at once (default 2048)", "serve",
           [](Settings& s, std::string_view v) {
             return put_number(v, int64_t{1}, int64_t{100'000}, s.connections_max);
           }},
    Option{"--log-requests", "", "write a line of JSON for each request to standard error", "serve",
           [](Settings& s, std::string_view) { return set(s.log_requests); }},
    Option{"--log-prompts", "", "the same, with what was asked", "serve",
           [](Settings& s, std::string_view) -> Status {
             s.log_requests = true;
             s.log_prompts = true;
             return {};
           }},
};

}  // namespace

std::span<const Option> options() { return kOptions; }

}  // namespace ration
