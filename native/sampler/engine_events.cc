// What happened since the last time, put in order of time and applied: ring records, forks, execs and
// ends of threads. A fork's birth scope depends on where the forking thread was at that instant.

#include <algorithm>
#include <deque>
#include <iterator>
#include <utility>

#include "procfs/pid_list.h"
#include "sampler/engine.h"

namespace lezea {
namespace {

// How long records may wait for their scope to be defined: the definition travels by another socket, sent
// by a thread that needs the interpreter's lock.
constexpr uint64_t kHoldNs = 30'000'000'000;
constexpr size_t kMostHeld = 65'536;
constexpr size_t kMostEndedTids = 4'096;
// Of threads that nobody saw, in one tick or drain: their numbers may be invented.
constexpr size_t kMostUnlistedTids = 4'096;

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

// Up to `until_ns`: what the rings that are read with it cover. Later ones wait.
void Engine::collect_process_events(uint64_t until_ns, std::vector<Event>& events) {
  if (sources_.events == nullptr) {
    scan_for_children({}, events);
    return;
  }
  const uint64_t lost_before = sources_.events->lost();
  sources_.events->drain(proc_events_);
  std::vector<ProcEvent> later;
  std::unordered_set<int> forked;  // in this batch: their own forks come later in it
  for (const ProcEvent& event : proc_events_) {
    if (event.t_mono_ns > until_ns) {
      later.push_back(event);
      continue;
    }
    const bool fork = event.kind == ProcEvent::Kind::kFork && !event.new_thread();
    const int about = fork ? event.parent_tgid : event.tgid;
    if (by_pid_.count(about) == 0 && forked.count(about) == 0) continue;
    if (fork) forked.insert(event.tgid);
    Event next;
    next.t_ns = event.t_mono_ns;
    next.kind = Event::Kind::kProcess;
    next.event = event;
    events.push_back(next);
  }
  proc_events_.swap(later);
  if (sources_.events->lost() == lost_before) return;
  for (auto& [serial, process] : processes_) process->threads_missed = true;
  scanned_pids_.clear();
  scan_for_children(forked, events);
}

// After a restart: what was forked while nobody listened, before anything is read.
void Engine::find_unseen() {
  scan_once_ = false;
  for (auto& [serial, process] : processes_) process->threads_missed = true;
  std::vector<Event> found;
  scan_for_children({}, found);
  for (const Event& event : found) apply(event);
}

// `told` have fork events of their own in this batch.
void Engine::scan_for_children(const std::unordered_set<int>& told, std::vector<Event>& events) {
  const Result<std::vector<int>> pids = list_pids(sources_.proc_root.get());
  if (!pids.ok()) return;
  std::unordered_map<int, std::vector<int>> children;  // of pids that are new here
  std::deque<int> found;
  for (const int pid : pids.value) {
    if (scanned_pids_.count(pid) != 0 || by_pid_.count(pid) != 0 || told.count(pid) != 0) continue;
    Result<ProcessFiles> files = ProcessFiles::open(sources_.proc_root.get(), pid);
    if (!files.ok()) continue;
    const Result<PidStat> stat = files.value.stat();
    if (!stat.ok()) continue;
    const Process* parent = find_pid(stat.value.ppid);
    if (parent == nullptr) {
      children[stat.value.ppid].push_back(pid);
    } else if (parent->children.outside.count({pid, stat.value.start_ticks}) == 0) {
      found.push_back(pid);
      events.push_back(fork_by_scan(pid, parent->pid, parent->account.primary_tid()));
    }
  }
  // Theirs too, whatever the order of the pids.
  for (; !found.empty(); found.pop_front()) {
    const int parent = found.front();
    for (const int pid : children[parent]) {
      found.push_back(pid);
      events.push_back(fork_by_scan(pid, parent, parent));
    }
  }
  scanned_pids_ = {pids.value.begin(), pids.value.end()};
}

Event Engine::fork_by_scan(int pid, int parent_pid, int parent_tid) const {
  Event event;
  event.t_ns = sources_.clock->monotonic_ns();
  event.kind = Event::Kind::kProcess;
  event.event.kind = ProcEvent::Kind::kFork;
  event.event.t_mono_ns = event.t_ns;
  event.event.tid = event.event.tgid = pid;
  event.event.parent_tgid = parent_pid;
  event.event.parent_tid = parent_tid;
  return event;
}

void Engine::collect_records(std::vector<Event>& events) {
  const uint64_t now = sources_.clock->monotonic_ns();
  for (auto& [serial, process] : processes_) {
    for (Ring& ring : process->rings) {
      const auto session = sessions_.find(ring.session);
      const int64_t offset = session == sessions_.end() ? 0 : session->second.clock_offset_ns;
      taken_.clear();
      RingLosses losses;
      ring.file.take(taken_, losses, 0, now + static_cast<uint64_t>(offset));
      for (const TakenRecord& taken : taken_) {
        if (offset > 0 && taken.record.t_mono_ns <= static_cast<uint64_t>(offset)) {
          ++forged_records_;  // from before the machine was started
          continue;
        }
        Event next;
        next.t_ns = taken.record.t_mono_ns - static_cast<uint64_t>(offset);
        next.process = serial;
        next.record = taken.record;
        next.inode = ring.file.inode();
        next.lane = taken.lane;
        next.n = taken.n;
        events.push_back(next);
      }
      void_overrun_threads(*process, ring, losses);
      if (ring.file.voided()) process->account.void_announcements(now);
      lost_records_ += losses.lost;
      forged_records_ += losses.forged;
      Run* run = table_.run(process->account.run());
      run->lost_events += losses.lost;
      if (losses.lost > 0) run->estimated |= bit(kCpu);
    }
    auto& rings = process->rings;
    rings.erase(std::remove_if(rings.begin(), rings.end(),
                               [](const Ring& ring) { return ring.file.voided(); }),
                rings.end());
  }
}

void Engine::void_overrun_threads(Process& process, Ring& ring, const RingLosses& losses) {
  ring.writers.resize(ring.file.lanes(), 0);
  for (const uint32_t lane : losses.overrun_lanes) {
    const int writer = ring.writers[lane];
    const bool survives = std::any_of(taken_.begin(), taken_.end(), [&](const TakenRecord& taken) {
      return taken.lane == lane && static_cast<int>(taken.record.tid) == writer;
    });
    if (!survives) process.account.void_thread(writer, sources_.clock->monotonic_ns());
  }
  for (const TakenRecord& taken : taken_) {
    ring.writers[taken.lane] = static_cast<int>(taken.record.tid);
  }
}

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
  std::unordered_set<uint64_t> holds;
  for (auto& [serial, process] : processes_) {
    if (unknown.count(serial) == 0) {
      process->held_since_ns = 0;
      continue;
    }
    if (process->held_since_ns == 0) process->held_since_ns = now_ns;
    const bool patient = now_ns - process->held_since_ns < kHoldNs && counts[serial] < kMostHeld;
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
  const std::optional<int> tid = own_tid(process, record.tid);
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

std::optional<uint32_t> Engine::slot_of_record(const Process& process,
                                               const RingRecord& record) const {
  if (record.scope == 0) return 0;
  const auto session = sessions_.find(process.session);
  if (session == sessions_.end()) return std::nullopt;
  const auto slot = session->second.slots.find(record.scope);
  if (slot == session->second.slots.end()) return std::nullopt;
  return slot->second;
}

std::optional<uint64_t> Engine::thread_clock(Process& process, int tid) {
  const auto [found, fresh] = process.thread_clocks.emplace(tid, std::nullopt);
  if (fresh) found->second = process.reader.thread_cpu_ns(tid);
  return found->second;
}

void Engine::apply_record(Process& process, const Event& event) {
  const std::optional<int> tid = own_tid(process, event.record.tid);
  if (!tid) {
    ++forged_records_;
    return;
  }
  const RingRecord& record = event.record;
  if (record.kind == LEZEA_RING_KIND_IO_READ)
    process.account.io_stamp(*tid, kClaimRead, record.value);
  if (record.kind == LEZEA_RING_KIND_IO_WRITTEN)
    process.account.io_stamp(*tid, kClaimWrite, record.value);
  if (record.kind != LEZEA_RING_KIND_SWITCH) return;
  const uint32_t run = process.account.run();
  Switch change;
  change.tid = *tid;
  change.t_ns = event.t_ns;
  change.counts_from_ns = process.started_ns;
  change.activation = (record.flags & LEZEA_RING_FLAG_ACTIVATION) != 0;
  if (record.scope != 0) {
    change.slot = table_.slot_or_unattributed(run, slot_of_record(process, record).value_or(0));
  }
  if (record.value != 0) {
    change.cpu_ns = record.value;
    change.kernel_ns = thread_clock(process, *tid);
  }
  process.account.apply(change);
}

std::optional<int> Engine::own_tid(Process& process, uint32_t client_tid) {
  int tid = static_cast<int>(client_tid);
  if (!process.own_namespace) return tid_from_namespace(process, tid);
  if (tid == process.pid || process.known_tids.count(tid) != 0) return tid;
  const std::vector<int>& listed = list_threads(process);
  if (!std::binary_search(listed.begin(), listed.end(), tid)) {
    // Without clone events a thread may have come and gone unseen; its process bounds what it claims.
    if (sources_.events != nullptr || tid <= 0) return std::nullopt;
    if (process.unlisted_tids++ >= kMostUnlistedTids) return std::nullopt;
  }
  process.known_tids.insert(tid);
  return tid;
}

// Once a tick or drain: a client that invents numbers must not have them looked up one by one. Whoever
// wrote a record before is in the list, or has ended.
const std::vector<int>& Engine::list_threads(Process& process) {
  if (!process.listed_tids) {
    Result<std::vector<int>> listed = process.reader.files().thread_ids();
    process.listed_tids = listed.ok() ? std::move(listed.value) : std::vector<int>{};
  }
  return *process.listed_tids;
}

std::optional<int> Engine::tid_from_namespace(Process& process, int client_tid) {
  auto& tids = process.tids_from_namespace;
  if (tids.count(client_tid) == 0 && !process.listed_tids) {
    std::unordered_set<int> known;
    for (const auto& [inside, tid] : tids) known.insert(tid);
    for (const int tid : list_threads(process)) {
      if (known.count(tid) != 0) continue;
      const Result<PidStatus> status = process.reader.files().thread_status(tid);
      if (!status.ok() || status.value.ns_pids.empty()) continue;
      tids[status.value.ns_pids.back()] = tid;
    }
  }
  const auto found = tids.find(client_tid);
  if (found == tids.end()) return std::nullopt;
  return found->second;
}

std::optional<uint64_t> Engine::final_cpu_ns(int tid) const {
  for (const auto* records : {&exit_cpu_ns_, &exit_cpu_before_ns_}) {
    const auto record = records->find(tid);
    if (record != records->end()) return record->second;
  }
  return std::nullopt;
}

// The ends of threads that nobody told: without process events, or when some were lost. What has no end
// would be announced for ever.
void Engine::find_ended_threads(Process& process) {
  if (!process.held.empty() || process.waits_until_ns != 0) return;
  const bool missed = std::exchange(process.threads_missed, false);
  if (!missed && sources_.events != nullptr) return;
  if (missed) process.reader.miss_threads();
  if (process.ended || !process.reader.is_open()) return;
  if (process.known_tids.empty() && !process.account.has_threads()) return;
  const Result<std::vector<int>> listed = process.reader.files().thread_ids();
  if (!listed.ok() || listed.value.empty()) return;
  const auto gone = [&listed](int tid) {
    return !std::binary_search(listed.value.begin(), listed.value.end(), tid);
  };
  const uint64_t t_ns = process.was_read ? process.reading.t_ns : sources_.clock->monotonic_ns();
  process.account.keep_threads(listed.value, t_ns);
  process.reader.keep_threads(listed.value);
  const int primary = process.account.primary_tid();
  if (primary != process.pid && gone(primary)) process.account.set_primary(process.pid, t_ns);
  for (auto tid = process.known_tids.begin(); tid != process.known_tids.end();) {
    tid = gone(*tid) ? process.known_tids.erase(tid) : std::next(tid);
  }
  auto& inside = process.tids_from_namespace;
  for (auto pair = inside.begin(); pair != inside.end();) {
    pair = gone(pair->second) ? inside.erase(pair) : std::next(pair);
  }
}

void Engine::apply_process_event(const ProcEvent& event) {
  if (event.kind == ProcEvent::Kind::kFork && !event.new_thread()) {
    Process* parent = find_pid(event.parent_tgid);
    if (parent != nullptr) fork_into_run(*parent, event);
    return;
  }
  Process* process = find_pid(event.tgid);
  if (process == nullptr || event.t_mono_ns < process->started_ns) return;
  if (event.new_thread()) {
    process->known_tids.insert(event.tid);
    return;
  }
  if (event.kind == ProcEvent::Kind::kExit) {
    thread_ended(*process, event);
    return;
  }
  process->account.exec(event.tid, process->reader.leader_told(), event.t_mono_ns);
  process->reader.exec();
  process->known_tids.clear();
  describe(*process);
}

void Engine::thread_ended(Process& process, const ProcEvent& event) {
  process.account.end_thread(event.tid, event.t_mono_ns, final_cpu_ns(event.tid));
  process.reader.thread_ended(event.tid);
  auto& inside = process.tids_from_namespace;  // its number there may be another's soon
  for (auto pair = inside.begin(); pair != inside.end();) {
    pair = pair->second == event.tid ? inside.erase(pair) : std::next(pair);
  }
  // A ring offered late may still hold its records.
  process.ended_tids.push_back(event.tid);
  if (process.ended_tids.size() > kMostEndedTids) {
    process.known_tids.erase(process.ended_tids.front());
    process.ended_tids.pop_front();
  }
  if (process.account.primary_tid() == event.tid && event.tid != process.pid) {
    process.account.set_primary(process.pid, event.t_mono_ns);
  }
  if (event.tid == process.pid && !process.reader.wait_status()) {
    process.reader.set_wait_status(event.exit_code);
  }
  process.ended_ns = event.t_mono_ns;
}

void Engine::fork_into_run(Process& parent, const ProcEvent& event) {
  // Known already: bound itself, or found by scanning, before this event was read.
  const Process* known = find_pid(event.tgid);
  if (known != nullptr && known->started_ns >= event.t_mono_ns) return;
  const uint32_t run = parent.account.run();
  const uint32_t birth = parent.account.slot_of(event.parent_tid);
  Reading base;
  base.t_ns = event.t_mono_ns;
  base.known = (1u << kAdditiveColumns) - 1;
  ProcessReader reader(sources_, event.tgid, true);
  // A process that began after the fork is another, with the same pid.
  const uint64_t forked_boot_ns = event.t_mono_ns + sources_.clock->boot_offset_ns();
  const bool open = reader.open() && reader.started_boot_ns() <= forked_boot_ns;
  if (!open) reader.close();
  if (event.tgid == sources_.own_pid) {
    const Result<PidStat> stat = reader.files().stat();
    if (stat.ok()) parent.children.outside.emplace(event.tgid, stat.value.start_ticks);
    return;
  }
  ProcessAccount account(run, birth, event.tgid, base);
  Process& child = add(
      std::make_unique<Process>(next_serial_, event.tgid, std::move(reader), std::move(account)));
  take_pid(child);
  child.started_ns = event.t_mono_ns;
  child.parent = parent.serial;
  child.parent_pid = parent.pid;
  child.exe = parent.exe;
  child.comm = parent.comm;
  child.own_namespace = parent.own_namespace;
  child.ended = child.reaped = !open;
  if (open) describe(child);
  parent.reader.memory().hurry(event.t_mono_ns);
}

}  // namespace lezea
