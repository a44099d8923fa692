// model/model.h - a model file opened for work: weights, tokeniser and chat template in one place.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/gguf.h"
#include "model/network.h"
#include "model/packed.h"
#include "model/template/template.h"
#include "model/tokenizer/tokenizer.h"

namespace ration {

// Whether a model's weights are used from a packed file, which is built when there is none, and
// what may be rounded for prompts.
struct Packing {
  std::filesystem::path path;  // "": not packed
  Pool* pool = nullptr;        // to build with; null: only a file that is there is used
  PackedWeights::Progress progress{};
  std::function<Status(Bytes)> room{};  // whether a file of this size may be made; empty: it may
  // Asked once for every type of packed matrix, with all of them: how shall their panels be walked?
  // null: as the kernels do unasked.
  std::function<Walk(std::span<const Matrix>)> walk{};
  bool deep = false;  // find the matrices that bear deep products (model/deep.h)
};

// shared-const: engines, conversations and threads read one Model at once.
class Model {
 public:
  // Opens, checks and understands the file; no weight is touched yet. Errors are those of the
  // parts: kNotFound, kIo, kCorrupt, kUnsupported, each naming the file. Where packing fails the
  // weights are used as they are, and packing_problem() says why; only kCancelled ends the load.
  static Result<std::shared_ptr<const Model>> load(const std::filesystem::path& path,
                                                   const Packing& packing = {});

  const Gguf& file() const { return file_; }
  const Network& network() const { return network_; }
  // null: the weights are used from the file itself.
  const PackedWeights* packed() const { return packed_ ? &*packed_ : nullptr; }
  const std::string& packing_problem() const { return packing_problem_; }
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  // The file's own template; ChatML where the vocabulary has its tokens and the file has none.
  // null: a base model, which completes text and cannot chat.
  const ChatTemplate* chat_template() const { return template_; }
  // Why chat_template() is null, or "".
  const std::string& template_problem() const { return template_problem_; }
  // The tokens of a conversation, by the chat template; `input`'s bos_token and eos_token are
  // filled in here. kUnsupported when there is no template; the template's own words when it
  // refuses.
  Result<std::vector<Token>> encode_chat(TemplateInput input) const;
  // The tokens of a plain text that the model shall continue.
  std::vector<Token> encode_text(std::string_view text) const;
  // The text that the template makes of a conversation.
  Result<Prompt> render_chat(TemplateInput input) const;

  // The tokens of a text whose vector is wanted, with all that the vocabulary puts around it.
  std::vector<Token> encode_for_embedding(std::string_view text) const {
    return tokenizer_->encode(text, {.add_special = true});
  }

  std::string name() const { return model_name(file_.path()); }

 private:
  Model(Gguf file, Network network) : file_(std::move(file)), network_(std::move(network)) {}
  void load_template();
  Status pack(const Packing& packing);

  Gguf file_;
  Network network_;
  std::optional<PackedWeights> packed_;
  std::string packing_problem_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<ChatTemplate> own_template_;
  const ChatTemplate* template_ = nullptr;
  std::string template_problem_;
};

}  // namespace ration
