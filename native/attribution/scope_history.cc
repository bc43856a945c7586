// See scope_history.h.

#include "attribution/scope_history.h"

#include <algorithm>

#include "attribution/apportion.h"

namespace lezea {
namespace {

// Of a device that is asked seldom or does not answer, or a program of many scopes: what is older goes.
constexpr size_t kMostStretches = 4'096;
constexpr size_t kMostWeights = 32'768;  // half a megabyte

}  // namespace

void ScopeHistory::add(uint64_t from_ns, uint64_t to_ns,
                       const std::vector<std::pair<uint32_t, uint64_t>>& weights) {
  if (to_ns <= from_ns || weights.empty()) return;
  if (!stretches_.empty() && weights.size() == 1) {
    Stretch& last = stretches_.back();
    const bool same = last.weights.size() == 1 && last.weights[0].first == weights[0].first;
    if (same && last.to_ns == from_ns) {
      last.to_ns = to_ns;
      return;
    }
  }
  stretches_.push_back({from_ns, to_ns, weights});
  weights_ += weights.size();
  while (stretches_.size() > 1 && (stretches_.size() > kMostStretches || weights_ > kMostWeights))
    forget_oldest();
}

void ScopeHistory::forget_oldest() {
  weights_ -= stretches_.front().weights.size();
  stretches_.pop_front();
}

void ScopeHistory::forget_before(uint64_t t_ns) {
  while (!stretches_.empty() && stretches_.front().to_ns <= t_ns) forget_oldest();
}

ScopeHistory::Weights ScopeHistory::weigh(uint64_t from_ns, uint64_t to_ns) const {
  Weights sums;
  std::vector<uint64_t> weights;
  std::vector<Amount> parts;
  for (const Stretch& stretch : stretches_) {
    const uint64_t begin_ns = std::max(from_ns, stretch.from_ns);
    const uint64_t end_ns = std::min(to_ns, stretch.to_ns);
    if (end_ns <= begin_ns) continue;
    weights.clear();
    for (const auto& [slot, weight] : stretch.weights) weights.push_back(weight);
    apportion(end_ns - begin_ns, weights, parts);
    for (size_t i = 0; i < parts.size(); ++i)
      sums[stretch.weights[i].first] += static_cast<uint64_t>(parts[i]);
  }
  return sums;
}

}  // namespace lezea
