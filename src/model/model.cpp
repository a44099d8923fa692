#include "model/model.h"

#include <fmt/core.h>

#include "model/arch/arch.h"
#include "model/deep.h"

namespace ration {

Result<std::shared_ptr<const Model>> Model::load(const std::filesystem::path& path,
                                                 const Packing& packing) {
  Result<Gguf> file = Gguf::open(path);
  if (!file) return file.error();
  Result<Network> network = load_network(*file);
  if (!network) return network.error();
  Result<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::make(*file);
  if (!tokenizer) return tokenizer.error();
  if ((*tokenizer)->size() > network->vocabulary) {
    return Error{Code::kCorrupt,
                 fmt::format("{}: found {} tokens in the vocabulary and {} rows in the embedding, "
                             "wanted a row for every token",
                             path.string(), (*tokenizer)->size(), network->vocabulary)};
  }
  std::shared_ptr<Model> model(new Model(std::move(*file), std::move(*network)));
  model->tokenizer_ = std::move(*tokenizer);
  model->load_template();
  if (Status packed = model->pack(packing); !packed) return packed.error();
  if (packing.deep) mark_deep(model->network_);
  return std::shared_ptr<const Model>(std::move(model));
}

Status Model::pack(const Packing& packing) {
  if (packing.path.empty() || !PackedWeights::has_matrices(network_)) return {};
  Result<PackedWeights> packed = PackedWeights::open(packing.path, file_, network_);
  if (!packed && packing.pool) {
    Status built = packing.room ? packing.room(PackedWeights::bytes_for(network_)) : Status();
    if (built) {
      built = PackedWeights::build(packing.path, file_, network_, *packing.pool, packing.progress);
    }
    if (!built && built.error().code == Code::kCancelled) return built;
    if (!built) {
      packing_problem_ = built.error().message;
      return {};
    }
    packed = PackedWeights::open(packing.path, file_, network_);
  }
  if (!packed) {
    packing_problem_ = packed.error().message;
    return {};
  }
  packed_ = std::move(*packed);
  packed_->use_in(network_);
  if (packing.walk) PackedWeights::set_walks(network_, packing.walk);
  file_.release();
  return {};
}

void Model::load_template() {
  Result<std::optional<std::string_view>> source = file_.find_string("tokenizer.chat_template");
  if (!source) {
    template_problem_ = source.error().message;
    return;
  }
  if (network_.sees_later) {
    template_problem_ = "it makes vectors of texts, and writes none";
    return;
  }
  if (!*source) {
    const std::vector<Token> probe =
        tokenizer_->encode("<|im_start|>", {.add_special = false, .parse_special = true});
    if (probe.size() == 1 && tokenizer_->is_control(probe[0])) {
      template_ = &ChatTemplate::chatml();
    } else {
      template_problem_ = "the file has no chat template: it is a base model, use --raw";
    }
    return;
  }
  Result<ChatTemplate> compiled = ChatTemplate::compile(**source);
  if (!compiled) {
    template_problem_ = "its chat template cannot be used: " + compiled.error().message;
    return;
  }
  own_template_ = std::make_unique<ChatTemplate>(std::move(*compiled));
  template_ = own_template_.get();
}

Result<Prompt> Model::render_chat(TemplateInput input) const {
  if (!template_) {
    return Error{Code::kUnsupported, fmt::format("{} cannot chat: {}", name(), template_problem_)};
  }
  const auto text_of = [&](Token token) {
    return token >= 0 ? tokenizer_->piece(token, true) : std::string();
  };
  input.bos_token = text_of(tokenizer_->bos());
  input.eos_token = text_of(tokenizer_->eos());
  return template_->render(input);
}

Result<std::vector<Token>> Model::encode_chat(TemplateInput input) const {
  Result<Prompt> prompt = render_chat(std::move(input));
  if (!prompt) return prompt.error();
  std::vector<Token> tokens = tokenizer_->encode(*prompt, /*add_special=*/true);
  // Many templates write BOS themselves, and the vocabulary's rule adds one more.
  const Token bos = tokenizer_->bos();
  if (tokens.size() >= 2 && bos >= 0 && tokens[0] == bos && tokens[1] == bos) {
    tokens.erase(tokens.begin());
  }
  // Nor does a prompt that an answer continues end with EOS.
  if (tokenizer_->adds_eos() && !tokens.empty() && tokens.back() == tokenizer_->eos()) {
    tokens.pop_back();
  }
  return tokens;
}

std::vector<Token> Model::encode_text(std::string_view text) const {
  std::vector<Token> tokens = tokenizer_->encode(text, {.add_special = true});
  if (tokenizer_->adds_eos() && !tokens.empty() && tokens.back() == tokenizer_->eos()) {
    tokens.pop_back();
  }
  return tokens;
}

}  // namespace ration
