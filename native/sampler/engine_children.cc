// CPU of children beyond what was seen of each: those that lived and died between two looks, and the
// tearing down of an address space, which comes after a task's exit record. What the reaper's cutime has
// above the known is granted to the birth scopes of the children that ended.

#include <algorithm>
#include <utility>

#include "attribution/apportion.h"
#include "sampler/engine.h"

namespace lezea {

// What a reaper's cutime grows by with this child, as far as it is known.
uint64_t Engine::brought_by(const Process& child) {
  const ChildLedger& own = child.children;
  return child.account.counter(kCpu) + own.base_ns + own.known_ns + own.granted_ns;
}

// Child and parent ended between two looks: nobody can tell who reaped the child. Then neither may take
// what it brought for something unknown.
void Engine::note_perhaps_reaped(Process& child, Process* reaper) {
  if (reaper == nullptr) return;
  reaper->children.known_ns += brought_by(child);
}

void Engine::child_ended(Process& child) {
  const uint32_t slot = child.account.birth_slot();
  const auto extra = extras_.find(child.account.run());
  if (extra != extras_.end()) extra->second.cgroup.ended.add(slot);
  Process* parent = find(child.parent);
  if (parent == nullptr) return;
  parent->children.known_ns += brought_by(child);
  parent->children.ended.add(slot);
  if (parent->ended) note_perhaps_reaped(child, other_reaper(*parent));
  // A reaper that ignores SIGCHLD never gets its children's CPU: then only a cgroup knows the rest.
  const bool covered = extra != extras_.end() && extra->second.cgroup.active;
  Run* run = table_.run(child.account.run());
  if (covered || run == nullptr || (run->estimated & bit(kCpu)) != 0 || !parent->reader.is_open())
    return;
  const Result<PidStatus> status = parent->reader.files().status();
  if (status.ok() && status.value.ignores_child_signal()) run->estimated |= bit(kCpu);
}

bool Engine::anyone_waits(uint32_t run) const {
  return std::any_of(processes_.begin(), processes_.end(), [run](const auto& entry) {
    return entry.second->account.run() == run && entry.second->waits_until_ns != 0;
  });
}

// To each slot's own run: a child may have moved to another one than its parent's.
void Engine::grant(uint64_t ns, const std::map<uint32_t, uint64_t>& weights) {
  std::vector<uint64_t> shares;
  std::vector<Amount> parts;
  for (const auto& [slot, weight] : weights) shares.push_back(weight);
  if (shares.empty()) return;
  apportion(ns, shares, parts);
  size_t i = 0;
  for (const auto& [slot_id, weight] : weights) {
    const Amount part = parts[i++];
    const Slot* slot = table_.slot(slot_id);
    if (slot == nullptr) continue;  // its run was closed
    Run& run = *table_.run(slot->run);
    Totals& beyond = extras_[slot->run].beyond;
    // Nearly all of it is the kernel's work at exec and exit.
    for (const Column column : {kCpu, kCpuSystem}) {
      table_.give(slot_id, column, part);
      run.totals.add(column, part);
      beyond.add(column, part);
    }
    if (weights.size() > 1) run.apportioned |= bit(kCpu);
    run.dirty = true;
  }
}

// What was reaped since it was read may be in the reaper's figure already, and is not settled yet: all that
// is known of it, so that none of it is taken for missing. Under a child that has ended the kernel may have
// given the orphans to this reaper, which shows at the next reading only.
uint64_t Engine::just_reaped_ns(const Process& reaper) {
  uint64_t sum_ns = 0;
  std::vector<uint64_t> below = children_of_[reaper.serial];
  for (size_t i = 0; i < std::min(below.size(), processes_.size()); ++i) {
    Process* child = find(below[i]);
    if (child == nullptr || child->serial == reaper.serial) continue;
    if (!child->reader.alive()) {
      const uint64_t told_ns = child->reader.cpu_told_ns();
      const uint64_t counted_ns = child->account.counter(kCpu);
      sum_ns += brought_by(*child) + (told_ns > counted_ns ? told_ns - counted_ns : 0);
    } else if (!child->reader.ended()) {
      continue;
    }
    const std::vector<uint64_t>& orphans = children_of_[child->serial];
    below.insert(below.end(), orphans.begin(), orphans.end());
  }
  return sum_ns;
}

// Of the children that are not counted; what came with them cannot be told apart.
bool Engine::outside_child_reaped(ChildLedger& ledger) {
  const size_t before = ledger.outside.size();
  for (auto child = ledger.outside.begin(); child != ledger.outside.end();) {
    Result<ProcessFiles> files = ProcessFiles::open(sources_.proc_root.get(), child->first);
    const Result<PidStat> stat =
        files.ok() ? files.value.stat() : Result<PidStat>::fail(files.status);
    const bool there = stat.ok() && stat.value.start_ticks == child->second;
    child = there ? std::next(child) : ledger.outside.erase(child);
  }
  return ledger.outside.size() < before;
}

// Called between settle() and close() of the reaper's account.
void Engine::grant_reaped(Process& process) {
  ChildLedger& ledger = process.children;
  const auto& facts = process.reader.facts();
  const uint32_t run = process.account.run();
  if (!facts || !process.was_read || !ledger.usable) return;
  const uint64_t reaped_ns = ledger.pass ? facts->reaped_cpu_most_ns : facts->reaped_cpu_ns;
  const uint64_t accounted_ns = ledger.base_ns + ledger.known_ns + ledger.granted_ns;
  if (reaped_ns <= accounted_ns || anyone_waits(run)) return;
  const uint64_t unsettled_ns = just_reaped_ns(process);
  if (ledger.pass && unsettled_ns > 0) return;
  if (reaped_ns - accounted_ns <= unsettled_ns) return;
  const bool pass = std::exchange(ledger.pass, false);
  const uint64_t missing_ns = reaped_ns - accounted_ns - unsettled_ns;
  ledger.granted_ns += missing_ns;
  if (pass) return;
  // Where a cgroup tells, it tells this too: one of the two, never both.
  if (extras_[run].cgroup.active) return;
  std::map<uint32_t, uint64_t> weights = ledger.ended.count;
  ledger.ended.granted = true;
  // Nobody was seen to end (found by scanning, or while the agent was down): where the parent was.
  if (weights.empty()) process.account.add_follow_times(weights);
  if (weights.empty()) weights[process.account.follow_slot()] = 1;
  grant(missing_ns, weights);
}

}  // namespace lezea
