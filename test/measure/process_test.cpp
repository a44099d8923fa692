#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "memory_files.h"

namespace ration {
namespace {

namespace fs = std::filesystem;

constexpr const char* kStatus =
    "Name:\tration\nVmPeak:\t  900000 kB\nVmSize:\t  900000 kB\nVmHWM:\t  142000 kB\n"
    "VmRSS:\t  100000 kB\nRssAnon:\t   40000 kB\nRssFile:\t   60000 kB\nVmSwap:\t     12 kB\n"
    "Cpus_allowed_list:\t0-1\n";

TEST(SystemFiles, reads_lists_and_tells_missing_from_denied) {
  const fs::path root = fs::temp_directory_path() / ("ration-files-" + std::to_string(::getpid()));
  fs::create_directories(root / "proc/b");
  std::ofstream(root / "proc/a") << "one\ntwo\n";
  const SystemFiles files(root.string());
  EXPECT_EQ(files.read("/proc/a").text, "one\ntwo\n");
  EXPECT_TRUE(files.read("/proc/a").read());
  EXPECT_EQ(files.read("/proc/none").state, Files::State::kMissing);
  EXPECT_EQ(files.read("/proc/b").state, Files::State::kFailed);  // a folder
  EXPECT_EQ(files.list("/proc"), (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(files.list("/nowhere").empty());
  EXPECT_EQ(files.write("/proc/none", "5"), Files::State::kMissing);
  EXPECT_EQ(files.write("/proc/a", "5"), Files::State::kRead);
  if (::geteuid() != 0) {
    ::chmod((root / "proc/a").c_str(), 0);
    EXPECT_EQ(files.read("/proc/a").state, Files::State::kDenied);
  }
  fs::remove_all(root);
}

TEST(ProcessMemory, reads_the_fields_of_a_status_file) {
  MemoryFiles files;
  files.put("/proc/self/status", kStatus);
  const auto memory = read_process_memory(files);
  ASSERT_TRUE(memory);
  EXPECT_EQ(memory->resident, Bytes{100000 * kKiB});
  EXPECT_EQ(memory->resident_peak, Bytes{142000 * kKiB});
  EXPECT_EQ(memory->file, Bytes{60000 * kKiB});
  EXPECT_EQ(memory->anonymous, Bytes{40000 * kKiB});
  EXPECT_EQ(memory->swapped, Bytes{12 * kKiB});
}

TEST(ProcessMemory, is_unavailable_without_proc) {
  const MemoryFiles files;
  const auto memory = read_process_memory(files);
  ASSERT_FALSE(memory);
  EXPECT_EQ(memory.error().code, Code::kUnavailable);
}

TEST(ProcessMemory, peak_follows_real_allocations_and_can_be_reset) {
  const SystemFiles files;
  constexpr size_t kSize = 32 << 20;
  const auto before = read_process_memory(files);
  ASSERT_TRUE(before);
  // Straight from the kernel: an allocator may keep what it is given back.
  void* block = ::mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(block, MAP_FAILED);
  std::memset(block, 1, kSize);
  const auto during = read_process_memory(files);
  ASSERT_TRUE(during);
  EXPECT_GE(during->resident_peak.count, before->resident.count + 30 * kMiB);
  EXPECT_GE(during->resident_peak, during->resident);
  ::munmap(block, kSize);
  if (const Status reset = reset_resident_peak(files)) {
    EXPECT_LT(read_process_memory(files)->resident_peak.count, before->resident.count + 16 * kMiB);
  } else {
    EXPECT_EQ(reset.error().code, Code::kUnavailable);
  }
}

TEST(ProcessMemory, reset_writes_5_and_reports_denial) {
  MemoryFiles files;
  EXPECT_EQ(reset_resident_peak(files).error().code, Code::kUnavailable);
  files.allow_write("/proc/self/clear_refs", Files::State::kDenied);
  EXPECT_FALSE(reset_resident_peak(files));
  files.allow_write("/proc/self/clear_refs", Files::State::kRead);
  EXPECT_TRUE(reset_resident_peak(files));
  ASSERT_EQ(files.written().size(), 1u);
  EXPECT_EQ(files.written()[0].second, "5");
}

TEST(MachineMemory, usable_is_the_lesser_of_available_and_what_the_cgroup_leaves) {
  MachineMemory memory;
  EXPECT_FALSE(memory.usable());
  memory.available = Bytes{1000};
  EXPECT_EQ(memory.usable(), Bytes{1000});
  memory.cgroup_limit = Bytes{900};
  memory.cgroup_used = Bytes{300};
  EXPECT_EQ(memory.usable(), Bytes{600});
  memory.cgroup_used = Bytes{2000};
  EXPECT_EQ(memory.usable(), Bytes{0});
}

TEST(Cpu, process_time_grows_with_work_and_threads_add_up_to_it) {
  const double start = process_cpu_seconds();
  volatile double sink = 0;
  while (process_cpu_seconds() < start + 0.05) {
    for (int i = 0; i < 1000; ++i) sink = sink + 1;
  }
  const std::vector<ThreadCpu> threads = read_thread_cpu(SystemFiles());
  ASSERT_FALSE(threads.empty());
  double sum = 0;
  for (const ThreadCpu& thread : threads) sum += thread.cpu_seconds;
  EXPECT_NEAR(sum, process_cpu_seconds(), 0.05);
  EXPECT_GE(thread_cpu_seconds(), 0.05);
}

TEST(Cpu, thread_times_come_from_ticks_where_schedstat_is_missing) {
  MemoryFiles files;
  files.put("/proc/self/task/12/stat",
            "12 (a) b) c) S 1 1 1 0 -1 0 0 0 0 0 150 50 0 0 20 0 1 0 5 0 0\n");
  files.put("/proc/self/task/12/comm", "worker\n");
  files.put("/proc/self/task/7/schedstat", "2500000000 1 2\n");
  files.put("/proc/self/task/9/comm", "gone\n");  // ended while we read
  const std::vector<ThreadCpu> threads = read_thread_cpu(files);
  ASSERT_EQ(threads.size(), 2u);
  EXPECT_EQ(threads[0].id, 7);
  EXPECT_DOUBLE_EQ(threads[0].cpu_seconds, 2.5);
  EXPECT_EQ(threads[1].name, "worker");
  EXPECT_DOUBLE_EQ(threads[1].cpu_seconds, 200.0 / static_cast<double>(::sysconf(_SC_CLK_TCK)));
}

TEST(Cpu, machine_time_leaves_idle_out_and_keeps_steal_apart) {
  MemoryFiles files;
  files.put("/proc/stat", "cpu  100 200 300 9000 500 10 20 40 70 0\ncpu0 1 1 1 1 1 1 1 1\n");
  const auto cpu = read_machine_cpu(files);
  ASSERT_TRUE(cpu);
  const double tick = 1 / static_cast<double>(::sysconf(_SC_CLK_TCK));
  EXPECT_DOUBLE_EQ(cpu->busy_seconds, 630 * tick);
  EXPECT_DOUBLE_EQ(cpu->steal_seconds, 40 * tick);
  for (const char* broken :
       {"", "cpu  1 2\n", "cpu  a b c d\n", "cpu0 1 2 3 4\n", "cpu  1 -2 3 4\n"}) {
    files.put("/proc/stat", broken);
    EXPECT_FALSE(read_machine_cpu(files)) << broken;
  }
}

}  // namespace
}  // namespace ration
