// Where a process's time went lately, for what is only told after its interval has closed: a GPU's second is known when
// the sampler has closed several intervals. Owned by one ProcessAccount. Times are CLOCK_MONOTONIC ns.

#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <utility>
#include <vector>

namespace lezea {

class ScopeHistory {
 public:
  using Weights = std::map<uint32_t, uint64_t>;  // by slot

  // How a closed interval went to slots, in any unit. One that only goes on is one stretch.
  void add(uint64_t from_ns, uint64_t to_ns,
           const std::vector<std::pair<uint32_t, uint64_t>>& weights);
  void forget_before(uint64_t t_ns);
  // What each slot had of an interval, in nanoseconds that sum to as much of it as is known.
  Weights weigh(uint64_t from_ns, uint64_t to_ns) const;

 private:
  struct Stretch {
    uint64_t from_ns = 0;
    uint64_t to_ns = 0;
    std::vector<std::pair<uint32_t, uint64_t>> weights;
  };

  void forget_oldest();

  std::deque<Stretch> stretches_;
  size_t weights_ = 0;  // of all of them
};

}  // namespace lezea
