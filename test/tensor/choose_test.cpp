#include <gtest/gtest.h>

#include <set>

#include "tensor/kernels.h"

namespace ration {
namespace {

TEST(ChooseKernels, reference_is_always_there_and_last) {
  ASSERT_FALSE(available_kernels().empty());
  EXPECT_EQ(available_kernels().back()->isa, "reference");
  std::set<std::string_view> names;
  for (const Kernels* set : available_kernels()) names.insert(set->isa);
  EXPECT_EQ(names.size(), available_kernels().size());
}

TEST(ChooseKernels, picks_the_best_when_no_name_is_given_and_the_named_one_when_it_is) {
  EXPECT_EQ(choose_kernels("").value(), available_kernels().front());
  for (const Kernels* set : available_kernels()) EXPECT_EQ(choose_kernels(set->isa).value(), set);
}

TEST(ChooseKernels, refuses_an_unknown_name_with_the_names_there_are) {
  const Result<const Kernels*> chosen = choose_kernels("mmx");
  ASSERT_FALSE(chosen);
  EXPECT_EQ(chosen.error().code, Code::kNotFound);
  EXPECT_NE(chosen.error().message.find("'mmx'"), std::string::npos);
  EXPECT_NE(chosen.error().message.find("reference"), std::string::npos);
}

}  // namespace
}  // namespace ration
