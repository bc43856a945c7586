// Conservation over random schedules: threads, forks, nesting, scopes that change threads, overruns,
// counter resets, pid reuse, moves, agent kills. LEZEA_SCHEDULES says how many (default 300),
// LEZEA_FIRST_SCHEDULE where to begin.
#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <random>

#include "check.h"
#include "fake_manager.h"
#include "fake_world.h"

namespace lezea::test {
namespace {

constexpr uint32_t kRuns = 2;
constexpr uint32_t kScopesPerRun = 6;
constexpr uint32_t kUnattributed[kRuns + 1] = {0, 1, 2};
constexpr uint64_t kTickNs = 100'000'000;
constexpr uint64_t kRestartWaitNs = 3'000'000'000;

uint32_t slot_of(uint32_t run, uint32_t scope) { return run * 100 + scope; }

struct Checkpoint {
  std::map<uint32_t, FrameRow> slots;
  std::map<uint32_t, RunState> runs;
  std::vector<ProcessState> processes;
};

// One random history of a machine, its agent and its clients.
class Schedule {
 public:
  explicit Schedule(uint64_t seed)
      : random_(seed),
        with_events_(chance(80)),
        with_exits_(with_events_ && chance(80)),
        with_taskstats_(with_exits_ && chance(50)),
        with_manager_(chance(40)) {
    if (chance(70)) world_.add_energy(100, 1 + pick(4));
    start_agent();
    for (uint32_t run = 1; run <= kRuns; ++run) bind_new_process(run);
  }

  void play() {
    const int steps = 40 + pick(120);
    for (int i = 0; i < steps; ++i) {
      step();
      if (world_.now_ns < next_tick_ns_) continue;
      if (chance(80)) {
        tick();
      } else {
        end_within_tick();
      }
    }
    settle();
  }

 private:
  bool chance(int percent) { return pick(100) < percent; }
  int pick(int below) { return static_cast<int>(random_() % static_cast<uint64_t>(below)); }

  void start_agent() {
    Sources sources = world_.sources(with_events_, with_exits_, with_taskstats_);
    if (with_manager_) {
      sources.kept = {manager_.store(), manager_.passed()};
      sources.heard_before = with_events_ && handed_over_;
    }
    engine_ = std::make_unique<Engine>(std::move(sources), kRestartWaitNs);
    started_ns_ = world_.now_ns;
    for (uint32_t run = 1; run <= kRuns; ++run) {
      engine_->open_run(run, kUnattributed[run]);
      for (uint32_t scope = 1; scope <= kScopesPerRun; ++scope) {
        engine_->define_slot(slot_of(run, scope), run, scope == 1 ? 0 : slot_of(run, scope - 1));
      }
    }
  }

  void bind(int pid, uint32_t run, bool with_session) {
    FakeProcess& process = *world_.find(pid);
    BindCommand command;
    command.pid = pid;
    command.start_ticks = process.start_ticks;
    command.run = run;
    command.primary_tid = pid;
    if (with_session) command.session = next_session_++;
    world_.publish();
    if (engine_->bind_needs_tick(command)) tick();
    if (world_.find(pid) == nullptr || process.zombie) return;
    engine_->bind(command);
    if (!with_session) return;
    session_[pid] = command.session;
    run_of_session_[command.session] = run;
    if (!process.ring) {
      process.ring = std::make_unique<RingWriter>(4, 256);
      process.next_lane = 0;
      process.free_lanes.clear();
    }
    offer(pid);
    define(pid, chance(70) ? kScopesPerRun : 2);
  }

  void offer(int pid) {
    std::string why;
    Result<RingFile> ring = RingFile::adopt(world_.find(pid)->ring->duplicate(), &why);
    CHECK(ring.ok());
    engine_->adopt_ring(session_.at(pid), ring.value);
  }

  void define(int pid, uint32_t upto) {
    const uint32_t session = session_.at(pid);
    for (uint32_t scope = 1; scope <= upto; ++scope) {
      engine_->map_scope(session, scope, slot_of(run_of_session_.at(session), scope));
    }
  }

  void bind_new_process(uint32_t run) {
    FakeProcess& process = world_.spawn(1);
    process.subreaper = chance(40);
    world_.use(process.pid, process.pid, 5'000'000);  // before the run: not its own
    before_[process.pid] = process.cpu_ns();
    bind(process.pid, run, true);
    if (process.subreaper) show_orphan(process.pid);
  }

  // Nothing in /proc tells a subreaper; the agent knows it from the first orphan that it gets.
  void show_orphan(int pid) {
    const int child = world_.fork(pid, pid).pid;
    world_.fork(child, child);
    tick();
    world_.exit(child);
    world_.reap(child);
    tick();
    checkpoint();
  }

  FakeProcess* any_process() {
    std::vector<FakeProcess*> living;
    for (auto& [pid, process] : world_.processes()) {
      if (!process.zombie) living.push_back(&process);
    }
    return living.empty() ? nullptr
                          : living[static_cast<size_t>(pick(static_cast<int>(living.size())))];
  }

  int any_thread(FakeProcess& process) {
    auto thread = process.threads.begin();
    std::advance(thread, pick(static_cast<int>(process.threads.size())));
    return thread->first;
  }

  void step() {
    world_.now_ns += 100'000 + static_cast<uint64_t>(pick(20'000'000));
    FakeProcess* process = any_process();
    if (process == nullptr) {
      bind_new_process(1 + static_cast<uint32_t>(pick(kRuns)));
      return;
    }
    const int pid = process->pid;
    const int tid = any_thread(*process);
    world_.use(pid, tid, static_cast<uint64_t>(pick(9'000'000)),
               4096u * static_cast<uint64_t>(pick(50)), 4096u * static_cast<uint64_t>(pick(50)));
    process->rss_bytes = static_cast<uint64_t>(1 + pick(100)) * 1'000'000;
    act(*process, pid, tid);
    if (chance(20)) drain();
    if (chance(3)) kill_agent();
  }

  void act(FakeProcess& process, int pid, int tid) {
    FakeThread& thread = process.threads.at(tid);
    const int what = pick(100);
    if (what < 35) {
      thread.stack.push_back(1 + static_cast<uint32_t>(pick(kScopesPerRun)));
      world_.announce(pid, tid, thread.stack.back(), chance(85), true);
    } else if (what < 60 && !thread.stack.empty()) {
      if (chance(50)) world_.stamp_io(pid, tid);
      if (chance(30)) world_.stamp_process(pid, tid);
      thread.stack.pop_back();
      world_.announce(pid, tid, thread.stack.empty() ? 0 : thread.stack.back(), chance(85), false);
    } else if (what < 68) {
      world_.clone_thread(pid);
    } else if (what < 74 && process.threads.size() > 1 && tid != pid) {
      world_.end_thread(pid, tid);
    } else if (what < 82 && world_.processes().size() < 8) {
      FakeProcess& child = world_.fork(pid, tid);
      if (chance(30)) bind(child.pid, run_of(pid), true);
    } else if (what < 86 && process.ppid != 1) {
      end_process(pid);
    } else if (what < 88) {
      world_.exec(pid, chance(50) ? pid : tid);
      hang_up(pid);
    } else if (what < 90) {
      overrun(process, tid);
    } else if (what < 92 && session_.count(pid) != 0) {
      define(pid, kScopesPerRun);
    } else if (what < 94 && session_.count(pid) != 0) {
      hang_up(pid);
      if (world_.exists(pid) && chance(70)) bind(pid, run_of(pid), true);
    } else if (what < 95) {
      move_scope_between_threads(process);
    } else if (what < 96 && process.ppid == 1) {
      for (auto& [id, some] : process.threads) some.read_bytes /= 2;  // a counter that falls
    } else if (what < 97) {
      forge(process, tid);
    }
  }

  void hang_up(int pid) {
    const auto session = session_.find(pid);
    if (session == session_.end()) return;
    const uint32_t handle = session->second;
    session_.erase(session);
    tick();
    engine_->close_session(handle);
  }

  uint32_t run_of(int pid) {
    const auto session = session_.find(pid);
    return session == session_.end() ? 1 : run_of_session_.at(session->second);
  }

  void end_process(int pid) {
    world_.exit(pid);
    session_.erase(pid);
    if (chance(60)) world_.reap(pid);
    // The next process to be forked gets the same pid, in another tick of its start time.
    if (chance(20) && !world_.exists(pid)) {
      world_.next_pid = std::min(world_.next_pid, pid);
      pid_reused_ = true;
      world_.now_ns += 10'000'000;
    }
  }

  void overrun(FakeProcess& process, int tid) {
    FakeThread& thread = process.threads.at(tid);
    for (int i = 0; i < 300; ++i) {
      world_.now_ns += 1000;
      world_.announce(process.pid, tid, 1 + static_cast<uint32_t>(i % 3), true, true);
    }
    thread.stack.assign(1, 3);
  }

  void move_scope_between_threads(FakeProcess& process) {
    const int from = any_thread(process);
    const int to = any_thread(process);
    std::swap(process.threads.at(from).stack, process.threads.at(to).stack);
    for (const int tid : {from, to}) {
      const FakeThread& thread = process.threads.at(tid);
      world_.announce(process.pid, tid, thread.stack.empty() ? 0 : thread.stack.back(), true,
                      false);
    }
  }

  // Stamps that say more than any clock could.
  void forge(FakeProcess& process, int tid) {
    FakeThread& thread = process.threads.at(tid);
    forged_ = true;
    const uint64_t honest = thread.cpu_ns;
    thread.cpu_ns += 3'000'000'000;
    world_.announce(process.pid, tid, 2, true, false);
    thread.cpu_ns = honest;
  }

  void drain() {
    world_.publish();
    world_.now_ns += 2'000'000;
    engine_->drain();
  }

  void tick() {
    world_.publish();
    engine_->tick(chance(50));
    next_tick_ns_ = world_.now_ns + kTickNs;
    if (chance(60)) checkpoint();
    check();
    // Zombies are reaped some time.
    std::vector<int> zombies;
    for (const auto& [pid, process] : world_.processes()) {
      if (process.zombie && chance(40)) zombies.push_back(pid);
    }
    for (const int pid : zombies) world_.reap(pid);
  }

  // The last figures of a thread are told between the tick's readings; it can be read for as long as the tick takes.
  void end_within_tick() {
    FakeProcess* process = any_process();
    if (process == nullptr) return tick();
    const int pid = process->pid;
    const int tid = any_thread(*process);
    if (tid == pid && (process->threads.size() > 1 || process->ppid == 1)) return tick();
    world_.after_readings = [this, pid, tid] {
      world_.begin_end(pid, tid);
      world_.publish();
    };
    tick();
    world_.after_readings = nullptr;  // where no exit records are drained
    if (tid == pid) {
      end_process(pid);
    } else {
      world_.end_thread(pid, tid);
    }
  }

  void check() {
    const EngineSnapshot snapshot = engine_->snapshot();
    apply(snapshot);
    for (const RunState& run : snapshot.runs) {
      CHECK_EQ(run.residual_columns, 0u);
      Totals& before = published_[run.run];
      for (int column = 0; column < kColumnCount; ++column) {
        CHECK(run.totals.value[column] >= before.value[column]);
      }
      before = run.totals;
      for (const Column column : {kCpu, kCpuEnergy}) {
        Amount sum = 0;
        for (const auto& [slot, row] : seen_.slots) {
          const bool of_run = slot == kUnattributed[run.run] || slot / 100 == run.run;
          if (of_run) sum += from_frame(row).value[column];
        }
        CHECK(sum == run.totals.value[column]);
      }
    }
    check_energy();
  }

  // The runs never have more energy than the machine used, over kills and late CPU; without counters none.
  void check_energy() {
    Amount energy = 0;
    for (const auto& [id, run] : seen_.runs) energy += run.totals.value[kCpuEnergy];
    CHECK(energy <= world_.energy_uj());
  }

  void apply(const EngineSnapshot& snapshot) {
    for (const FrameRow& row : snapshot.slots) seen_.slots[static_cast<uint32_t>(row[0])] = row;
    for (const RunState& run : snapshot.runs) seen_.runs[run.run] = run;
    seen_.processes = snapshot.processes;
  }

  void checkpoint() {
    apply(engine_->snapshot());
    durable_ = seen_;
    has_checkpoint_ = true;
  }

  void kill_agent() {
    if (!has_checkpoint_) return;
    if (with_manager_) return replace_agent();
    agent_died_ = true;
    engine_.reset();
    world_.events.clear();
    world_.exits.clear();
    world_.agent_up = false;
    for (int i = pick(5); i > 0; --i) {
      world_.now_ns += 30'000'000;
      FakeProcess* process = any_process();
      if (process == nullptr) break;
      world_.use(process->pid, any_thread(*process), 20'000'000);
      if (process->ring)
        world_.announce(process->pid, any_thread(*process), 1 + static_cast<uint32_t>(pick(3)),
                        true, true);
    }
    world_.agent_up = true;
    world_.publish();
    restore();
  }

  // A manager keeps its descriptors. Where it was told to stop, and nothing waited for its scope, no event and no record
  // is lost.
  void replace_agent() {
    const bool stopped = chance(60);
    if (stopped) {
      for (const auto& [pid, session] : session_) define(pid, kScopesPerRun);
      world_.now_ns = std::max(world_.now_ns, started_ns_ + kRestartWaitNs + 1);
      tick();  // what waited for its ring ever since is read
      tick();
      checkpoint();
      engine_->hand_over(world_.now_ns);
    }
    handed_over_ = stopped;
    agent_died_ = agent_died_ || !stopped || !with_events_;
    engine_->flush_kept();
    manager_.receive();
    engine_.reset();
    if (!stopped) {
      world_.events.clear();
      world_.exits.clear();
      world_.agent_up = false;
    }
    for (int i = pick(12); i > 0; --i) live_on();
    world_.agent_up = true;
    world_.publish();
    restore();
  }

  void live_on() {
    world_.now_ns += 30'000'000;
    FakeProcess* process = any_process();
    if (process == nullptr) return;
    const int pid = process->pid;
    const int tid = any_thread(*process);
    world_.use(pid, tid, 20'000'000, 4096, 8192);
    const int what = pick(100);
    if (what < 50 && process->ring) {
      world_.announce(pid, tid, 1 + static_cast<uint32_t>(pick(3)), true, true);
    } else if (what < 60) {
      world_.clone_thread(pid);
    } else if (what < 70 && process->threads.size() > 1 && tid != pid) {
      world_.end_thread(pid, tid);
    } else if (what < 80 && world_.processes().size() < 8) {
      world_.fork(pid, tid);
    } else if (what < 95 && process->ppid != 1) {
      end_process(pid);
    }
  }

  void restore() {
    start_agent();
    seen_ = durable_;
    published_.clear();
    for (const auto& [slot, row] : durable_.slots) engine_->restore_slot(row);
    for (const auto& [id, run] : durable_.runs) {
      engine_->restore_run(to_frame({id}, run.totals, run.memory), run.state);
      published_[id] = run.totals;
    }
    for (const ProcessState& process : durable_.processes) {
      CHECK(engine_->restore_process(process.run, process.state));
    }
    engine_->adopt_kept();
    const auto sessions = session_;
    for (const auto& [pid, session] : sessions) {
      FakeProcess* process = world_.find(pid);
      if (process == nullptr || process->zombie) continue;
      if (chance(with_manager_ ? 95 : 80)) {
        bind(pid, run_of_session_.at(session), true);
      } else {
        agent_died_ = true;  // its records may wait for a scope for good
      }
    }
  }

  // Every scope gets defined, every zombie reaped, everything read; then the truth is compared.
  void settle() {
    for (const auto& [pid, session] : session_) define(pid, kScopesPerRun);
    for (int i = 0; i < 45; ++i) {  // longer than a restored process waits for its ring
      world_.now_ns += kTickNs;
      tick();
    }
    compare_with_truth();
    compare_user_and_system();
  }

  // Every process of this world descends from a bound one, so all that was used since is some run's.
  // Nothing may ever be counted twice; what ends unseen may be missing, and so may the end of a process
  // whose pid was taken again within the tick.
  void compare_with_truth() {
    Amount cpu = 0;
    Amount written = 0;
    for (const auto& [id, run] : seen_.runs) {
      cpu += run.totals.value[kCpu];
      written += run.totals.value[kIoWrite];
    }
    Amount before = 0;
    for (const auto& [pid, used] : before_) before += used;
    // Of one that ended while no agent listened its own word is taken.
    if (!forged_ || !with_manager_) CHECK(cpu <= world_.used_cpu_ns - before);
    // Each run has CPU in most of its ticks.
    Amount energy = 0;
    for (const auto& [id, run] : seen_.runs) energy += run.totals.value[kCpuEnergy];
    if (world_.energy_uj() == 0) CHECK(energy == 0);
    if (world_.energy_uj() > 0 && !agent_died_) CHECK(energy > 0);
    CHECK(written <= world_.used_write_bytes);
    if (agent_died_ || pid_reused_) return;
    if (with_exits_) CHECK(cpu == world_.used_cpu_ns - before);
    if (with_taskstats_) CHECK(written == world_.used_write_bytes);
  }

  void compare_user_and_system() {
    for (uint32_t run = 1; run <= kRuns; ++run) {
      const auto state = seen_.runs.find(run);
      if (state == seen_.runs.end()) continue;
      const Totals& totals = state->second.totals;
      CHECK(totals.value[kCpuUser] + totals.value[kCpuSystem] == totals.value[kCpu]);
    }
  }

  std::mt19937_64 random_;
  FakeWorld world_;
  FakeManager manager_;
  bool with_events_;
  bool with_exits_;
  bool with_taskstats_;
  bool with_manager_;
  std::unique_ptr<Engine> engine_;
  std::map<int, uint32_t> session_;
  std::map<uint32_t, uint32_t> run_of_session_;
  std::map<int, uint64_t> before_;
  uint32_t next_session_ = 1;
  uint64_t next_tick_ns_ = 0;
  uint64_t started_ns_ = 0;  // the agent
  bool agent_died_ = false;
  bool forged_ = false;
  bool handed_over_ = false;
  bool pid_reused_ = false;
  bool has_checkpoint_ = false;
  Checkpoint seen_;
  Checkpoint durable_;
  std::map<uint32_t, Totals> published_;
};

uint64_t from_environment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

TEST("every column of every run sums to its total over random schedules, and never falls") {
  const uint64_t schedules = from_environment("LEZEA_SCHEDULES", 300);
  const uint64_t first = from_environment("LEZEA_FIRST_SCHEDULE", 1);
  for (uint64_t seed = first; seed < first + schedules; ++seed) {
    const int before = failures();
    Schedule schedule(seed);
    schedule.play();
    if (failures() != before) {
      std::cout << "  seed " << seed << ": LEZEA_FIRST_SCHEDULE=" << seed << " LEZEA_SCHEDULES=1"
                << std::endl;
      return;
    }
  }
  std::cout << "  " << schedules << " schedules" << std::endl;
}

}  // namespace
}  // namespace lezea::test
