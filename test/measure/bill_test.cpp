#include <gtest/gtest.h>

#include <cmath>

#include "base/json.h"
#include "base/rng.h"
#include "measure/measure.h"

namespace ration {
namespace {

Energy prior(double best, double concurrency = 1) {
  Energy energy;
  energy.joules = JouleRange{Joules{best / 2}, Joules{best}, Joules{best * 2}};
  energy.method = Method::kPriorModel;
  energy.scope = Scope::kPackageDram;
  energy.coverage = 1;
  energy.concurrency = concurrency;
  energy.calibration = "amd-zen3-server";
  return energy;
}

Bill example() {
  Bill bill;
  bill.prompt_tokens = 38;
  bill.generated_tokens = 120;
  bill.queue = Millis{0.2};
  bill.prefill = Millis{210};
  bill.decode = Millis{1400};
  bill.peak = Bytes{142'000'000};
  bill.peak_by_tag[static_cast<size_t>(Tag::kWeights)] = Bytes{98'000'000};
  bill.peak_by_tag[static_cast<size_t>(Tag::kKv)] = Bytes{12'300'000};
  bill.peak_by_tag[static_cast<size_t>(Tag::kActivations)] = Bytes{31'000'000};
  bill.peak_by_tag[static_cast<size_t>(Tag::kIo)] = Bytes{900};
  bill.energy = prior(20.7);
  bill.stop_cause = "end";
  return bill;
}

TEST(Bill, reads_as_one_line) {
  EXPECT_EQ(to_text(example()),
            "38 + 120 tokens · prefill 0.21 s (181 tok/s) · decode 1.40 s (86 tok/s) · "
            "peak 142 MB (weights 98, activations 31, kv 12.3) · ≈ 21 J (10–41, prior model)");
}

TEST(Bill, says_what_was_out_of_the_ordinary) {
  Bill bill = example();
  bill.prompt_tokens = 412;
  bill.cached_tokens = 380;
  bill.queue = Millis{4};
  bill.load = Millis{12'340};
  bill.energy.method = Method::kCounterAmortised;
  bill.energy.joules = JouleRange{Joules{17.6}, Joules{20.72}, Joules{23.8}};
  bill.energy.concurrency = 1.84;
  bill.energy.coverage = 0.95;
  bill.dollars = DollarRange{Dollars{1.5e-6}, Dollars{1.727e-6}, Dollars{2e-6}};
  bill.network = Bytes{1500};
  bill.stop_cause = "joules";
  EXPECT_EQ(
      to_text(bill),
      "412 (380 cached) + 120 tokens · queued 4 ms · load 12.3 s · prefill 0.21 s (152 tok/s) · "
      "decode 1.40 s (86 tok/s) · peak 142 MB (weights 98, activations 31, kv 12.3) · "
      "net 1.50 kB · 20.7 J (17.6–23.8, counter amortised, batch of 1.8, 95 % covered) · "
      "$0.00000173 · stopped at the joule budget");
}

TEST(Bill, an_empty_one_has_no_rates_and_no_invented_energy) {
  EXPECT_EQ(to_text(Bill()), "0 + 0 tokens · prefill 0 ms · decode 0 ms · energy unknown");
}

TEST(Bill, large_energy_is_in_kilojoules) {
  Bill bill;
  bill.energy = prior(23'456);
  EXPECT_NE(to_text(bill).find("≈ 23 kJ (12–47, prior model)"), std::string::npos) << to_text(bill);
}

Json json_of(const Bill& bill) {
  std::string text;
  append_json(text, bill);
  Result<Json> parsed = parse_json(text);
  EXPECT_TRUE(parsed) << text;
  return parsed ? *parsed : Json();
}

TEST(Bill, json_has_the_fields_programs_read) {
  Bill bill = example();
  bill.dollars = price(bill, Tariff{.usd_per_kwh = 0.30, .source = "bill", .date = "2026-01-31"});
  const Json json = json_of(bill);
  EXPECT_EQ(json["tokens"], (Json{{"prompt", 38}, {"cached", 0}, {"generated", 120}}));
  EXPECT_EQ(json["ms"], (Json{{"queue", 0.2}, {"load", 0}, {"prefill", 210}, {"decode", 1400}}));
  EXPECT_EQ(json["peak_bytes"], 142'000'000);
  EXPECT_EQ(
      json["peak_bytes_by_tag"],
      (Json{
          {"weights", 98'000'000}, {"kv", 12'300'000}, {"activations", 31'000'000}, {"io", 900}}));
  EXPECT_EQ(json["energy_j"], (Json{{"best", 21},
                                    {"low", 10},
                                    {"high", 41},
                                    {"method", "prior-model"},
                                    {"scope", "package+dram"},
                                    {"idle", "excluded"},
                                    {"concurrency", 1},
                                    {"coverage", 1},
                                    {"calibration", "amd-zen3-server"}}));
  EXPECT_EQ(json["net_bytes"], 0);
  EXPECT_DOUBLE_EQ(json["usd"].get<double>(), 0.0000017);
  EXPECT_NEAR(json["usd_range"]["high"].get<double>(), 0.00000345, 0.00000006);
  EXPECT_EQ(json["stop_cause"], "end");
}

TEST(Bill, drafts_are_there_when_there_was_speculation) {
  Bill bill = example();
  bill.drafts = DraftCount{.drafted = 40, .accepted = 31};
  EXPECT_EQ(
      json_of(bill)["tokens"],
      (Json{{"prompt", 38}, {"cached", 0}, {"generated", 120}, {"drafted", 40}, {"accepted", 31}}));
  EXPECT_TRUE(to_text(bill).starts_with("38 + 120 tokens (31 of 40 drafts kept) · prefill"));
  bill.drafts = DraftCount{};
  EXPECT_EQ(json_of(bill)["tokens"]["drafted"], 0);
  EXPECT_TRUE(to_text(bill).starts_with("38 + 120 tokens · prefill"));
}

TEST(Bill, json_writes_null_for_what_is_unknown) {
  Bill bill;
  const Json json = json_of(bill);
  EXPECT_TRUE(json["energy_j"].is_null());
  EXPECT_TRUE(json["usd"].is_null());
  EXPECT_TRUE(json["usd_range"].is_null());
  EXPECT_TRUE(json["stop_cause"].is_null());
  EXPECT_TRUE(json["peak_bytes_by_tag"].empty());
}

int significant_digits(std::string text) {
  text = text.substr(0, text.find_first_of("eE"));
  std::erase_if(text, [](char c) { return c == '-' || c == '.'; });
  text.erase(0, text.find_first_not_of('0'));
  text.erase(text.find_last_not_of('0') + 1);
  return static_cast<int>(text.size());
}

// The digits as they stand in the text, since a parser would hide them.
std::string number_after(const std::string& json, const std::string& key) {
  const size_t at = json.find("\"" + key + "\":") + key.size() + 3;
  return json.substr(at, json.find_first_of(",}", at) - at);
}

TEST(Bill, modelled_figures_have_two_digits_measured_three_and_stay_close) {
  Rng rng(3);
  for (int round = 0; round < 4'000; ++round) {
    Bill bill;
    const double joules = std::pow(10, -9 + 18 * rng.uniform());
    bill.energy = prior(joules);
    const bool modelled = rng.below(2) == 0;
    if (!modelled) bill.energy.method = Method::kCounter;
    bill.dollars = price(bill, Tariff{.usd_per_kwh = 0.25, .source = "", .date = ""});
    std::string json;
    append_json(json, bill);
    for (const auto& [key, value] : {std::pair<std::string, double>{"best", joules},
                                     {"low", joules / 2},
                                     {"high", joules * 2},
                                     {"usd", joules / 3.6e6 * 0.25}}) {
      const std::string text = number_after(json, key);
      ASSERT_LE(significant_digits(text), modelled ? 2 : 3) << text;
      ASSERT_NEAR(std::stod(text), value, (modelled ? 0.051 : 0.0051) * value) << text;
    }
  }
}

TEST(Price, is_null_without_a_price_and_without_energy) {
  Bill bill = example();
  EXPECT_FALSE(price(bill, std::nullopt));
  EXPECT_FALSE(price(bill, Tariff{}));
  bill.energy = Energy();
  EXPECT_FALSE(price(bill, Tariff{.usd_per_kwh = 0.3, .source = "", .date = ""}));
  EXPECT_FALSE(price(
      bill, Tariff{.usd_per_kwh = 0.3, .usd_per_million_tokens = 1, .source = "", .date = ""}));
}

TEST(Price, adds_energy_tokens_and_seconds) {
  Bill bill = example();
  bill.cached_tokens = 8;
  bill.energy = prior(3.6e6);
  const auto all = price(bill, Tariff{.usd_per_kwh = 0.5,
                                      .usd_per_million_tokens = 1000,
                                      .usd_per_second = 0.01,
                                      .source = "",
                                      .date = ""});
  ASSERT_TRUE(all);
  const double fixed = 150 * 1e-3 + 1.61 * 0.01;
  EXPECT_NEAR(all->low.count, fixed + 0.25, 1e-12);
  EXPECT_NEAR(all->best.count, fixed + 0.5, 1e-12);
  EXPECT_NEAR(all->high.count, fixed + 1.0, 1e-12);
  bill.energy = Energy();
  const auto tokens = price(
      bill, Tariff{.usd_per_kwh = {}, .usd_per_million_tokens = 1000, .source = "", .date = ""});
  ASSERT_TRUE(tokens);
  EXPECT_EQ(tokens->low, tokens->high);
  bill.dollars = tokens;
  EXPECT_DOUBLE_EQ(json_of(bill)["usd"].get<double>(), 0.15);
}

TEST(Bill, takes_its_peaks_from_a_budget) {
  Budget budget("answer", {.hard = Bytes{1000}});
  {
    const auto weights = budget.reserve(Tag::kWeights, Bytes{600});
    const auto kv = budget.reserve(Tag::kKv, Bytes{300});
    ASSERT_TRUE(weights && kv);
  }
  const auto io = budget.reserve(Tag::kIo, Bytes{100});
  Bill bill;
  set_peaks(bill, budget.report());
  EXPECT_EQ(bill.peak, Bytes{900});
  EXPECT_EQ(json_of(bill)["peak_bytes_by_tag"], (Json{{"weights", 600}, {"kv", 300}, {"io", 100}}));
}

}  // namespace
}  // namespace ration
