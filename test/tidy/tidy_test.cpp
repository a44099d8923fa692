// The tree is held to its own rules. A finding is mended where it points; a rule is changed only
// with the page that states it (STYLE.md, ARCHITECTURE.md).
#include <gtest/gtest.h>

#include "test/tidy/rules.h"

namespace ration::tidy {
namespace {

const Tree& whole_tree() {
  static const Tree tree = Tree::load(RATION_SOURCE_DIR);
  return tree;
}

class Tidy : public testing::TestWithParam<Rule> {};

TEST_P(Tidy, finds_nothing) {
  std::string found;
  for (const Finding& finding : GetParam().check(whole_tree())) found += finding.to_text() + "\n";
  EXPECT_TRUE(found.empty()) << found;
}

INSTANTIATE_TEST_SUITE_P(House, Tidy, testing::ValuesIn(kRules),
                         [](const auto& rule) { return std::string(rule.param.name); });

// A walk that finds no files would hold every rule.
TEST(Tree, is_read_as_a_whole) {
  EXPECT_NE(whole_tree().find("src/base/budget.h"), nullptr);
  EXPECT_NE(whole_tree().find("test/tidy/tidy_test.cpp"), nullptr);
  EXPECT_NE(whole_tree().find(".ci/run"), nullptr);
  EXPECT_NE(whole_tree().find("scripts/packages.txt"), nullptr);
  EXPECT_EQ(whole_tree().find("build/dev/CMakeCache.txt"), nullptr);
  EXPECT_FALSE(whole_tree().find("src/base/budget.cpp")->text.empty());
}

}  // namespace
}  // namespace ration::tidy
