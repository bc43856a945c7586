// See rate_governor.h.

#include "sampler/rate_governor.h"

#include <algorithm>

namespace lezea {
namespace {

constexpr uint64_t kSteps[] = {1, 2, 5, 10};
constexpr size_t kStepCount = sizeof kSteps / sizeof kSteps[0];
constexpr uint64_t kSlowestNs = 1'000'000'000;
constexpr uint64_t kWindowNs = 5'000'000'000;
// Where the rest of the agent is what costs, slower sampling would help nobody.
constexpr double kLeastSamplingShare = 0.25;
// A faster step must fit with room to spare, and more than once: or the rate would swing.
constexpr double kRoom = 0.8;
constexpr uint32_t kCalmWindows = 3;
constexpr uint64_t kMostSlackNs = 50'000'000;

}  // namespace

RateGovernor::RateGovernor(uint64_t interval_ns, double budget)
    : configured_ns_(interval_ns), budget_(budget) {}

uint64_t RateGovernor::interval_at(size_t step) const {
  return std::max(configured_ns_, std::min(configured_ns_ * kSteps[step], kSlowestNs));
}

uint64_t RateGovernor::interval_after_fresh_ns() const {
  const uint64_t interval = interval_ns();
  return interval + std::min(interval / 8, kMostSlackNs);
}

double RateGovernor::predict(size_t step, double agent, double sampling) const {
  const double ratio = static_cast<double>(interval_ns()) / static_cast<double>(interval_at(step));
  return agent + sampling * (ratio - 1);
}

void RateGovernor::note(uint64_t t_ns, uint64_t agent_cpu_ns, uint64_t sampling_cpu_ns) {
  if (budget_ <= 0 || (begun_ && t_ns < window_ns_ + kWindowNs)) return;
  const double window = static_cast<double>(t_ns - window_ns_);
  const double agent = static_cast<double>(agent_cpu_ns - agent_cpu_ns_) / window;
  const double sampling = static_cast<double>(sampling_cpu_ns - sampling_cpu_ns_) / window;
  const bool first = !begun_;
  begun_ = true;
  window_ns_ = t_ns;
  agent_cpu_ns_ = agent_cpu_ns;
  sampling_cpu_ns_ = sampling_cpu_ns;
  if (first) return;
  if (agent > budget_ && sampling > budget_ * kLeastSamplingShare) {
    calm_windows_ = 0;
    size_t step = step_;
    while (step + 1 < kStepCount && predict(step, agent, sampling) > budget_) ++step;
    step_ = step;
    return;
  }
  const bool calm = step_ > 0 && predict(step_ - 1, agent, sampling) <= budget_ * kRoom;
  calm_windows_ = calm ? calm_windows_ + 1 : 0;
  if (calm_windows_ < kCalmWindows) return;
  --step_;
  calm_windows_ = 0;
}

}  // namespace lezea
