// What a process used while each scope was followed, by the stamps of its own CPU clock in the open interval.
// Owned by one ProcessAccount. Times are CLOCK_MONOTONIC ns.

#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "attribution/columns.h"
#include "attribution/scope_shares.h"

namespace lezea {

class FollowedSegments {
 public:
  FollowedSegments() = default;
  FollowedSegments(uint64_t t_ns, uint64_t cpu_ns) { start(t_ns, cpu_ns); }

  // A new interval, with what the kernel's figure of the process is there.
  void start(uint64_t t_ns, uint64_t cpu_ns);
  // The process's clock at an edge, now. One right after another, which no honest client sends, is left out.
  void stamp(ScopeShares& shares, uint64_t cpu_ns);
  // A thread claims this for its stays, which end now: it used as much before each stamp among them as by
  // time, and nobody else did.
  void claim(uint64_t wall_ns, uint64_t now_ns, uint64_t claimed_ns);
  // The interval's end: for each touched share, what the process used while it was followed and no thread
  // claims. False: without a stamp, or where nothing is left, they are not known.
  bool weigh(ScopeShares& shares, uint64_t cpu_ns, std::vector<uint64_t>& weights);

 private:
  struct Segment {
    uint64_t begin_ns = 0;
    uint64_t end_ns = 0;
    uint64_t used_ns = 0;
    uint64_t claimed_ns = 0;
    std::vector<std::pair<uint32_t, uint64_t>> followed;  // share, wall ns
  };

  void end_segment(ScopeShares& shares, uint64_t cpu_ns);

  std::vector<Segment> ended_;
  Segment open_;
  uint64_t cpu_ns_ = 0;  // the process's clock where the open one began
  std::vector<uint64_t> walls_;
  std::vector<uint64_t> by_share_;
  std::vector<Amount> parts_;
};

}  // namespace lezea
