// test/model/store/store_fixture.h - a store in a folder of its own, cut off from the user's
// settings.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/sha256.h"
#include "model/store/store.h"

namespace ration {

class StoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::temp_directory_path() /
              ("ration_store." + std::to_string(getpid()) + "." + test->name());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    for (const char* name :
         {"XDG_CONFIG_HOME", "XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", "HF_TOKEN",
          "HUGGINGFACE_HUB_CACHE", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_ENDPOINT",
          "HF_HUB_OFFLINE", "http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy",
          "no_proxy", "NO_PROXY"}) {
      set(name, std::nullopt);
    }
    set("HOME", folder_ / "user");
    set("RATION_HOME", home());
    set("OLLAMA_MODELS", folder_ / "user/.ollama/models");
    set("PATH", std::getenv("PATH"));
  }
  void TearDown() override {
    for (const auto& [name, value] : saved_) {
      if (value) {
        ::setenv(name.c_str(), value->c_str(), 1);
      } else {
        ::unsetenv(name.c_str());
      }
    }
    std::filesystem::remove_all(folder_);
  }

  // Until the test ends; nullopt unsets.
  void set(const std::string& name, const std::optional<std::string>& value) {
    const char* now = std::getenv(name.c_str());
    saved_.emplace(name, now ? std::optional<std::string>(now) : std::nullopt);
    if (value) {
      ::setenv(name.c_str(), value->c_str(), 1);
    } else {
      ::unsetenv(name.c_str());
    }
  }

  std::filesystem::path home() const { return folder_ / "home"; }
  Store store(bool offline = false) const {
    Result<Store> store = Store::open(clock_, {.offline = offline});
    EXPECT_TRUE(store);
    return std::move(*store);
  }
  std::filesystem::path write(const std::filesystem::path& name, const std::string& content) const {
    const std::filesystem::path path = folder_ / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << content;
    return path;
  }
  void write_program(const std::filesystem::path& name, const std::string& content) const {
    std::filesystem::permissions(write(name, content), std::filesystem::perms::owner_all);
  }
  static std::string read(const std::filesystem::path& path) {
    std::ostringstream text;
    text << std::ifstream(path, std::ios::binary).rdbuf();
    return text.str();
  }
  // Bytes that look like a model file from the outside, different for each seed.
  static std::string model_bytes(size_t size, uint64_t seed = 1) {
    std::string bytes(size, '\0');
    for (char& byte : bytes) {
      seed = seed * 6364136223846793005 + 1442695040888963407;
      byte = static_cast<char>(seed >> 56);
    }
    bytes.replace(0, 4, "GGUF");
    return bytes;
  }
  static std::string hash(const std::string& bytes) { return *sha256_of(bytes); }
  // Everything below the store's folder, as relative paths.
  std::vector<std::string> files() const {
    std::vector<std::string> found;
    if (!std::filesystem::exists(home())) return found;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(home())) {
      if (!entry.is_directory()) found.push_back(std::filesystem::relative(entry.path(), home()));
    }
    std::sort(found.begin(), found.end());
    return found;
  }
  // One model in the user's catalogue.
  void add_to_catalogue(const std::string& name, const std::string& source,
                        const std::string& content, const std::string& wrong_hash = "") const {
    std::filesystem::create_directories(home());
    std::ofstream(home() / "catalogue.toml", std::ios::app)
        << "[[model]]\nname = \"" << name << "\"\nsource = \"" << source
        << "\"\nbytes = " << content.size() << "\nsha256 = \""
        << (wrong_hash.empty() ? hash(content) : wrong_hash) << "\"\nlicence = \"test licence\"\n";
  }

  SteadyClock clock_;
  std::filesystem::path folder_;
  std::map<std::string, std::optional<std::string>> saved_;
};

}  // namespace ration
