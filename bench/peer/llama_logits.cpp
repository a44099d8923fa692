// llama_logits: what llama.cpp computes, written down for our tests to be held against.
//
// A thin program over llama.cpp's public C interface. It is built by build_tools.sh against an
// existing llama.cpp build and is no part of Ration: data/*/make_reference.py runs it, the values
// it prints are committed, and the test suite reads those.
//
//   llama_logits ids    MODEL TEXT_FILE...            one line of ids for each file
//   llama_logits logits MODEL --ids FILE --out FILE   raw float32 rows, one for each position
//   llama_logits score  MODEL --ids FILE              log-probability of each next id
//   llama_logits greedy MODEL --ids FILE --tokens N   the greedy continuation with its gaps
//
// An ids file holds one sequence a line, ids in decimal separated by blanks; each sequence is
// decoded from an empty cache. Row p is the output after id p has been read, so it predicts id p+1.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <limits>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "llama.h"

namespace {

using Ids = std::vector<llama_token>;

struct Options {
  std::string command;
  std::string model;
  std::vector<std::string> texts;  // files for `ids`
  std::string ids_file;
  std::string out_file;
  int32_t batch = 512;         // ids decoded together: 1 = as generated, more = as a prompt
  int32_t context = 0;         // cache size in ids; 0 = what the longest sequence needs
  int32_t threads = 1;         // one count for prompt and generation
  int32_t tokens = 64;         // ids to generate with `greedy`
  int32_t first = 0;           // first position of each sequence whose row is written by `logits`
  bool kv_f16 = false;         // F16 cache instead of F32
  bool flash = false;          // flash attention
  bool parse_special = false;  // `ids`: read control words such as <|im_start|> in the text
};

struct ModelFree {
  void operator()(llama_model* model) const { llama_model_free(model); }
};
struct ContextFree {
  void operator()(llama_context* context) const { llama_free(context); }
};
using Model = std::unique_ptr<llama_model, ModelFree>;
using Context = std::unique_ptr<llama_context, ContextFree>;

[[noreturn]] void fail(const std::string& message) {
  std::cerr << "llama_logits: " << message << '\n';
  std::exit(1);
}

int32_t number(const std::string& text) {
  char* end = nullptr;
  const long value = std::strtol(text.c_str(), &end, 10);
  if (text.empty() || *end != '\0' || value < 0 || value > std::numeric_limits<int32_t>::max()) {
    fail("found '" + text + "', wanted a number");
  }
  return static_cast<int32_t>(value);
}

Options parse(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.size() < 2) fail("usage: llama_logits ids|logits|score|greedy MODEL ...");
  Options options;
  options.command = arguments[0];
  options.model = arguments[1];
  for (size_t i = 2; i < arguments.size(); ++i) {
    const std::string& name = arguments[i];
    if (name == "--kv-f16") {
      options.kv_f16 = true;
    } else if (name == "--flash") {
      options.flash = true;
    } else if (name == "--parse-special") {
      options.parse_special = true;
    } else if (name.rfind("--", 0) != 0) {
      options.texts.push_back(name);
    } else if (i + 1 == arguments.size()) {
      fail(name + " wants a value");
    } else {
      const std::string& value = arguments[++i];
      if (name == "--ids")
        options.ids_file = value;
      else if (name == "--out")
        options.out_file = value;
      else if (name == "--batch")
        options.batch = std::max(1, number(value));
      else if (name == "--context")
        options.context = number(value);
      else if (name == "--threads")
        options.threads = std::max(1, number(value));
      else if (name == "--tokens")
        options.tokens = number(value);
      else if (name == "--first")
        options.first = number(value);
      else
        fail("unknown option " + name);
    }
  }
  return options;
}

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) fail("cannot read " + path);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

std::vector<Ids> read_sequences(const std::string& path, int32_t vocabulary) {
  std::vector<Ids> sequences;
  std::istringstream lines(read_file(path));
  for (std::string line; std::getline(lines, line);) {
    Ids ids;
    std::istringstream words(line);
    for (std::string word; words >> word;) {
      ids.push_back(number(word));
      if (ids.back() >= vocabulary) fail("found id " + word + " beyond the vocabulary");
    }
    if (!ids.empty()) sequences.push_back(std::move(ids));
  }
  if (sequences.empty()) fail("no ids in " + path);
  return sequences;
}

Model load_model(const Options& options) {
  llama_model_params params = llama_model_default_params();
  params.vocab_only = options.command == "ids";
  Model model(llama_model_load_from_file(options.model.c_str(), params));
  if (!model) fail("cannot load " + options.model);
  return model;
}

Context make_context(const Options& options, llama_model& model, int32_t longest) {
  llama_context_params params = llama_context_default_params();
  const int32_t needed = longest + (options.command == "greedy" ? options.tokens : 0);
  params.n_ctx = static_cast<uint32_t>(options.context > 0 ? options.context : needed);
  params.n_batch = static_cast<uint32_t>(options.batch);
  params.n_ubatch = static_cast<uint32_t>(options.batch);
  params.n_outputs_max_per_seq = 0;  // 0: every position of a batch may be an output
  params.n_threads = options.threads;
  params.n_threads_batch = options.threads;
  params.flash_attn_type =
      options.flash ? LLAMA_FLASH_ATTN_TYPE_ENABLED : LLAMA_FLASH_ATTN_TYPE_DISABLED;
  params.type_k = options.kv_f16 ? GGML_TYPE_F16 : GGML_TYPE_F32;
  params.type_v = params.type_k;
  Context context(llama_init_from_model(&model, params));
  if (!context) fail("cannot make a context");
  return context;
}

// Decodes ids[begin, end) behind what the cache holds, every position an output.
void decode(llama_context& context, const Ids& ids, size_t begin, size_t end) {
  llama_batch batch = llama_batch_init(static_cast<int32_t>(end - begin), 0, 1);
  for (size_t p = begin; p < end; ++p) {
    const size_t row = p - begin;
    batch.token[row] = ids[p];
    batch.pos[row] = static_cast<llama_pos>(p);
    batch.n_seq_id[row] = 1;
    batch.seq_id[row][0] = 0;
    batch.logits[row] = 1;
  }
  batch.n_tokens = static_cast<int32_t>(end - begin);
  const int32_t status = llama_decode(&context, batch);
  llama_batch_free(batch);
  if (status != 0) fail("decoding failed with " + std::to_string(status));
}

// Runs a sequence from an empty cache and calls visit(position, logits) for each position in order.
template <typename Visit>
void run_sequence(const Options& options, llama_context& context, const Ids& ids, Visit visit) {
  llama_memory_clear(llama_get_memory(&context), true);
  const auto step = static_cast<size_t>(options.batch);
  for (size_t begin = 0; begin < ids.size(); begin += step) {
    const size_t end = std::min(ids.size(), begin + step);
    decode(context, ids, begin, end);
    for (size_t p = begin; p < end; ++p) {
      const float* logits = llama_get_logits_ith(&context, static_cast<int32_t>(p - begin));
      if (logits == nullptr) fail("no logits at position " + std::to_string(p));
      visit(p, logits);
    }
  }
}

double log_sum_exp(const float* logits, int32_t count) {
  const double highest = *std::max_element(logits, logits + count);
  double sum = 0.0;
  for (int32_t i = 0; i < count; ++i) sum += std::exp(static_cast<double>(logits[i]) - highest);
  return highest + std::log(sum);
}

void print_ids(const Options& options, llama_model& model) {
  const llama_vocab* vocab = llama_model_get_vocab(&model);
  for (const std::string& path : options.texts) {
    const std::string text = read_file(path);
    const auto length = static_cast<int32_t>(text.size());
    Ids ids(text.size() + 8);
    const int32_t count =
        llama_tokenize(vocab, text.data(), length, ids.data(), static_cast<int32_t>(ids.size()),
                       /*add_special=*/true, options.parse_special);
    if (count < 0) fail("cannot tokenise " + path);
    for (int32_t i = 0; i < count; ++i) {
      std::cout << (i == 0 ? "" : " ") << ids[static_cast<size_t>(i)];
    }
    std::cout << '\n';
  }
}

void write_logits(const Options& options, llama_context& context, const std::vector<Ids>& sequences,
                  int32_t vocabulary) {
  std::ofstream out(options.out_file, std::ios::binary);
  if (!out) fail("cannot write " + options.out_file);
  for (const Ids& ids : sequences) {
    run_sequence(options, context, ids, [&](size_t p, const float* logits) {
      if (p < static_cast<size_t>(options.first)) return;
      out.write(reinterpret_cast<const char*>(logits),
                static_cast<std::streamsize>(sizeof(float)) * vocabulary);
    });
  }
  if (!out.flush()) fail("cannot write " + options.out_file);
}

void print_scores(const Options& options, llama_context& context, const std::vector<Ids>& sequences,
                  int32_t vocabulary) {
  std::cout.precision(9);
  for (const Ids& ids : sequences) {
    run_sequence(options, context, ids, [&](size_t p, const float* logits) {
      if (p + 1 == ids.size()) return;
      std::cout << (p == 0 ? "" : " ") << logits[ids[p + 1]] - log_sum_exp(logits, vocabulary);
    });
    std::cout << std::endl;
  }
}

// One line a sequence: "id second logprob gap" for each step, steps separated by commas.
// Ends early after an end-of-generation id, which is still written.
void print_greedy(const Options& options, llama_context& context, const llama_vocab* vocab,
                  const std::vector<Ids>& sequences, int32_t vocabulary) {
  std::cout.precision(9);
  for (const Ids& prompt : sequences) {
    std::vector<float> last(static_cast<size_t>(vocabulary));
    run_sequence(options, context, prompt, [&](size_t p, const float* logits) {
      if (p + 1 == prompt.size()) std::copy_n(logits, vocabulary, last.begin());
    });
    Ids ids = prompt;
    for (int32_t step = 0; step < options.tokens; ++step) {
      const auto best = std::max_element(last.begin(), last.end()) - last.begin();
      const auto id = static_cast<llama_token>(best);
      const double logprob = last[static_cast<size_t>(best)] - log_sum_exp(last.data(), vocabulary);
      const float highest = last[static_cast<size_t>(best)];
      last[static_cast<size_t>(best)] = -std::numeric_limits<float>::infinity();
      const auto second = std::max_element(last.begin(), last.end()) - last.begin();
      std::cout << (step == 0 ? "" : ",") << id << ' ' << second << ' ' << logprob << ' '
                << highest - last[static_cast<size_t>(second)];
      if (llama_vocab_is_eog(vocab, id)) break;
      ids.push_back(id);
      decode(context, ids, ids.size() - 1, ids.size());
      std::copy_n(llama_get_logits_ith(&context, 0), vocabulary, last.begin());
    }
    std::cout << std::endl;
  }
}

void quiet(ggml_log_level level, const char* text, void*) {
  if (level == GGML_LOG_LEVEL_ERROR) std::cerr << text;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  llama_log_set(quiet, nullptr);
  llama_backend_init();
  const Model model = load_model(options);
  if (options.command == "ids") {
    print_ids(options, *model);
    return 0;
  }
  const llama_vocab* vocab = llama_model_get_vocab(model.get());
  const int32_t vocabulary = llama_vocab_n_tokens(vocab);
  const std::vector<Ids> sequences = read_sequences(options.ids_file, vocabulary);
  size_t longest = 0;
  for (const Ids& ids : sequences) longest = std::max(longest, ids.size());
  const Context context = make_context(options, *model, static_cast<int32_t>(longest));
  if (options.command == "logits") {
    write_logits(options, *context, sequences, vocabulary);
  } else if (options.command == "score") {
    print_scores(options, *context, sequences, vocabulary);
  } else if (options.command == "greedy") {
    print_greedy(options, *context, vocab, sequences, vocabulary);
  } else {
    fail("unknown command " + options.command);
  }
  return 0;
}
