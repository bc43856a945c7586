// The clocks the agent lives by, behind an interface so that tests inject their own time.
#pragma once

#include <cstdint>

#include "base/result.h"

namespace lezea {

class Clock {
 public:
  virtual ~Clock() = default;
  // CLOCK_MONOTONIC, nanoseconds: all interval arithmetic.
  virtual uint64_t monotonic_ns() const = 0;
  // CLOCK_BOOTTIME less CLOCK_MONOTONIC, nanoseconds: time suspended. The kernel's start times are of the first.
  virtual uint64_t boot_offset_ns() const = 0;
  // CLOCK_REALTIME, milliseconds since 1970: output only.
  virtual uint64_t wall_ms() const = 0;
  // CPU time of another process, nanoseconds, cumulative: its exited threads included, its children
  // not; readable without privilege and on zombies. The clock id is not pinned to a process:
  // afterwards ask ProcessFiles::alive() and discard the figure if it says no.
  virtual Result<uint64_t> process_cpu_ns(int pid) const = 0;
  virtual void sleep_ns(uint64_t ns) const = 0;
};

class SystemClock final : public Clock {
 public:
  uint64_t monotonic_ns() const override;
  uint64_t boot_offset_ns() const override;
  uint64_t wall_ms() const override;
  Result<uint64_t> process_cpu_ns(int pid) const override;
  void sleep_ns(uint64_t ns) const override;
};

}  // namespace lezea
