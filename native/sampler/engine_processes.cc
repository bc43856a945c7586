// Which processes are in which run: binding, moving, leaving, ending.

#include <algorithm>
#include <csignal>

#include "procfs/pid_list.h"
#include "sampler/engine.h"

namespace lezea {

Engine::Engine(Sources sources, uint64_t restart_wait_ns)
    : sources_(std::move(sources)),
      restart_wait_ns_(restart_wait_ns),
      listening_since_ns_(sources_.clock->monotonic_ns()),
      remembers_(sources_.gpus != nullptr) {}

Process* Engine::find(uint64_t serial) {
  const auto found = processes_.find(serial);
  return found == processes_.end() ? nullptr : found->second.get();
}

Process* Engine::find_pid(int pid) {
  const auto found = by_pid_.find(pid);
  return found == by_pid_.end() ? nullptr : find(found->second);
}

Process& Engine::add(std::unique_ptr<Process> process) {
  Process& added = *process;
  if (remembers_) added.account.keep_history();
  processes_.emplace(added.serial, std::move(process));
  next_serial_ = std::max(next_serial_, added.serial + 1);
  if (Run* owner = table_.run(added.account.run())) {
    ++owner->processes;
    owner->dirty = true;
  }
  return added;
}

// From now on the pid is this process's; who had it before has ended.
void Engine::take_pid(const Process& process) {
  const auto [by_pid, fresh] = by_pid_.emplace(process.pid, process.serial);
  if (fresh) return;
  if (Process* old = find(by_pid->second)) old->ended = true;
  superseded_[process.pid] = by_pid->second;
  by_pid->second = process.serial;
}

void Engine::describe(Process& process) {
  if (!process.reader.is_open()) return;
  const Result<PidStat> stat = process.reader.files().stat();
  if (stat.ok()) {
    process.comm = stat.value.comm;
    process.start_ticks = stat.value.start_ticks;
    process.parent_pid = stat.value.ppid;
  }
  const Result<std::string> exe = process.reader.files().exe();
  if (exe.ok()) process.exe = exe.value;
  const Result<PidStatus> status = process.reader.files().status();
  const bool first =
      status.ok() && !status.value.ns_pids.empty() && status.value.ns_pids.back() == 1;
  process.adopts_orphans = process.adopts_orphans || first;
}

bool Engine::bind_needs_tick(const BindCommand& command) {
  const Process* process = find_pid(command.pid);
  // A kept session's numbers may mean something else from now on.
  return process == nullptr || process->account.run() != command.run || is_kept(process->session);
}

void Engine::bind(const BindCommand& command) {
  if (table_.run(command.run) == nullptr || command.pid == sources_.own_pid) return;
  Process* process = find_pid(command.pid);
  const bool same = process != nullptr && process->start_ticks == command.start_ticks;
  if (same && process->account.run() == command.run) {
    attach(*process, command);
  } else {
    bind_new(command, same ? process : nullptr);
  }
  want_gpu_lists();
  // From the very start: children may come and go before the next look.
  check_cgroup(command.run, extras_[command.run].cgroup);
}

// Everything up to now belongs where the process still is, whatever its records wait for.
void Engine::close_before_leaving(Process& process) {
  std::vector<Event> held;
  held.swap(process.held);
  for (const Event& event : held) apply(event);
  process.birth_waits = false;
  process.waits_until_ns = 0;
  index_children();
  std::vector<Process*> children;
  for (const uint64_t serial : children_of_[process.serial]) children.push_back(find(serial));
  read_with_children(process, true, children);
  process.forget_thread_clocks();
  close_process(process);
  // What it uses from now on is still its cgroup's, but not the run's.
  extras_[process.account.run()].cgroup.active = false;
}

void Engine::bind_new(const BindCommand& command, Process* moved_from) {
  ProcessReader reader(sources_, command.pid, false);
  Reading base;
  if (moved_from != nullptr) {
    close_before_leaving(*moved_from);
    if (!moved_from->was_read) return;
    base = moved_from->reading;
    reader = std::move(moved_from->reader);
  } else if (reader.open() && reader.read(base, true)) {
    reader.read_thread_io(base);
  } else {
    return;
  }
  if (reader.facts()->start_ticks != command.start_ticks) return;  // the pid is another's by now
  if (processes_.empty() && sources_.energy) (void)sources_.energy->read(base.t_ns);
  const uint32_t birth = table_.slot_or_unattributed(command.run, command.birth_slot);
  const int primary = command.primary_tid != 0 ? command.primary_tid : command.pid;
  const uint64_t reaped_ns = reader.facts()->reaped_cpu_most_ns;
  ProcessAccount account(command.run, birth, primary, base);
  Process& process = add(
      std::make_unique<Process>(next_serial_, command.pid, std::move(reader), std::move(account)));
  process.started_ns = base.t_ns;
  process.children.base_ns = reaped_ns;
  describe(process);
  if (moved_from != nullptr) {
    process.parent = moved_from->parent;
    process.children = std::move(moved_from->children);
    process.adopts_orphans = moved_from->adopts_orphans;
    for (auto& [serial, other] : processes_) {
      if (other->parent == moved_from->serial) other->parent = process.serial;
    }
    report(*moved_from, true);
    remove(*moved_from);
  }
  take_pid(process);
  note_outside_children(process);
  const Result<std::string> cgroup = process.reader.files().cgroup_text();
  if (cgroup.ok()) process.cgroup_text = cgroup.value;
  process.oom_kills = oom_kills(process);
  if (process.parent == 0) {
    const Process* parent = find_pid(process.parent_pid);
    if (parent != nullptr) process.parent = parent->serial;
  }
  attach(process, command);
}

// Children from before the binding are not of the run, yet their CPU will be in its cutime.
void Engine::note_outside_children(Process& process) {
  const Result<std::vector<int>> pids = list_pids(sources_.proc_root.get());
  if (!pids.ok()) {
    process.children.usable = false;
    return;
  }
  for (const int pid : pids.value) {
    Result<ProcessFiles> files = ProcessFiles::open(sources_.proc_root.get(), pid);
    if (!files.ok()) continue;
    const Result<PidStat> stat = files.value.stat();
    if (!stat.ok() || stat.value.ppid != process.pid) continue;
    if (Process* known = find_pid(pid)) {
      known->parent = process.serial;  // in this run or in another: its use is known
    } else {
      process.children.outside.emplace(pid, stat.value.start_ticks);
    }
  }
}

void Engine::attach(Process& process, const BindCommand& command) {
  const uint64_t now = sources_.clock->monotonic_ns();
  if (command.birth_slot != 0) {
    const uint32_t run = process.account.run();
    process.account.set_birth(table_.slot_or_unattributed(run, command.birth_slot), now);
  }
  if (command.session == 0) return;
  const bool kept = is_kept(process.session);
  if (kept) forget_held_records(process);
  std::vector<RingRecord> gpu_times;
  if (kept) gpu_times.swap(sessions_[process.session].early_gpu_times);
  if (process.session != 0) close_session(process.session);
  // It will offer again what was read without it, as after a restart.
  if (kept && !process.saved_rings.empty()) process.waits_until_ns = now + restart_wait_ns_;
  if (command.primary_tid != 0) process.account.set_primary(command.primary_tid, now);
  process.session = command.session;
  Session& session = sessions_[command.session];
  session.process = process.serial;
  session.early_gpu_times = std::move(gpu_times);
  session.clock_offset_ns = command.clock_offset_ns;
  const Result<PidStatus> status = process.reader.files().status();
  process.own_namespace = !status.ok() || status.value.ns_pids.size() <= 1;
  keep_session(process, session);
}

void Engine::map_scope(uint32_t session_handle, uint32_t client_scope, uint32_t slot) {
  const auto session = sessions_.find(session_handle);
  if (session == sessions_.end() || client_scope == 0) return;
  const auto [known, fresh] = session->second.slots.try_emplace(client_scope, slot);
  if (!fresh && known->second == slot) return;
  known->second = slot;
  session->second.ids.add_scope(client_scope, slot);
}

void Engine::enter(const EnterCommand& command) {
  const auto session = sessions_.find(command.session);
  Process* process = session == sessions_.end() ? nullptr : find(session->second.process);
  if (process == nullptr) return;
  Switch change;
  change.tid = command.tid;
  change.t_ns = command.t_ns;
  change.activation = command.activation;
  if (command.slot != 0)
    change.slot = table_.slot_or_unattributed(process->account.run(), command.slot);
  process->account.apply(change);
}

void Engine::close_session(uint32_t handle) {
  const auto session = sessions_.find(handle);
  if (session == sessions_.end()) return;
  Process* process = find(session->second.process);
  if (process != nullptr) {
    std::vector<Event> held;
    held.swap(process->held);
    for (const Event& event : held) apply(event);  // their scopes will not be defined any more
    process->account.void_announcements(sources_.clock->monotonic_ns());
    process->session = 0;
    for (const Ring& ring : process->rings) {
      process->saved_rings.push_back({ring.file.inode(), ring.applied});
    }
    process->rings.clear();
    drop_kept(*process);
    auto& saved = process->saved_rings;  // of programs that it exec'd since, too: the oldest go
    if (saved.size() > kMostRings) {
      saved.erase(saved.begin(), saved.end() - static_cast<ptrdiff_t>(kMostRings));
    }
  }
  sessions_.erase(session);
}

bool Engine::adopt_ring(uint32_t handle, RingFile& file) {
  const auto session = sessions_.find(handle);
  Process* process = session == sessions_.end() ? nullptr : find(session->second.process);
  if (process == nullptr) return false;
  for (Ring& ring : process->rings) {
    if (ring.file.inode() == file.inode()) return true;  // offered twice
  }
  if (process->rings.size() >= kMostRings) return true;  // closed unread
  keep_ring(*process, session->second, file);
  take_ring(*process, handle, file);
  return true;
}

// With the positions up to which it was applied, where it is one that was read before.
void Engine::take_ring(Process& process, uint32_t session, RingFile& file) {
  std::vector<uint64_t> applied(file.lanes(), 0);
  auto& saved = process.saved_rings;
  const auto before = std::find_if(saved.begin(), saved.end(), [&](const SavedRing& ring) {
    return ring.inode == file.inode();
  });
  if (before != saved.end()) {
    applied = before->positions;
    applied.resize(file.lanes(), 0);
    file.set_positions(applied);
    saved.erase(before);
    process.account.restore_announcements();
  }
  if (saved.empty()) process.waits_until_ns = 0;
  process.rings.push_back({std::move(file), session, std::move(applied), {}});
}

void Engine::report(Process& process, bool released) {
  ExitedProcess exited;
  exited.run = process.account.run();
  exited.pid = process.pid;
  exited.start_ticks = process.start_ticks;
  exited.session = is_kept(process.session) ? 0 : process.session;
  exited.parent_pid = process.parent_pid;
  exited.exe = process.exe;
  exited.comm = process.comm;
  exited.totals = process.account.totals();
  if (!released) exited.wait_status = process.reader.wait_status();
  exited.oom_killed = process.oom_killed;
  exited.started_ns = process.started_ns;
  exited.ended_ns = process.end_ns() != 0 ? process.end_ns() : sources_.clock->monotonic_ns();
  exited.released = released;
  exited_.push_back(std::move(exited));
}

void Engine::remove(Process& process) {
  cut_stamps_ += process.account.cut_stamps();
  if (Run* run = table_.run(process.account.run())) {
    --run->processes;
    run->dirty = true;
  }
  drop_kept(process);
  if (process.session != 0) sessions_.erase(process.session);
  const auto by_pid = by_pid_.find(process.pid);
  if (by_pid != by_pid_.end() && by_pid->second == process.serial) by_pid_.erase(by_pid);
  const uint64_t serial = process.serial;
  depart(process);
  processes_.erase(serial);
}

// Who will reap a process is asked at every reading: a parent that ends hands its children on.
void Engine::follow_parent(Process& process) {
  process.parent_pid = process.reader.facts()->parent_pid;
  Process* parent = find_pid(process.parent_pid);
  if (parent != nullptr && process.parent != 0 && parent->serial != process.parent) {
    parent->adopts_orphans = true;
  }
  process.parent = parent == nullptr ? 0 : parent->serial;
}

// Who else may have reaped a child of a process that has itself ended: the kernel gives orphans to the
// nearest such ancestor. nullptr: none that is known.
Process* Engine::other_reaper(const Process& ended_parent) {
  Process* up = find(ended_parent.parent);
  for (size_t steps = 0; up != nullptr && steps < processes_.size(); ++steps) {
    if (up->adopts_orphans) return up;
    up = find(up->parent);
  }
  return nullptr;
}

// What is left of an ended process's children goes to whom the kernel gave them; one that is gone
// already, to who reaps the process itself, so that no CPU or IO can be taken for somebody else's.
void Engine::hand_over_children(const Process& process) {
  const std::vector<uint64_t> children = std::move(children_of_[process.serial]);
  for (const uint64_t serial : children) {
    Process* child = find(serial);
    if (child == nullptr || child->parent != process.serial) continue;
    const Result<PidStat> stat = child->reader.is_open() ? child->reader.files().stat()
                                                         : Result<PidStat>::fail(ReadStatus::kGone);
    const Process* reaper = stat.ok() ? find_pid(stat.value.ppid) : find(process.parent);
    const bool other = reaper != nullptr && reaper->serial != process.serial;
    child->parent = other ? reaper->serial : 0;
    children_of_[child->parent].push_back(serial);
    if (!stat.ok()) note_perhaps_reaped(*child, other_reaper(process));
  }
}

void Engine::release(Process& process) {
  if (Process* parent = find(process.parent)) {
    // It will be reaped later, with CPU that is then nobody's.
    parent->children.outside.emplace(process.pid, process.start_ticks);
  }
  close_before_leaving(process);
  report(process, true);
  remove(process);
}

// Who has a part is the caller's knowledge: after a restart no process has a session until its client is back.
void Engine::end_part(int pid, uint64_t start_ticks, const std::set<ProcessId>& own_parts) {
  Process* root = find_pid(pid);
  if (root == nullptr || root->start_ticks != start_ticks) return;
  const uint32_t run = root->account.run();
  std::vector<uint64_t> part = {root->serial};
  for (size_t i = 0; i < part.size(); ++i) {
    for (const auto& [serial, process] : processes_) {
      const bool own_part = own_parts.count({process->pid, process->start_ticks}) > 0;
      if (process->parent == part[i] && process->account.run() == run && !own_part)
        part.push_back(serial);
    }
  }
  std::reverse(part.begin(), part.end());
  for (const uint64_t serial : part) release(*find(serial));
}

void Engine::close_run(uint32_t run) {
  std::vector<uint64_t> members;
  for (const auto& [serial, process] : processes_) {
    if (process->account.run() == run) members.push_back(serial);
  }
  for (const uint64_t serial : members) release(*find(serial));
  // What they used last is the run's: it goes when the next snapshot has said so.
  if (Run* known = table_.run(run)) known->dirty = true;
  closing_.push_back(run);
}

std::optional<uint64_t> Engine::oom_kills(const Process& process) const {
  if (process.cgroup_text.empty()) return std::nullopt;
  const Result<uint64_t> kills = read_oom_kills(sources_.proc_root.get(), process.cgroup_text);
  return kills.ok() ? std::optional<uint64_t>(kills.value) : std::nullopt;
}

void Engine::finish_exited(Process& process) {
  if (process.ended_ns == 0) process.ended_ns = process.reading.t_ns;
  process.reader.ask_wait_status();
  const std::optional<uint32_t> status = process.reader.wait_status();
  if (process.oom_kills && status && (*status & 0x7f) == SIGKILL) {
    const std::optional<uint64_t> kills = oom_kills(process);
    process.oom_killed = kills && *kills > *process.oom_kills;
  }
  child_ended(process);
  hand_over_children(process);
  report(process, false);
  remove(process);
}

}  // namespace lezea
