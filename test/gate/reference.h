// test/gate/reference.h - committed answers of llama.cpp (data/tiny, data/reference).
#pragma once

#include <string>
#include <vector>

#include "model/tokenizer/tokenizer.h"

namespace ration {

// Top-1 ids count where the reference's gap is at least this; below it a tie may fall either way.
inline constexpr double kGapMin = 0.02;

// One sequence and what is known of its rows: row r is the output after ids[first + r].
struct ReferenceRun {
  int64_t context = 0;  // the context asked for
  std::vector<Token> ids;
  int64_t first = 0;
  std::vector<Token> top;       // [rows] the best id
  std::vector<double> logprob;  // [rows] its log-probability, nats
  std::vector<double> gap;      // [rows] best minus second best, nats
};

// data/tiny/<name>.json: every run of it.
std::vector<ReferenceRun> tiny_reference(const std::string& name);

// The greedy answer of the F32 file to one prompt.
struct GreedyAnswer {
  std::string name;
  std::vector<Token> prompt;
  std::vector<Token> ids;
  std::vector<double> gap;     // [ids] best minus second best at each step, nats
  int64_t llama_diverges = 0;  // first step where llama.cpp's quantised answer is another; -1: none
};

// data/reference/<name>.json
struct ModelReference {
  ReferenceRun f32;
  double llama_kl_prompt = 0;  // llama.cpp's own KL(F32 || quantised) at the same rows
  double llama_kl_generated = 0;
  double llama_perplexity = 0;  // of the quantised file over `windows`
  std::vector<std::vector<Token>> windows;
  std::vector<GreedyAnswer> greedy;
};
ModelReference model_reference(const std::string& name);

}  // namespace ration
