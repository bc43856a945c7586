// A process's counter that the kernel keeps per thread only: living threads' last figures plus what
// ended threads left. Pure; owned by its ProcessReader.

#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <utility>

namespace lezea {

template <size_t N>
class ThreadSums {
 public:
  using Figures = std::array<uint64_t, N>;

  void live(int tid, const Figures& figures) { living_[tid] = figures; }

  // With its final figures where an exit record told them (they may be rounded down below what was
  // seen), else with the last that were seen.
  void ended(int tid, const Figures* final_figures) {
    const auto found = living_.find(tid);
    for (size_t i = 0; i < N; ++i) {
      const uint64_t seen = found == living_.end() ? 0 : found->second[i];
      dead_[i] += final_figures == nullptr ? seen : std::max(seen, (*final_figures)[i]);
    }
    if (found != living_.end()) living_.erase(found);
  }

  // exec by a thread that is not the leader: it goes on under the leader's id, and no exit record names
  // its old one.
  void exec(int leader) {
    if (living_.size() != 1 || living_.count(leader) != 0) return;
    const Figures figures = living_.begin()->second;
    living_.clear();
    living_[leader] = figures;
  }

  Figures total() const {
    Figures sum = dead_;
    for (const auto& [tid, figures] : living_) {
      for (size_t i = 0; i < N; ++i) sum[i] += figures[i];
    }
    return sum;
  }

  template <class Visit>
  void each_living(Visit visit) const {
    for (const auto& [tid, figures] : living_) visit(tid);
  }
  const Figures& dead() const { return dead_; }
  void restore_dead(const Figures& dead) { dead_ = dead; }
  const std::unordered_map<int, Figures>& living() const { return living_; }

 private:
  std::unordered_map<int, Figures> living_;
  Figures dead_{};
};

}  // namespace lezea
