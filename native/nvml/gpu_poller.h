// Polls the GPUs on a thread of its own. Calls into the driver may hang for ever, unkillably: only this thread waits
// for them. Whoever takes a snapshot never does, and is told when a call is past its deadline: then nothing is known
// of any GPU, until the call returns.
#pragma once

#include <memory>

#include "base/clock.h"
#include "nvml/gpu_collector.h"

namespace lezea::nvml {

class GpuPoller {
 public:
  GpuPoller(CollectorOptions options, std::shared_ptr<const Clock> clock);
  // Never waits for a call: one that hangs keeps its thread, and the library stays open.
  ~GpuPoller();
  GpuPoller(const GpuPoller&) = delete;
  GpuPoller& operator=(const GpuPoller&) = delete;

  // The last one published; never null. Any thread.
  std::shared_ptr<const GpuSnapshot> take() const;
  // A process came or went: the lists of processes are read soon. Any thread.
  void want_lists();

 private:
  struct Core;
  std::shared_ptr<Core> core_;
};

}  // namespace lezea::nvml
