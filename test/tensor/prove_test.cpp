#include "tensor/prove.h"

#include <gtest/gtest.h>

#include <array>

#include "sets.h"
#include "tensor/kernel/sets.h"

namespace ration {
namespace {

bool always(const CpuBits&) { return true; }

// The set that the wrong ones below spoil.
const Kernels* honest = &kReferenceKernels;
const Kernels* spoiled = nullptr;

void spoil_last_row(const Matrix& w, const Activations& x, int64_t begin, int64_t end, float* out,
                    int64_t stride) {
  honest->matmul(w, x, begin, end, out, stride);
  if (w.dtype == DType::kQ4_0) out[(x.tokens - 1) * stride + end - 1] *= 1.001f;
}

void spoil_pairs(const Matrix& w, const Activations& x, int64_t begin, int64_t end, float* out,
                 int64_t stride) {
  honest->matmul(w, x, begin, end, out, stride);
  if (x.tokens == 2 && w.layout == Layout::kPanels) out[stride] += 1e-3f;
}

Kernels wrong_product(std::string_view isa) {
  Kernels kernels = *honest;
  kernels.isa = isa;
  kernels.matmul = spoil_last_row;
  return kernels;
}

TEST(Prove, finds_no_fault_in_the_sets_there_are) {
  for (const samples::NamedSet& set : samples::all_sets()) {
    EXPECT_EQ(find_fault(*set.kernels), "") << set.name;
  }
  for (const samples::NamedSet& set : samples::deep_sets()) {
    EXPECT_EQ(find_fault(*set.kernels), "") << set.name;
  }
}

TEST(Prove, finds_a_wrong_number_in_one_row_of_one_type) {
  EXPECT_NE(find_fault(wrong_product("wrong")).find("Q4_0"), std::string::npos);
}

TEST(Prove, finds_a_product_that_depends_on_how_many_tokens_there_are) {
  Kernels kernels = *honest;
  kernels.matmul = spoil_pairs;
  EXPECT_NE(find_fault(kernels).find("2 tokens"), std::string::npos);
}

TEST(Prove, finds_a_deep_product_that_is_wrong_in_one_place) {
  for (const samples::NamedSet& set : samples::deep_sets()) {
    spoiled = set.kernels;
    Kernels kernels = *spoiled;
    kernels.matmul = [](const Matrix& w, const Activations& x, int64_t begin, int64_t end,
                        float* out, int64_t stride) {
      spoiled->matmul(w, x, begin, end, out, stride);
      const bool here = x.format == ActivationFormat::kInt8Deep && w.dtype == DType::kQ6_K;
      if (here && x.tokens > 16) std::swap(out[16 * stride + 17], out[16 * stride + 18]);
    };
    EXPECT_NE(find_fault(kernels).find("Q6_K"), std::string::npos) << set.name;
  }
}

TEST(Prove, finds_every_wrong_function_of_vectors) {
  const auto fault_with = [](auto spoil) {
    Kernels kernels = *honest;
    spoil(kernels);
    return find_fault(kernels);
  };
  EXPECT_NE(fault_with([](Kernels& k) {
              k.rms_norm = [](const float*, const float*, float, int64_t, float*) {};
            }).find("rms_norm"),
            std::string::npos);
  EXPECT_NE(
      fault_with([](Kernels& k) { k.add = [](float*, const float*, int64_t) {}; }).find("add"),
      std::string::npos);
  EXPECT_NE(fault_with([](Kernels& k) {
              k.layer_norm = [](const float*, const float*, const float*, float, int64_t, float*) {
              };
            }).find("layer_norm"),
            std::string::npos);
  EXPECT_NE(fault_with([](Kernels& k) {
              k.gelu = [](const float*, int64_t, float*) {};
            }).find("erf gelu"),
            std::string::npos);
  EXPECT_NE(fault_with([](Kernels& k) { k.silu_multiply = k.gelu_multiply; }).find("silu"),
            std::string::npos);
  EXPECT_NE(fault_with([](Kernels& k) { k.gelu_multiply = k.silu_multiply; }).find("gelu"),
            std::string::npos);
  EXPECT_NE(fault_with([](Kernels& k) {
              k.rotate = [](float*, const float*, const float*, int64_t, bool) {};
            }).find("rotate"),
            std::string::npos);
  EXPECT_NE(
      fault_with([](Kernels& k) { k.attend = [](const AttendArguments&) {}; }).find("attention"),
      std::string::npos);
}

TEST(ProvenSets, a_wrong_set_is_refused_with_the_reason_and_the_next_one_taken) {
  const Kernels wrong = wrong_product("wrong");
  const std::array rows{SetRow{&wrong, always, nullptr},
                        SetRow{&kReferenceKernels, always, nullptr}};
  ProvenSets sets(rows, {});
  EXPECT_EQ(sets.choose("").value(), &kReferenceKernels);
  ASSERT_EQ(sets.refused().size(), 1u);
  EXPECT_EQ(sets.refused()[0].isa, "wrong");
  EXPECT_NE(sets.refused()[0].reason.find("Q4_0"), std::string::npos);
  EXPECT_EQ(sets.available(), std::vector<const Kernels*>{&kReferenceKernels});
  const Result<const Kernels*> forced = sets.choose("wrong");
  ASSERT_FALSE(forced);
  EXPECT_EQ(forced.error().code, Code::kUnsupported);
  EXPECT_NE(forced.error().message.find("Q4_0"), std::string::npos);
}

TEST(ProvenSets, what_the_system_does_not_grant_is_refused_without_being_run) {
  Kernels deadly = *honest;
  deadly.isa = "deadly";
  deadly.matmul = [](const Matrix&, const Activations&, int64_t, int64_t, float*, int64_t) {
    FAIL() << "was run";
  };
  const std::array rows{SetRow{&deadly, always, [] { return std::string("not granted"); }},
                        SetRow{&kReferenceKernels, always, nullptr}};
  ProvenSets sets(rows, {});
  EXPECT_EQ(sets.choose("").value(), &kReferenceKernels);
  ASSERT_EQ(sets.refused().size(), 1u);
  EXPECT_EQ(sets.refused()[0].reason, "not granted");
}

TEST(ProvenSets, a_set_that_is_not_asked_for_costs_nothing) {
  const Kernels wrong = wrong_product("wrong");
  const std::array rows{SetRow{&wrong, always, nullptr},
                        SetRow{&kReferenceKernels, always, nullptr}};
  ProvenSets sets(rows, {});
  EXPECT_EQ(sets.choose("reference").value(), &kReferenceKernels);
  EXPECT_TRUE(sets.refused().empty());
}

}  // namespace
}  // namespace ration
