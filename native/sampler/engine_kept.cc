// What the service manager keeps of each session for the next agent: its process's pidfd, its rings, and what the numbers in
// those mean. With them an agent that is started again reads what was written while there was none, also by
// programs that have ended since.

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <utility>

#include "sampler/engine.h"

namespace lezea {
namespace {

// Sessions that the next agent takes over until their clients speak to it: above all that a client is given.
constexpr uint32_t kFirstKeptSession = 0xF0000000;

// Of one session: for 128 threads at a time, and so that no client takes the manager's room from others.
constexpr size_t kMostKeptRings = 2;

constexpr const char* kRing = "ring";
constexpr const char* kIds = "ids";
constexpr const char* kProcess = "process";

std::string kept_name(const char* kind, int pid, uint64_t start_ticks) {
  return std::string(kind) + "-" + std::to_string(pid) + "-" + std::to_string(start_ticks);
}

// Whose it is; pid 0: no process's.
ProcessId owner_of(const std::string& name) {
  for (const char* kind : {kRing, kIds, kProcess}) {
    unsigned long long start_ticks = 0;
    int pid = 0;
    if (name.rfind(kind, 0) == 0 &&
        sscanf(name.c_str() + strlen(kind), "-%d-%llu", &pid, &start_ticks) == 2 &&
        kept_name(kind, pid, start_ticks) == name) {
      return {pid, start_ticks};
    }
  }
  return {0, 0};
}

bool is_a(const char* kind, const std::string& name) {
  return name.rfind(std::string(kind) + "-", 0) == 0;
}

}  // namespace

bool Engine::is_kept(uint32_t session) { return session >= kFirstKeptSession; }

void Engine::keep(const char* kind, Process& process, int fd) {
  if (!sources_.kept.store || fd < 0) return;
  sources_.kept.store->keep(kept_name(kind, process.pid, process.start_ticks), fd);
  process.kept = true;
}

void Engine::drop_kept(Process& process) {
  if (!sources_.kept.store || !std::exchange(process.kept, false)) return;
  for (const char* kind : {kRing, kIds, kProcess})
    sources_.kept.store->drop(kept_name(kind, process.pid, process.start_ticks));
}

void Engine::keep_session(Process& process, Session& session) {
  if (!sources_.kept.store) return;
  drop_kept(process);
  session.ids = ClientIds::create(session.clock_offset_ns, process.own_namespace);
  keep(kIds, process, session.ids.fd());
  keep(kProcess, process, process.reader.pidfd());
}

// All rings of a session or none: with a part of them it would be read as if it were whole.
void Engine::keep_ring(Process& process, Session& session, const RingFile& file) {
  if (!session.ids.valid()) return;
  if (process.rings.size() < kMostKeptRings) return keep(kRing, process, file.fd());
  drop_kept(process);
  session.ids = ClientIds();
}

// Of scopes that the kept session does not know: its client names them when it offers the ring again.
void Engine::forget_held_records(Process& process) {
  auto& held = process.held;
  held.erase(std::remove_if(held.begin(), held.end(),
                            [](const Event& event) { return event.kind == Event::Kind::kRecord; }),
             held.end());
}

void Engine::hand_over(uint64_t stored_ns) {
  const bool waits = std::any_of(processes_.begin(), processes_.end(),
                                 [](const auto& entry) { return !entry.second->held.empty(); });
  // What was heard and is not in that state would be missing for good: better to be told of nothing.
  if (stored_ns != last_tick_ns_ || drained_ || waits || !proc_events_.empty() ||
      !exit_records_.empty())
    return;
  hand_over_listeners(sources_);
}

void Engine::take_meanings(Process& process, int fd) {
  std::optional<ClientMeanings> meanings = ClientIds::read(fd);
  if (!meanings) return;
  process.session = kFirstKeptSession + kept_sessions_++;
  process.own_namespace = meanings->own_namespace;
  for (const auto& [inside, tid] : meanings->tids) process.tids_from_namespace[inside] = tid;
  Session& session = sessions_[process.session];
  session.process = process.serial;
  session.clock_offset_ns = meanings->clock_offset_ns;
  session.ids = ClientIds::create(session.clock_offset_ns, process.own_namespace);
  for (const auto& [inside, tid] : meanings->tids) session.ids.add_thread(inside, tid);
  const uint32_t run = process.account.run();
  for (const auto& [client_scope, slot] : meanings->slots) {
    // One that was not stored is another scope's number by now, or will be.
    const Slot* known = table_.slot(slot);
    if (known == nullptr || known->run != run) continue;
    session.slots[client_scope] = slot;
    session.ids.add_scope(client_scope, slot);
  }
  if (!sources_.kept.store) return;
  sources_.kept.store->drop(kept_name(kIds, process.pid, process.start_ticks));
  keep(kIds, process, session.ids.fd());
}

void Engine::adopt_kept() {
  std::map<ProcessId, Process*> processes;
  for (auto& [serial, process] : processes_)
    processes[{process->pid, process->start_ticks}] = process.get();
  std::vector<KeptDescriptor> kept = std::move(sources_.kept.descriptors);
  std::vector<std::pair<Process*, KeptDescriptor*>> rings;
  for (KeptDescriptor& descriptor : kept) {
    if (!descriptor.fd) continue;
    const auto found = processes.find(owner_of(descriptor.name));
    if (found == processes.end()) {
      if (sources_.kept.store) sources_.kept.store->drop(descriptor.name);
      continue;
    }
    found->second->kept = true;
    if (is_a(kRing, descriptor.name)) {
      rings.emplace_back(found->second, &descriptor);
    } else if (is_a(kProcess, descriptor.name)) {
      found->second->reader.take_pidfd(std::move(descriptor.fd));
    } else if (found->second->session == 0) {
      take_meanings(*found->second, descriptor.fd.get());
    }
  }
  for (const auto& [process, descriptor] : rings) {
    if (process->session == 0 || process->rings.size() >= kMostKeptRings) continue;
    std::string why;
    Result<RingFile> ring = RingFile::adopt(std::move(descriptor->fd), &why);
    if (!ring.ok()) continue;
    const uint64_t inode = ring.value.inode();
    const auto is_it = [inode](const Ring& other) { return other.file.inode() == inode; };
    if (std::any_of(process->rings.begin(), process->rings.end(), is_it)) continue;
    take_ring(*process, process->session, ring.value);
    // Its session was whole: other rings are of programs that it exec'd since.
    process->waits_until_ns = 0;
  }
  for (auto& [serial, process] : processes_) {
    if (!process->reader.is_open()) process->saved_rings.clear();  // nobody will offer them
  }
}

}  // namespace lezea
