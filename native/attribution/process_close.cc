// The end of an interval: the kernel's increase divided by what was claimed, then by time.

#include <algorithm>

#include "attribution/apportion.h"
#include "attribution/process_account.h"

namespace lezea {
namespace {

// Claims may exceed the kernel's figure by what it lags for each running thread: as long as the host takes a
// virtual CPU away, for it is brought up to date by that CPU's own tick. More is a lie or a bug.
constexpr uint64_t kCarryPerThreadNs = 10'000'000'000;

constexpr Column kSlowColumns[] = {
    kRunqueueWait,  kIoRead,         kIoWrite,           kIoCancelledWrite,
    kIoLogicalRead, kIoLogicalWrite, kIoReadOps,         kIoWriteOps,
    kMinorFaults,   kMajorFaults,    kVoluntarySwitches, kInvoluntarySwitches};

}  // namespace

void ProcessAccount::settle(uint64_t t_ns) {
  shares_.advance(t_ns);
  for (auto& [tid, thread] : threads_) account_stay(tid, thread, t_ns);
}

bool ProcessAccount::take_stamped(Reading& reading, uint64_t processors) const {
  const uint64_t wall_ns = reading.t_ns > last_close_ns_ ? reading.t_ns - last_close_ns_ : 0;
  const uint64_t used_ns = std::min(stamped_ns_, wall_ns * processors);
  if (!counts(kCpu) || used_ns == 0) return false;
  reading.set(kCpu, last_[kCpu] + used_ns);
  // As it was divided before.
  const Amount before_ns = std::max<uint64_t>(1, last_[kCpu]);
  reading.set(kCpuUser,
              user_given_ns_ + static_cast<uint64_t>(Amount{used_ns} * user_given_ns_ / before_ns));
  return true;
}

uint64_t ProcessAccount::increase(const Reading& reading, Column column) {
  const uint32_t mask = bit(column);
  if ((reading.known & mask) == 0) return 0;
  const uint64_t now = reading.counter[column];
  const bool counted = (last_known_ & mask) != 0;
  // A counter that fell was reset: it starts anew from here.
  const uint64_t grown = counted && now > last_[column] ? now - last_[column] : 0;
  last_[column] = now;
  last_known_ |= mask;
  return grown;
}

void ProcessAccount::count(RunTable& table, Column column, Amount amount) {
  totals_.add(column, amount);
  Run* run = table.run(run_);
  run->totals.add(column, amount);
  run->dirty = run->dirty || amount != 0;
}

void ProcessAccount::give_parts(Column column, RunTable& table) {
  const std::vector<uint32_t>& touched = shares_.touched();
  for (size_t i = 0; i < touched.size(); ++i) {
    table.give(shares_.at(touched[i]).slot, column, parts_[i]);
  }
}

void ProcessAccount::note_division(Column column, Amount amount, RunTable& table) {
  if (amount == 0) return;
  const auto positive = [](uint64_t weight) { return weight > 0; };
  if (std::count_if(weights_.begin(), weights_.end(), positive) > 1) {
    table.run(run_)->apportioned |= bit(column);
  }
}

void ProcessAccount::limit_carry(Claim kind) {
  uint64_t carried = 0;
  for (const uint32_t index : shares_.touched()) carried += shares_.at(index).claim[kind];
  const uint64_t most = kCarryPerThreadNs * std::max<size_t>(1, threads_.size());
  if (kind != kClaimCpu || carried <= most) return;
  ++cut_stamps_;
  for (const uint32_t index : shares_.touched()) {
    uint64_t& claim = shares_.at(index).claim[kind];
    claim = static_cast<uint64_t>(Amount{claim} * most / carried);
  }
}

void ProcessAccount::divide(Claim kind, uint64_t amount) {
  const std::vector<uint32_t>& touched = shares_.touched();
  std::vector<uint64_t>& claims = cpu_weights_;
  claims.clear();
  Amount claimed = 0;
  for (const uint32_t index : touched) {
    claims.push_back(shares_.at(index).claim[kind]);
    claimed += claims.back();
  }
  if (claimed > amount) {
    apportion(amount, claims, parts_);
    for (size_t i = 0; i < touched.size(); ++i) {
      shares_.at(touched[i]).claim[kind] -= static_cast<uint64_t>(parts_[i]);
    }
    limit_carry(kind);
    return;
  }
  apportion(amount - claimed, weights_, parts_);
  for (size_t i = 0; i < touched.size(); ++i) {
    parts_[i] += claims[i];
    shares_.at(touched[i]).claim[kind] = 0;
  }
}

// What no thread claims goes by what the process used while each scope was followed, where its clock was
// stamped in this interval; else by time.
void ProcessAccount::weigh_remainder() {
  if (segments_.weigh(shares_, last_[kCpu], weights_)) return;
  weights_.clear();
  for (const uint32_t index : shares_.touched()) weights_.push_back(shares_.at(index).follow_ns);
}

void ProcessAccount::give_cpu(uint64_t used_ns, const Reading& reading, RunTable& table) {
  weigh_remainder();
  divide(kClaimCpu, used_ns);
  give_parts(kCpu, table);
  count(table, kCpu, used_ns);
  note_division(kCpu, used_ns, table);
  give_user_and_system(used_ns, reading, table);
}

// The kernel's split into user and system is sampled by its tick and scaled; it only divides the CPU
// time given above, so that the two sum to it exactly.
void ProcessAccount::give_user_and_system(uint64_t used_ns, const Reading& reading,
                                          RunTable& table) {
  const bool known = (reading.known & bit(kCpuUser)) != 0;
  const uint64_t target = known ? reading.counter[kCpuUser] : user_given_ns_;
  const uint64_t wanted = target > user_given_ns_ ? target - user_given_ns_ : 0;
  const uint64_t user_ns = std::min(wanted, used_ns);
  user_given_ns_ += user_ns;

  cpu_weights_.clear();
  for (const Amount part : parts_) cpu_weights_.push_back(static_cast<uint64_t>(part));
  apportion(user_ns, cpu_weights_, parts_);
  give_parts(kCpuUser, table);
  for (size_t i = 0; i < parts_.size(); ++i) parts_[i] = cpu_weights_[i] - parts_[i];
  give_parts(kCpuSystem, table);
  count(table, kCpuUser, user_ns);
  count(table, kCpuSystem, used_ns - user_ns);
  table.run(run_)->estimated |= bit(kCpuUser) | bit(kCpuSystem);
}

// Memory changes hands at scope edges: what was held before the last one counts for the scopes until
// then, what is held now for those since. Without an edge the mean of both ends is taken.
void ProcessAccount::give_memory(uint64_t t_ns, const Reading& reading, RunTable& table) {
  const std::optional<uint64_t> now = reading.memory_bytes ? reading.memory_bytes : memory_bytes_;
  if (!now || t_ns <= last_close_ns_) return;
  const uint64_t before = memory_bytes_.value_or(*now);
  memory_bytes_ = now;
  if (reading.memory_estimated) table.run(run_)->estimated |= bit(kMemoryTime) | bit(kMemoryPeak);

  const uint64_t edge_ns = std::clamp(shares_.segment_start_ns(), last_close_ns_, t_ns);
  const bool edge = edge_ns > last_close_ns_;
  const uint64_t since_ns = t_ns - edge_ns;
  const Amount early = Amount{before} * (edge_ns - last_close_ns_);
  const Amount late = edge ? Amount{*now} * since_ns : (Amount{before} + *now) * since_ns / 2;

  const std::vector<uint32_t>& touched = shares_.touched();
  const std::vector<uint32_t>& current = shares_.announced();
  const uint64_t late_weight =
      since_ns * ScopeShares::kWeightScale / std::max<size_t>(1, current.size());
  weights_.clear();
  cpu_weights_.clear();
  for (const uint32_t index : touched) {
    const Share& share = shares_.at(index);
    const bool here = current.empty() ? index == shares_.follow() : share.threads > 0;
    const uint64_t taken = here ? std::min(late_weight, share.equal_weight) : 0;
    weights_.push_back(share.equal_weight - taken);
    cpu_weights_.push_back(here ? 1 : 0);
  }
  apportion(early, weights_, parts_);
  apportion(late, cpu_weights_, more_);
  for (size_t i = 0; i < parts_.size(); ++i) parts_[i] += more_[i];
  give_parts(kMemoryTime, table);
  count(table, kMemoryTime, early + late);
  note_division(kMemoryTime, early, table);
}

void ProcessAccount::give_slow(const Reading& reading, RunTable& table) {
  for (const Column column : kSlowColumns) {
    if ((reading.known & bit(column)) == 0) continue;
    const uint64_t grown = increase(reading, column);
    weights_.clear();
    for (const uint32_t index : shares_.touched()) {
      const Share& share = shares_.at(index);
      weights_.push_back(share.slow_weight + share.equal_weight);
    }
    if (column == kIoRead || column == kIoWrite) {
      divide(column == kIoRead ? kClaimRead : kClaimWrite, grown);
    } else {
      apportion(grown, weights_, parts_);
    }
    give_parts(column, table);
    count(table, column, grown);
    note_division(column, grown, table);
  }
}

void ProcessAccount::give_activity(RunTable& table) {
  const uint32_t unattributed = table.run(run_)->unattributed;
  for (const uint32_t index : shares_.touched()) {
    const Share& share = shares_.at(index);
    // Announced in a scope that was never defined: active nowhere.
    if (share.slot == unattributed) continue;
    if (share.active_ns == 0 && share.activations == 0) continue;
    table.give(share.slot, kActive, share.active_ns);
    table.give(share.slot, kActivations, share.activations);
    count(table, kActive, share.active_ns);
    count(table, kActivations, share.activations);
  }
}

void ProcessAccount::start_interval(bool slow, uint64_t cpu_given_ns, uint64_t t_ns) {
  std::vector<uint32_t> keep;
  for (const uint32_t index : shares_.touched()) {
    Share& share = shares_.at(index);
    share.slow_weight = slow ? 0 : share.slow_weight + share.equal_weight;
    share.equal_weight = share.follow_ns = share.active_ns = share.activations = 0;
    share.weighed_ns = 0;
    share.touched = false;
    const bool carries = std::any_of(std::begin(share.claim), std::end(share.claim),
                                     [](uint64_t claim) { return claim > 0; });
    if (carries || share.slow_weight > 0) keep.push_back(index);
  }
  shares_.touched().clear();
  for (const uint32_t index : keep) shares_.touch(index);
  for (auto& [tid, thread] : threads_) {
    if (!thread.tail_read) {
      thread.stays.clear();
      thread.unread = thread.unread || cpu_given_ns > 0;
    }
    thread.tail_read = false;
    thread.process_ns.reset();  // its edge was lost
  }
  last_close_ns_ = std::max(last_close_ns_, t_ns);
  stamped_ns_ = 0;
  segments_.start(last_close_ns_, last_[kCpu]);
}

void ProcessAccount::close(const Reading& reading, RunTable& table) {
  if (table.run(run_) == nullptr) return;
  settle(reading.t_ns);
  shares_.settle_weights();
  shares_.touch(shares_.follow());
  // The first: it gets what nothing else tells anything of, for no time has passed.
  std::vector<uint32_t>& touched = shares_.touched();
  std::iter_swap(touched.begin(), std::find(touched.begin(), touched.end(), shares_.follow()));
  const uint64_t used_ns = increase(reading, kCpu);
  if ((reading.known & bit(kCpu)) != 0) give_cpu(used_ns, reading, table);
  give_memory(reading.t_ns, reading, table);
  if (reading.slow) give_slow(reading, table);
  give_activity(table);
  remember_interval(reading.t_ns);
  start_interval(reading.slow, used_ns, reading.t_ns);
}

void ProcessAccount::add_follow_times(std::map<uint32_t, uint64_t>& weights) const {
  for (uint32_t index = 0; index < shares_.size(); ++index) {
    const Share& share = shares_.at(index);
    if (share.follow_ns > 0) weights[share.slot] += share.follow_ns;
  }
}

void ProcessAccount::add_memory_now(uint64_t bytes, Gauge gauge, RunTable& table) {
  const std::vector<uint32_t>& current = shares_.announced();
  if (current.empty()) {
    table.add_memory(follow_slot(), bytes, gauge);
    return;
  }
  weights_.assign(current.size(), 1);
  apportion(bytes, weights_, parts_);
  for (size_t i = 0; i < current.size(); ++i) {
    table.add_memory(shares_.at(current[i]).slot, static_cast<uint64_t>(parts_[i]), gauge);
  }
}

void ProcessAccount::add_current_memory(RunTable& table) {
  if (memory_bytes_) add_memory_now(*memory_bytes_, kHostMemory, table);
  for (const auto& [gpu, bytes] : gpu_memory_) {
    add_memory_now(bytes, gauge_of(gpu), table);
    add_memory_now(bytes, kGpusMemory, table);
  }
}

}  // namespace lezea
