// How much time readings of smaps_rollup may take: 4.6 ms per GB of 4 KiB pages each. Pure; owned by the thread that reads.

#pragma once

#include <algorithm>
#include <cstdint>

namespace lezea {

class RollupAllowance {
 public:
  explicit RollupAllowance(uint64_t now_ns) : credited_ns_(now_ns) {}

  // What a reading took. One that hung on a dead file system took no more than the longest that counts: the
  // others are not to wait for hours.
  void spend(uint64_t cost_ns) {
    credit_ns_ -= static_cast<int64_t>(std::min(cost_ns, kLongestNs));
    credit_ns_ = std::max(credit_ns_, -static_cast<int64_t>(kLongestNs));
  }

  // Until the next one may begin; 0: now.
  uint64_t pause_ns(uint64_t now_ns) {
    credit_ns_ += static_cast<int64_t>(now_ns - credited_ns_) / kPausePerCost;
    credit_ns_ = std::min(credit_ns_, kBurstNs);
    credited_ns_ = now_ns;
    return credit_ns_ < 0 ? static_cast<uint64_t>(-credit_ns_ * kPausePerCost) : 0;
  }

 private:
  // All of them together take this share of the time, after a first burst.
  static constexpr int64_t kPausePerCost = 1000;
  static constexpr int64_t kBurstNs = 20'000'000;
  static constexpr uint64_t kLongestNs = 20'000'000;

  int64_t credit_ns_ = kBurstNs;
  uint64_t credited_ns_;
};

}  // namespace lezea
