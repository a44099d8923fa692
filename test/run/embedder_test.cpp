#include "run/embedder.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <numeric>

#include "base/file.h"
#include "base/json.h"
#include "run/kv.h"
#include "test/run/tiny_engine.h"

namespace ration {
namespace {

namespace fs = std::filesystem;
using Vector = std::vector<float>;

fs::path tiny_folder() { return fs::path(RATION_SOURCE_DIR) / "data" / "tiny"; }

// A file of data/tiny by its name, with an engine as embedding wants it.
struct TinyEmbedder {
  explicit TinyEmbedder(const fs::path& path, const Kernels& kernels = *available_kernels().front(),
                        int threads = 2, KvType kv_type = KvType::kF16,
                        std::optional<EngineOptions> stated = {}, Bytes memory = Bytes{256 * kMiB})
      : budget("test", {.hard = memory}), pool(threads) {
    Result<std::shared_ptr<const Model>> loaded = Model::load(path);
    CHECK(loaded, loaded ? "" : loaded.error().message);
    model = *loaded;
    EngineOptions options = stated.value_or(encoder_options(model->network()));
    options.kv_type = kv_type;
    Result<std::unique_ptr<Engine>> made = Engine::make(model, kernels, pool, budget, options);
    CHECK(made, made ? "" : made.error().message);
    engine = *std::move(made);
  }

  std::vector<Vector> embed(std::span<const std::vector<Token>> texts) {
    Embedder embedder(*engine);
    Result<std::vector<Vector>> vectors = embedder.embed(texts);
    CHECK(vectors, vectors ? "" : vectors.error().message);
    return *vectors;
  }
  Vector embed(const std::vector<Token>& text) { return embed(std::span(&text, 1)).front(); }

  Budget budget;
  Pool pool;
  std::shared_ptr<const Model> model;
  std::unique_ptr<Engine> engine;
};

constexpr EngineOptions kDecoder{.context = 192, .kv_tokens = 192 * 4, .step_tokens_max = 64};

struct Answer {
  std::vector<Token> ids;
  std::vector<double> mean, first;
};

// data/tiny/bert.json: what make_tiny_bert.py computed in F64.
std::vector<Answer> answers_of(const std::string& model) {
  const Result<std::string> text = read_file(tiny_folder() / "bert.json", Bytes{kMiB});
  CHECK(text);
  const Result<Json> json = parse_json(*text);
  CHECK(json);
  std::vector<Answer> answers;
  for (const Json& one : (*json)[model]) {
    answers.push_back({one["ids"].get<std::vector<Token>>(), one["mean"].get<std::vector<double>>(),
                       one["first"].get<std::vector<double>>()});
  }
  CHECK(!answers.empty());
  return answers;
}

double largest_off(const Vector& found, const std::vector<double>& wanted) {
  CHECK(found.size() == wanted.size());
  double most = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    most = std::max(most, std::fabs(static_cast<double>(found[i]) - wanted[i]));
  }
  return most;
}

bool equal_bits(const Vector& a, const Vector& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// The folder with safetensors, and the GGUF files.
constexpr std::array<std::pair<const char*, const char*>, 3> kEncoders{
    {{"bert", "bert"}, {"bert.gguf", "bert"}, {"nomic-bert.gguf", "nomic-bert"}}};

TEST(Embedder, computes_what_the_formulas_say) {
  for (const auto& [file, name] : kEncoders) {
    TinyEmbedder tiny(tiny_folder() / file, *available_kernels().back(), 2, KvType::kF32);
    for (const Answer& answer : answers_of(name)) {
      EXPECT_LT(largest_off(tiny.embed(answer.ids), answer.mean), 2e-6)
          << file << ", " << answer.ids.size() << " tokens";
    }
  }
}

TEST(Embedder, every_kernel_set_stays_close_to_the_formulas) {
  for (const Kernels* kernels : available_kernels()) {
    for (const auto& [file, name] : kEncoders) {
      TinyEmbedder tiny(tiny_folder() / file, *kernels);
      for (const Answer& answer : answers_of(name)) {
        EXPECT_LT(largest_off(tiny.embed(answer.ids), answer.mean), 1e-3)
            << kernels->isa << " " << file << ", " << answer.ids.size() << " tokens";
      }
    }
  }
}

TEST(Embedder, takes_the_first_state_where_the_folder_says_so) {
  const fs::path folder = fs::path(RATION_BINARY_DIR) / "test_bert_first";
  fs::remove_all(folder);
  fs::copy(tiny_folder() / "bert", folder, fs::copy_options::recursive);
  ASSERT_TRUE(write_file_atomically(folder / "1_Pooling" / "config.json",
                                    R"({"pooling_mode_cls_token": true,
                                        "pooling_mode_mean_tokens": false})"));
  TinyEmbedder tiny(folder, *available_kernels().back(), 2, KvType::kF32);
  for (const Answer& answer : answers_of("bert")) {
    EXPECT_LT(largest_off(tiny.embed(answer.ids), answer.first), 2e-6);
  }
}

TEST(Embedder, a_vector_does_not_depend_on_neighbours_order_or_threads) {
  for (const Kernels* kernels : available_kernels()) {
    for (const char* file : {"bert", "nomic-bert.gguf", "llama-gqa.gguf"}) {
      const bool decoder = std::string_view(file).find("bert") == std::string_view::npos;
      const auto options = decoder ? std::optional(kDecoder) : std::nullopt;
      TinyEmbedder tiny(tiny_folder() / file, *kernels, 1, KvType::kF16, options);
      std::vector<std::vector<Token>> texts;
      std::vector<Vector> wanted;
      for (const int64_t count : {5, 1, 90, 32, 3, 33, 64, 17, 160, 2, 100, 9}) {
        texts.push_back(random_tokens(*tiny.model, count, static_cast<uint64_t>(count)));
        wanted.push_back(tiny.embed(texts.back()));
      }
      for (const int threads : {1, 3}) {
        TinyEmbedder many(tiny_folder() / file, *kernels, threads, KvType::kF16, options);
        for (int turn = 0; turn < 2; ++turn) {
          const std::vector<Vector> found = many.embed(texts);
          for (size_t i = 0; i < texts.size(); ++i) {
            ASSERT_TRUE(equal_bits(found[i], wanted[i]))
                << kernels->isa << " " << file << ", " << texts[i].size() << " tokens";
          }
          std::ranges::reverse(texts);
          std::ranges::reverse(wanted);
        }
      }
    }
  }
}

// Of a decoder: what the output matrix makes of the state are the logits.
TEST(Embedder, of_a_decoder_is_the_state_that_the_logits_are_made_of) {
  const fs::path path = tiny_folder() / "llama-gqa.gguf";
  TinyEmbedder tiny(path, *available_kernels().back(), 1, KvType::kF32, kDecoder);
  const std::vector<Token> text = random_tokens(*tiny.model, 40, 3);
  const Vector vector = tiny.embed(text);
  const std::unique_ptr<Sequence> sequence = tiny.engine->open();
  const StepItem item{.sequence = sequence.get(), .tokens = text, .wants_logits = true};
  ASSERT_TRUE(tiny.engine->step({&item, 1}));
  const std::span<const float> logits = tiny.engine->logits(0);
  const Network& network = tiny.model->network();
  std::vector<float> row(static_cast<size_t>(network.width));
  double length = 0, products = 0, squares = 0;
  for (int64_t r = 0; r < network.vocabulary; ++r) {
    dequantize_row(network.output.weight, r, row.data());
    const double product = std::inner_product(row.begin(), row.end(), vector.begin(), 0.0);
    const double logit = static_cast<double>(logits[static_cast<size_t>(r)]);
    products += product * logit;
    squares += product * product;
  }
  length = products / squares;  // of the state, by least squares
  for (int64_t r = 0; r < network.vocabulary; ++r) {
    dequantize_row(network.output.weight, r, row.data());
    const double product = std::inner_product(row.begin(), row.end(), vector.begin(), 0.0);
    ASSERT_NEAR(product * length, static_cast<double>(logits[static_cast<size_t>(r)]), 1e-4);
  }
}

TEST(Embedder, refuses_texts_that_it_could_not_read_whole) {
  TinyEmbedder tiny(tiny_folder() / "bert");
  Embedder embedder(*tiny.engine);
  EXPECT_EQ(embedder.tokens_max(), 430);
  const Status long_text = embedder.add(1, std::vector<Token>(431, 7));
  ASSERT_FALSE(long_text);
  EXPECT_EQ(long_text.error().message, "the text has 431 tokens, the context holds 430");
  EXPECT_FALSE(embedder.add(2, {}));
  const Status strange = embedder.add(3, {2, 4000, 3});
  ASSERT_FALSE(strange);
  EXPECT_NE(strange.error().message.find("found token 4000"), std::string::npos);
  EXPECT_TRUE(embedder.add(4, std::vector<Token>(430, 7)));
  EXPECT_EQ(embedder.waiting(), 1);
}

TEST(Embedder, a_truncated_text_keeps_the_mark_at_its_end) {
  TinyEmbedder tiny(tiny_folder() / "bert");
  const std::vector<Token> tokens = tiny.model->encode_for_embedding("the cat sat on the mat");
  ASSERT_EQ(tokens.size(), 8u);
  const Tokenizer& tokenizer = tiny.model->tokenizer();
  const std::vector<Token> cut = truncate_text(tokens, 5, tokenizer);
  EXPECT_EQ(cut, (std::vector<Token>{tokens[0], tokens[1], tokens[2], tokens[3], tokens[7]}));
  EXPECT_EQ(truncate_text(tokens, 8, tokenizer), tokens);
}

TEST(Embedder, dropped_texts_are_not_computed) {
  TinyEmbedder tiny(tiny_folder() / "bert");
  Embedder embedder(*tiny.engine);
  for (const uint64_t id : {1, 2, 3}) ASSERT_TRUE(embedder.add(id, {2, 8, 9, 3}));
  embedder.drop(2);
  embedder.drop(77);
  std::vector<Embedder::Done> done;
  EXPECT_EQ(embedder.step(done), Embedder::Outcome::kWorked);
  ASSERT_EQ(done.size(), 2u);
  EXPECT_EQ(done[0].id, 1u);
  EXPECT_EQ(done[1].id, 3u);
  EXPECT_EQ(embedder.step(done), Embedder::Outcome::kIdle);
}

// A cache of three blocks, of which somebody holds two.
TEST(Embedder, waits_for_the_cache_and_gives_its_own_part_back) {
  EngineOptions options = kDecoder;
  options.kv_tokens = 3 * kKvBlockTokens;
  TinyEmbedder tiny(tiny_folder() / "llama-gqa.gguf", *available_kernels().front(), 1, KvType::kF16,
                    options);
  const std::vector<Token> text = random_tokens(*tiny.model, 60, 5);
  const Vector wanted = tiny.embed(text);
  std::unique_ptr<Sequence> holder = tiny.engine->open();
  const std::vector<Token> theirs = random_tokens(*tiny.model, 40, 6);
  const StepItem item{.sequence = holder.get(), .tokens = theirs};
  ASSERT_TRUE(tiny.engine->step({&item, 1}));

  Embedder waiting(*tiny.engine);
  ASSERT_TRUE(waiting.add(1, text));
  std::vector<Embedder::Done> done;
  EXPECT_EQ(waiting.step(done), Embedder::Outcome::kFull);
  EXPECT_EQ(tiny.engine->kv_blocks_free(), 1);
  EXPECT_TRUE(done.empty());
  waiting.fail_first(done);
  ASSERT_EQ(done.size(), 1u);
  ASSERT_FALSE(done[0].vector);
  EXPECT_EQ(done[0].vector.error().code, Code::kOverBudget);

  int asked = 0;
  Embedder pushing(*tiny.engine, [&] {
    ++asked;
    return std::exchange(holder, nullptr) != nullptr;
  });
  const Result<std::vector<Vector>> vectors = pushing.embed(std::span(&text, 1));
  ASSERT_TRUE(vectors);
  EXPECT_TRUE(equal_bits(vectors->front(), wanted));
  EXPECT_EQ(asked, 1);
  EXPECT_EQ(tiny.engine->kv_blocks_free(), 3);
}

// The cache could hold them all, the budget only a few at a time.
TEST(Embedder, a_small_budget_makes_smaller_steps) {
  TinyEmbedder roomy(tiny_folder() / "bert");
  std::vector<std::vector<Token>> texts;
  for (uint64_t i = 0; i < 20; ++i) texts.push_back(random_tokens(*roomy.model, 20, i));
  const std::vector<Vector> wanted = roomy.embed(texts);
  const Network& network = roomy.model->network();
  const Bytes workspace =
      Engine::workspace_bytes(network, *available_kernels().front(), 2, encoder_options(network));
  const Bytes memory = workspace + Engine::kv_block_bytes(network) + Bytes{4096};
  TinyEmbedder tight(tiny_folder() / "bert", *available_kernels().front(), 2, KvType::kF16, {},
                     memory);
  const std::vector<Vector> found = tight.embed(texts);
  for (size_t i = 0; i < texts.size(); ++i) EXPECT_TRUE(equal_bits(found[i], wanted[i])) << i;
}

TEST(Embedder, the_layers_of_an_encoder_share_one_place_in_the_cache) {
  TinyEmbedder tiny(tiny_folder() / "bert");
  const Network& network = tiny.model->network();
  const KvLayout layout = kv_layout(network, KvType::kF16);
  ASSERT_EQ(layout.groups.size(), 1u);
  EXPECT_EQ(layout.groups[0].shape.layers, 1);
  EXPECT_EQ(layout.places.size(), static_cast<size_t>(network.layers));
}

}  // namespace
}  // namespace ration
