// One process of a run, as the engine keeps it: where it came from, how it is read, what it is owed.
// Owned by the engine's process table; used by the sampling thread only.

#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "attribution/process_account.h"
#include "netlink/proc_connector.h"
#include "sampler/process_reader.h"
#include "scope/ring_file.h"

namespace lezea {

// Something that happened to a process at a time: what the tick sorts and applies.
struct Event {
  enum class Kind : uint8_t { kRecord, kProcess };
  uint64_t t_ns = 0;
  Kind kind = Kind::kRecord;
  uint64_t process = 0;  // kRecord: serial
  RingRecord record{};   // kRecord; t_ns is in the agent's time, t_mono_ns in the client's
  uint64_t inode = 0;    // kRecord: which ring,
  uint32_t lane = 0;     //   lane and number, to know what was applied
  uint64_t n = 0;
  ProcEvent event{};  // kProcess
};

// Of one process, offered and to be offered again.
inline constexpr size_t kMostRings = 64;

// Events that one process may have waiting for a scope's definition, and all together: of many that wait
// each has an equal share, so that nobody's waiting is another's loss.
inline constexpr size_t kMostHeld = 65'536;
inline constexpr size_t kMostHeldInAll = 4 * kMostHeld;

// GPUs that one session may name, and what is told of them before their names are.
inline constexpr uint32_t kMostSessionDevices = 64;
inline constexpr size_t kMostEarlyGpuTimes = 256;

using ProcessId = std::pair<int, uint64_t>;  // pid and start ticks

// Birth scopes of the children that ended since the last grant, and how many. They stay until the next
// one ends: the kernel's figure of a child's last moments may come a tick later.
struct EndedSlots {
  std::map<uint32_t, uint64_t> count;
  bool granted = false;

  void add(uint32_t slot) {
    if (granted) count.clear();
    granted = false;
    ++count[slot];
  }
};

// CPU that the kernel counted for reaped children, against what those were seen to use.
struct ChildLedger {
  uint64_t base_ns = 0;     // cutime + cstime at binding, at most
  uint64_t known_ns = 0;    // of ended children that were seen, with all that they had reaped
  uint64_t granted_ns = 0;  // given beyond that
  bool usable = true;       // false: whose children it has could not be found out
  // Living children that are not counted: from before the binding, or of a part that ended. When one
  // is reaped its CPU must not be taken for what is missing.
  std::set<ProcessId> outside;
  bool pass = false;  // one was, before the last reading
  EndedSlots ended;
};

struct Ring {
  RingFile file;
  uint32_t session = 0;
  std::vector<uint64_t> applied;  // per lane the next record to apply
  std::vector<int> writers;       // per lane the thread that wrote last
};

struct SavedRing {
  uint64_t inode = 0;
  std::vector<uint64_t> positions;
};

// The threads' CPU clocks, each read once after the rings were. Places are kept: most threads are read in every tick.
class ThreadClocks {
 public:
  // `threads`: about how many have one.
  void forget(size_t threads) {
    ++round_;
    if (places_.size() > 2 * threads + 64) places_.clear();
  }
  std::optional<uint64_t> of(int tid, ProcessReader& reader) {
    Place& place = places_[tid];
    if (place.round != round_) place = {round_, reader.thread_cpu_ns(tid)};
    return place.cpu_ns;
  }

 private:
  struct Place {
    uint64_t round = 0;
    std::optional<uint64_t> cpu_ns;
  };
  std::unordered_map<int, Place> places_;
  uint64_t round_ = 1;
};

struct Process {
  Process(uint64_t serial_number, int process_id, ProcessReader&& process_reader,
          ProcessAccount&& process_account)
      : serial(serial_number),
        pid(process_id),
        reader(std::move(process_reader)),
        account(std::move(process_account)) {}

  uint64_t serial;
  int pid;
  uint64_t start_ticks = 0;  // 0: gone before it could be read
  uint64_t started_ns = 0;   // CLOCK_MONOTONIC of the fork or the binding
  uint64_t parent = 0;       // serial of the process that will reap it; 0: none that is known
  int parent_pid = 0;
  bool adopts_orphans = false;  // the first of its PID namespace, or was seen to get one
  uint32_t session = 0;         // handle of the live session; 0: none
  bool kept = false;            // the service manager has something of it
  std::string exe;
  std::string comm;

  ProcessReader reader;
  ProcessAccount account;
  ChildLedger children;

  std::vector<Ring> rings;
  std::vector<SavedRing> saved_rings;  // of a lost session or agent, until offered again
  uint64_t waits_until_ns = 0;         // 0: does not wait for its ring
  std::unordered_set<int> known_tids;  // of its threads, the lately ended ones among them
  std::deque<int> ended_tids;
  std::unordered_map<int, int> tids_from_namespace;  // the client's tid to ours, where they differ
  bool threads_missed = false;  // nobody listened for a while: some may have ended
  // As listed once in this tick or drain, at the first record of a thread that was not known; and how
  // many were accepted that were not in it.
  std::optional<std::vector<int>> listed_tids;
  size_t unlisted_tids = 0;
  std::vector<int> untold_tids;  // accepted with process events: no event will tell their end
  bool own_namespace = true;     // shares the agent's PID namespace

  // Events that wait for a scope to be defined; while there are any the interval stays open.
  std::vector<Event> held;
  uint64_t held_since_ns = 0;
  bool birth_waits = false;  // forked by a process whose events wait: so does its own birth scope

  // Of the tick in progress.
  Reading reading;
  bool was_read = false;
  bool ended = false;
  bool end_was_read = false;  // its figures once it had ended
  bool reaped = false;        // seen gone by its parent's reading
  bool oom_killed = false;
  std::string cgroup_text;            // /proc/PID/cgroup at binding; empty: not bound itself
  std::optional<uint64_t> oom_kills;  // of its memory cgroup, at binding
  uint64_t ended_ns =
      0;  // of the thread that ended last: its own end once it has ended, see end_ns()
  std::unordered_map<int, Stamp> next_stamps;  // first one after the interval's end, by tid
  ThreadClocks thread_clocks;

  // 0: it lives, or nobody told when it ended.
  uint64_t end_ns() const { return ended ? ended_ns : 0; }
  void forget_thread_clocks() { thread_clocks.forget(account.thread_count()); }
};

}  // namespace lezea
