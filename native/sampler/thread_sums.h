// A process's counter that the kernel keeps per thread only: living threads' last figures plus what
// ended threads left. Pure; owned by its ProcessReader.

#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <unordered_map>
#include <utility>
#include <vector>

namespace lezea {

template <size_t N>
class ThreadSums {
 public:
  using Figures = std::array<uint64_t, N>;
  using Threads = std::unordered_map<int, Figures>;

  void live(int tid, const Figures& figures) { living_[tid] = figures; }

  // Its end was told. Until its exit record comes, what was last seen of it counts.
  void gone(int tid) {
    const auto found = living_.find(tid);
    if (found == living_.end()) return;
    gone_.emplace(tid, Gone{found->second, true});
    living_.erase(found);
  }

  // With its final figures where an exit record told them (they may be rounded down below what was
  // seen), else with the last that were seen.
  void ended(int tid, const Figures* final_figures) {
    if (gone_.count(tid) == 0) gone(tid);
    const auto first = gone_.lower_bound(tid);
    const bool seen = first != gone_.end() && first->first == tid;
    Figures last = seen ? first->second.last : Figures{};
    for (size_t i = 0; i < N && final_figures != nullptr; ++i) {
      last[i] = std::max(last[i], (*final_figures)[i]);
    }
    add(dead_, last);
    if (seen) gone_.erase(first);
  }

  // exec by a thread that is not the leader, after the ends of all others were told: it goes on under
  // the leader's id, and no exit record names its old one.
  void exec(int leader) {
    if (living_.size() != 1 || living_.count(leader) != 0) return;
    const Figures figures = living_.begin()->second;
    living_.clear();
    living_[leader] = figures;
  }

  std::vector<int> missing_from(const std::vector<int>& listed) const {
    std::vector<int> missing;
    for (const auto& [tid, figures] : living_) {
      if (std::find(listed.begin(), listed.end(), tid) == listed.end()) missing.push_back(tid);
    }
    return missing;
  }

  // Of the living only these are left, and nobody told how the others ended: they did, or one of them
  // exec'd and goes on under the leader's id. The growth that counts is above the greatest of them.
  void missed(const std::vector<int>& listed, int leader) {
    const auto found = living_.find(leader);
    const Figures own = found == living_.end() ? Figures{} : found->second;
    Figures greatest = own;
    for (const int tid : missing_from(listed)) {
      const Figures& last = living_.at(tid);
      for (size_t i = 0; i < N; ++i) greatest[i] = std::max(greatest[i], last[i]);
      gone_.emplace(tid, Gone{last, false});
      living_.erase(tid);
    }
    // May wrap below zero: the greatest is among those that are gone, which are added to it.
    for (size_t i = 0; i < N; ++i) dead_[i] -= greatest[i] - own[i];
  }

  // Of ended threads.
  Figures left() const {
    Figures sum = dead_;
    for (const auto& [tid, gone] : gone_) add(sum, gone.last);
    return sum;
  }
  Figures total() const {
    Figures sum = left();
    for (const auto& [tid, figures] : living_) add(sum, figures);
    return sum;
  }

  // For a later program: the threads whose exit record is still to come, and in `left` what all others left.
  Threads unsettled(Figures& left) const {
    left = dead_;
    Threads threads = living_;
    for (const auto& [tid, gone] : gone_) {
      if (!gone.told || !threads.emplace(tid, gone.last).second) add(left, gone.last);
    }
    return threads;
  }

  template <class Visit>
  void each_living(Visit visit) const {
    for (const auto& [tid, figures] : living_) visit(tid);
  }
  void restore_left(const Figures& left) { dead_ = left; }
  const Threads& living() const { return living_; }

 private:
  static void add(Figures& sum, const Figures& more) {
    for (size_t i = 0; i < N; ++i) sum[i] += more[i];
  }

  Threads living_;
  struct Gone {
    Figures last;
    bool told;  // its end was; else it was missed, once and for all
  };
  std::multimap<int, Gone> gone_;  // after an exec the leader's id may be there twice, in order
  Figures dead_{};
};

}  // namespace lezea
