// What one event does: a record moves a thread between scopes, a fork adds a process, an exec and the end
// of a thread void what was announced.

#include <algorithm>
#include <iterator>
#include <utility>

#include "sampler/engine.h"

namespace lezea {
namespace {

constexpr size_t kMostEndedTids = 4'096;
// Of threads that nobody saw, in one tick or drain: their numbers may be invented.
constexpr size_t kMostUnlistedTids = 4'096;

}  // namespace

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
  return process.thread_clocks.of(tid, process.reader);
}

void Engine::apply_record(Process& process, const Event& event) {
  const std::optional<int> tid = own_tid(process, event.record.tid, event.t_ns);
  if (!tid) {
    ++forged_records_;
    return;
  }
  const RingRecord& record = event.record;
  // Of one that ended while nobody looked, and perhaps nobody told when.
  if (!process.reader.is_open()) process.ended_ns = std::max(process.ended_ns, event.t_ns);
  if (record.kind == LEZEA_RING_KIND_IO_READ)
    process.account.io_stamp(*tid, kClaimRead, record.value);
  if (record.kind == LEZEA_RING_KIND_IO_WRITTEN)
    process.account.io_stamp(*tid, kClaimWrite, record.value);
  if (record.kind == LEZEA_RING_KIND_PROCESS_CPU) process.account.process_stamp(*tid, record.value);
  if (record.kind == LEZEA_RING_KIND_GPU) claim_gpu_time(process, record);
  if (record.kind != LEZEA_RING_KIND_SWITCH) return;
  const uint32_t run = process.account.run();
  Switch change;
  change.tid = *tid;
  change.t_ns = event.t_ns;
  change.counts_from_ns = process.started_ns;
  change.activation = (record.flags & LEZEA_RING_FLAG_ACTIVATION) != 0;
  if (record.scope != 0) {
    const std::optional<uint32_t> slot = slot_of_record(process, record);
    if (!slot) ++undefined_records_;
    change.slot = table_.slot_or_unattributed(run, slot.value_or(0));
  }
  if (record.value != 0) {
    change.cpu_ns = record.value;
    change.kernel_ns = thread_clock(process, *tid);
  }
  process.account.apply(change);
}

std::optional<int> Engine::own_tid(Process& process, uint32_t client_tid, uint64_t t_ns) {
  int tid = static_cast<int>(client_tid);
  if (!process.own_namespace) return tid_from_namespace(process, tid);
  if (tid == process.pid || process.known_tids.count(tid) != 0) return tid;
  const std::vector<int>& listed = list_threads(process);
  if (!std::binary_search(listed.begin(), listed.end(), tid)) {
    // Without clone events, or before this agent began to listen to them, a thread may have come and gone
    // unseen; its process bounds what it claims.
    const bool told = sources_.events != nullptr && t_ns >= listening_since_ns_;
    if (told || tid <= 0) return std::nullopt;
    if (process.unlisted_tids++ >= kMostUnlistedTids) return std::nullopt;
    if (sources_.events != nullptr) process.untold_tids.push_back(tid);
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
      const auto session = sessions_.find(process.session);
      if (session != sessions_.end())
        session->second.ids.add_thread(status.value.ns_pids.back(), tid);
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
  if (!missed && sources_.events != nullptr) return end_untold_threads(process);
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

// They ended before this agent began to listen, perhaps inside a scope. More than one record may name them.
void Engine::end_untold_threads(Process& process) {
  if (process.untold_tids.empty()) return;
  const Result<std::vector<int>> listed = process.reader.files().thread_ids();
  if (!listed.ok()) return;
  const uint64_t t_ns = process.was_read ? process.reading.t_ns : sources_.clock->monotonic_ns();
  for (const int tid : std::exchange(process.untold_tids, {})) {
    if (std::binary_search(listed.value.begin(), listed.value.end(), tid)) continue;
    process.account.end_thread(tid, t_ns, std::nullopt);
    process.known_tids.erase(tid);
  }
}

// It ended while there was no agent: what is told of its pid after that is another's.
bool Engine::is_over(const Process& process) {
  return !process.reader.is_open() && process.reader.leader_told();
}

void Engine::apply_process_event(const ProcEvent& event) {
  if (event.kind == ProcEvent::Kind::kFork && !event.new_thread()) {
    Process* parent = find_pid(event.parent_tgid);
    if (parent != nullptr && !is_over(*parent)) fork_into_run(*parent, event);
    return;
  }
  Process* process = find_pid(event.tgid);
  if (process == nullptr || event.t_mono_ns < process->started_ns) return;
  if (event.new_thread()) {
    process->known_tids.insert(event.tid);
    return;
  }
  if (is_over(*process)) return;
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
  // A ring offered late may still hold its records, also of a thread from before this agent.
  process.known_tids.insert(event.tid);
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
  base.known = (1u << kReadingColumns) - 1;
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
