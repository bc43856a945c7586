// What the GPUs' poller publishes: everything that is known of them after one of its steps.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "nvml/figures.h"
#include "nvml/library.h"
#include "nvml/xid_watcher.h"

namespace lezea::nvml {

enum class GpuState {
  kStarting,   // not tried yet
  kRunning,    // devices are read; there may be none
  kNoLibrary,  // the library is not installed, or is none
  kNoDriver,   // the library is there and does not open, or the driver went away
  kStuck,      // a call does not return: nothing is known until it does and its step is done
};

struct GpuSnapshot {
  GpuState state = GpuState::kStarting;
  std::string reason;  // where it is not running
  uint64_t t_ns = 0;   // of the step that made it
  uint64_t generation = 0;
  DriverFacts driver;
  // Those that were not read in this step have the figures of an earlier one, by their own times.
  std::vector<GpuDevice> devices;
  std::vector<CallStats> calls;
  uint64_t late_calls = 0;  // that have been stuck, the present one included
  std::vector<XidCount> xids;
  bool xids_watched = false;  // some device tells them
};

// Where snapshots come from. Any thread; nothing waits.
class GpuSource {
 public:
  virtual ~GpuSource() = default;
  // The last that was made, whatever has become of the driver since; never null.
  virtual std::shared_ptr<const GpuSnapshot> newest() const = 0;
  // A process came or went: the lists of processes are read soon.
  virtual void want_lists() = 0;
};

}  // namespace lezea::nvml
