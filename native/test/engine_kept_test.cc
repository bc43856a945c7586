// An agent that is started again with what a service manager kept for it: what was written while there was none is
// counted in its scopes, also of a program that has ended since.

#include <algorithm>

#include "check.h"
#include "fake_manager.h"
#include "fake_world.h"

namespace lezea::test {
namespace {

constexpr uint32_t kRun = 1;
constexpr uint32_t kUnattributed = 1;
constexpr uint32_t kFirst = 2;
constexpr uint32_t kSecond = 3;
constexpr uint64_t kRestartWaitNs = 3'000'000'000;
constexpr uint64_t kMs = 1'000'000;

// A world with one trainer in one run, two scopes, and a manager.
class Service {
 public:
  explicit Service(bool with_listeners)
      : listens_(with_listeners), trainer_(world.spawn(1)), pid_(trainer_.pid) {
    trainer_.ring = std::make_unique<RingWriter>(4, 256);
    start({});
    bind(1);
    tick();
  }

  void bind(uint32_t session) {
    BindCommand command;
    command.session = session;
    command.pid = command.primary_tid = trainer_.pid;
    command.start_ticks = trainer_.start_ticks;
    command.run = kRun;
    world.publish();
    if (engine->bind_needs_tick(command)) engine->tick(true);
    engine->bind(command);
    std::string why;
    Result<RingFile> ring = RingFile::adopt(trainer_.ring->duplicate(), &why);
    REQUIRE(ring.ok());
    REQUIRE(engine->adopt_ring(session, ring.value));
    engine->map_scope(session, 11, kFirst);
    engine->map_scope(session, 12, kSecond);
  }

  void tick() {
    world.now_ns += 100 * kMs;
    world.publish();
    engine->tick(true);
    engine->flush_kept();
    manager.receive();
    for (const FrameRow& row : (last = engine->snapshot()).slots)
      rows[static_cast<uint32_t>(row[0])] = row;
    for (const RunState& run : last.runs) state = run;
    for (const ExitedProcess& exited : last.exited) ended.push_back(exited);
  }

  // Its last state is stored; `told` as by SIGTERM, where it hands over what it listened to.
  void stop(bool told) {
    tick();
    if (told) engine->hand_over(last.t_mono_ns);
    engine->flush_kept();
    manager.receive();
    engine.reset();
    if (told) return;
    world.agent_up = false;  // what it listened to has gone with it
    world.events.clear();
    world.exits.clear();
  }

  void start_again(bool told) {
    world.agent_up = true;
    world.publish();
    start(manager.passed(), told && listens_);
    for (const auto& [slot, row] : rows) engine->restore_slot(row);
    engine->restore_run(to_frame({kRun}, state.totals, state.memory), state.state);
    for (const ProcessState& process : last.processes)
      REQUIRE(engine->restore_process(process.run, process.state));
    engine->adopt_kept();
  }

  void use(uint64_t ms) {
    world.use(pid(), pid(), ms * kMs);
    world.now_ns += ms * kMs;
  }
  void enter(uint32_t scope) {
    world.now_ns += 50 * kMs;
    world.stamp_process(pid(), pid());
    world.announce(pid(), pid(), scope, true, scope != 0);
  }
  void end() {
    world.exit(pid());
    world.reap(pid());
  }
  int pid() const { return pid_; }
  uint64_t cpu_ms(uint32_t slot) {
    return rows.count(slot) == 0 ? 0
                                 : static_cast<uint64_t>(from_frame(rows[slot]).value[kCpu]) / kMs;
  }
  uint64_t total_ms() const { return static_cast<uint64_t>(state.totals.value[kCpu]) / kMs; }

  FakeWorld world;
  FakeManager manager;
  std::unique_ptr<Engine> engine;
  EngineSnapshot last;
  std::map<uint32_t, FrameRow> rows;
  std::vector<ExitedProcess> ended;
  RunState state;

 private:
  void start(std::vector<KeptDescriptor> passed, bool listened_before = false) {
    Sources sources = world.sources(listens_, listens_, false);
    sources.kept = {manager.store(), std::move(passed)};
    sources.heard_before = listened_before;
    engine = std::make_unique<Engine>(std::move(sources), kRestartWaitNs);
    engine->open_run(kRun, kUnattributed);
    engine->define_slot(kFirst, kRun, 0);
    engine->define_slot(kSecond, kRun, 0);
  }

  const bool listens_;
  FakeProcess& trainer_;  // while it lives
  const int pid_;
};

// 20 ms in the first scope before the agent goes; then, while there is none, 30 ms there and 40 in the second, and 5 in
// none before it ends.
void live_through(Service& service, bool told, bool ends) {
  service.enter(11);
  service.use(20);
  service.tick();
  service.stop(told);
  service.use(30);
  service.enter(12);
  service.use(40);
  service.enter(0);
  if (ends) {
    service.use(5);
    service.end();
  }
  service.start_again(told);
}

}  // namespace

TEST(
    "what a program did in its scopes while the agent was started again counts there, though it "
    "has ended") {
  Service service(true);
  live_through(service, true, true);
  service.tick();
  CHECK_EQ(service.cpu_ms(kFirst), 50u);
  CHECK_EQ(service.cpu_ms(kSecond), 40u);
  CHECK_EQ(service.cpu_ms(kUnattributed), 5u);
  CHECK_EQ(service.total_ms(), 95u);
  REQUIRE(service.ended.size() == 1);
  CHECK_EQ(service.ended[0].session, 0u);
  CHECK_EQ(service.state.estimated & bit(kCpu), 0u);
}

// Its stamps are the least it used; what came after the last is not known.
TEST("where nobody told how it ended its own stamps are taken, as an estimate") {
  Service service(false);
  live_through(service, false, true);
  const uint64_t before_ns = service.world.now_ns;
  service.tick();
  CHECK_EQ(service.cpu_ms(kFirst), 50u);
  CHECK_EQ(service.cpu_ms(kSecond), 40u);
  CHECK_EQ(service.total_ms(), 90u);
  CHECK(service.state.estimated & bit(kCpu));
  CHECK_EQ(service.state.residual_columns, 0u);
  REQUIRE(service.ended.size() == 1);
  CHECK(service.ended[0].ended_ns < before_ns);  // it is not said to have lived until now
}

TEST(
    "a program that lives goes on at once, without offering its ring, and gives nothing twice when "
    "it does") {
  for (const bool told : {true, false}) {
    Service service(true);
    live_through(service, told, false);
    service.tick();
    CHECK_EQ(service.cpu_ms(kFirst), 50u);
    CHECK_EQ(service.cpu_ms(kSecond), 40u);
    CHECK_EQ(service.total_ms(), 90u);
    service.enter(12);
    service.use(7);
    service.bind(9);
    service.use(3);
    service.enter(0);
    service.tick();
    CHECK_EQ(service.cpu_ms(kSecond), 50u);
    CHECK_EQ(service.total_ms(), 100u);
    service.tick();
    service.end();
    service.tick();
    CHECK_EQ(service.total_ms(), 100u);
    CHECK(service.manager.names().empty());  // nothing is kept of what is gone
  }
}

// The first scope of an hour: its name comes when the client has found the agent again.
TEST(
    "a scope that a living program first enters while there is no agent counts, once it is named") {
  Service service(true);
  service.stop(true);
  service.enter(13);
  service.use(20);
  service.start_again(true);
  service.engine->define_slot(4, kRun, 0);
  service.tick();
  service.use(20);
  service.bind(9);
  service.engine->map_scope(9, 13, 4);
  service.tick();
  service.use(20);
  service.tick();
  CHECK(service.cpu_ms(4) >= 59);
  CHECK_EQ(service.total_ms(), 60u);
  CHECK_EQ(service.cpu_ms(kUnattributed), 0u);
}

TEST("what is heard after the state that is stored is not handed over as if it were in it") {
  enum class Hears { kNothing, kTick, kDrain };
  for (const Hears hears : {Hears::kNothing, Hears::kTick, Hears::kDrain}) {
    Service service(true);
    const uint64_t stored_ns = service.last.t_mono_ns;
    if (hears == Hears::kTick) service.tick();
    if (hears == Hears::kDrain) service.engine->drain();
    service.engine->hand_over(stored_ns);
    service.engine->flush_kept();
    service.manager.receive();
    const std::vector<std::string> names = service.manager.names();
    const bool handed_over = std::find(names.begin(), names.end(), "exit-records") != names.end();
    CHECK_EQ(handed_over, hears == Hears::kNothing);
  }
}

TEST(
    "of a session with more rings than are kept none is, so that it is never read as if it were "
    "whole") {
  Service service(true);
  std::vector<std::unique_ptr<RingWriter>> rings;
  for (size_t i = 0; i < 3; ++i) {
    CHECK_EQ(service.manager.names().size(), i < 2 ? 2 + i : 0u);
    rings.push_back(std::make_unique<RingWriter>(4, 256));
    std::string why;
    Result<RingFile> ring = RingFile::adopt(rings.back()->duplicate(), &why);
    REQUIRE(service.engine->adopt_ring(1, ring.value));
    service.tick();
  }
}

TEST("a stranger with the pid of a program that has ended gets no children into its run") {
  Service service(true);
  service.stop(true);
  service.end();
  ProcEvent fork;
  fork.kind = ProcEvent::Kind::kFork;
  fork.parent_tid = fork.parent_tgid = service.pid();
  FakeProcess& child = service.world.spawn(1);
  fork.tid = fork.tgid = child.pid;
  fork.t_mono_ns = service.world.now_ns += 50 * kMs;
  service.world.events.push_back(fork);
  service.world.use(child.pid, child.pid, 20 * kMs);
  service.start_again(true);
  service.tick();
  service.tick();
  CHECK_EQ(service.total_ms(), 0u);
}

TEST("a scope that was never stored is not taken for the one that has its number now") {
  Service service(true);
  service.engine->map_scope(1, 13, 99);  // slot 99 is of this agent's last moment
  service.enter(13);
  service.use(20);
  service.stop(true);
  service.end();
  service.start_again(true);
  service.engine->open_run(7, 98);
  service.engine->define_slot(99, 7, 0);
  service.tick();
  CHECK_EQ(service.cpu_ms(99), 0u);
  CHECK_EQ(service.cpu_ms(kUnattributed), 20u);
}

TEST("what is kept of nobody that is known is given up") {
  Service service(true);
  const UniqueFd file(::fcntl(0, F_DUPFD_CLOEXEC, 0));
  for (const char* name :
       {"ring-4000000-1", "ids-1", "process-x-y", "stored", "ring--1-18446744073709551616"})
    service.manager.store()->keep(name, file.get());
  const auto store = service.manager.store();
  store->keep("ring-4000000-1", file.get());
  store->flush();
  service.manager.receive();
  service.stop(true);
  service.start_again(true);
  service.tick();
  for (const std::string& name : service.manager.names())
    CHECK(name.find("-" + std::to_string(service.pid()) + "-") != std::string::npos);
}

}  // namespace lezea::test
