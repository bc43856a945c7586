// What each scope of one process has coming in the interval that is open: claims by stamps, and time.
// Owned by one ProcessAccount; used by the sampling thread only. All times are CLOCK_MONOTONIC ns.

#pragma once

#include <cstdint>
#include <functional>
#include <unordered_map>
#include <vector>

#include "base/bytes.h"

namespace lezea {

// Quantities that a thread's own counters claim for a scope.
enum Claim : uint8_t { kClaimCpu, kClaimRead, kClaimWrite, kClaimCount };

struct Share {
  uint32_t slot = 0;
  uint64_t claim[kClaimCount] =
      {};                     // not yet given; what the kernel's figure did not cover is carried
  uint64_t follow_ns = 0;     // time as the scope that threads without an announcement follow
  uint64_t weighed_ns = 0;    // of that, up to the last stamp of the process's clock
  uint64_t equal_weight = 0;  // time × 1024 / number of announced scopes, since the last fast close
  uint64_t slow_weight = 0;   // the same since the last slow close
  uint64_t active_ns = 0;     // thread time announced in it
  uint64_t activations = 0;
  uint32_t threads = 0;  // announced in it now
  uint64_t integral_at =
      0;  // of the shares' integral, when its equal weight was last brought up to date
  bool touched = false;
};

class ScopeShares {
 public:
  static constexpr uint32_t kNone = 0xffffffffu;

  ScopeShares(uint32_t birth_slot, uint64_t now_ns);
  explicit ScopeShares(ByteReader& in);
  // Everything that is not nought, announcements left out: their threads are encoded beside it and
  // announce again.
  void encode(ByteWriter& out) const;

  uint32_t index_of(uint32_t slot);  // made where it is new
  // After decoding: what `actual` says of each share's slot counts from now on.
  void replace_slots(const std::function<uint32_t(uint32_t)>& actual);
  size_t size() const { return shares_.size(); }
  Share& at(uint32_t index) { return shares_[index]; }
  const Share& at(uint32_t index) const { return shares_[index]; }

  // Time only goes forward: an earlier t counts as now.
  void advance(uint64_t t_ns);
  uint64_t now_ns() const { return now_ns_; }

  // A thread's announcement moved; kNone where there was or is none.
  void move_announcement(uint32_t from, uint32_t to);
  // The scope that threads without an announcement are in from now on.
  void set_follow(uint32_t index);
  uint32_t follow() const { return follow_; }
  void set_birth(uint32_t index) { birth_ = index; }
  uint32_t birth() const { return birth_; }

  // The distinct announced scopes; none: the process as a whole is in its followed scope.
  const std::vector<uint32_t>& announced() const { return announced_; }
  // When the set of scopes that the process is in last changed.
  uint64_t segment_start_ns() const { return segment_start_ns_; }
  // After the announcements were made again from their bytes, which is no edge.
  void restore_segment_start(uint64_t t_ns) { segment_start_ns_ = t_ns; }

  // Brings every announced scope's equal weight up to now_ns().
  void settle_weights();
  // The shares with anything to their name in this interval. Touch whatever gets a claim or time.
  std::vector<uint32_t>& touched() { return touched_; }
  void touch(uint32_t index);

  static constexpr uint64_t kWeightScale = 1024;

 private:
  void settle(Share& share);

  std::vector<Share> shares_;
  std::unordered_map<uint32_t, uint32_t> index_by_slot_;
  std::vector<uint32_t> announced_;
  std::vector<uint32_t> touched_;
  uint32_t birth_ = 0;
  uint32_t follow_ = 0;
  uint64_t now_ns_ = 0;
  uint64_t segment_start_ns_ = 0;
  uint64_t integral_ = 0;  // ∫ kWeightScale / (announced scopes) dt
};

}  // namespace lezea
