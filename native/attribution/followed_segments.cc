// See followed_segments.h. Claims come after the fact (a thread that stays in its scope claims at the end of
// the interval), so what they leave of each segment is known at the end only.

#include "attribution/followed_segments.h"

#include <algorithm>

#include "attribution/apportion.h"

namespace lezea {
namespace {

// A tenth of what the clients keep between two. Each costs as much as there are touched shares.
constexpr uint64_t kLeastSegmentNs = 10'000'000;

}  // namespace

void FollowedSegments::start(uint64_t t_ns, uint64_t cpu_ns) {
  ended_.clear();
  open_ = {};
  open_.begin_ns = t_ns;
  cpu_ns_ = cpu_ns;
}

void FollowedSegments::stamp(ScopeShares& shares, uint64_t cpu_ns) {
  const uint64_t now_ns = shares.now_ns();
  if (now_ns >= open_.begin_ns + kLeastSegmentNs) end_segment(shares, cpu_ns);
}

void FollowedSegments::end_segment(ScopeShares& shares, uint64_t cpu_ns) {
  open_.end_ns = shares.now_ns();
  open_.used_ns = cpu_ns > cpu_ns_ ? cpu_ns - cpu_ns_ : 0;
  for (const uint32_t index : shares.touched()) {
    Share& share = shares.at(index);
    const uint64_t wall_ns = share.follow_ns - share.weighed_ns;
    share.weighed_ns = share.follow_ns;
    if (wall_ns > 0) open_.followed.emplace_back(index, wall_ns);
  }
  cpu_ns_ = std::max(cpu_ns_, cpu_ns);
  ended_.push_back(std::move(open_));
  open_ = {};
  open_.begin_ns = ended_.back().end_ns;
}

void FollowedSegments::claim(uint64_t wall_ns, uint64_t now_ns, uint64_t claimed_ns) {
  const uint64_t from_ns = now_ns - std::min(now_ns, wall_ns);
  uint64_t left_ns = claimed_ns;
  for (auto segment = ended_.rbegin(); segment != ended_.rend(); ++segment) {
    if (segment->end_ns <= from_ns) break;
    const uint64_t within_ns = segment->end_ns - std::max(segment->begin_ns, from_ns);
    const auto part = static_cast<uint64_t>(Amount{claimed_ns} * within_ns / wall_ns);
    segment->claimed_ns += part;
    left_ns -= part;
  }
  open_.claimed_ns += left_ns;
}

bool FollowedSegments::weigh(ScopeShares& shares, uint64_t cpu_ns, std::vector<uint64_t>& weights) {
  if (ended_.empty()) return false;
  end_segment(shares, cpu_ns);
  by_share_.assign(shares.size(), 0);
  uint64_t any = 0;
  for (const Segment& segment : ended_) {
    if (segment.used_ns <= segment.claimed_ns || segment.followed.empty()) continue;
    const uint64_t used_ns = segment.used_ns - segment.claimed_ns;
    walls_.clear();
    for (const auto& [index, wall_ns] : segment.followed) walls_.push_back(wall_ns);
    apportion(used_ns, walls_, parts_);
    for (size_t i = 0; i < parts_.size(); ++i) {
      by_share_[segment.followed[i].first] += static_cast<uint64_t>(parts_[i]);
    }
    any |= used_ns;
  }
  if (any == 0) return false;
  weights.clear();
  for (const uint32_t index : shares.touched()) weights.push_back(by_share_[index]);
  return true;
}

}  // namespace lezea
