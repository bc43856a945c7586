// A machine that exists only for the engine's tests: a clock, a /proc root in a temporary folder, process
// events, exit records and clients with real rings, all driven by the test. Knows the truth of what every
// process used. Pids are above the kernel's greatest, so that no real process can be met.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "netlink/proc_connector.h"
#include "netlink/taskstats.h"
#include "ring_writer.h"
#include "sampler/engine.h"

namespace lezea::test {

// A file of the fake /proc. Kept open, and written only when its text changes.
class FakeFile {
 public:
  void write(const std::string& path, const std::string& text);
  void vanish();  // what the agent keeps open reads nothing more
  void release();

 private:
  int fd_ = -1;
  std::string text_;
};

struct FakeThread {
  uint64_t cpu_ns = 0;
  uint64_t read_bytes = 0;
  uint64_t write_bytes = 0;
  uint32_t lane = 0;
  bool has_lane = false;
  bool exiting = false;
  std::vector<uint32_t> stack;  // client scope ids
  FakeFile schedstat;
  FakeFile io;
  FakeFile stat;
};

struct FakeProcess {
  int pid = 0;
  int ppid = 0;
  uint64_t start_ticks = 0;
  std::string comm = "fake";
  std::map<int, FakeThread> threads;
  uint64_t ended_cpu_ns = 0;  // of ended threads
  uint64_t ended_read_bytes = 0;
  uint64_t ended_write_bytes = 0;
  uint64_t reaped_cpu_ns = 0;  // of reaped children, theirs included
  uint64_t absorbed_read_bytes = 0;
  uint64_t absorbed_write_bytes = 0;
  uint64_t rss_bytes = 10'000'000;
  uint64_t reaped_minor_faults = 0;
  bool zombie = false;
  bool subreaper = false;  // gets the orphans below it
  std::unique_ptr<RingWriter> ring;
  uint32_t next_lane = 0;
  std::vector<uint32_t> free_lanes;
  FakeFile stat;
  FakeFile statm;
  FakeFile io;
  FakeFile status;

  uint64_t cpu_ns() const;
  uint64_t read_bytes() const;  // its own threads'
  uint64_t write_bytes() const;
};

class FakeWorld {
 public:
  FakeWorld();
  ~FakeWorld();
  FakeWorld(const FakeWorld&) = delete;
  FakeWorld& operator=(const FakeWorld&) = delete;

  // Fresh descriptors and listeners, as a starting agent has them. With taskstats, IO is read by thread.
  Sources sources(bool with_events, bool with_exits, bool with_taskstats);

  // Energy counters of a package and its memory, from now on, of so much power.
  void add_energy(uint64_t watts, int cpus);
  uint64_t energy_uj() const { return (now_ns - energy_since_ns_) / 1000 * watts_; }
  static constexpr uint64_t kEnergyRange = 20'000'000'000;  // µJ
  bool hide_energy = false;                                 // the memory's counter is not there

  FakeProcess& spawn(int ppid);  // from outside any run
  FakeProcess& fork(int pid, int tid);
  int clone_thread(int pid);
  void begin_end(int pid, int tid);  // its last figures are told; it is listed until its end is
  void end_thread(int pid, int tid);
  void exec(int pid, int tid);
  void exit(int pid);  // all threads; a zombie until reaped
  void reap(int pid);  // by its parent
  void use(int pid, int tid, uint64_t cpu_ns, uint64_t read_bytes = 0, uint64_t write_bytes = 0);
  void publish();  // writes the /proc files

  FakeProcess* find(int pid);
  bool exists(int pid) { return find(pid) != nullptr; }
  std::map<int, FakeProcess>& processes() { return processes_; }

  // The client's side: a record on the thread's lane. Stamped with the thread's clock or not.
  void announce(int pid, int tid, uint32_t scope, bool stamped, bool begins);
  void stamp_io(int pid, int tid);
  void stamp_process(int pid, int tid);

  // What all processes ever used.
  uint64_t used_cpu_ns = 0;
  uint64_t used_write_bytes = 0;

  uint64_t now_ns = 1'000'000'000'000;
  int next_pid = 5'000'000;
  bool agent_up = true;  // events go nowhere while it is down

  // What happens between the readings of the processes and of the events, once.
  std::function<void()> after_readings;
  // Nor is this in what the rings give next.
  std::function<void()> after_rings_noted;

  std::vector<ProcEvent> events;
  std::vector<TaskUsage> exits;
  std::string root;
  UniqueFd listener;  // stands for a kernel's socket, where a descriptor is asked for

 private:
  void tell_end(int pid, int tid);
  void write_thread(const FakeProcess& process, int tid, FakeThread& thread);
  void remove_thread(int pid, int tid, FakeThread& thread);
  FakeProcess& add(int ppid);
  int reaper_of_orphans(const FakeProcess& ended);
  int free_id();
  void write_energy();
  std::map<int, FakeProcess> processes_;
  uint64_t watts_ = 0;  // 0: no counters
  uint64_t energy_since_ns_ = 0;
  FakeFile package_energy_;
  FakeFile memory_energy_;
};

}  // namespace lezea::test
