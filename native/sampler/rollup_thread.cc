// See rollup_thread.h.

#include "sampler/rollup_thread.h"

#include <linux/capability.h>
#include <sys/prctl.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <utility>

#include "base/clock.h"
#include "procfs/process_files.h"
#include "sampler/rollup_allowance.h"
#include "scope/offer_threads.h"
#include "service/capable_thread.h"

namespace lezea {
namespace {

using std::chrono::nanoseconds;

constexpr size_t kMostQueued = 4096;
constexpr nanoseconds kMoment{2'000'000};

void read_rollup(Rollup& rollup, const SystemClock& clock) {
  const uint64_t begun_ns = clock.monotonic_ns();
  const Result<SmapsRollup> sizes = read_smaps_rollup(rollup.process.get());
  if (sizes.ok()) rollup.sizes = sizes.value;
  rollup.cost_ns = clock.monotonic_ns() - begun_ns;
}

}  // namespace

struct RollupThread::Queue {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::weak_ptr<Rollup>> waiting;  // what its asker let go of is closed already
  bool idle = true;
  bool stopping = false;
};

RollupThread::RollupThread() : queue_(std::make_shared<Queue>()) {
  // Without a thread nothing is ever done, and resident memory counts.
  start_thread([queue = queue_] { work(*queue); });
}

RollupThread::~RollupThread() {
  const std::lock_guard<std::mutex> lock(queue_->mutex);
  queue_->stopping = true;
  queue_->changed.notify_all();
}

std::shared_ptr<Rollup> RollupThread::ask(UniqueFd process) {
  auto rollup = std::make_shared<Rollup>();
  rollup->process = std::move(process);
  std::unique_lock<std::mutex> lock(queue_->mutex);
  if (queue_->waiting.size() >= kMostQueued) return nullptr;
  const bool alone = queue_->idle && queue_->waiting.empty();
  queue_->waiting.push_back(rollup);
  queue_->changed.notify_all();
  if (alone) queue_->changed.wait_for(lock, kMoment, [&] { return rollup->done.load(); });
  return rollup;
}

void RollupThread::work(Queue& queue) {
  prctl(PR_SET_NAME, "lezea-rollups");
  keep_if_confined(uint64_t{1} << CAP_SYS_PTRACE);  // what other users' smaps_rollup takes
  const SystemClock clock;
  RollupAllowance allowance(clock.monotonic_ns());
  std::unique_lock<std::mutex> lock(queue.mutex);
  while (!queue.stopping) {
    while (!queue.waiting.empty() && queue.waiting.front().expired()) queue.waiting.pop_front();
    const uint64_t pause_ns = allowance.pause_ns(clock.monotonic_ns());
    queue.idle = pause_ns == 0;
    if (pause_ns > 0) {
      queue.changed.wait_for(lock, nanoseconds(pause_ns));
      continue;
    }
    if (queue.waiting.empty()) {
      queue.changed.wait(lock);
      continue;
    }
    const std::shared_ptr<Rollup> next = queue.waiting.front().lock();
    queue.waiting.pop_front();
    if (!next) continue;
    queue.idle = false;
    lock.unlock();
    read_rollup(*next, clock);
    lock.lock();
    allowance.spend(next->cost_ns);
    next->process.reset();
    next->done = true;
    queue.changed.notify_all();
  }
}

}  // namespace lezea
