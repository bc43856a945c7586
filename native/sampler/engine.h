// The sampler without its thread: runs, processes, sessions and rings, and the tick that reads the
// kernel in the order that conservation needs and divides what it says. Everything goes through
// Sources, so a test drives it with a fake clock and a fake /proc. One owner thread.

#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "attribution/run_table.h"
#include "procfs/cgroup_cpu.h"
#include "sampler/gpu_ledger.h"
#include "sampler/process.h"
#include "sampler/sources.h"
#include "scope/client_ids.h"

namespace lezea {

struct BindCommand {
  uint32_t session = 0;  // 0: bound from outside
  int pid = 0;
  uint64_t start_ticks = 0;
  uint32_t run = 0;
  uint32_t birth_slot = 0;
  int primary_tid = 0;
  int64_t clock_offset_ns = 0;
};

struct EnterCommand {
  uint32_t session = 0;
  int tid = 0;
  uint32_t slot = 0;
  uint64_t t_ns = 0;
  bool activation = false;
};

struct ProcessState {
  uint32_t run = 0;
  int pid = 0;
  uint64_t start_ticks = 0;
  std::string state;
};

struct ExitedProcess {
  uint32_t run = 0;
  int pid = 0;  // 0: what the kernel counted for children beyond what was seen of each
  uint64_t start_ticks = 0;
  uint32_t session = 0;
  int parent_pid = 0;
  std::string exe;
  std::string comm;
  Totals totals;
  std::optional<uint32_t> wait_status;
  bool oom_killed = false;
  uint64_t started_ns = 0;
  uint64_t ended_ns = 0;
  bool released = false;
};

struct RunState {
  uint32_t run = 0;
  Totals totals;
  MemoryNow memory;
  std::string state;
  uint32_t residual_columns = 0;
  uint32_t live_processes = 0;
  uint64_t observed_ns = 0;
  uint64_t elapsed_ns = 0;
  uint64_t lost_events = 0;
  uint32_t estimated = 0;
  uint32_t apportioned = 0;
  uint64_t cgroup_excess_ns = 0;
  std::string cgroup;
};

struct EngineSnapshot {
  uint64_t t_mono_ns = 0;
  uint64_t t_wall_ms = 0;
  std::vector<FrameRow> slots;
  std::vector<RunState> runs;
  std::vector<ProcessState> processes;
  std::vector<ExitedProcess> exited;
  uint64_t lost_records = 0;
  uint64_t lost_exit_events = 0;
  uint64_t forged_records = 0;
  uint64_t undefined_records = 0;
  uint64_t cut_stamps = 0;
  std::vector<GpuBooks> gpus;  // every device whose number is in a row
};

class Engine {
 public:
  Engine(Sources sources, uint64_t restart_wait_ns);

  void open_run(uint32_t run, uint32_t unattributed) { table_.open_run(run, unattributed); }
  void define_slot(uint32_t slot, uint32_t run, uint32_t parent) {
    table_.define_slot(slot, run, parent);
  }
  void map_scope(uint32_t session, uint32_t client_scope, uint32_t slot);
  // Which GPU the records of a session mean by a number, by UUID.
  void map_device(uint32_t session, size_t index, const std::string& uuid);
  // A process that is in another run moves. bind_needs_tick() first: use up to now must stay where it
  // was, and a process forked since the last tick must be known as such.
  void bind(const BindCommand& command);
  bool bind_needs_tick(const BindCommand& command);
  void enter(const EnterCommand& command);
  // The caller ticks before these three, so that what the rings still hold is applied.
  void close_session(uint32_t session);
  // Of its descendants those with parts of their own go on, and what they forked.
  void end_part(int pid, uint64_t start_ticks, const std::set<ProcessId>& own_parts);
  // The next snapshot is the last that has the run.
  void close_run(uint32_t run);
  // False: no such session (yet).
  bool adopt_ring(uint32_t session, RingFile& ring);
  // Called in every tick after the processes were read and before the rings are: the place to adopt
  // rings, so that none is missed by the interval that it belongs to.
  void before_rings(std::function<void()> call) { before_rings_ = std::move(call); }

  // Before any row of it: the number that a device has in them.
  void name_gpu(uint32_t gpu, const std::string& uuid) { gpus_.name(gpu, uuid); }
  void restore_slot(const FrameRow& row);
  void restore_run(const FrameRow& row, std::string_view state);
  // False: the bytes are not sound; the process is left out.
  bool restore_process(uint32_t run, std::string_view state);
  // After those: the rings of restored processes that the service manager kept, also of those that have
  // ended since.
  void adopt_kept();
  // What is heard from now on waits for the next agent: where the state of the tick at `stored_ns` is stored, and
  // that has all that was heard.
  void hand_over(uint64_t stored_ns);
  // Tells the manager what it is to keep and what no longer.
  void flush_kept() {
    if (sources_.kept.store) sources_.kept.store->flush();
  }

  // One tick. `slow`: the costlier columns are read of every process, not only of small ones.
  void tick(bool slow);
  // Between ticks: takes what the rings had at the last note, so that no lane is lapped. At least 1 ms
  // after the last note or tick.
  void drain();
  // When to drain again, at the rate just seen; 0: there is no ring.
  uint64_t drain_pause_ns() const { return rings_noted_ ? drain_pause_ns_ : 0; }
  EngineSnapshot snapshot();

  const Sources& sources() const { return sources_; }

 private:
  // Drains are so far apart that a lane takes 330 000 records/s from one to the next without loss; where
  // more come they are drawn together at once, and apart slowly, since bursts come again.
  static constexpr uint64_t kShortestDrainNs = 5'000'000;
  static constexpr uint64_t kLongestDrainNs = 50'000'000;

  // A GPU by the client's index.
  struct SessionDevice {
    std::string uuid;        // empty: not named yet
    uint32_t gpu = 0;        // 0: no device of ours, as far as is known
    uint64_t looked_ns = 0;  // in the news of then
  };
  struct Session {
    uint64_t process = 0;
    int64_t clock_offset_ns = 0;
    std::unordered_map<uint32_t, uint32_t> slots;  // client's scope id to slot
    std::vector<SessionDevice> devices;            // by the client's index
    std::vector<RingRecord> early_gpu_times;       // of devices that are not named yet
    ClientIds ids;                                 // the same, for the next agent
  };
  // Whether one v2 cgroup holds a run and nothing else, and what its CPU says.
  struct CgroupLedger {
    std::string path;
    CgroupCpu files;
    bool active = false;
    __extension__ __int128 offset_ns = 0;  // the cgroup's CPU less the run's, when it became so
    std::optional<uint64_t> usage_ns;      // read first in the tick
    uint64_t excess_ns = 0;                // the run's CPU above its cgroup's: must stay 0
    EndedSlots ended;                      // of the whole run
  };
  struct RunExtra {
    CgroupLedger cgroup;
    Totals beyond;  // given for children beyond what was seen of each, since the last snapshot
  };

  // engine_processes.cc
  Process* find(uint64_t serial);
  Process* find_pid(int pid);
  Process& add(std::unique_ptr<Process> process);
  void take_pid(const Process& process);
  void describe(Process& process);
  void close_before_leaving(Process& process);
  void bind_new(const BindCommand& command, Process* moved_from);
  void attach(Process& process, const BindCommand& command);
  void release(Process& process);
  void finish_exited(Process& process);
  std::optional<uint64_t> oom_kills(const Process& process) const;
  void report(Process& process, bool released);
  void remove(Process& process);
  void note_outside_children(Process& process);
  void follow_parent(Process& process);
  void hand_over_children(const Process& process);
  Process* other_reaper(const Process& ended_parent);
  void note_perhaps_reaped(Process& child, Process* reaper);
  // engine_collect.cc
  void collect_process_events(uint64_t until_ns, std::vector<Event>& events);
  void find_unseen();
  void scan_for_children(const std::unordered_set<int>& told, std::vector<Event>& events);
  Event fork_by_scan(int pid, int parent_pid, int parent_tid) const;
  void collect_records(std::vector<Event>& events);
  void void_overrun_threads(Process& process, Ring& ring, const RingLosses& losses);
  // engine_events.cc
  void take_held(std::vector<Event>& events);
  std::unordered_set<uint64_t> find_holds(const std::vector<Event>& events, uint64_t now_ns);
  // Applies what lies before each process's end of interval; leaves the rest in `events`.
  void apply_until_reading(std::vector<Event>& events);
  Process* subject_of(const Event& event);
  void note_next_stamp(Process& process, const Event& event);
  void settle_birth(const Event& event);
  void hold_birth(const Event& event, const std::unordered_set<uint64_t>& holds);
  void apply_or_hold(const Event& event);
  void apply(const Event& event);
  // engine_apply.cc
  void apply_record(Process& process, const Event& event);
  static bool is_over(const Process& process);
  void apply_process_event(const ProcEvent& event);
  void fork_into_run(Process& parent, const ProcEvent& event);
  void thread_ended(Process& process, const ProcEvent& event);
  void end_untold_threads(Process& process);
  std::optional<uint32_t> slot_of_record(const Process& process, const RingRecord& record) const;
  std::optional<int> own_tid(Process& process, uint32_t client_tid, uint64_t t_ns);
  std::optional<int> tid_from_namespace(Process& process, int client_tid);
  const std::vector<int>& list_threads(Process& process);
  std::optional<uint64_t> final_cpu_ns(int tid) const;
  void find_ended_threads(Process& process);
  std::optional<uint64_t> thread_clock(Process& process, int tid);
  // engine_tick.cc
  std::vector<Process*> children_first();
  void read_all(bool slow);
  void read_process(Process& process, bool slow);
  void read_with_children(Process& process, bool slow, const std::vector<Process*>& children);
  void take_exit_records();
  void attach_exit_records(const std::vector<Event>& to_come);
  bool note_heads();
  void read_newcomers();
  void close_all();
  void read_rings(std::vector<Event>& events);
  bool know_thread_clocks(Process& process);
  bool know_all_thread_clocks();
  bool end_is_missing(const Process& process);
  void close_process(Process& process);
  bool stays_open(const Process& process) const;
  bool awaits_reaper(const Process& process) const;
  void finish_tick(uint64_t now_ns);
  // engine_children.cc
  static uint64_t brought_by(const Process& child);
  void child_ended(Process& child);
  void grant_reaped(Process& process);
  uint64_t just_reaped_ns(const Process& reaper);
  void index_children();
  bool outside_child_reaped(ChildLedger& ledger);
  void grant(uint64_t ns, const std::map<uint32_t, uint64_t>& weights);
  bool anyone_waits(uint32_t run) const;
  // engine_cgroup.cc
  void read_cgroups();
  void grant_by_cgroup();
  void check_cgroup(uint32_t run, CgroupLedger& ledger);
  std::string common_cgroup(uint32_t run);
  bool holds_only(uint32_t run, CgroupCpu& files);
  bool just_forked_in(uint32_t run, int pid);
  // engine_energy.cc
  struct RunMember {
    uint32_t run;
    Totals* totals;
  };
  bool awaits_rings(uint64_t now_ns) const;
  void read_energy();
  void charge_energy();
  std::vector<RunMember> members_by_run();
  static void charge_members(const Run& run, const std::vector<RunMember>& members,
                             std::optional<Amount> energy_uj);
  // engine_gpu.cc
  struct GpuTenant {
    ProcessAccount* account = nullptr;
    uint64_t from_ns = 0;  // within the interval
    uint64_t held_ns = 0;  // of it, how long it was of its run
    GpuUse use;
    bool listed = false;
  };
  struct GpuTenants {
    std::vector<GpuTenant> tenants;
    // Within the interval, for how long there was such a process at all; where there are tenants.
    uint64_t from_ns = 0;
    uint64_t to_ns = 0;
  };
  // A process that ended or left its run, until what it did last is told.
  struct Departed {
    int pid;
    uint64_t began_ns;  // itself
    uint64_t from_ns;   // in its run
    uint64_t to_ns;
    bool lives;  // on, outside of it
    ProcessAccount account;
  };
  void claim_gpu_time(Process& process, const RingRecord& record);
  void read_gpus();
  void remember(bool wanted);
  void want_gpu_lists();
  void depart(Process& process);
  uint64_t monotonic_of(uint64_t start_ticks) const;
  uint64_t began_ns(const Process& process) const;
  GpuTenants tenants_of(const GpuHolder& holder, const GpuInterval& interval);
  void note_stay(const GpuInterval& interval, const GpuTenants& ours, GpuHolder& holder);
  bool is_mps_server(const GpuHolder& holder, const GpuTenants& ours, const GpuInterval& interval);
  void add_departed_holders(GpuInterval& interval);
  static void give_allocated(std::vector<GpuTenant>& tenants);
  void share_among_tenants(const GpuInterval& interval, const GpuHolder& holder,
                           const GpuPart& part, GpuTenants& ours, std::vector<GpuTenant>& all);
  void divide_interval(GpuInterval& interval);
  void charge_gpus();
  void set_gpu_memory();
  void tell_of_departed(Departed& departed);
  void forget_gpus(uint64_t before_ns, bool holders_too);
  // engine_kept.cc
  static bool is_kept(uint32_t session);
  void keep(const char* kind, Process& process, int fd);
  void drop_kept(Process& process);
  void keep_session(Process& process, Session& session);
  void keep_ring(Process& process, Session& session, const RingFile& file);
  static void forget_held_records(Process& process);
  void take_meanings(Process& process, int fd);
  void take_ring(Process& process, uint32_t session, RingFile& file);
  // engine_snapshot.cc
  std::string encode_run(const Run& run) const;
  std::string encode_process(const Process& process) const;

  Sources sources_;
  uint64_t restart_wait_ns_;
  uint64_t listening_since_ns_;  // to process events
  std::function<void()> before_rings_;
  RunTable table_;
  std::map<uint64_t, std::unique_ptr<Process>> processes_;
  std::unordered_map<int, uint64_t> by_pid_;
  std::unordered_map<uint32_t, Session> sessions_;
  std::unordered_map<uint32_t, RunExtra> extras_;
  std::vector<uint32_t> closing_;  // runs that go with the next snapshot
  uint64_t next_serial_ = 1;
  uint32_t kept_sessions_ = 0;  // taken over so far

  std::unordered_map<uint64_t, std::vector<uint64_t>>
      children_of_;  // serials, while ends are settled
  std::unordered_map<int, uint64_t>
      superseded_;  // pid to the serial that had it before, in this tick

  std::vector<TaskUsage> exit_records_;
  std::unordered_map<int, uint64_t> exit_cpu_ns_;         // of them, by tid
  std::unordered_map<int, uint64_t> exit_cpu_before_ns_;  // of those drained the time before
  std::vector<ProcEvent> proc_events_;                    // drained, not applied yet
  std::vector<TakenRecord> taken_;
  std::unordered_set<int> scanned_pids_;  // seen by the last scan: their parents are known
  bool scan_once_ = false;                // after a restart
  std::vector<ExitedProcess> exited_;
  std::optional<EnergyInterval> energy_;  // of the interval that this tick ends, where it is known
  bool energy_read_ = false;              // this tick ends one
  GpuLedger gpus_;
  std::shared_ptr<const nvml::GpuSnapshot> gpu_news_;  // that this tick takes
  uint64_t gpus_taken_ns_ = 0;
  bool has_gpus_ = false;                         // as the poller said last
  bool remembers_;                                // where processes' time went
  std::array<std::deque<Departed>, 2> departed_;  // the second: those that held a GPU
  uint64_t last_tick_ns_ = 0;
  bool drained_ = false;  // since then
  uint64_t last_cgroup_check_ns_ = 0;
  uint64_t last_note_ns_ = 0;
  uint64_t taken_note_ns_ = 0;  // the note up to which the rings were taken
  uint64_t drain_pause_ns_ = kLongestDrainNs;
  bool rings_noted_ = false;
  uint64_t lost_records_ = 0;
  uint64_t forged_records_ = 0;
  uint64_t undefined_records_ = 0;
  std::vector<int> tids_;  // scratch: threads to read
  uint64_t cut_stamps_ = 0;
};

}  // namespace lezea
