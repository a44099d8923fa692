#include "model/store/disk.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <array>

#include "base/file.h"
#include "local_server.h"
#include "model/packed_name.h"
#include "store_fixture.h"

namespace ration {
namespace {

namespace fs = std::filesystem;

class DiskLimit : public StoreTest {
 protected:
  // A packed file of `bytes` that was last used `used` seconds into 1970.
  fs::path packed(const fs::path& name, size_t bytes, int64_t used) const {
    std::string content(bytes, 'x');
    content.replace(0, kPackedMagic.size(), kPackedMagic.data(), kPackedMagic.size());
    const fs::path path = write(name, content);
    const std::array<timespec, 2> times{{{used, 0}, {0, UTIME_NOW}}};
    EXPECT_EQ(::utimensat(AT_FDCWD, path.c_str(), times.data(), 0), 0);
    return path;
  }
  Disk disk(int64_t limit) const { return Disk(home(), Bytes{limit}); }
};

TEST_F(DiskLimit, counts_models_pulls_and_packed_weights_wherever_they_lie) {
  EXPECT_EQ(disk(1).use().total().count, 0);
  write("home/blobs/sha256-1", std::string(1000, 'm'));
  write("home/incoming/2.partial", std::string(200, 'p'));
  write("home/incoming/2.packages/3.whl", std::string(50, 'p'));
  write("home/catalogue.toml", std::string(70, 'c'));  // the user's
  packed("home/blobs/sha256-1.panels", 400, 1);
  packed("home/packed/a-1.panels", 30, 1);
  write("home/packed/b-1.panels.part", std::string(6, 'p'));
  const fs::path beside = packed("user/m.gguf.panels", 8000, 1);
  disk(1).remember(beside);
  disk(1).remember(beside);
  disk(1).remember(home() / "blobs/sha256-1.panels");  // is counted anyway
  EXPECT_EQ(disk(1).use().models.count, 1250);
  EXPECT_EQ(disk(1).use().packed.count, 8436);
  EXPECT_EQ(disk(10'000).room(), Bytes{10'000 - 1250 - 6});
  fs::remove(beside);
  EXPECT_EQ(disk(1).use().packed.count, 436);
}

TEST_F(DiskLimit, removes_what_was_used_longest_ago_and_no_more_than_it_must) {
  write("home/blobs/sha256-1", std::string(1000, 'm'));
  const fs::path third = packed("home/blobs/sha256-1.panels", 100, 3000);
  const fs::path first = packed("home/packed/a-1.panels", 100, 1000);
  const fs::path second = packed("user/m.gguf.panels", 100, 2000);
  disk(1).remember(second);
  EXPECT_TRUE(disk(1400).make_room(Bytes{100}, "it"));
  EXPECT_TRUE(fs::exists(first));
  EXPECT_TRUE(disk(1400).make_room(Bytes{201}, "it"));
  EXPECT_FALSE(fs::exists(first));
  EXPECT_FALSE(fs::exists(second));
  EXPECT_TRUE(fs::exists(third));
}

TEST_F(DiskLimit, refuses_with_the_shortfall_and_removes_nothing_then) {
  write("home/blobs/sha256-1", std::string(1000, 'm'));
  const fs::path file = packed("home/packed/a-1.panels", 100, 1000);
  const Status refused = disk(1400).make_room(Bytes{700}, "it");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kOverBudget);
  EXPECT_EQ(refused.error().message,
            "it needs 700 B more on the disk, the limit is 1.40 kB and 1.00 kB are in use: 300 B "
            "short");
  EXPECT_EQ(refused.error().shortfall->missing(), 300);
  EXPECT_TRUE(fs::exists(file));
  EXPECT_TRUE(Disk(home()).make_room(Bytes{int64_t{1} << 60}, "it"));  // no limit
}

TEST_F(DiskLimit, leaves_files_in_use_and_files_that_are_not_packed_weights) {
  const fs::path used = packed("home/packed/used.panels", 100, 1000);
  const fs::path kept = packed("home/packed/kept.panels", 100, 1000);
  const fs::path model = write("home/blobs/sha256-1", std::string(100, 'm'));
  const fs::path named = write("home/packed/named.panels", std::string(100, 'n'));
  const fs::path elsewhere = packed("user/elsewhere.panels", 100, 1000);
  const fs::path link = home() / "packed/link.panels";
  fs::create_symlink(elsewhere, link);
  const Descriptor reader{::open(used.c_str(), O_RDONLY)};
  ASSERT_EQ(::flock(reader.number, LOCK_SH), 0);
  // All but the kept one's 100 bytes, which are to be replaced, stay: 300.
  EXPECT_EQ(disk(350).make_room(Bytes{60}, "it", kept).error().shortfall->available, 50);
  EXPECT_TRUE(disk(350).make_room(Bytes{50}, "it", kept));
  for (const fs::path& path : {used, kept, model, named, elsewhere, link}) {
    EXPECT_TRUE(fs::exists(path)) << path;
  }
  EXPECT_TRUE(disk(350).make_room(Bytes{50}, "it"));  // no reason to keep it now
  EXPECT_FALSE(fs::exists(kept));
}

TEST_F(DiskLimit, of_a_pull_is_looked_at_before_a_byte_is_kept) {
  const std::string content = model_bytes(50'000);
  LocalServer server([&](const SeenRequest& request, int, Answer& answer) {
    answer.file(request, content, "\"1\"");
  });
  add_to_catalogue("little", server.url("/little.gguf"), std::string(9'000, 'l'));
  add_to_catalogue("big", server.url("/big.gguf"), content);
  const fs::path old = packed("home/packed/a-1.panels", 30'000, 1000);
  const auto pull = [&](int64_t limit, const std::string& reference) {
    const Result<Store> store = Store::open(clock_, {.disk_limit = Bytes{limit}});
    return store->pull(reference);
  };
  for (const std::string& reference : {std::string("big"), server.url("/other.gguf")}) {
    const Result<ResolvedModel> refused = pull(49'000, reference);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::kOverBudget) << refused.error().message;
    EXPECT_TRUE(refused.error().message.ends_with("1.00 kB short; little (9.00 kB) would fit"))
        << refused.error().message;
  }
  EXPECT_TRUE(fs::exists(old));
  EXPECT_EQ(disk(1).use().models.count, 0);
  EXPECT_TRUE(pull(60'000, "big"));
  EXPECT_FALSE(fs::exists(old));
}

}  // namespace
}  // namespace ration
