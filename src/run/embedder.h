// run/embedder.h - texts in, vectors out: the last states of a text's tokens as one vector.
//
// Source    Reimers and Gurevych 2019, "Sentence-BERT", sec. 3 (the mean of all tokens, or the
//           first one's state); Wang et al. 2024, "Improving Text Embeddings with Large Language
//           Models", sec. 3 (the last token of a decoder).
// Computes  h = states after the last stage and the final norm; v = mean h, h_first or h_last, as
//           the model's file says; v / |v|
// Departs   vectors always have length 1, whether or not the model's makers scale them: only
//           cosines mean something
// Costs     as reading a prompt of as many tokens
// Proved    test/run/embedder_test.cpp; test/app/minilm_test.py against sentence-transformers
//
// Texts that wait share the steps of the engine, several whole ones in each where they are short.
// A vector depends on its text alone: not on its neighbours, the chunks or the threads.
// Private to run/; run/run.h hands it on.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "run/engine.h"

namespace ration {

// What an encoder's engine needs: steps that hold the longest text, and caches for many short ones.
// context: 0 for the model's own.
EngineOptions encoder_options(const Network& network, int64_t context = 0);

// The first `most` tokens of a text, with the mark that the vocabulary puts behind every text.
std::vector<Token> truncate_text(std::vector<Token> tokens, int64_t most,
                                 const Tokenizer& tokenizer);

// single-thread. Takes turns with whoever else uses the engine.
class Embedder {
 public:
  struct Done {
    uint64_t id = 0;
    Result<std::vector<float>> vector;  // of length 1, or zeros
  };

  // make_room: called when the cache is full; returns whether it freed something.
  explicit Embedder(Engine& engine, std::function<bool()> make_room = {});

  int64_t tokens_max() const { return tokens_max_; }
  int64_t width() const { return engine_.model().network().width; }
  int64_t waiting() const { return static_cast<int64_t>(texts_.size()); }

  // Queues a text under the caller's name for it. kInvalid: it is empty or longer than tokens_max()
  // (both numbers are in the message), or holds a token outside the vocabulary.
  Status add(uint64_t id, std::vector<Token> tokens);
  // It is wanted no more. Unknown ids are ignored.
  void drop(uint64_t id);

  // What the last step computed.
  struct Part {
    uint64_t id = 0;
    int64_t tokens = 0;
  };
  std::span<const Part> last_step() const { return parts_; }

  enum class Outcome : uint8_t {
    kIdle,    // nothing waits
    kWorked,  // one step of the engine
    kFull,    // others hold the cache: nothing was done, and nothing is held any more
  };
  // Appends what is finished to `done`. tokens_most: of the step, for who shares the engine; 0:
  // what it takes. A whole text of an encoder is never too much.
  Outcome step(std::vector<Done>& done, int64_t tokens_most = 0);
  // Lets go of what is half done, which begins anew later. False when that frees nothing.
  bool give_back();
  // Ends the oldest text as it could not be computed: what to do with kFull when nobody will ever
  // free the cache.
  void fail_first(std::vector<Done>& done);

  // All of them, in order. The error of the first that cannot be had.
  Result<std::vector<std::vector<float>>> embed(std::span<const std::vector<Token>> texts);

 private:
  struct Text {
    uint64_t id;
    std::vector<Token> tokens;
    std::unique_ptr<Sequence> sequence{};  // null: not begun
    std::vector<double> sum{};             // of the states so far that count

    int64_t size() const { return static_cast<int64_t>(tokens.size()); }
    int64_t computed() const { return sequence ? sequence->length() : 0; }
  };

  std::vector<Text*> choose(size_t most, int64_t tokens);
  Status run(std::span<Text* const> chosen, int64_t tokens);
  void count_states(Text& text, std::span<const float> states, int64_t first);
  std::vector<float> vector_of(const Text& text) const;

  Engine& engine_;
  const std::function<bool()> make_room_;
  const int64_t tokens_max_;
  std::list<Text> texts_;  // in order of arrival
  std::vector<Part> parts_;
  Error full_{};  // what the engine said last
};

}  // namespace ration
