// Keeps what takes time within a share of the time, after a first burst. Pure; one thread.
#pragma once

#include <algorithm>
#include <cstdint>

namespace lezea::nvml {

class TimeBudget {
 public:
  // One nanosecond may be spent in each `pause_per_cost`, and the first burst at once. Who has spent too much pauses 30 s at most: what is slower
  // than that is still asked now and then.
  explicit TimeBudget(int64_t pause_per_cost)
      : pause_per_cost_(pause_per_cost), credit_ns_(kBurstNs / pause_per_cost) {}

  // `debt_ns`: as much may have been spent too much.
  bool allows(uint64_t now_ns, int64_t debt_ns = 0) {
    if (begun_) {
      credit_ns_ += static_cast<int64_t>(now_ns - credited_ns_) / pause_per_cost_;
    }
    begun_ = true;
    credited_ns_ = now_ns;
    credit_ns_ = std::min(credit_ns_, kBurstNs / pause_per_cost_);
    return credit_ns_ >= -debt_ns;
  }
  void spend(uint64_t cost_ns) {
    credit_ns_ -= static_cast<int64_t>(cost_ns);
    credit_ns_ = std::max(credit_ns_, -kLongestPauseNs / pause_per_cost_);
  }

 private:
  static constexpr int64_t kBurstNs = 5'000'000'000;  // of time that was not used
  static constexpr int64_t kLongestPauseNs = 30'000'000'000;

  int64_t pause_per_cost_;
  int64_t credit_ns_;
  uint64_t credited_ns_ = 0;
  bool begun_ = false;
};

}  // namespace lezea::nvml
