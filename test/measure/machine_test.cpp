#include <gtest/gtest.h>

#include "base/json.h"
#include "base/pool.h"
#include "measure/cgroup.h"
#include "memory_files.h"

namespace ration {
namespace {

// Two sockets of two cores of two threads.
std::string cpuinfo() {
  std::string text;
  for (int cpu = 0; cpu < 8; ++cpu) {
    text += "processor\t: " + std::to_string(cpu) +
            "\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 1\n"
            "model name\t: AMD EPYC 7763 64-Core Processor\nphysical id\t: " +
            std::to_string(cpu / 4) + "\ncore id\t\t: " + std::to_string(cpu / 2 % 2) +
            "\nflags\t\t: fpu avx avx2 fma f16c avx512fake\n\n";
  }
  return text;
}

void put_cache(MemoryFiles& files, int cpu, int index, int level, const char* size,
               const char* shared) {
  const std::string folder =
      "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/cache/index" + std::to_string(index);
  files.put(folder + "/level", level);
  files.put(folder + "/size", std::string(size) + "\n");
  files.put(folder + "/shared_cpu_list", std::string(shared) + "\n");
}

TEST(Machine, describes_cpu_cores_sockets_flags_and_caches) {
  MemoryFiles files;
  files.put("/proc/cpuinfo", cpuinfo());
  files.put("/proc/self/status", "Cpus_allowed_list:\t0-2,5\n");
  files.put("/proc/meminfo",
            "MemTotal: 2000 kB\nMemAvailable: 1000 kB\nSwapTotal: 10 kB\nSwapFree: 4 kB\n");
  for (int cpu = 0; cpu < 8; ++cpu) {
    put_cache(files, cpu, 2, 2, "512K", cpu < 4 ? "0-1" : "4-5");
    put_cache(files, cpu, 3, 3, "32768K", cpu < 4 ? "0-3" : "4-7");
  }
  const Machine machine = describe_machine(files);
  EXPECT_EQ(machine.cpu_name, "AMD EPYC 7763 64-Core Processor");
  EXPECT_EQ(machine.family, 25);
  EXPECT_EQ(machine.model, 1);
  EXPECT_EQ(machine.cpus_online, 8);
  EXPECT_EQ(machine.cores, 4);
  EXPECT_EQ(machine.sockets, 2);
  EXPECT_EQ(machine.cpus_allowed, 4);
  EXPECT_EQ(machine.cpus_usable, 4);
  EXPECT_EQ(machine.flags, (std::vector<std::string>{"f16c", "fma", "avx", "avx2"}));
  EXPECT_EQ(machine.l2_bytes, Bytes{512 * kKiB});
  EXPECT_EQ(machine.l3_bytes, Bytes{64 * kMiB});
  EXPECT_EQ(machine.memory.total, Bytes{2000 * kKiB});
  EXPECT_EQ(machine.memory.swap_free, Bytes{4 * kKiB});
  EXPECT_FALSE(machine.virtual_machine);
  EXPECT_FALSE(machine.container);
}

TEST(Machine, tells_a_virtual_machine_and_a_container) {
  MemoryFiles files;
  files.put("/proc/cpuinfo", "processor : 0\nflags : avx2 hypervisor\n");
  files.put("/.dockerenv", "");
  const Machine machine = describe_machine(files);
  EXPECT_TRUE(machine.virtual_machine);
  EXPECT_TRUE(machine.container);
}

TEST(Machine, knows_nothing_of_an_empty_tree_but_has_a_cpu) {
  const MemoryFiles files;
  const Machine machine = describe_machine(files);
  EXPECT_EQ(machine.cpus_usable, 1);
  EXPECT_FALSE(machine.memory.usable());
  std::string json;
  append_json(json, machine);
  const auto parsed = parse_json(json);
  ASSERT_TRUE(parsed) << json;
  EXPECT_TRUE((*parsed)["l3_bytes"].is_null());
  EXPECT_TRUE((*parsed)["memory"]["total"].is_null());
  EXPECT_NE(to_text(machine).find("unknown"), std::string::npos);
}

TEST(Machine, of_this_test_has_a_name_memory_and_as_many_cpus_as_the_pool_would_use) {
  const SystemFiles files;
  const Machine machine = describe_machine(files);
  EXPECT_FALSE(machine.cpu_name.empty());
  EXPECT_EQ(machine.cpus_usable, usable_cpus());
  ASSERT_TRUE(machine.memory.usable());
  EXPECT_GT(machine.memory.usable()->count, 0);
  std::string json;
  append_json(json, machine);
  const auto parsed = parse_json(json);
  ASSERT_TRUE(parsed) << json;
  EXPECT_EQ((*parsed)["cpus_usable"], machine.cpus_usable);
  EXPECT_EQ((*parsed)["memory"]["total"], machine.memory.total->count);
}

constexpr const char* kMounts2 =
    "31 23 0:28 / /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

TEST(Cgroup, version_2_takes_the_least_limit_on_the_way_up) {
  MemoryFiles files;
  files.put("/proc/self/cgroup", "0::/a/b/c\n");
  files.put("/proc/self/mountinfo", kMounts2);
  files.put("/sys/fs/cgroup/a/b/c/memory.max", "max\n");
  files.put("/sys/fs/cgroup/a/b/memory.max", 500'000'000);
  files.put("/sys/fs/cgroup/a/b/memory.current", 300'000'000);
  files.put("/sys/fs/cgroup/a/b/memory.stat", "anon 1\ninactive_file 120000000\nactive_file 5\n");
  files.put("/sys/fs/cgroup/a/memory.max", 900'000'000);
  files.put("/sys/fs/cgroup/a/b/c/cpu.max", "max 100000\n");
  files.put("/sys/fs/cgroup/a/cpu.max", "150000 100000\n");
  const CgroupLimits limits = read_cgroup_limits(files);
  EXPECT_EQ(limits.memory_limit, Bytes{500'000'000});
  EXPECT_EQ(limits.memory_used, Bytes{180'000'000});
  ASSERT_TRUE(limits.cpus);
  EXPECT_DOUBLE_EQ(*limits.cpus, 1.5);
}

TEST(Cgroup, version_1_ignores_its_huge_no_limit_and_reads_quota) {
  MemoryFiles files;
  files.put("/proc/self/cgroup", "4:memory:/job/x\n2:cpu,cpuacct:/job\n0::/\n");
  files.put("/proc/self/mountinfo",
            "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
            "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
            "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
  files.put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  files.put("/sys/fs/cgroup/memory/job/memory.limit_in_bytes", "9223372036854771712\n");
  files.put("/sys/fs/cgroup/memory/job/x/memory.limit_in_bytes", 64 * kMiB);
  files.put("/sys/fs/cgroup/memory/job/x/memory.usage_in_bytes", 16 * kMiB);
  files.put("/sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", 50'000);
  files.put("/sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us", 100'000);
  files.put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
  files.put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", 100'000);
  const CgroupLimits limits = read_cgroup_limits(files);
  EXPECT_EQ(limits.memory_limit, Bytes{64 * kMiB});
  EXPECT_EQ(limits.memory_used, Bytes{16 * kMiB});
  ASSERT_TRUE(limits.cpus);
  EXPECT_DOUBLE_EQ(*limits.cpus, 0.5);
}

TEST(Cgroup, a_container_without_namespace_finds_its_group_at_the_mount) {
  MemoryFiles files;
  files.put("/proc/self/cgroup", "4:memory:/docker/abc\n");
  files.put("/proc/self/mountinfo",
            "35 31 0:32 /docker/abc /sys/fs/cgroup/my\\040memory ro - cgroup cgroup rw,memory\n");
  files.put("/sys/fs/cgroup/my memory/memory.limit_in_bytes", 7 * kMiB);
  EXPECT_EQ(read_cgroup_limits(files).memory_limit, Bytes{7 * kMiB});
}

TEST(Cgroup, survives_nonsense) {
  MemoryFiles files;
  for (const char* text :
       {"", "0", "0:", "0::", "::::\n", "0::/../..\n", "0::no-slash\n", "\n\n"}) {
    files.put("/proc/self/cgroup", text);
    files.put("/proc/self/mountinfo", kMounts2);
    files.put("/sys/fs/cgroup/memory.max", "-5\n");
    files.put("/sys/fs/cgroup/cpu.max", "1 0\n");
    const CgroupLimits limits = read_cgroup_limits(files);
    EXPECT_FALSE(limits.memory_limit) << text;
    EXPECT_FALSE(limits.cpus) << text;
  }
}

TEST(Machine, quota_and_affinity_bound_the_usable_cpus) {
  MemoryFiles files;
  files.put("/proc/cpuinfo", cpuinfo());
  files.put("/proc/self/cgroup", "0::/\n");
  files.put("/proc/self/mountinfo", kMounts2);
  files.put("/sys/fs/cgroup/cpu.max", "250000 100000\n");
  EXPECT_EQ(describe_machine(files).cpus_usable, 3);
  files.put("/proc/self/status", "Cpus_allowed_list:\t3\n");
  EXPECT_EQ(describe_machine(files).cpus_usable, 1);
  files.put("/proc/self/status", "Cpus_allowed_list:\tgarbage\n");
  EXPECT_EQ(describe_machine(files).cpus_usable, 3);
  EXPECT_NE(to_text(describe_machine(files)).find("cgroup quota 2.5 CPUs"), std::string::npos);
}

}  // namespace
}  // namespace ration
