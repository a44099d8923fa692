// What a CPU family is known to draw, for machines that do not let us measure it.
//
// Servers and desktops: SPECpower_ssj2008 results published up to March 2026 (whole server, average
// watts at 100 % load and at active idle, each divided by hardware threads; medians over the
// submissions with that processor generation; desktop dies by the entry servers built on them).
// Busy = full load minus idle. Fans and power supplies are in these figures and AVX-heavy code is
// not; both are well inside the factor 2 we claim. Mobile: no such collection exists; the makers'
// sustained power limits (15 to 45 W) over the hardware threads of the middle of the range, a fifth
// of it idle. DRAM: about 20 pJ a bit for DDR4, 15 for DDR5, 10 for LPDDR, 25 for DDR3, interface
// included.
#include <fmt/core.h>

#include <algorithm>
#include <cctype>

#include "measure/measure.h"

namespace ration {
namespace {

struct Prior {
  std::string_view id;
  double watts_busy;  // a hardware thread, above idle
  double watts_idle;  // a hardware thread
  double picojoules_per_byte;
};

constexpr Prior kZen1Server{"amd-zen1-server", 1.60, 0.74, 160};
constexpr Prior kZen2Server{"amd-zen2-server", 1.22, 0.44, 160};
constexpr Prior kZen3Server{"amd-zen3-server", 1.48, 0.42, 160};
constexpr Prior kZen4Server{"amd-zen4-server", 1.26, 0.28, 120};
constexpr Prior kZen5Server{"amd-zen5-server", 0.96, 0.21, 120};
constexpr Prior kAmdDesktop{"amd-ryzen-desktop", 2.84, 1.13, 140};
constexpr Prior kAmdMobile{"amd-ryzen-mobile", 1.8, 0.4, 80};
constexpr Prior kSandyServer{"intel-sandy-bridge-server", 6.14, 1.75, 200};
constexpr Prior kIvyServer{"intel-ivy-bridge-server", 4.07, 1.39, 200};
constexpr Prior kHaswellServer{"intel-haswell-server", 3.18, 0.65, 160};
constexpr Prior kBroadwellServer{"intel-broadwell-server", 2.46, 0.51, 160};
constexpr Prior kSkylakeServer{"intel-skylake-server", 3.45, 0.56, 160};  // and Cascade Lake
constexpr Prior kIceLakeServer{"intel-ice-lake-server", 3.15, 0.92, 160};
constexpr Prior kSapphireServer{"intel-sapphire-rapids-server", 2.98, 0.90, 120};
constexpr Prior kEmeraldServer{"intel-emerald-rapids-server", 2.40, 0.82, 120};
constexpr Prior kGraniteServer{"intel-granite-rapids-server", 2.05, 0.62, 120};
constexpr Prior kSierraServer{"intel-sierra-forest-server", 1.78, 0.69, 120};
constexpr Prior kIntelDesktop{"intel-core-desktop", 3.82, 1.25, 140};
constexpr Prior kIntelMobile{"intel-core-mobile", 2.0, 0.5, 80};

// CPUID family and model to the row. An AMD model that is not listed goes by its name, see
// other_amd(); an Intel one is unknown.
struct Row {
  int family;
  int model;
  const Prior* prior;
};
constexpr Row kAmd[] = {{0x17, 0x01, &kZen1Server}, {0x17, 0x31, &kZen2Server},
                        {0x19, 0x01, &kZen3Server}, {0x19, 0x11, &kZen4Server},
                        {0x19, 0xa0, &kZen4Server}, {0x1a, 0x02, &kZen5Server},
                        {0x1a, 0x11, &kZen5Server}};
constexpr Row kIntel[] = {
    {6, 0x2d, &kSandyServer},     {6, 0x3e, &kIvyServer},       {6, 0x3f, &kHaswellServer},
    {6, 0x4f, &kBroadwellServer}, {6, 0x56, &kBroadwellServer}, {6, 0x55, &kSkylakeServer},
    {6, 0x6a, &kIceLakeServer},   {6, 0x6c, &kIceLakeServer},   {6, 0x8f, &kSapphireServer},
    {6, 0xcf, &kEmeraldServer},   {6, 0xad, &kGraniteServer},   {6, 0xae, &kGraniteServer},
    {6, 0xaf, &kSierraServer},    {6, 0x3d, &kIntelMobile},     {6, 0x45, &kIntelMobile},
    {6, 0x4e, &kIntelMobile},     {6, 0x7e, &kIntelMobile},     {6, 0x8c, &kIntelMobile},
    {6, 0x8d, &kIntelMobile},     {6, 0x8e, &kIntelMobile},     {6, 0x9a, &kIntelMobile},
    {6, 0xa6, &kIntelMobile},     {6, 0xaa, &kIntelMobile},     {6, 0xac, &kIntelMobile},
    {6, 0xb5, &kIntelMobile},     {6, 0xba, &kIntelMobile},     {6, 0xbd, &kIntelMobile},
    {6, 0xbe, &kIntelMobile},     {6, 0xcc, &kIntelMobile},     {6, 0x2a, &kIntelDesktop},
    {6, 0x3a, &kIntelDesktop},    {6, 0x3c, &kIntelDesktop},    {6, 0x47, &kIntelDesktop},
    {6, 0x5e, &kIntelDesktop},    {6, 0x97, &kIntelDesktop},    {6, 0x9e, &kIntelDesktop},
    {6, 0xa5, &kIntelDesktop},    {6, 0xa7, &kIntelDesktop},    {6, 0xb7, &kIntelDesktop},
    {6, 0xbf, &kIntelDesktop},    {6, 0xc5, &kIntelMobile},     {6, 0xc6, &kIntelDesktop}};

const Prior* find_row(std::span<const Row> rows, const Machine& machine) {
  for (const Row& row : rows) {
    if (row.family == machine.family && row.model == machine.model) return row.prior;
  }
  return nullptr;
}

// "AMD Ryzen 7 7840U" and "AMD Ryzen 9 7945HX" are mobile, "AMD Ryzen 9 7950X" is not: letters
// right behind a model number that begin with U or H.
bool has_mobile_suffix(std::string_view name) {
  for (size_t i = 1; i < name.size(); ++i) {
    if (std::isdigit(static_cast<unsigned char>(name[i - 1])) &&
        (name[i] == 'U' || name[i] == 'H')) {
      return true;
    }
  }
  return name.find("Ryzen AI") != std::string_view::npos;
}

// Zen dies that are no server's: the name tells which product they went into.
const Prior* other_amd(const Machine& machine) {
  const std::string_view name = machine.cpu_name;
  if (machine.family < 0x17 || machine.family > 0x1a) return nullptr;
  if (name.find("Ryzen") != std::string_view::npos) {
    return has_mobile_suffix(name) ? &kAmdMobile : &kAmdDesktop;
  }
  if (name.find("EPYC") != std::string_view::npos) return &kAmdDesktop;  // EPYC 4004: desktop dies
  return nullptr;
}

const Prior* find_prior(const Machine& machine) {
  if (machine.vendor == "AuthenticAMD") {
    const Prior* prior = find_row(kAmd, machine);
    // A Threadripper is a server die with desktop clocks; Ryzen 1000 has the model of Naples.
    const bool desktop = machine.cpu_name.find("Ryzen") != std::string::npos;
    return prior && !desktop ? prior : other_amd(machine);
  }
  if (machine.vendor == "GenuineIntel") return find_row(kIntel, machine);
  return nullptr;
}

}  // namespace

std::optional<EnergyModel> prior_model(const Machine& machine) {
  const Prior* prior = find_prior(machine);
  if (!prior) return std::nullopt;
  return EnergyModel{.method = Method::kPriorModel,
                     .id = std::string(prior->id),
                     .date = "",
                     .scope = Scope::kPackageDram,
                     .watts_busy = prior->watts_busy,
                     .picojoules_per_byte = prior->picojoules_per_byte,
                     .watts_idle = prior->watts_idle * machine.cpus_usable};
}

}  // namespace ration
