// Polls the GPUs on a thread of its own. Calls into the driver may hang for ever, unkillably: only this thread waits
// for them. Whoever takes a snapshot never does, and is told when a call is past its deadline: then nothing is known
// of any GPU, until the call returns.
#pragma once

#include <chrono>
#include <memory>

#include "base/clock.h"
#include "nvml/gpu_collector.h"
#include "nvml/gpu_snapshot.h"

namespace lezea::nvml {

class GpuPoller : public GpuSource {
 public:
  GpuPoller(CollectorOptions options, std::shared_ptr<const Clock> clock);
  // Never waits for a call: one that hangs keeps its thread, and the library stays open.
  ~GpuPoller() override;
  GpuPoller(const GpuPoller&) = delete;
  GpuPoller& operator=(const GpuPoller&) = delete;

  // What is known now, the events of the other thread included; never null. Any thread.
  std::shared_ptr<const GpuSnapshot> take() const;
  std::shared_ptr<const GpuSnapshot> newest() const override;
  void want_lists() override;
  // Has everything read at once, and waits until that is done: false, it was not within this time.
  bool refresh(std::chrono::milliseconds timeout);
  // Ends the polling, for good.
  void stop();

 private:
  struct Core;
  std::shared_ptr<Core> core_;
};

}  // namespace lezea::nvml
