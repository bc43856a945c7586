// In which order events are applied, and which of them wait. A fork's birth scope depends on where the
// forking thread was at that instant.

#include <algorithm>
#include <utility>

#include "sampler/engine.h"

namespace lezea {
namespace {

// How long records may wait for their scope to be defined: the definition travels by another socket, sent
// by a thread that needs the interpreter's lock.
constexpr uint64_t kHoldNs = 30'000'000'000;

// Of a process, not of a thread.
bool is_fork(const Event& event) {
  return event.kind == Event::Kind::kProcess && event.event.kind == ProcEvent::Kind::kFork &&
         !event.event.new_thread();
}

void sort_by_time(std::vector<Event>& events) {
  std::stable_sort(events.begin(), events.end(),
                   [](const Event& a, const Event& b) { return a.t_ns < b.t_ns; });
}

}  // namespace

void Engine::take_held(std::vector<Event>& events) {
  for (auto& [serial, process] : processes_) {
    events.insert(events.end(), process->held.begin(), process->held.end());
    process->held.clear();
  }
}

// The processes with a record of a scope that is not defined yet, for as long as waiting is worth it.
std::unordered_set<uint64_t> Engine::find_holds(const std::vector<Event>& events, uint64_t now_ns) {
  std::unordered_set<uint64_t> unknown;
  std::unordered_map<uint64_t, size_t> counts;
  for (const Event& event : events) {
    ++counts[event.process];
    if (event.kind != Event::Kind::kRecord || event.record.kind != LEZEA_RING_KIND_SWITCH) continue;
    const Process* process = find(event.process);
    if (process == nullptr || slot_of_record(*process, event.record)) continue;
    unknown.insert(event.process);
  }
  const size_t most = std::min(kMostHeld, kMostHeldInAll / std::max<size_t>(1, unknown.size()));
  std::unordered_set<uint64_t> holds;
  for (auto& [serial, process] : processes_) {
    if (unknown.count(serial) == 0) {
      process->held_since_ns = 0;
      continue;
    }
    if (process->held_since_ns == 0) process->held_since_ns = now_ns;
    const bool patient = now_ns - process->held_since_ns < kHoldNs && counts[serial] < most;
    if (patient && !process->ended) holds.insert(serial);
  }
  return holds;
}

// Whose timeline an event belongs to: the reader of its records, the forking or the changed process.
Process* Engine::subject_of(const Event& event) {
  if (event.kind == Event::Kind::kRecord) return find(event.process);
  return find_pid(is_fork(event) ? event.event.parent_tgid : event.event.tgid);
}

void Engine::apply_until_reading(std::vector<Event>& events) {
  take_held(events);
  const std::unordered_set<uint64_t> holds = find_holds(events, sources_.clock->monotonic_ns());
  sort_by_time(events);
  std::vector<Event> later;
  std::unordered_set<int> to_be_forked;  // by what is in `later`
  for (const Event& event : events) {
    Process* process = subject_of(event);
    const bool record = event.kind == Event::Kind::kRecord;
    if (process == nullptr) {
      // Of a process that is forked only after its parent's reading: so is what it forks itself.
      const int about = is_fork(event) ? event.event.parent_tgid : event.event.tgid;
      if (record || to_be_forked.count(about) == 0) continue;
      later.push_back(event);
      if (is_fork(event)) to_be_forked.insert(event.event.tgid);
      continue;
    }
    if (process->was_read && !process->ended && event.t_ns > process->reading.t_ns) {
      later.push_back(event);
      note_next_stamp(*process, event);
      if (is_fork(event)) to_be_forked.insert(event.event.tgid);
    } else if (holds.count(process->serial) != 0 && !is_fork(event)) {
      process->held.push_back(event);
      if (!record && event.event.new_thread()) process->known_tids.insert(event.event.tid);
    } else {
      apply(event);
      if (!record) hold_birth(event, holds);
    }
  }
  events.swap(later);
}

void Engine::note_next_stamp(Process& process, const Event& event) {
  if (event.kind == Event::Kind::kProcess) {
    if (event.event.kind != ProcEvent::Kind::kExit) return;
    const std::optional<uint64_t> cpu_ns = final_cpu_ns(event.event.tid);
    if (cpu_ns) process.next_stamps.emplace(event.event.tid, Stamp{event.t_ns, *cpu_ns});
    return;
  }
  const RingRecord& record = event.record;
  if (record.kind != LEZEA_RING_KIND_SWITCH || record.value == 0) return;
  const std::optional<int> tid = own_tid(process, record.tid, event.t_ns);
  if (tid) process.next_stamps.emplace(*tid, Stamp{event.t_ns, record.value});
}

// After the close: what lies behind the reading, unless it has to wait in its turn.
void Engine::apply_or_hold(const Event& event) {
  Process* process = subject_of(event);
  if (process == nullptr) return;
  const bool record = event.kind == Event::Kind::kRecord;
  const bool known = !record || event.record.kind != LEZEA_RING_KIND_SWITCH ||
                     slot_of_record(*process, event.record);
  if (!is_fork(event) && (!process->held.empty() || !known)) {
    process->held.push_back(event);
  } else {
    apply(event);
  }
}

// A child of a process whose records wait: where it was forked will be known with them.
void Engine::hold_birth(const Event& event, const std::unordered_set<uint64_t>& holds) {
  if (!is_fork(event)) return;
  Process* child = event.process != 0 ? find(event.process) : find_pid(event.event.tgid);
  Process* parent = child == nullptr ? nullptr : find(child->parent);
  if (parent == nullptr || holds.count(parent->serial) == 0) return;
  child->birth_waits = true;
  parent->held.push_back(event);
  parent->held.back().process = child->serial;  // its pid may be another's by then
}

void Engine::settle_birth(const Event& event) {
  Process* child = find(event.process);
  if (child == nullptr) return;
  const Process* parent = find(child->parent);
  if (parent != nullptr && parent->account.run() == child->account.run()) {
    child->account.set_birth(parent->account.slot_of(event.event.parent_tid), event.t_ns);
  }
  child->birth_waits = false;
}

void Engine::apply(const Event& event) {
  if (event.kind == Event::Kind::kProcess) {
    if (event.process != 0) {
      settle_birth(event);
    } else {
      apply_process_event(event.event);
    }
    return;
  }
  Process* process = find(event.process);
  if (process == nullptr) return;
  apply_record(*process, event);
  for (Ring& ring : process->rings) {
    if (ring.file.inode() == event.inode) {
      ring.applied[event.lane] = std::max(ring.applied[event.lane], event.n + 1);
    }
  }
}

}  // namespace lezea
