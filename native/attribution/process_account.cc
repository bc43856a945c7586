// Where the threads are: switches, stamps and claims. What is given for them is in process_close.cc.

#include "attribution/process_account.h"

#include <algorithm>
#include <utility>

#include "attribution/apportion.h"

namespace lezea {
namespace {

// A stamp and its time are not read at the same instant; a signal handler may run in between.
constexpr uint64_t kStampSlackNs = 1'000'000;
// What an external read of a running thread's clock lags behind, with room (4 ms at HZ=250, 10 at 100).
constexpr uint64_t kKernelLagNs = 20'000'000;

}  // namespace

ProcessAccount::ProcessAccount(uint32_t run, uint32_t birth_slot, int primary_tid,
                               const Reading& base)
    : run_(run),
      primary_tid_(primary_tid),
      shares_(birth_slot, base.t_ns),
      last_(base.counter),
      last_known_(base.known),
      user_given_ns_(base.counter[kCpuUser]),
      memory_bytes_(base.memory_bytes),
      last_close_ns_(base.t_ns),
      segments_(base.t_ns, base.counter[kCpu]) {}

ProcessAccount::Thread& ProcessAccount::thread_at(int tid, uint64_t t_ns) {
  const auto [found, fresh] = threads_.try_emplace(tid);
  if (fresh) found->second.since_ns = t_ns;
  return found->second;
}

void ProcessAccount::account_stay(int tid, Thread& thread, uint64_t t_ns) {
  if (t_ns <= thread.since_ns) return;
  const uint64_t elapsed = t_ns - thread.since_ns;
  thread.since_ns = t_ns;
  uint32_t share = thread.share;
  if (share != ScopeShares::kNone) {
    shares_.at(share).active_ns += elapsed;
    shares_.touch(share);
  } else if (tid == primary_tid_) {
    share = shares_.birth();  // it has nobody to follow
  }
  add_stay(thread, {share, elapsed});
}

// Few are looked through; many (a client may have ten thousand scopes, and stamp none) are merged when
// they have doubled.
void ProcessAccount::add_stay(Thread& thread, Stay stay) {
  constexpr size_t kFew = 32;
  std::vector<Stay>& stays = thread.stays;
  const auto same = [&stay](const Stay& other) { return other.share == stay.share; };
  const auto newest = stays.size() <= kFew ? stays.begin() : stays.end() - 1;
  const auto found = std::find_if(newest, stays.end(), same);
  if (found != stays.end()) {
    found->wall_ns += stay.wall_ns;
    return;
  }
  stays.push_back(stay);
  if (stays.size() < std::max(2 * kFew, thread.merge_at)) return;
  std::sort(stays.begin(), stays.end(),
            [](const Stay& a, const Stay& b) { return a.share < b.share; });
  auto last = stays.begin();
  for (auto next = last + 1; next != stays.end(); ++next) {
    if (next->share == last->share) {
      last->wall_ns += next->wall_ns;
    } else {
      *++last = *next;
    }
  }
  stays.erase(last + 1, stays.end());
  thread.merge_at = 2 * stays.size();
}

void ProcessAccount::refresh_follow() {
  const auto primary = threads_.find(primary_tid_);
  const bool announced = primary != threads_.end() && primary->second.share != ScopeShares::kNone;
  shares_.set_follow(announced ? primary->second.share : shares_.birth());
}

void ProcessAccount::move(int tid, Thread& thread, uint32_t share) {
  shares_.move_announcement(thread.share, share);
  thread.share = share;
  if (tid == primary_tid_) refresh_follow();
}

uint64_t ProcessAccount::checked_stamp(const Thread& thread, const Switch& change) {
  uint64_t stamp = *change.cpu_ns;
  if (change.kernel_ns && stamp > *change.kernel_ns + kKernelLagNs) {
    stamp = *change.kernel_ns;
    ++cut_stamps_;
  }
  if (thread.stamp && change.t_ns >= thread.stamp->t_ns) {
    const uint64_t wall = change.t_ns - thread.stamp->t_ns;
    const uint64_t most = *thread.stamp->cpu_ns + wall + kStampSlackNs;
    if (stamp > most) {
      stamp = most;
      ++cut_stamps_;
    }
  }
  return stamp;
}

void ProcessAccount::claim_cpu(Thread& thread, uint64_t cpu_ns) {
  std::optional<uint64_t>& point = thread.point[kClaimCpu];
  uint64_t used = point && cpu_ns > *point ? cpu_ns - *point : 0;
  uint64_t wall_ns = 0;
  for (const Stay& stay : thread.stays) wall_ns += stay.wall_ns;
  if (thread.unread) {
    // What it used in the intervals closed without its clock was given there.
    used = std::min(used, wall_ns);
    thread.unread = false;
  } else {
    stamped_ns_ += used;
  }
  if (used > 0 && !thread.stays.empty()) {
    uint64_t claimed_ns = 0;
    weights_.clear();
    for (const Stay& stay : thread.stays) weights_.push_back(stay.wall_ns);
    apportion(used, weights_, more_);
    for (size_t i = 0; i < thread.stays.size(); ++i) {
      const uint32_t share = thread.stays[i].share;
      if (share == ScopeShares::kNone) continue;  // follows the rules: left to the remainder
      shares_.at(share).claim[kClaimCpu] += static_cast<uint64_t>(more_[i]);
      claimed_ns += static_cast<uint64_t>(more_[i]);
      shares_.touch(share);
    }
    segments_.claim(wall_ns, shares_.now_ns(), claimed_ns);
  }
  if (!point || cpu_ns > *point) point = cpu_ns;
  thread.stays.clear();
}

void ProcessAccount::claim_io(Thread& thread, Claim kind, uint64_t bytes) {
  std::optional<uint64_t>& point = thread.point[kind];
  if (point && bytes > *point && thread.share != ScopeShares::kNone) {
    shares_.at(thread.share).claim[kind] += bytes - *point;
    shares_.touch(thread.share);
  }
  if (!point || bytes > *point) point = bytes;
}

void ProcessAccount::apply(const Switch& change) {
  shares_.advance(change.t_ns);
  Thread& thread = thread_at(change.tid, std::max(change.t_ns, change.counts_from_ns));
  account_stay(change.tid, thread, change.t_ns);
  if (change.cpu_ns) {
    Switch stamp = change;
    stamp.cpu_ns = checked_stamp(thread, change);
    claim_cpu(thread, *stamp.cpu_ns);
    thread.stamp = stamp;
  }
  if (thread.process_ns) {
    segments_.stamp(shares_, *std::exchange(thread.process_ns, std::nullopt));
  }
  const uint32_t share = change.slot == 0 ? ScopeShares::kNone : shares_.index_of(change.slot);
  thread.voided_slot = 0;
  move(change.tid, thread, share);
  if (change.activation && share != ScopeShares::kNone) ++shares_.at(share).activations;
}

void ProcessAccount::io_stamp(int tid, Claim kind, uint64_t bytes) {
  const auto found = threads_.find(tid);
  if (found == threads_.end()) {
    // The thread has not announced yet: what it wrote before belongs to before.
    Thread& thread = thread_at(tid, shares_.now_ns());
    thread.point[kind] = bytes;
    return;
  }
  claim_io(found->second, kind, bytes);
}

void ProcessAccount::process_stamp(int tid, uint64_t cpu_ns) {
  thread_at(tid, shares_.now_ns()).process_ns = cpu_ns;
}

void ProcessAccount::end_thread(int tid, uint64_t t_ns, std::optional<uint64_t> final_cpu_ns) {
  shares_.advance(t_ns);
  const auto found = threads_.find(tid);
  if (found != threads_.end()) {
    account_stay(tid, found->second, t_ns);
    if (final_cpu_ns) claim_cpu(found->second, *final_cpu_ns);
    move(tid, found->second, ScopeShares::kNone);
    threads_.erase(found);
  }
}

void ProcessAccount::keep_threads(const std::vector<int>& tids, uint64_t t_ns) {
  std::vector<int> gone;
  for (const auto& [tid, thread] : threads_) {
    if (!std::binary_search(tids.begin(), tids.end(), tid)) gone.push_back(tid);
  }
  for (const int tid : gone) end_thread(tid, t_ns, std::nullopt);
}

void ProcessAccount::void_thread(int tid, uint64_t t_ns) {
  const auto found = threads_.find(tid);
  if (found == threads_.end()) return;
  shares_.advance(t_ns);
  account_stay(tid, found->second, t_ns);
  found->second.voided_slot = 0;
  move(tid, found->second, ScopeShares::kNone);
}

void ProcessAccount::void_announcements(uint64_t t_ns) {
  shares_.advance(t_ns);
  for (auto& [tid, thread] : threads_) {
    account_stay(tid, thread, t_ns);
    if (thread.share == ScopeShares::kNone) continue;
    thread.voided_slot = shares_.at(thread.share).slot;
    shares_.move_announcement(thread.share, ScopeShares::kNone);
    thread.share = ScopeShares::kNone;
  }
  refresh_follow();
}

// From the last edge on, not from now: the records of the meantime are still to come.
void ProcessAccount::restore_announcements() {
  for (auto& [tid, thread] : threads_) {
    const uint32_t slot = std::exchange(thread.voided_slot, 0);
    if (slot == 0 || thread.share != ScopeShares::kNone) continue;
    account_stay(tid, thread, shares_.now_ns());
    move(tid, thread, shares_.index_of(slot));
  }
}

// One that never announced anything is not among the threads here; it followed the rules.
int ProcessAccount::survivor(int leader, bool leader_ended) const {
  return leader_ended && threads_.size() == 1 ? threads_.begin()->first : leader;
}

void ProcessAccount::exec(int leader, bool leader_ended, uint64_t t_ns) {
  const uint32_t birth = slot_of(survivor(leader, leader_ended));
  void_announcements(t_ns);
  threads_.clear();  // only the exec'ing thread is left, and it starts unannounced
  primary_tid_ = leader;
  set_birth(birth, t_ns);
}

void ProcessAccount::set_primary(int tid, uint64_t t_ns) {
  shares_.advance(t_ns);
  primary_tid_ = tid;
  refresh_follow();
}

void ProcessAccount::set_birth(uint32_t slot, uint64_t t_ns) {
  shares_.advance(t_ns);
  shares_.set_birth(shares_.index_of(slot));
  refresh_follow();
}

uint32_t ProcessAccount::slot_of(int tid) const {
  const auto found = threads_.find(tid);
  const bool announced = found != threads_.end() && found->second.share != ScopeShares::kNone;
  return shares_.at(announced ? found->second.share : shares_.follow()).slot;
}

void ProcessAccount::threads_to_read(std::vector<int>& tids) const {
  constexpr size_t kAlwaysUpTo = 16;
  tids.clear();
  size_t scopes_in_interval = 0;
  for (const auto& [tid, thread] : threads_) {
    const bool elsewhere = thread.share != ScopeShares::kNone || thread.stays.size() > 1;
    if (elsewhere) tids.push_back(tid);
  }
  scopes_in_interval = shares_.announced().size();
  const bool uniform = scopes_in_interval <= 1 && shares_.segment_start_ns() <= last_close_ns_;
  if (uniform && tids.size() > kAlwaysUpTo) tids.clear();
}

// The clock of a thread that has gone since, at the end of the interval: between its last point and its
// next stamp, by time.
std::optional<uint64_t> ProcessAccount::cpu_at_end(const Thread& thread, const Stamp& next) const {
  const std::optional<uint64_t>& point = thread.point[kClaimCpu];
  if (!point || !thread.stamp) return std::nullopt;
  const uint64_t from_ns = std::max(thread.stamp->t_ns, last_close_ns_);
  const uint64_t end_ns = shares_.now_ns();
  if (next.cpu_ns <= *point || end_ns <= from_ns || next.t_ns <= end_ns) return *point;
  const Amount grown = Amount{next.cpu_ns - *point} * (end_ns - from_ns) / (next.t_ns - from_ns);
  return *point + static_cast<uint64_t>(grown);
}

void ProcessAccount::claim_tail(int tid, const ThreadReading& now,
                                const std::optional<Stamp>& next) {
  const auto found = threads_.find(tid);
  if (found == threads_.end()) return;
  Thread& thread = found->second;
  std::optional<uint64_t> clock_ns = now.cpu_ns;
  if (!clock_ns && next) clock_ns = cpu_at_end(thread, *next);
  thread.tail_read = clock_ns.has_value();
  if (clock_ns) {
    uint64_t cpu_ns = next ? std::min(*clock_ns, next->cpu_ns) : *clock_ns;
    // Read after the interval's end: what it can have used since its last stamp until then.
    const uint64_t end_ns = shares_.now_ns();
    if (thread.stamp && end_ns >= thread.stamp->t_ns) {
      cpu_ns = std::min(cpu_ns, *thread.stamp->cpu_ns + (end_ns - thread.stamp->t_ns));
    }
    claim_cpu(thread, cpu_ns);
  }
  if (now.read_bytes) claim_io(thread, kClaimRead, *now.read_bytes);
  if (now.write_bytes) claim_io(thread, kClaimWrite, *now.write_bytes);
}

}  // namespace lezea
