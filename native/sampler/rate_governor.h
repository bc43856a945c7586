// Chooses the sampling interval so that the agent's own CPU stays within its budget: the configured one,
// or 2, 5 or 10 times as long, up to a second. Pure; owned by the sampling thread.

#pragma once

#include <cstddef>
#include <cstdint>

namespace lezea {

class RateGovernor {
 public:
  // `budget`: share of one core, 0.005 is half a per cent; 0: never slower.
  RateGovernor(uint64_t interval_ns, double budget);

  // Cumulative CPU of the whole agent, and of the sampling thread in it. To be told once a second or so.
  void note(uint64_t t_ns, uint64_t agent_cpu_ns, uint64_t sampling_cpu_ns);
  uint64_t interval_ns() const { return interval_at(step_); }
  // From a tick that somebody wanted at once to the next of the schedule: a little more than an interval,
  // so that who wants one about once an interval, as checkpoints do, comes first, and one tick serves both.
  uint64_t interval_after_fresh_ns() const;

 private:
  uint64_t interval_at(size_t step) const;
  // Share of a core that the agent would use at another step: only sampling depends on it.
  double predict(size_t step, double agent, double sampling) const;

  uint64_t configured_ns_;
  double budget_;
  size_t step_ = 0;
  uint32_t calm_windows_ = 0;  // in which a faster step would have kept the budget
  bool begun_ = false;
  uint64_t window_ns_ = 0;  // its begin, and the figures then
  uint64_t agent_cpu_ns_ = 0;
  uint64_t sampling_cpu_ns_ = 0;
};

}  // namespace lezea
