// The proportional memory of one process between two readings of smaps_rollup, which are costly: the
// resident set less what was shared at the last reading. Pure; owned by its ProcessReader.

#pragma once

#include <algorithm>
#include <cstdint>

namespace lezea {

class MemoryEstimate {
 public:
  // A process that was exec'd or was there before: all of its resident set is its own until read.
  // A forked one shares everything with its parent at first: only growth counts (a vfork child, which
  // shares the very address space, so counts nothing).
  void starts_forked() {
    excess_known_ = false;
    forked_ = true;
  }
  void starts_fresh() {
    excess_bytes_ = 0;
    excess_known_ = true;
    forked_ = false;
    read_ = false;
    due_ns_ = 0;
  }

  // What was shared stays out, whatever grows: growth after a reading is private.
  uint64_t proportional_bytes(uint64_t rss_bytes) {
    if (!excess_known_) {
      excess_bytes_ = rss_bytes;
      excess_known_ = true;
    }
    excess_bytes_ = std::min(excess_bytes_, rss_bytes);
    return rss_bytes - excess_bytes_;
  }
  // Estimated until a proportional set was read; a fresh process's resident set is near enough exact
  // only with one, too.
  bool estimated() const { return !read_; }

  // Reading costs about 4.6 ms per GB of 4 KiB pages and holds the target's mmap lock meanwhile: none
  // above 200 MB, and each is repaid by a pause of 2000 times its length.
  bool due(uint64_t now_ns, uint64_t rss_bytes) const {
    return now_ns >= due_ns_ && rss_bytes <= kMostRssBytes;
  }
  void refreshed(uint64_t rss_bytes, uint64_t pss_bytes, uint64_t now_ns, uint64_t cost_ns) {
    excess_bytes_ = rss_bytes > pss_bytes ? rss_bytes - pss_bytes : 0;
    excess_known_ = true;
    read_ = true;
    due_ns_ = now_ns + std::clamp(cost_ns * 2000, kSoonestNs, kLatestNs);
    if (forked_since_) due_ns_ = now_ns;
  }
  void refused(uint64_t now_ns) { due_ns_ = now_ns + kLatestNs; }
  // A reading begins; what refreshes may be as old as this.
  void asked() { forked_since_ = false; }
  // A fork shares pages anew; a reading that is under way may be from before it.
  void hurry(uint64_t now_ns) {
    due_ns_ = std::min(due_ns_, now_ns);
    forked_since_ = true;
  }
  bool forked() const { return forked_; }

 private:
  static constexpr uint64_t kMostRssBytes = 200'000'000;
  static constexpr uint64_t kSoonestNs = 500'000'000;
  static constexpr uint64_t kLatestNs = 30'000'000'000;

  uint64_t excess_bytes_ = 0;
  bool excess_known_ = true;
  bool forked_ = false;
  bool read_ = false;
  bool forked_since_ = false;  // since the newest reading was asked for
  uint64_t due_ns_ = 0;
};

}  // namespace lezea
