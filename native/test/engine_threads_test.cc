// Where threads are, as the engine follows them: exec, ends that nobody told, records that cannot be. On a
// machine that exists only here.
#include <cstdio>

#include "check.h"
#include "fake_world.h"

namespace lezea::test {
namespace {

constexpr uint32_t kRun = 1;
constexpr uint32_t kUnattributed = 1;
constexpr uint32_t kOuter = 11;  // slots; the client calls them 1 and 2
constexpr uint32_t kInner = 12;
constexpr uint64_t kMs = 1'000'000;

struct Kernel {
  bool events = true;
  bool exits = true;
  bool taskstats = false;
};

// One process with a session and a ring.
class Rig {
 public:
  explicit Rig(Kernel kernel = {}) : kernel_(kernel) {
    pid = world.spawn(1).pid;
    start();
    bind();
  }

  FakeProcess& process() { return *world.find(pid); }

  void start() {
    engine = std::make_unique<Engine>(
        world.sources(kernel_.events, kernel_.exits, kernel_.taskstats), 3000 * kMs);
    engine->open_run(kRun, kUnattributed);
    engine->define_slot(kOuter, kRun, 0);
    engine->define_slot(kInner, kRun, kOuter);
  }

  void bind(int64_t clock_offset_ns = 0) {
    world.publish();
    BindCommand command;
    command.session = ++session;
    command.pid = command.primary_tid = pid;
    command.start_ticks = process().start_ticks;
    command.run = kRun;
    command.clock_offset_ns = clock_offset_ns;
    if (engine->bind_needs_tick(command)) engine->tick(true);
    engine->bind(command);
    if (!process().ring) process().ring = std::make_unique<RingWriter>(4, 256);
    offer();
    engine->map_scope(session, 1, kOuter);
    engine->map_scope(session, 2, kInner);
  }

  void offer() {
    std::string why;
    Result<RingFile> ring = RingFile::adopt(process().ring->duplicate(), &why);
    CHECK(ring.ok());
    CHECK(engine->adopt_ring(session, ring.value));
  }

  void pass(uint64_t ms) { world.now_ns += ms * kMs; }
  void tick() {
    world.publish();
    engine->tick(true);
    look();
  }

  // SIGKILL right after a checkpoint, which is what `look` saw last.
  void restart() {
    engine.reset();
    start();
    for (const auto& [slot, row] : slots) engine->restore_slot(row);
    engine->restore_run(to_frame({kRun}, run.totals, run.memory), run.state);
    for (const ProcessState& state : processes) {
      restored = restored && engine->restore_process(kRun, state.state);
    }
  }

  void look() {
    EngineSnapshot snapshot = engine->snapshot();
    for (const FrameRow& row : snapshot.slots) slots[static_cast<uint32_t>(row[0])] = row;
    for (const RunState& state : snapshot.runs) run = state;
    processes = snapshot.processes;
    forged = snapshot.forged_records;
    for (ExitedProcess& process : snapshot.exited) exited.push_back(std::move(process));
  }

  uint64_t total(uint32_t slot, Column column) {
    return static_cast<uint64_t>(from_frame(slots[slot]).value[column]);
  }
  uint64_t cpu_ms(uint32_t slot) { return total(slot, kCpu) / kMs; }
  uint64_t active_ms(uint32_t slot) { return total(slot, kActive) / kMs; }

  FakeWorld world;
  std::unique_ptr<Engine> engine;
  int pid = 0;
  uint32_t session = 0;
  std::map<uint32_t, FrameRow> slots;
  RunState run;
  std::vector<ProcessState> processes;
  std::vector<ExitedProcess> exited;
  uint64_t forged = 0;
  bool restored = true;

 private:
  Kernel kernel_;
};

TEST("a process whose second thread execs inside a scope goes on in that scope") {
  Rig it;
  const int second = it.world.clone_thread(it.pid);
  it.pass(10);
  it.world.announce(it.pid, second, 1, true, true);
  it.pass(20);
  it.world.use(it.pid, second, 15 * kMs);
  it.world.exec(it.pid, second);
  it.tick();
  it.pass(100);
  it.world.use(it.pid, it.pid, 90 * kMs);
  it.tick();
  CHECK(it.cpu_ms(kOuter) >= 90);
  CHECK_EQ(it.run.residual_columns, 0);
}

TEST("the leader's scope is not taken for that of a second thread that execs") {
  Rig it;
  const int second = it.world.clone_thread(it.pid);
  it.pass(1);
  it.world.announce(it.pid, it.pid, 1, true, true);
  it.world.announce(it.pid, second, 2, true, true);
  it.tick();
  it.pass(10);
  it.world.exec(it.pid, second);
  it.tick();
  it.pass(100);
  it.world.use(it.pid, it.pid, 90 * kMs);
  it.tick();
  CHECK_EQ(it.cpu_ms(kInner), 90);
}

TEST("a leader that execs stays in its own scope, whatever another thread announced") {
  Rig it;
  const int second = it.world.clone_thread(it.pid);
  it.pass(1);
  it.world.announce(it.pid, it.pid, 1, true, true);
  it.world.announce(it.pid, second, 2, true, true);
  it.tick();
  it.pass(10);
  it.world.exec(it.pid, it.pid);
  it.tick();
  it.pass(100);
  it.world.use(it.pid, it.pid, 90 * kMs);
  it.tick();
  CHECK_EQ(it.cpu_ms(kOuter), 90);
}

TEST("the status of a process that a second thread exec'd in is that of its end") {
  Rig it(Kernel{true, false, false});
  const int second = it.world.clone_thread(it.pid);
  it.tick();
  it.world.exec(it.pid, second);
  it.tick();
  it.pass(10);
  it.world.exit(it.pid);
  it.world.events.back().exit_code = 3 << 8;
  it.world.reap(it.pid);
  it.tick();
  REQUIRE(it.exited.size() == 1);
  CHECK_EQ(it.exited[0].wait_status.value_or(99), 3 << 8);
}

TEST("a thread that ended while the agent was down is announced nowhere afterwards") {
  Rig it;
  const int second = it.world.clone_thread(it.pid);
  it.pass(1);
  it.world.announce(it.pid, second, 1, true, true);
  it.pass(99);
  it.tick();
  it.world.agent_up = false;
  it.world.end_thread(it.pid, second);
  it.pass(100);
  it.world.agent_up = true;
  it.restart();
  it.bind();
  it.tick();
  const uint64_t then = it.active_ms(kOuter);
  it.pass(500);
  it.tick();
  CHECK_EQ(it.active_ms(kOuter), then);
}

TEST("threads that ended before their ring came back to a new agent keep their scopes") {
  Rig it;
  const int gone_unseen = it.world.clone_thread(it.pid);
  const int gone_waiting = it.world.clone_thread(it.pid);
  const auto work = [&](int tid, uint32_t scope) {
    it.world.announce(it.pid, tid, scope, true, true);
    it.world.use(it.pid, tid, 20 * kMs);
    it.pass(20);
    it.world.announce(it.pid, tid, 0, true, false);
  };
  work(gone_unseen, 1);
  work(gone_waiting, 2);
  it.tick();
  it.world.agent_up = false;
  work(gone_unseen, 1);
  work(gone_waiting, 2);
  it.world.end_thread(it.pid, gone_unseen);
  it.world.agent_up = true;
  it.restart();
  it.tick();
  work(gone_waiting, 2);
  it.world.end_thread(it.pid, gone_waiting);
  it.pass(10);
  it.tick();  // the ring is not there yet
  it.bind();
  it.tick();
  it.pass(10);
  it.tick();
  CHECK_EQ(it.forged, 0);
  CHECK(it.cpu_ms(kOuter) >= 39);
  CHECK(it.cpu_ms(kInner) >= 59);
}

TEST("nor is one whose end is never told, where there are no process events") {
  Rig it(Kernel{false, false, false});
  const int second = it.world.clone_thread(it.pid);
  it.pass(1);
  it.world.announce(it.pid, second, 1, true, true);
  it.pass(99);
  it.tick();
  CHECK_EQ(it.active_ms(kOuter), 99);
  it.world.end_thread(it.pid, second);
  it.pass(100);
  it.tick();
  const uint64_t then = it.active_ms(kOuter);
  it.pass(500);
  it.tick();
  CHECK_EQ(it.active_ms(kOuter), then);
}

TEST("a dead thread that only a ring from before this agent tells of is announced nowhere") {
  Rig it;
  const int second = it.world.clone_thread(it.pid);
  it.pass(1);
  it.world.announce(it.pid, second, 1, true, true);
  it.world.agent_up = false;
  it.world.end_thread(it.pid, second);
  it.world.agent_up = true;
  it.pass(1);
  it.start();  // knows nothing of before
  it.bind();
  it.pass(100);
  it.tick();
  const uint64_t then = it.active_ms(kOuter);
  it.pass(500);
  it.world.use(it.pid, it.pid, 90 * kMs);
  it.tick();
  CHECK_EQ(it.forged, 0);
  CHECK_EQ(it.active_ms(kOuter), then);
}

TEST("what a thread wrote counts when its file could not be read once and nobody wrote since") {
  Rig it(Kernel{true, true, true});
  const int second = it.world.clone_thread(it.pid);
  it.tick();
  it.pass(100);
  const int third = it.world.clone_thread(it.pid);
  it.world.use(it.pid, third, 0, 0, 4096);
  it.world.use(it.pid, second, 0, 0, 8192);
  it.world.publish();
  const std::string folder = it.world.root + "/" + std::to_string(it.pid) + "/task/";
  const std::string file = folder + std::to_string(third) + "/io";
  CHECK_EQ(rename(file.c_str(), (file + ".away").c_str()), 0);
  it.engine->tick(true);
  CHECK_EQ(rename((file + ".away").c_str(), file.c_str()), 0);
  it.pass(100);
  it.engine->tick(true);
  it.look();
  CHECK_EQ(static_cast<uint64_t>(it.run.totals.value[kIoWrite]), 4096 + 8192);
}

// The kernel sends the figures before it takes a thread from the list, and before the process is a zombie.
TEST("what a thread wrote counts once when its last figures are told while it can still be read") {
  Rig it(Kernel{true, true, true});
  const int second = it.world.clone_thread(it.pid);
  it.tick();
  for (const int tid : {second, it.pid}) {
    it.pass(100);
    it.world.use(it.pid, tid, 0, 0, 4096);
    it.world.publish();
    it.world.after_readings = [&it, tid] {
      it.world.begin_end(it.pid, tid);
      it.world.publish();
    };
    it.tick();
    it.tick();
    if (tid == it.pid) {
      it.world.exit(tid);
    } else {
      it.world.end_thread(it.pid, tid);
    }
    it.tick();
  }
  it.world.reap(it.pid);
  it.tick();
  CHECK_EQ(static_cast<uint64_t>(it.run.totals.value[kIoWrite]), 4096 + 4096);
}

TEST(
    "what a thread used between its last stamp and its end is its scope's, also when a drain comes "
    "between") {
  Rig it;
  const int second = it.world.clone_thread(it.pid);
  it.tick();
  it.pass(10);
  it.world.announce(it.pid, second, 1, true, true);
  it.pass(40);
  it.world.publish();
  it.engine->drain();
  it.world.use(it.pid, second, 35 * kMs);
  it.pass(40);
  it.world.end_thread(it.pid, second);
  it.pass(1);
  it.world.publish();
  it.engine->drain();  // reads the exit record; the event is younger than the rings' last look
  it.pass(10);
  it.tick();
  CHECK(it.total(kOuter, kCpu) >= 35 * kMs - 1);
}

TEST("a thread that leaves its scope and ends after the rings were noted keeps what it used") {
  Rig rig;
  const int tid = rig.world.clone_thread(rig.pid);
  rig.world.announce(rig.pid, tid, 1, true, true);
  rig.world.use(rig.pid, tid, 20 * kMs);
  rig.pass(100);
  rig.tick();
  rig.world.use(rig.pid, tid, 70 * kMs);
  rig.pass(100);
  rig.world.after_rings_noted = [&] {
    rig.world.announce(rig.pid, tid, 0, true, false);
    rig.world.end_thread(rig.pid, tid);
    rig.world.publish();
  };
  rig.tick();
  // Its last stamp is 1 ms younger than the interval: until then by time.
  CHECK(rig.total(kOuter, kCpu) >= 89 * kMs);
  CHECK(rig.total(kUnattributed, kCpu) <= kMs);
}

TEST("a thread has what it used since the tick when its process leaves the run") {
  Rig rig;
  const int tid = rig.world.clone_thread(rig.pid);
  rig.world.announce(rig.pid, tid, 1, true, true);
  rig.world.use(rig.pid, tid, 20 * kMs);
  rig.pass(100);
  rig.tick();
  rig.world.use(rig.pid, tid, 70 * kMs);
  rig.pass(100);
  rig.world.publish();
  BindCommand command;
  command.session = 77;
  command.pid = command.primary_tid = rig.pid;
  command.start_ticks = rig.process().start_ticks;
  command.run = kRun + 1;
  rig.engine->open_run(command.run, 99);
  rig.engine->bind(command);
  rig.look();
  CHECK(rig.total(kOuter, kCpu) >= 89 * kMs);
  CHECK(rig.total(kUnattributed, kCpu) <= kMs);
}

TEST("drains are drawn together at once by a fast writer, and come apart slowly") {
  Rig it;
  it.tick();
  CHECK_EQ(it.engine->drain_pause_ns(), 50 * kMs);
  const auto write_and_drain = [&](uint64_t records) {
    it.pass(10);
    for (uint64_t i = 0; i < records; ++i) it.world.announce(it.pid, it.pid, 1, false, false);
    it.engine->drain();
    return it.engine->drain_pause_ns();
  };
  CHECK_EQ(write_and_drain(8), 50 * kMs);  // 256 a lane: 80 ms for a quarter of it
  CHECK_EQ(write_and_drain(64), 10 * kMs);
  CHECK_EQ(write_and_drain(250), 5 * kMs);  // never sooner
  uint64_t calm = 0;
  while (write_and_drain(0) < 50 * kMs && calm < 100) ++calm;
  CHECK(calm >= 15 && calm < 30);
}

TEST("a tick right after a drain takes what waits since then for no fast writer") {
  Rig it;
  it.tick();
  it.pass(40);
  for (int i = 0; i < 30; ++i) it.world.announce(it.pid, it.pid, 1, false, false);
  it.engine->drain();
  it.pass(1);
  it.tick();
  CHECK_EQ(it.engine->drain_pause_ns(), 50 * kMs);
}

TEST("a process without a ring asks for no drains") {
  FakeWorld world;
  const int pid = world.spawn(1).pid;
  world.publish();
  Engine engine(world.sources(true, true, false), 0);
  engine.open_run(kRun, kUnattributed);
  BindCommand command;
  command.pid = command.primary_tid = pid;
  command.start_ticks = world.find(pid)->start_ticks;
  command.run = kRun;
  engine.bind(command);
  engine.tick(true);
  CHECK_EQ(engine.drain_pause_ns(), 0u);
}

TEST("records from before the binding do not make a scope active before it") {
  Rig it;
  it.pass(100);
  const uint64_t now = it.world.now_ns;
  it.world.now_ns = 1;
  it.world.announce(it.pid, it.pid, 1, true, true);
  it.world.now_ns = now;
  it.tick();
  CHECK(it.active_ms(kOuter) <= 101);
}

TEST("a record from before the client's clock began is forged") {
  Rig it;
  it.bind(500'000'000'000);  // in a time namespace that is ahead
  it.world.now_ns += 500'000'000'000;
  it.world.announce(it.pid, it.pid, 1, true, true);
  it.process().ring->record(0, 0)->t_mono_ns = 5;
  it.world.now_ns -= 500'000'000'000;
  it.pass(100);
  it.tick();
  it.pass(100);
  it.tick();
  CHECK_EQ(it.forged, 1);
  CHECK_EQ(it.active_ms(kOuter), 0);
}

TEST("a process that offered many rings one after the other is still there after a restart") {
  Rig it;
  for (int i = 0; i < 70; ++i) {
    it.tick();
    it.engine->close_session(it.session);
    it.process().ring = std::make_unique<RingWriter>(4, 256);
    it.bind();
  }
  it.tick();
  it.restart();
  CHECK(it.restored);
  CHECK_EQ(it.engine->snapshot().processes.size(), 1);
}

TEST("unknown thread ids cost one listing of the threads a tick, however many records name them") {
  Rig it;
  it.tick();
  for (uint32_t i = 0; i < 200; ++i) {
    RingRecord record{};
    record.t_mono_ns = it.world.now_ns;
    record.scope = 1;
    record.tid = 9'000'000 + i;
    it.process().ring->put(0, record);
  }
  const int second = it.world.clone_thread(it.pid);
  it.world.announce(it.pid, second, 2, true, true);
  it.pass(10);
  it.tick();
  CHECK_EQ(it.forged, 200);
  it.pass(90);
  it.tick();
  CHECK_EQ(it.active_ms(kInner), 101);
}

}  // namespace
}  // namespace lezea::test
