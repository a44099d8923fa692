// The one test that leaves the machine: the model of a first run, from where users get it.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>

#include "model/store/store.h"

namespace ration {
namespace {

namespace fs = std::filesystem;

TEST(RealPull, default_model_arrives_whole_and_only_once) {
  const fs::path home = fs::temp_directory_path() / ("ration_real." + std::to_string(getpid()));
  const SteadyClock clock;
  const Result<Store> store = Store::open(clock, {.home = home});
  ASSERT_TRUE(store);
  ProgressLine line({}, [](std::string_view text) { std::cout << text; });
  const Result<ResolvedModel> model =
      store->pull(Store::default_model(), {.progress = line.sink()});
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(model->bytes, Bytes{98'362'432});
  EXPECT_EQ(fs::file_size(model->files.front()), 98'362'432u);
  EXPECT_EQ(model->sha256, "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53");
  const Result<Store> offline = Store::open(clock, {.home = home, .offline = true});
  EXPECT_TRUE(offline->pull(Store::default_model()));
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  RecordProperty("peak_kib", std::to_string(used.ru_maxrss));
  EXPECT_LT(used.ru_maxrss, 64 * 1024);  // nothing is held whole in memory
  fs::remove_all(home);
}

}  // namespace
}  // namespace ration
