// Reads smaps_rollup on a thread of its own: the kernel takes the target's mmap lock for it, which a page
// fault on a dead file system may hold for ever. Only this thread would wait then; proportions stay as
// they were. It also keeps the cost of all such readings within a share of the time.

#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>

#include "base/unique_fd.h"
#include "procfs/smaps_rollup.h"

namespace lezea {

// One reading, asked for and fetched by the same thread.
struct Rollup {
  UniqueFd process;               // /proc/<pid>
  std::atomic<bool> done{false};  // set last: then the rest may be read
  std::optional<SmapsRollup> sizes;
  uint64_t cost_ns = 0;
};

class RollupThread {
 public:
  RollupThread();
  // Never waits for a reading that hangs.
  ~RollupThread();
  RollupThread(const RollupThread&) = delete;
  RollupThread& operator=(const RollupThread&) = delete;

  // Queues a reading; letting go of it takes it back. When nothing else is queued it is waited for, for a
  // moment: a process's first one then counts from its first sample. Null: the queue is full.
  std::shared_ptr<Rollup> ask(UniqueFd process);

 private:
  struct Queue;
  static void work(Queue& queue);

  std::shared_ptr<Queue> queue_;
};

}  // namespace lezea
