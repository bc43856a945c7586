// Proportional memory, read on a thread of its own.

#include "sampler/rollup_thread.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "base/clock.h"
#include "check.h"
#include "sampler/rollup_allowance.h"

using namespace lezea;

namespace {

UniqueFd folder(const std::string& path) {
  return UniqueFd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

bool wait_for(const Rollup& rollup) {
  const SystemClock clock;
  const uint64_t deadline_ns = clock.monotonic_ns() + 10'000'000'000;
  while (!rollup.done && clock.monotonic_ns() < deadline_ns) clock.sleep_ns(100'000);
  return rollup.done;
}

// A "process" whose smaps_rollup hangs whoever opens it, until somebody opens its other end.
class HangingProcess {
 public:
  HangingProcess() {
    char name[] = "/tmp/lezea-rollup-XXXXXX";
    path_ = mkdtemp(name);
    mkfifo(fifo().c_str(), 0600);
  }
  ~HangingProcess() {
    release();
    unlink(fifo().c_str());
    rmdir(path_.c_str());
  }
  void release() { UniqueFd end(open(fifo().c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC)); }
  const std::string& path() const { return path_; }

 private:
  std::string fifo() const { return path_ + "/smaps_rollup"; }
  std::string path_;
};

}  // namespace

TEST("a rollup of this process has its sizes and what it cost") {
  RollupThread thread;
  const auto rollup = thread.ask(folder("/proc/self"));
  CHECK(rollup != nullptr && wait_for(*rollup));
  CHECK(rollup->sizes.has_value());
  CHECK(rollup->sizes->pss_bytes > 0 && rollup->sizes->pss_bytes <= rollup->sizes->rss_bytes);
  CHECK(rollup->cost_ns > 0);
  CHECK(!rollup->process.valid());
}

TEST("a process without the file has none") {
  RollupThread thread;
  const auto rollup = thread.ask(folder("/tmp"));
  CHECK(wait_for(*rollup));
  CHECK(!rollup->sizes.has_value());
}

TEST("a process that hangs its reader keeps nobody else waiting") {
  HangingProcess hanging;
  const SystemClock clock;
  const uint64_t begun_ns = clock.monotonic_ns();
  {
    RollupThread thread;
    const auto stuck = thread.ask(folder(hanging.path()));
    std::vector<std::shared_ptr<Rollup>> others;
    for (int i = 0; i < 100; ++i) others.push_back(thread.ask(folder("/proc/self")));
    CHECK(!stuck->done && !others.back()->done);
  }  // nor does the end
  CHECK(clock.monotonic_ns() - begun_ns < 2'000'000'000);
}

TEST("a queue that nobody serves ends") {
  HangingProcess hanging;
  RollupThread thread;
  const auto stuck = thread.ask(folder(hanging.path()));
  // The one that hangs leaves the queue when the thread gets to it, which may be after the queue is full.
  const SystemClock clock;
  const uint64_t deadline_ns = clock.monotonic_ns() + 10'000'000'000;
  std::vector<std::shared_ptr<Rollup>> taken;
  while (taken.size() < 4096 && clock.monotonic_ns() < deadline_ns) {
    if (auto rollup = thread.ask(UniqueFd())) taken.push_back(std::move(rollup));
  }
  CHECK_EQ(taken.size(), 4096u);
  CHECK(thread.ask(UniqueFd()) == nullptr);
}

TEST("what its asker lets go of is closed at once") {
  HangingProcess hanging;
  RollupThread thread;
  const auto stuck = thread.ask(folder(hanging.path()));
  auto first = thread.ask(folder("/proc/self"));
  auto second = thread.ask(folder("/proc/self"));
  const std::weak_ptr<Rollup> first_asked = first, second_asked = second;
  first.reset();
  CHECK(first_asked.expired());
  CHECK(!second_asked.expired());
  CHECK(second->process.valid());
}

TEST(
    "readings take a thousandth of the time after a burst, and a long one is paid for in seconds") {
  constexpr uint64_t kSecond = 1'000'000'000;
  RollupAllowance allowance(0);
  allowance.spend(15'000'000);
  CHECK_EQ(allowance.pause_ns(0), 0u);
  allowance.spend(15'000'000);
  CHECK_EQ(allowance.pause_ns(0), 10 * kSecond);
  CHECK_EQ(allowance.pause_ns(4 * kSecond), 6 * kSecond);
  CHECK_EQ(allowance.pause_ns(10 * kSecond), 0u);
  allowance.spend(3600 * kSecond);
  CHECK_EQ(allowance.pause_ns(10 * kSecond), 20 * kSecond);
  CHECK_EQ(allowance.pause_ns(3000 * kSecond), 0u);
  allowance.spend(20'000'000);  // no more than a burst was saved meanwhile
  CHECK_EQ(allowance.pause_ns(3000 * kSecond), 0u);
  allowance.spend(1'000'000);
  CHECK_EQ(allowance.pause_ns(3000 * kSecond), kSecond);
}
