#include "base/pool.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <thread>
#include <vector>

namespace ration {
namespace {

TEST(Pool, runs_each_worker_once_for_many_runs) {
  Pool pool(3);
  std::vector<int64_t> counts(3 * 64);
  for (int run = 0; run < 20000; ++run) {
    pool.run([&](int worker) { counts[static_cast<size_t>(worker) * 64] += 1; });
  }
  for (size_t worker = 0; worker < 3; ++worker) EXPECT_EQ(counts[worker * 64], 20000);
}

TEST(Pool, writes_of_one_run_are_seen_by_the_next) {
  Pool pool(2);
  // Runs write two pairs in turn; each worker reads what the other wrote in the run before.
  std::vector<int> values(4, -1);
  for (int run = 0; run < 5000; ++run) {
    const size_t now = run % 2 == 0 ? 0 : 2;
    pool.run([&](int worker) {
      const auto mine = static_cast<size_t>(worker);
      values[now + mine] = values[2 - now + 1 - mine] + 1;
    });
    ASSERT_EQ(values[now], run);
    ASSERT_EQ(values[now + 1], run);
  }
}

TEST(Pool, share_covers_everything_once_in_whole_steps) {
  for (int64_t count : {0, 1, 7, 64, 65, 1000}) {
    for (int workers : {1, 2, 3, 8}) {
      int64_t next = 0;
      for (int worker = 0; worker < workers; ++worker) {
        const Share share = share_of(count, worker, workers, 16);
        EXPECT_EQ(share.begin, next);
        if (share.end != count) {
          EXPECT_EQ(share.end % 16, 0);
        }
        next = share.end;
      }
      EXPECT_EQ(next, count);
    }
  }
}

TEST(Pool, dealer_deals_everything_once) {
  for (int workers : {1, 2, 3}) {
    Pool pool(workers);
    for (int64_t count : {0, 1, 15, 16, 33, 48, 1000, 151936}) {
      for (int64_t least : {16, 100}) {
        Dealer dealer(count, workers, 16, least);
        std::vector<std::vector<Share>> dealt(static_cast<size_t>(workers));
        pool.run([&](int worker) {
          dealer.work(worker,
                      [&](Share share) { dealt[static_cast<size_t>(worker)].push_back(share); });
        });
        std::vector<int> times(static_cast<size_t>(count));
        for (const auto& shares : dealt) {
          for (const Share share : shares) {
            EXPECT_EQ(share.begin % 16, 0);
            EXPECT_LT(share.begin, share.end);
            for (int64_t i = share.begin; i < share.end; ++i) ++times[static_cast<size_t>(i)];
          }
        }
        EXPECT_EQ(times, std::vector<int>(static_cast<size_t>(count), 1));
      }
    }
  }
}

TEST(Pool, dealer_does_not_wait_for_who_is_held_up) {
  Pool pool(2);
  Dealer dealer(1600, 2, 16, 16);
  std::vector<int64_t> done(2);
  pool.run([&](int worker) {
    dealer.work(worker, [&](Share share) {
      if (worker == 1) std::this_thread::sleep_for(std::chrono::milliseconds(50));
      done[static_cast<size_t>(worker)] += share.end - share.begin;
    });
  });
  EXPECT_EQ(done[0] + done[1], 1600);
  EXPECT_GT(done[0], 1000);  // its own quarter, and most of what was to be dealt
}

TEST(Pool, idle_threads_use_no_processor_time) {
  Pool pool(4);
  pool.run([](int) {});
  const auto used_ms = [] {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    const auto ms = [](const timeval& t) { return t.tv_sec * 1000.0 + t.tv_usec / 1000.0; };
    return ms(usage.ru_utime) + ms(usage.ru_stime);
  };
  usleep(20'000);
  const double before = used_ms();
  usleep(300'000);
  EXPECT_LT(used_ms() - before, 15.0);
}

TEST(Pool, usable_cpus_is_at_least_one) { EXPECT_GE(usable_cpus(), 1); }

}  // namespace
}  // namespace ration
