// peer_ids VOCABULARY TEXTS [PRE [MODEL]]: prints the ids that llama.cpp gives each text; built and
// run by make_expected.py, never by the project's build.
//
// TEXTS: per text a mode character ('p' plain, 's' with special tokens added and parsed), its
// length in decimal, a newline, then the bytes and a newline. PRE and MODEL override the file's
// pre-tokeniser and tokenizer model. Out: per text one line of ids, at once.
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "llama.h"

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
  llama_backend_init();
  llama_model_params params = llama_model_default_params();
  params.vocab_only = true;
  llama_model_kv_override overrides[3] = {};
  const char* keys[] = {"tokenizer.ggml.pre", "tokenizer.ggml.model"};
  for (int i = 0; i + 3 < argc && i < 2; ++i) {
    overrides[i].tag = LLAMA_KV_OVERRIDE_TYPE_STR;
    std::strcpy(overrides[i].key, keys[i]);
    std::strcpy(overrides[i].val_str, argv[i + 3]);
    params.kv_overrides = overrides;
  }
  llama_model* model = llama_model_load_from_file(argv[1], params);
  if (model == nullptr) return 3;
  const llama_vocab* vocabulary = llama_model_get_vocab(model);
  std::FILE* texts = std::fopen(argv[2], "rb");
  if (texts == nullptr) return 4;
  char mode = 0;
  size_t length = 0;
  while (std::fscanf(texts, " %c%zu", &mode, &length) == 2) {
    std::fgetc(texts);
    std::string text(length, '\0');
    if (std::fread(text.data(), 1, length, texts) != length) return 5;
    const bool special = mode == 's';
    std::vector<llama_token> ids(length * 4 + 64);
    const int count = llama_tokenize(vocabulary, text.data(), static_cast<int>(length), ids.data(),
                                     static_cast<int>(ids.size()), special, special);
    if (count < 0) return 6;
    for (int i = 0; i < count; ++i) std::printf(i == 0 ? "%d" : " %d", ids[i]);
    std::printf("\n");
    std::fflush(stdout);
  }
  llama_model_free(model);
  return 0;
}
