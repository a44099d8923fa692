#include "base/unit.h"

#include <gtest/gtest.h>

namespace ration {
namespace {

TEST(Unit, reads_sizes_people_write) {
  EXPECT_EQ(*parse_bytes("4096"), Bytes{4096});
  EXPECT_EQ(*parse_bytes("300MB"), Bytes{300'000'000});
  EXPECT_EQ(*parse_bytes("1.5 GiB"), Bytes{3 * kGiB / 2});
  EXPECT_EQ(*parse_bytes("2g"), Bytes{2 * kGiB});
  EXPECT_EQ(*parse_bytes("16 KiB"), Bytes{16 * kKiB});
}

TEST(Unit, refuses_sizes_that_make_no_sense_and_names_them) {
  for (const char* text : {"", "MB", "-1", "12 XB", "1e400", "nan", "inf", "99999999TB", "1 2"}) {
    Result<Bytes> parsed = parse_bytes(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().code, Code::kInvalid);
    EXPECT_NE(parsed.error().message.find(text), std::string::npos);
  }
}

TEST(Unit, reads_times) {
  EXPECT_EQ(*parse_millis("250ms"), Millis{250});
  EXPECT_EQ(*parse_millis("3 s"), Millis{3000});
  EXPECT_EQ(*parse_millis("1.5"), Millis{1500});
  EXPECT_FALSE(parse_millis("3 fortnights"));
}

TEST(Unit, writes_three_digits) {
  EXPECT_EQ(to_text(Bytes{512}), "512 B");
  EXPECT_EQ(to_text(Bytes{98'362'432}), "98.4 MB");
  EXPECT_EQ(to_text(Bytes{1'117'320'768}), "1.12 GB");
  EXPECT_EQ(to_text(Bytes{999'600}), "1.00 MB");
}

TEST(Unit, arithmetic_stays_inside_the_unit) {
  EXPECT_EQ(Bytes{3} + Bytes{4} - Bytes{2}, Bytes{5});
  EXPECT_EQ(Bytes{3} * 4, Bytes{12});
  EXPECT_LT(Joules{0.5}, Joules{1});
}

}  // namespace
}  // namespace ration
