// One tick, in the order that conservation needs (docs/meaning.md, rule 5): energy and the cgroup's figure, the
// processes' clocks and cutime, then exit records, then fork events, then at least 1 ms, then the rings,
// then the threads' clocks. In any other order what begins or ends within the tick is counted twice or
// not at all.

#include <sys/sysinfo.h>

#include <algorithm>
#include <utility>

#include "sampler/engine.h"

namespace lezea {
namespace {

// By then every store before a lane's noted head is visible on any CPU.
constexpr uint64_t kSettleNs = 1'000'000;
// The costlier figures are read at every tick of few processes with few threads each, else at slow ones only.
constexpr uint64_t kFewThreads = 8;
constexpr size_t kFewProcesses = 32;
// Rings are read so often in a tick for threads that ended after they were.
constexpr int kMostRingReadings = 3;
// A longer pause between two ticks was not observed (the agent was down or starved).
constexpr uint64_t kObservedGapNs = 2'000'000'000;

}  // namespace

void Engine::read_process(Process& process, bool slow) {
  process.reading = Reading{};
  const bool ended = process.reader.ended();  // asked first: what is read after it is final
  const auto& facts = process.reader.facts();
  const bool few = processes_.size() <= kFewProcesses && (!facts || facts->threads <= kFewThreads);
  process.was_read = process.reader.read(process.reading, slow || few || ended);
  process.ended = ended || !process.was_read;
  process.end_was_read = process.end_was_read || (ended && process.was_read);
  if (process.was_read) {
    follow_parent(process);
  } else {
    process.reading.t_ns = sources_.clock->monotonic_ns();
  }
}

// Which children were reaped, so that they can be settled. Without taskstats a process's IO takes in that
// of each child it reaps; then it must be certain which of them were reaped before the reading: those that
// were gone before it, and those that still exist after.
void Engine::read_with_children(Process& process, bool slow,
                                const std::vector<Process*>& children) {
  bool takes_over = sources_.taskstats == nullptr && !children.empty();
  if (takes_over) {
    const Result<PidStatus> status = process.reader.files().status();
    takes_over = !status.ok() || !status.value.ignores_child_signal();
  }
  std::vector<Process*> gone;
  const auto note_reaped = [&] {
    const size_t before = gone.size();
    for (Process* child : children) {
      if (child->reaped || child->reader.alive()) continue;
      child->reaped = child->ended = true;
      if (takes_over) process.reader.absorb(child->reader.left_to_parent());
      gone.push_back(child);
    }
    return gone.size() > before;
  };
  const auto unsettled = [&] {
    const bool again = note_reaped() && takes_over;
    if (!outside_child_reaped(process.children)) return again;
    process.children.pass = true;
    if (sources_.taskstats == nullptr) process.reader.absorb_all();
    return true;
  };
  unsettled();
  do {
    read_process(process, slow);
  } while (unsettled());
  Process* other = takes_over && process.ended ? other_reaper(process) : nullptr;
  if (other == nullptr) return;
  for (const Process* child : gone) other->reader.absorb(child->reader.left_to_parent());
}

// A moved process is younger here than its children, so the order is by depth. Each chain of ancestors is
// walked once: a program may fork itself ever deeper.
std::vector<Process*> Engine::children_first() {
  std::unordered_map<uint64_t, size_t> depths;
  std::vector<std::pair<size_t, Process*>> by_depth;
  std::vector<Process*> chain;
  for (auto& [serial, process] : processes_) {
    size_t depth = 0;  // of the last in the chain
    chain.clear();
    for (Process* up = process.get(); up != nullptr && chain.size() < processes_.size();
         up = find(up->parent)) {
      const auto known = depths.find(up->serial);
      if (known != depths.end()) {
        depth = known->second + 1;
        break;
      }
      chain.push_back(up);
    }
    for (auto member = chain.rbegin(); member != chain.rend(); ++member, ++depth) {
      if (depths.emplace((*member)->serial, depth).second) by_depth.emplace_back(depth, *member);
    }
  }
  std::stable_sort(by_depth.begin(), by_depth.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  std::vector<Process*> order;
  for (const auto& [depth, process] : by_depth) order.push_back(process);
  return order;
}

void Engine::read_all(bool slow) {
  const uint64_t now = sources_.clock->monotonic_ns();
  std::unordered_map<uint64_t, std::vector<Process*>> children;
  for (Process* process : children_first()) {
    process->next_stamps.clear();
    process->forget_thread_clocks();
    process->listed_tids.reset();
    process->unlisted_tids = 0;
    process->was_read = false;
    const bool waits = process->waits_until_ns > now && !process->reader.ended();
    if (!waits && process->waits_until_ns != 0) {  // the ring came too late, or never will
      process->waits_until_ns = 0;
      process->saved_rings.clear();
    }
    if (!waits) read_with_children(*process, slow, children[process->serial]);
    children[process->parent].push_back(process);  // as its reading told
  }
}

void Engine::take_exit_records() {
  // The event that tells the end may be younger than what the rings cover, and wait.
  exit_cpu_before_ns_.swap(exit_cpu_ns_);
  exit_cpu_ns_.clear();
  if (sources_.exits == nullptr) return;
  sources_.exits->drain(exit_records_);
  for (const TaskUsage& record : exit_records_) {
    if (!record.group) exit_cpu_ns_[record.tid] = record.cpu_ns;
  }
}

// Records of what is yet to be forked, in `to_come` or later, wait.
void Engine::attach_exit_records(const std::vector<Event>& to_come) {
  std::unordered_set<int> to_be_forked;
  for (const ProcEvent& event : proc_events_) to_be_forked.insert(event.tgid);
  for (const Event& event : to_come) {
    if (event.kind == Event::Kind::kProcess) to_be_forked.insert(event.event.tgid);
  }
  std::vector<TaskUsage> later;
  for (const TaskUsage& record : exit_records_) {
    const int pid = record.tgid != 0 ? record.tgid : record.tid;
    Process* process = find_pid(pid);
    if (to_be_forked.count(pid) != 0 &&
        (process == nullptr || process->reader.has_exit_record(record))) {
      later.push_back(record);
      continue;
    }
    if (process == nullptr) continue;
    if (!process->reader.is_open() && process->reader.had_last_exit_record(record)) continue;
    const auto before = superseded_.find(pid);
    Process* old = before == superseded_.end() ? nullptr : find(before->second);
    // The pid was taken again within the tick. Records come in order: all up to a second one of a leader
    // are the first process's.
    const bool second = old != nullptr && old->reader.had_last_exit_record(record);
    if (second) superseded_.erase(before);
    if (old != nullptr && !second) process = old;
    process->reader.note_exit_record(record);
  }
  exit_records_.swap(later);
  superseded_.clear();
}

bool Engine::note_heads() {
  const uint64_t now = sources_.clock->monotonic_ns();
  const uint64_t since_ns = now - taken_note_ns_;
  last_note_ns_ = now;
  bool any = false;
  uint64_t wanted_ns = std::min(kLongestDrainNs, drain_pause_ns_ + drain_pause_ns_ / 8);
  for (auto& [serial, process] : processes_) {
    for (Ring& ring : process->rings) {
      ring.file.note_heads();
      any = true;
      const uint64_t fullest = ring.file.fullest_lane_at_last_note();
      // A quarter of a lane at the rate just seen.
      const uint64_t capacity = ring.file.lane_capacity();
      if (fullest > 0) wanted_ns = std::min(wanted_ns, since_ns * capacity / 4 / fullest);
    }
  }
  drain_pause_ns_ = std::max(wanted_ns, kShortestDrainNs);
  rings_noted_ = any;
  return any;
}

// Forked since the readings: without a first one their use would be missing from this tick's total.
void Engine::read_newcomers() {
  for (auto& [serial, process] : processes_) {
    const bool waits = process->waits_until_ns != 0;
    if (process->was_read || process->ended || waits || !process->reader.is_open()) continue;
    read_process(*process, true);
  }
}

bool Engine::stays_open(const Process& process) const {
  if (process.waits_until_ns != 0 || !process.held.empty()) return true;
  const auto parent = processes_.find(process.parent);
  return process.birth_waits && parent != processes_.end() && !parent->second->held.empty();
}

// A zombie stays until it is reaped: its CPU, and without taskstats its IO, will then be in the figures of
// its reaper, which may be another than its parent by that time.
bool Engine::awaits_reaper(const Process& process) const {
  return !process.reaped && processes_.count(process.parent) != 0;
}

// The CPU of a thread that is announced somewhere, at the interval's end. False: it ended after the rings were
// read, and what it last said is still in them.
bool Engine::know_thread_clocks(Process& process) {
  const Reading& reading = process.reading;
  process.account.settle(reading.t_ns);
  if (!process.account.behind(reading, kCpu)) return true;
  process.account.threads_to_read(tids_);
  bool known = true;
  for (const int tid : tids_) {
    const bool told = thread_clock(process, tid) || process.next_stamps.count(tid) != 0;
    known = known && told;
  }
  return known;
}

bool Engine::know_all_thread_clocks() {
  bool known = true;
  for (auto& [serial, process] : processes_) {
    if (!process->was_read || process->ended || stays_open(*process)) continue;
    if (!know_thread_clocks(*process)) known = false;
  }
  return known;
}

// What an ended process used last: unread, without an exit record, and reaped by nobody of the run.
bool Engine::end_is_missing(const Process& process) {
  const bool told = process.end_was_read || process.reader.has_exit_told();
  return !told && find(process.parent) == nullptr && !extras_[process.account.run()].cgroup.active;
}

void Engine::close_process(Process& process) {
  Reading& reading = process.reading;
  if (process.was_read && reading.slow) process.reader.read_thread_io(reading);
  if (process.ended) {
    process.reader.finish(reading);
    if (!process.was_read && process.ended_ns != 0) reading.t_ns = process.ended_ns;
    const bool untold =
        !process.rings.empty() && !process.reader.is_open() && (reading.known & bit(kCpu)) == 0;
    if (untold && process.account.take_stamped(reading, static_cast<uint64_t>(get_nprocs())))
      table_.run(process.account.run())->estimated |= bit(kCpu);
    if (end_is_missing(process)) table_.run(process.account.run())->estimated |= bit(kCpu);
  }
  process.account.settle(reading.t_ns);
  const ProcessAccount& account = process.account;
  const bool io =
      reading.slow && (account.behind(reading, kIoRead) || account.behind(reading, kIoWrite));
  if (io || account.behind(reading, kCpu)) {
    process.account.threads_to_read(tids_);
    for (const int tid : tids_) {
      const auto next = process.next_stamps.find(tid);
      std::optional<Stamp> next_stamp;
      if (next != process.next_stamps.end()) next_stamp = next->second;
      ThreadReading now;
      now.cpu_ns = thread_clock(process, tid);
      if (io) process.reader.add_thread_io(tid, now);
      process.account.claim_tail(tid, now, next_stamp);
    }
  }
  grant_reaped(process);
  process.account.close(reading, table_);
}

void Engine::index_children() {
  children_of_.clear();
  for (const auto& [serial, process] : processes_) children_of_[process->parent].push_back(serial);
}

void Engine::close_all() {
  std::vector<Process*> ended;
  for (Process* process : children_first()) {
    const bool last = process->ended && !awaits_reaper(*process);
    if (last && !stays_open(*process)) ended.push_back(process);
  }
  index_children();
  for (Process* process : ended) {
    close_process(*process);
    finish_exited(*process);
  }
  for (auto& [serial, process] : processes_) {
    if (process->was_read && !stays_open(*process)) close_process(*process);
  }
}

void Engine::finish_tick(uint64_t now_ns) {
  table_.begin_memory_tick();
  for (auto& [serial, process] : processes_) {
    if (process->was_read && !process->ended) process->account.add_current_memory(table_);
  }
  table_.end_memory_tick();
  for (auto& [id, run] : table_.runs()) {
    if (run.processes == 0 && run.opened_ns == 0) continue;
    if (run.opened_ns == 0) run.opened_ns = run.ticked_ns = now_ns;
    const uint64_t gap_ns = now_ns - run.ticked_ns;
    if (gap_ns <= kObservedGapNs) run.observed_ns += gap_ns;
    run.ticked_ns = now_ns;
    run.dirty = run.dirty || run.processes > 0;
  }
  last_tick_ns_ = now_ns;
}

void Engine::read_rings(std::vector<Event>& events) {
  if (note_heads()) sources_.clock->sleep_ns(kSettleNs);
  collect_records(events);
  apply_until_reading(events);
}

void Engine::tick(bool slow) {
  drained_ = false;
  std::vector<Event> events;
  if (scan_once_) find_unseen();
  read_gpus();
  read_energy();
  read_cgroups();
  read_all(slow);
  take_exit_records();
  collect_process_events(sources_.clock->monotonic_ns(), events);
  if (before_rings_) before_rings_();
  read_rings(events);
  for (int more = 1; more < kMostRingReadings && !know_all_thread_clocks(); ++more) {
    // What comes now may be younger than the clocks that were read.
    for (auto& [serial, process] : processes_) process->forget_thread_clocks();
    read_rings(events);
  }
  for (auto& [serial, process] : processes_) find_ended_threads(*process);
  read_newcomers();
  attach_exit_records(events);
  close_all();
  grant_by_cgroup();
  charge_energy();
  charge_gpus();
  finish_tick(sources_.clock->monotonic_ns());
  for (const Event& event : events) apply_or_hold(event);
}

void Engine::drain() {
  drained_ = true;
  for (auto& [serial, process] : processes_) {
    process->was_read = false;
    process->forget_thread_clocks();
    process->listed_tids.reset();
    process->unlisted_tids = 0;
  }
  std::vector<Event> events;
  const uint64_t covered_until_ns = last_note_ns_;
  collect_records(events);
  take_exit_records();
  collect_process_events(covered_until_ns, events);
  apply_until_reading(events);
  attach_exit_records(events);
  note_heads();
}

}  // namespace lezea
