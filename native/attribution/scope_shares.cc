// See scope_shares.h. Equal parts among k announced scopes are integrated once for the process, not once
// per scope and change, so that a switch costs the same however many scopes there are.

#include "attribution/scope_shares.h"

#include <algorithm>

namespace lezea {

ScopeShares::ScopeShares(uint32_t birth_slot, uint64_t now_ns)
    : now_ns_(now_ns), segment_start_ns_(now_ns) {
  birth_ = index_of(birth_slot);
  follow_ = birth_;
}

uint32_t ScopeShares::index_of(uint32_t slot) {
  const auto [found, fresh] = index_by_slot_.emplace(slot, static_cast<uint32_t>(shares_.size()));
  if (fresh) {
    shares_.emplace_back();
    shares_.back().slot = slot;
  }
  return found->second;
}

void ScopeShares::replace_slots(const std::function<uint32_t(uint32_t)>& actual) {
  index_by_slot_.clear();
  for (uint32_t index = 0; index < shares_.size(); ++index) {
    shares_[index].slot = actual(shares_[index].slot);
    index_by_slot_.emplace(shares_[index].slot, index);
  }
}

void ScopeShares::touch(uint32_t index) {
  if (shares_[index].touched) return;
  shares_[index].touched = true;
  touched_.push_back(index);
}

void ScopeShares::advance(uint64_t t_ns) {
  if (t_ns <= now_ns_) return;
  const uint64_t elapsed = t_ns - now_ns_;
  now_ns_ = t_ns;
  shares_[follow_].follow_ns += elapsed;
  touch(follow_);
  if (announced_.empty()) {
    shares_[follow_].equal_weight += elapsed * kWeightScale;
  } else {
    integral_ += elapsed * kWeightScale / announced_.size();
  }
}

void ScopeShares::settle(Share& share) {
  share.equal_weight += integral_ - share.integral_at;
  share.integral_at = integral_;
}

void ScopeShares::move_announcement(uint32_t from, uint32_t to) {
  if (from == to) return;
  const bool was_alone = from != kNone && shares_[from].threads == 1;
  const bool is_first = to != kNone && shares_[to].threads == 0;
  if (was_alone || is_first) segment_start_ns_ = now_ns_;
  if (from != kNone && --shares_[from].threads == 0) {
    settle(shares_[from]);
    announced_.erase(std::find(announced_.begin(), announced_.end(), from));
  }
  if (to != kNone && shares_[to].threads++ == 0) {
    shares_[to].integral_at = integral_;
    announced_.push_back(to);
  }
  if (from != kNone) touch(from);
  if (to != kNone) touch(to);
}

void ScopeShares::set_follow(uint32_t index) {
  if (index == follow_) return;
  if (announced_.empty()) segment_start_ns_ = now_ns_;
  follow_ = index;
  touch(index);
}

void ScopeShares::settle_weights() {
  for (const uint32_t index : announced_) {
    settle(shares_[index]);
    touch(index);
  }
}

}  // namespace lezea
