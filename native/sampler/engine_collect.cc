// What happened since the last time, as events: forks, execs and ends of threads told by the kernel or
// found by scanning, and the records of the rings.

#include <algorithm>
#include <deque>

#include "procfs/pid_list.h"
#include "sampler/engine.h"

namespace lezea {

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
  taken_note_ns_ = last_note_ns_;
  for (auto& [serial, process] : processes_) {
    const auto pending = std::count_if(process->rings.begin(), process->rings.end(),
                                       [](const Ring& ring) { return ring.file.pending(); });
    const uint64_t most = RingFile::kMaxRecordsPerTake / std::max<uint64_t>(1, pending);
    for (Ring& ring : process->rings) {
      const auto session = sessions_.find(ring.session);
      const int64_t offset = session == sessions_.end() ? 0 : session->second.clock_offset_ns;
      taken_.clear();
      RingLosses losses;
      const uint64_t client_now = now + static_cast<uint64_t>(offset);
      ring.file.take(taken_, losses, kMostSessionDevices, client_now, most);
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
      if (run == nullptr) continue;  // closed under it
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

}  // namespace lezea
