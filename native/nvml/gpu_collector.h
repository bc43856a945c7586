// Keeps the library open and its devices read: what is due at each step, within the budget of NVML's time, through
// lost devices and drivers that go and come. Emits a snapshot a step. One thread; gpu_poller.h gives it one.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "nvml/device_reader.h"
#include "nvml/gpu_snapshot.h"
#include "nvml/library.h"
#include "nvml/time_budget.h"

namespace lezea::nvml {

struct CollectorOptions {
  LibraryOptions nvml;
  uint64_t tick_ns = 1'000'000'000;
  uint64_t list_ns =
      5'000'000'000;  // between two lists of a device's processes, unless one is wanted
};

class GpuCollector {
 public:
  // `clock` outlives it.
  GpuCollector(CollectorOptions options, const Clock& clock);

  // Does what is due. When something is next: CLOCK_MONOTONIC ns.
  uint64_t step();
  // A process came or went: lists are read at the next step.
  void want_lists();
  // Everything is read at the next step, within some seconds' budget that are still to come.
  void want_all();

  // What the last step made; never null.
  std::shared_ptr<const GpuSnapshot> snapshot() const { return snapshot_; }
  const Library& nvml() const { return library_; }

 private:
  // What is kept of a device over the steps, beside the device.
  struct Polled {
    OpenDevice device;
    uint64_t list_due_ns = 0;
    TimeBudget ticks;
    TimeBudget lists;
  };

  bool open(uint64_t now_ns);
  void close(uint64_t now_ns, GpuState state, std::string reason);
  void find_devices(uint64_t now_ns);
  void read(Polled& polled, uint64_t now_ns);
  void publish(uint64_t now_ns);

  const CollectorOptions options_;
  const Clock& clock_;
  Library library_;
  DeviceReader reader_;
  GpuState state_ = GpuState::kStarting;
  std::string reason_;
  DriverFacts driver_;
  std::vector<Polled> polled_;
  uint64_t opened_ns_ = 0;
  uint64_t retry_ns_ = 0;
  uint64_t pause_ns_ = 0;  // before the next attempt to open
  uint64_t find_due_ns_ = 0;
  bool all_wanted_ = false;
  std::shared_ptr<const GpuSnapshot> snapshot_;
};

}  // namespace lezea::nvml
