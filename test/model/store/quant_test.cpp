#include "model/store/quant.h"

#include <gtest/gtest.h>

namespace ration {
namespace {

std::vector<Variant> variants(const std::vector<std::string>& paths) {
  std::vector<RemoteFile> files;
  for (const std::string& path : paths) files.push_back({.path = path});
  return find_variants(files);
}

std::string chosen(const std::vector<std::string>& paths, std::string_view quant,
                   std::string_view file = "") {
  const Result<Variant> variant = choose_variant(variants(paths), quant, file, "hf:u/r");
  return variant ? variant->files.front().path : variant.error().message;
}

TEST(Quant, is_read_from_the_names_people_use) {
  EXPECT_EQ(quant_of("Qwen2.5-0.5B-Instruct-Q4_K_M.gguf"), "Q4_K_M");
  EXPECT_EQ(quant_of("qwen2.5-0.5b-instruct-q4_k_m.gguf"), "Q4_K_M");
  EXPECT_EQ(quant_of("model_q8_0.gguf"), "Q8_0");
  EXPECT_EQ(quant_of("tinyllama-1.1b-chat-v1.0.Q4_K_S.gguf"), "Q4_K_S");
  EXPECT_EQ(quant_of("Q4_0/Llama-Q4_0-00001-of-00002.gguf"), "Q4_0");
  EXPECT_EQ(quant_of("BF16/gemma-00002-of-00002.gguf"), "BF16");
  EXPECT_EQ(quant_of("gemma-3-UD-Q4_K_XL.gguf"), "UD-Q4_K_XL");
  EXPECT_EQ(quant_of("gpt-oss-mxfp4.gguf"), "MXFP4");
  EXPECT_EQ(quant_of("ggml-model-f16.gguf"), "F16");
  EXPECT_EQ(quant_of("from-f16-to-q4_0.gguf"), "Q4_0");
  EXPECT_EQ(quant_of("model.gguf"), "");
  EXPECT_EQ(quant_of("modelQ4_0x.gguf"), "");
  EXPECT_EQ(quant_of("Q4_0.bin"), "");
}

TEST(Quant, default_is_four_bits_then_what_is_near) {
  EXPECT_EQ(chosen({"m-F16.gguf", "m-Q8_0.gguf", "m-Q4_K_M.gguf", "m-Q2_K.gguf"}, ""),
            "m-Q4_K_M.gguf");
  EXPECT_EQ(chosen({"m-F16.gguf", "m-Q8_0.gguf", "m-Q2_K.gguf"}, ""), "m-Q8_0.gguf");
  EXPECT_EQ(chosen({"m-F16.gguf", "m-IQ2_XXS.gguf"}, ""), "m-F16.gguf");
  EXPECT_EQ(chosen({"m-Q4_K_M.gguf", "m-UD-Q4_K_M.gguf"}, ""), "m-Q4_K_M.gguf");
  EXPECT_EQ(chosen({"only.gguf"}, ""), "only.gguf");
}

TEST(Quant, asked_for_is_found_exactly_or_refused_with_what_there_is) {
  const std::vector<std::string> paths{"m-Q4_K_M.gguf", "m-Q4_K.gguf", "m-UD-Q6_K.gguf",
                                       "m-TQ1_0.gguf"};
  EXPECT_EQ(chosen(paths, "Q4_K"), "m-Q4_K.gguf");
  EXPECT_EQ(chosen(paths, "Q6_K"), "m-UD-Q6_K.gguf");
  EXPECT_EQ(chosen(paths, "TQ1_0"), "m-TQ1_0.gguf");  // not in our list, but a word of the name
  EXPECT_EQ(chosen(paths, "Q8_0"), "hf:u/r has no Q8_0, found Q4_K, Q4_K_M, UD-Q6_K, m-TQ1_0.gguf");
  EXPECT_EQ(chosen(paths, "", "m-Q4_K.gguf"), "m-Q4_K.gguf");
  EXPECT_NE(chosen(paths, "", "x.gguf").find("has no file x.gguf"), std::string::npos);
}

TEST(Quant, several_models_that_fit_are_not_guessed_between) {
  EXPECT_EQ(
      chosen({"a-Q4_0.gguf", "b-Q4_0.gguf"}, "Q4_0"),
      "hf:u/r has several models that fit: name one file, as hf:u/r/a-Q4_0.gguf, of a-Q4_0.gguf, "
      "b-Q4_0.gguf");
}

TEST(Quant, split_files_are_one_model_in_order_and_only_whole) {
  const std::vector<Variant> found =
      variants({"q8/m-Q8_0-00003-of-00003.gguf", "q8/m-Q8_0-00001-of-00003.gguf",
                "q8/m-Q8_0-00002-of-00003.gguf", "m-Q4_0-00001-of-00002.gguf",
                "mmproj-model-f16.gguf", "m.imatrix.gguf", "README.md"});
  ASSERT_EQ(found.size(), 1u);
  ASSERT_EQ(found[0].files.size(), 3u);
  EXPECT_EQ(found[0].files[1].path, "q8/m-Q8_0-00002-of-00003.gguf");
  EXPECT_EQ(found[0].quant, "Q8_0");
}

TEST(Quant, repository_without_models_says_so) {
  EXPECT_NE(chosen({"model.safetensors"}, "").find("holds no .gguf model"), std::string::npos);
}

}  // namespace
}  // namespace ration
