// A clock that stands still until a test advances it. Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/clock.h"

namespace lezea::test {

class ManualClock final : public Clock {
 public:
  void advance_ns(uint64_t ns) { now_ns_ += ns; }
  void advance_ms(uint64_t ms) { now_ns_ += ms * 1'000'000; }

  uint64_t monotonic_ns() const override { return now_ns_; }
  uint64_t boot_offset_ns() const override { return 0; }
  uint64_t wall_ms() const override { return 1'700'000'000'000 + now_ns_ / 1'000'000; }
  Result<uint64_t> process_cpu_ns(int) const override {
    return Result<uint64_t>::fail(ReadStatus::kUnsupported);
  }
  void sleep_ns(uint64_t ns) const override { now_ns_ += ns; }

 private:
  mutable std::atomic<uint64_t> now_ns_{1'000'000'000'000};
};

}  // namespace lezea::test
