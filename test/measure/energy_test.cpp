#include <gtest/gtest.h>

#include "base/json.h"
#include "base/rng.h"
#include "measure/powercap.h"
#include "memory_files.h"

namespace ration {
namespace {

using State = PowercapZones::State;
constexpr const char* kClass = "/sys/class/powercap";
constexpr int64_t kSecond = 1'000'000'000;

// Two packages with everything a server and a laptop show between them.
MemoryFiles full_tree() {
  MemoryFiles files;
  put_zone(files, "intel-rapl:0", "package-0", 1'000'000);
  put_zone(files, "intel-rapl:0:0", "core", 600'000);
  put_zone(files, "intel-rapl:0:1", "uncore", 100'000);
  put_zone(files, "intel-rapl:0:2", "dram", 200'000);
  put_zone(files, "intel-rapl:1", "package-1", 3'000'000);
  put_zone(files, "intel-rapl:1:0", "dram", 400'000);
  put_zone(files, "intel-rapl:2", "psys", 9'000'000);
  put_zone(files, "intel-rapl-mmio:0", "package-0", 1'000'000);
  files.put(std::string(kClass) + "/intel-rapl/enabled", "1\n");
  return files;
}

TEST(Powercap, counts_packages_and_dram_once_and_nothing_inside_or_around_them) {
  const MemoryFiles files = full_tree();
  const PowercapZones zones = find_powercap_zones(files, kClass);
  EXPECT_EQ(zones.state, State::kReady);
  EXPECT_EQ(zones.scope, Scope::kPackageDram);
  EXPECT_EQ(zones.packages, 2);
  std::vector<std::string> names;
  for (const auto& zone : zones.zones) names.push_back(zone.name);
  EXPECT_EQ(names, (std::vector<std::string>{"package-0", "package-1", "dram", "dram"}));
}

TEST(Powercap, reads_a_nested_device_tree_the_same_way) {
  MemoryFiles files;
  const std::string root = "/sys/devices/virtual/powercap";
  put_zone(files, "intel-rapl/intel-rapl:0", "package-0-die-0", 5, kRangeUj, root);
  put_zone(files, "intel-rapl/intel-rapl:0/intel-rapl:0:0", "core", 5, kRangeUj, root);
  put_zone(files, "intel-rapl/intel-rapl:0/intel-rapl:0:1", "dram", 5, kRangeUj, root);
  put_zone(files, "intel-rapl/intel-rapl:1", "package-0-die-1", 5, kRangeUj, root);
  const PowercapZones zones = find_powercap_zones(files, root);
  EXPECT_EQ(zones.packages, 2);
  // One die has DRAM, the other none: a sum of both would be neither scope.
  EXPECT_EQ(zones.scope, Scope::kPackage);
  EXPECT_EQ(zones.zones.size(), 2u);
}

TEST(Powercap, tells_absent_hidden_denied_and_dead_apart) {
  EXPECT_EQ(find_powercap_zones(MemoryFiles(), kClass).state, State::kAbsent);

  MemoryFiles masked;
  masked.put(std::string(kClass) + "/intel-rapl/enabled", "1\n");
  EXPECT_EQ(find_powercap_zones(masked, kClass).state, State::kHidden);

  MemoryFiles denied = full_tree();
  denied.fail(energy_path("intel-rapl:1"), Files::State::kDenied);
  const PowercapZones half = find_powercap_zones(denied, kClass);
  EXPECT_EQ(half.state, State::kDenied);
  EXPECT_EQ(half.where, energy_path("intel-rapl:1"));
  EXPECT_TRUE(half.zones.empty());  // one package of two is not a smaller truth

  for (const char* dead : {"0\n", "nonsense\n", "", "-5\n"}) {
    MemoryFiles files = full_tree();
    files.put(energy_path("intel-rapl:0"), dead);
    EXPECT_EQ(find_powercap_zones(files, kClass).state, State::kFailed) << dead;
  }

  MemoryFiles no_dram = full_tree();
  no_dram.fail(energy_path("intel-rapl:0:2"), Files::State::kDenied);
  const PowercapZones packages = find_powercap_zones(no_dram, kClass);
  EXPECT_EQ(packages.state, State::kReady);
  EXPECT_EQ(packages.scope, Scope::kPackage);
}

TEST(Powercap, only_psys_is_no_counter) {
  MemoryFiles files;
  put_zone(files, "intel-rapl:0", "psys", 5);
  EXPECT_NE(find_powercap_zones(files, kClass).state, State::kReady);
}

TEST(PowercapCounter, adds_up_zones_and_starts_with_no_figure) {
  MemoryFiles files = full_tree();
  PowercapCounter counter(find_powercap_zones(files, kClass).zones);
  EXPECT_FALSE(counter.delta(files, 0));
  files.put(energy_path("intel-rapl:0"), 3'000'000);    // 2 J
  files.put(energy_path("intel-rapl:1"), 4'500'000);    // 1.5 J
  files.put(energy_path("intel-rapl:0:2"), 450'000);    // 0.25 J
  files.put(energy_path("intel-rapl:0:0"), 2'000'000);  // core: inside the package
  files.put(energy_path("intel-rapl:2"), 19'000'000);   // psys: around it
  const auto delta = counter.delta(files, kSecond);
  ASSERT_TRUE(delta);
  EXPECT_NEAR(delta->count, 3.75, 1e-9);
}

// A true, endless counter seen through wrapping files: whatever happens, the sum of the deltas is
// the truth as long as the files are read often enough.
TEST(PowercapCounter, wraps_at_random_times_lose_nothing) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    Rng rng(seed);
    MemoryFiles files;
    const int64_t range[2] = {kRangeUj, 65'536'000'000 / static_cast<int64_t>(1 + rng.below(4))};
    int64_t truth[2];
    const auto show = [&](int zone) {
      put_zone(files, "intel-rapl:" + std::to_string(zone), "package-" + std::to_string(zone),
               truth[zone] % range[zone], range[zone]);
    };
    for (int zone = 0; zone < 2; ++zone) {
      truth[zone] = range[zone] - 1 - static_cast<int64_t>(rng.below(50'000'000));
      show(zone);
    }
    PowercapCounter counter(find_powercap_zones(files, kClass).zones);
    int64_t now = 0;
    EXPECT_FALSE(counter.delta(files, now));
    double true_joules = 0;
    double sum = 0;
    for (int step = 0; step < 400; ++step) {
      const int64_t elapsed = static_cast<int64_t>(1 + rng.below(5 * kSecond));
      now += elapsed;
      for (int zone = 0; zone < 2; ++zone) {
        const auto moved =
            static_cast<int64_t>(static_cast<double>(elapsed) * 1e-3 * (20 + 300 * rng.uniform()));
        truth[zone] += moved;
        true_joules += static_cast<double>(moved) * 1e-6;
        show(zone);
      }
      const auto delta = counter.delta(files, now);
      ASSERT_TRUE(delta) << "seed " << seed << " step " << step;
      ASSERT_GE(delta->count, 0);
      sum += delta->count;
    }
    EXPECT_GT(true_joules * 1e6, static_cast<double>(range[0])) << "the test must wrap";
    EXPECT_NEAR(sum, true_joules, 1e-6 * true_joules);
  }
}

TEST(PowercapCounter, gives_no_figure_rather_than_a_wrong_one) {
  MemoryFiles files;
  put_zone(files, "intel-rapl:0", "package-0", 1'000'000'000);
  PowercapCounter counter(find_powercap_zones(files, kClass).zones);
  int64_t now = 0;
  static_cast<void>(counter.delta(files, now));

  files.remove(energy_path("intel-rapl:0"));  // the module was unloaded
  EXPECT_FALSE(counter.delta(files, now += kSecond));
  files.put(energy_path("intel-rapl:0"), 1'000'000'000);
  EXPECT_FALSE(counter.delta(files, now += kSecond));  // back: a new start
  files.put(energy_path("intel-rapl:0"), 1'010'000'000);
  EXPECT_NEAR(counter.delta(files, now += kSecond)->count, 10, 1e-9);

  files.put(energy_path("intel-rapl:0"), 5);  // reset by a suspend: would be a wrap of 261 kJ
  EXPECT_FALSE(counter.delta(files, now += kSecond));
  files.put(energy_path("intel-rapl:0"), 20'000'005);
  EXPECT_NEAR(counter.delta(files, now += kSecond)->count, 20, 1e-9);

  files.put(energy_path("intel-rapl:0"), 25'000'005);  // so long ago that it may have wrapped twice
  EXPECT_FALSE(counter.delta(files, now += 3600 * kSecond));

  EXPECT_FALSE(counter.delta(files, now += kSecond));      // stands still for a second
  EXPECT_EQ(counter.delta(files, now += 1000)->count, 0);  // for a microsecond: between two updates
}

TEST(PowercapCounter, cannot_follow_a_wrap_without_a_range) {
  MemoryFiles files;
  put_zone(files, "intel-rapl:0", "package-0", 5'000'000);
  files.remove(std::string(kClass) + "/intel-rapl:0/max_energy_range_uj");
  PowercapCounter counter(find_powercap_zones(files, kClass).zones);
  static_cast<void>(counter.delta(files, 0));
  files.put(energy_path("intel-rapl:0"), 6'000'000);
  EXPECT_NEAR(counter.delta(files, kSecond)->count, 1, 1e-9);
  files.put(energy_path("intel-rapl:0"), 1'000'000);
  EXPECT_FALSE(counter.delta(files, 2 * kSecond));
}

TEST(EnergyMeter, climbs_to_the_best_rung_there_is) {
  const MemoryFiles files = full_tree();
  const EnergyMeter counter(files, zen3_machine(), {});
  EXPECT_EQ(counter.best_method(), Method::kCounter);
  EXPECT_EQ(counter.counter_scope(), Scope::kPackageDram);

  const MemoryFiles bare;
  const EnergyMeter prior(bare, zen3_machine(), {});
  EXPECT_EQ(prior.best_method(), Method::kPriorModel);
  EXPECT_EQ(prior.model().id, "amd-zen3-server");

  Machine strange = zen3_machine();
  strange.vendor = "VIA";
  EnergyMeter unknown(bare, strange, {});
  EXPECT_EQ(unknown.best_method(), Method::kUnknown);
  EXPECT_FALSE(unknown.counter_delta(0));
  EXPECT_FALSE(unknown.counter_delta(kSecond));
}

TEST(EnergyMeter, doctor_names_what_is_missing_and_the_command_that_helps) {
  MemoryFiles denied = full_tree();
  denied.fail(energy_path("intel-rapl:0"), Files::State::kDenied);
  const EnergyMeter locked(denied, zen3_machine(), {});
  ASSERT_EQ(locked.doctor().size(), 3u);
  EXPECT_FALSE(locked.doctor()[0].available);
  EXPECT_NE(locked.doctor()[0].reason.find(energy_path("intel-rapl:0")), std::string::npos);
  EXPECT_TRUE(locked.doctor()[0].remedy.starts_with(
      "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj"));
  EXPECT_TRUE(locked.doctor()[2].available);

  const MemoryFiles bare;
  const EnergyMeter metal(bare, zen3_machine(), {});
  EXPECT_TRUE(metal.doctor()[0].remedy.starts_with("sudo modprobe intel_rapl_msr"));

  Machine guest = zen3_machine();
  guest.virtual_machine = true;
  const EnergyMeter virtual_meter(bare, guest, {});
  EXPECT_NE(virtual_meter.doctor()[0].reason.find("virtual machine"), std::string::npos);
  EXPECT_EQ(virtual_meter.doctor()[0].remedy.find("sudo"), std::string::npos);

  Machine boxed = zen3_machine();
  boxed.container = true;
  const EnergyMeter container_meter(bare, boxed, {});
  EXPECT_NE(container_meter.doctor()[0].remedy.find("docker run"), std::string::npos);

  const MemoryFiles open = full_tree();
  const EnergyMeter ready(open, zen3_machine(), {});
  EXPECT_TRUE(ready.doctor()[0].available);
  EXPECT_TRUE(ready.doctor()[0].remedy.empty());
  EXPECT_NE(ready.doctor()[0].reason.find("2 packages and DRAM"), std::string::npos);

  std::string json;
  append_json(json, locked.doctor());
  const auto parsed = parse_json(json);
  ASSERT_TRUE(parsed) << json;
  EXPECT_EQ((*parsed)[0]["method"], "counter");
  EXPECT_EQ((*parsed)[0]["available"], false);
  const std::string text = to_text(locked.doctor());
  EXPECT_NE(text.find("to improve: sudo chmod"), std::string::npos) << text;
  EXPECT_NE(text.find("* prior-model"), std::string::npos) << text;
}

TEST(Prior, knows_families_by_number_scales_idle_by_cpus_and_is_null_elsewhere) {
  Machine machine = zen3_machine();
  const auto four = prior_model(machine);
  machine.cpus_usable = 8;
  const auto eight = prior_model(machine);
  ASSERT_TRUE(four && eight);
  EXPECT_DOUBLE_EQ(eight->watts_idle, 2 * four->watts_idle);
  EXPECT_DOUBLE_EQ(eight->watts_busy, four->watts_busy);
  EXPECT_DOUBLE_EQ(four->factor_low, 0.5);
  EXPECT_DOUBLE_EQ(four->factor_high, 2.0);

  struct Case {
    const char* vendor;
    int family;
    int model;
    const char* name;
    const char* id;  // null: unknown
  };
  for (const Case& c :
       {Case{"AuthenticAMD", 0x19, 0x01, "AMD EPYC", "amd-zen3-server"},
        Case{"AuthenticAMD", 0x17, 0x01, "AMD Ryzen 7 1700", "amd-ryzen-desktop"},
        Case{"AuthenticAMD", 0x19, 0x61, "AMD Ryzen 9 7950X", "amd-ryzen-desktop"},
        Case{"AuthenticAMD", 0x19, 0x74, "AMD Ryzen 7 7840U", "amd-ryzen-mobile"},
        Case{"AuthenticAMD", 0x19, 0x61, "AMD Ryzen 9 7945HX", "amd-ryzen-mobile"},
        Case{"AuthenticAMD", 0x19, 0x61, "AMD EPYC 4464P", "amd-ryzen-desktop"},
        Case{"AuthenticAMD", 0x15, 0x02, "AMD Opteron", nullptr},
        Case{"GenuineIntel", 6, 0x8f, "Intel Xeon", "intel-sapphire-rapids-server"},
        Case{"GenuineIntel", 6, 0x9a, "12th Gen", "intel-core-mobile"},
        Case{"GenuineIntel", 6, 0xb7, "13th Gen", "intel-core-desktop"},
        Case{"GenuineIntel", 6, 6, "QEMU Virtual CPU", nullptr}, Case{"", 0, 0, "", nullptr}}) {
    Machine m;
    m.vendor = c.vendor;
    m.family = c.family;
    m.model = c.model;
    m.cpu_name = c.name;
    m.cpus_usable = 1;
    const auto prior = prior_model(m);
    ASSERT_EQ(prior.has_value(), c.id != nullptr) << c.name;
    if (prior) EXPECT_EQ(prior->id, c.id) << c.name;
  }
}

std::string calibration_text() {
  return R"({"format": "ration-energy-calibration-1", "id": "plug-1", "date": "2026-01-31",
    "cpu": "AMD EPYC 7763 64-Core Processor", "scope": "package+dram", "watts_busy_per_cpu": 1.8,
    "picojoules_per_byte": 140, "watts_idle_per_cpu": 0.5,
    "residual_quantiles": {"p05": 0.9, "p95": 1.2}})";
}

TEST(Calibration, is_preferred_to_the_prior_and_brings_its_own_interval) {
  MemoryFiles files;
  files.put("/config/energy-calibration.json", calibration_text());
  const EnergyMeter meter(files, zen3_machine(),
                          {.calibration_file = "/config/energy-calibration.json"});
  EXPECT_EQ(meter.best_method(), Method::kCalibratedModel);
  EXPECT_EQ(meter.model().id, "plug-1");
  EXPECT_EQ(meter.model().date, "2026-01-31");
  EXPECT_DOUBLE_EQ(meter.model().watts_busy, 1.8);
  EXPECT_DOUBLE_EQ(meter.model().watts_idle, 2.0);
  EXPECT_DOUBLE_EQ(meter.model().factor_low, 0.9);
  EXPECT_DOUBLE_EQ(meter.model().factor_high, 1.2);
}

TEST(Calibration, a_bad_file_falls_back_to_the_prior_and_says_so) {
  MemoryFiles files;
  files.put("/c.json", "{\"format\": 1}");
  const EnergyMeter meter(files, zen3_machine(), {.calibration_file = "/c.json"});
  EXPECT_EQ(meter.best_method(), Method::kPriorModel);
  EXPECT_NE(meter.doctor()[1].reason.find("format"), std::string::npos);
  EXPECT_NE(meter.doctor()[1].remedy.find("/c.json"), std::string::npos);
}

TEST(Calibration, every_field_is_needed_typed_and_bounded) {
  const auto parsed = parse_json(calibration_text());
  ASSERT_TRUE(parsed);
  ASSERT_TRUE(parse_calibration(calibration_text(), zen3_machine()));
  const auto refused = [](const Json& json, std::string_view field) {
    const auto result = parse_calibration(to_text(json), zen3_machine());
    ASSERT_FALSE(result) << json;
    EXPECT_NE(result.error().message.find(field), std::string::npos) << result.error().message;
  };
  for (const auto& [key, value] : parsed->items()) {
    Json without = *parsed;
    without.erase(key);
    refused(without, key);
    Json wrong = *parsed;
    wrong[key] = Json::array();
    refused(wrong, key);
  }
  for (const auto& [key, value] : {std::pair<const char*, Json>{"watts_busy_per_cpu", -1},
                                   {"watts_busy_per_cpu", 1e9},
                                   {"picojoules_per_byte", "12"},
                                   {"scope", "wall"},
                                   {"date", "yesterday"},
                                   {"id", ""},
                                   {"residual_quantiles", Json{{"p05", 1.1}, {"p95", 1.2}}},
                                   {"format", "2"}}) {
    Json wrong = *parsed;
    wrong[key] = value;
    refused(wrong, key[0] == 'r' ? "p05" : key);
  }
  Json extra = *parsed;
  extra["colour"] = 1;
  refused(extra, "colour");
  Machine other = zen3_machine();
  other.cpu_name = "another";
  EXPECT_EQ(parse_calibration(calibration_text(), other).error().code, Code::kUnsupported);
}

TEST(Calibration, three_thousand_mutations_are_read_or_refused) {
  const std::string good = calibration_text();
  Rng rng(7);
  int refused = 0;
  for (int round = 0; round < 3'000; ++round) {
    std::string text = good;
    for (uint64_t edits = 1 + rng.below(4); edits > 0; --edits) {
      const size_t at = rng.below(text.size());
      if (rng.below(3) == 0) {
        text.erase(at, 1 + rng.below(20));
        if (text.empty()) text = "x";
      } else {
        text[at] = static_cast<char>(rng.below(256));
      }
    }
    const auto model = parse_calibration(text, zen3_machine());
    if (!model) {
      ++refused;
      continue;
    }
    EXPECT_GE(model->watts_busy, 0);
    EXPECT_LE(model->factor_low, model->factor_high);
  }
  EXPECT_GT(refused, 1'500);
}

}  // namespace
}  // namespace ration
