// The engine's rules that the random schedules do not single out, on a machine that exists only here.
#include "check.h"
#include "fake_world.h"

namespace lezea::test {
namespace {

constexpr uint32_t kRun = 1;
constexpr uint32_t kUnattributed = 1;

void bind(Engine& engine, FakeWorld& world, int pid) {
  world.publish();
  BindCommand command;
  command.pid = pid;
  command.start_ticks = world.find(pid)->start_ticks;
  command.run = kRun;
  engine.bind(command);
}

bool is_in_run(Engine& engine, int pid) {
  for (const ProcessState& process : engine.snapshot().processes) {
    if (process.pid == pid) return true;
  }
  return false;
}

struct Case {
  // Of two children the second is the agent itself.
  Case() {
    const int pid = world.spawn(1).pid;
    Sources sources = world.sources(true, true, true);
    root = pid;
    sources.own_pid = agent = pid + 2;
    engine = std::make_unique<Engine>(std::move(sources), 3'000'000'000ull);
    engine->open_run(kRun, kUnattributed);
    bind(*engine, world, pid);
    child = world.fork(pid, pid).pid;
    CHECK_EQ(world.fork(pid, pid).pid, agent);
  }

  void tick() {
    world.now_ns += 100'000'000;
    world.publish();
    engine->tick(true);
  }

  FakeWorld world;
  std::unique_ptr<Engine> engine;
  int root = 0;
  int child = 0;
  int agent = 0;
};

TEST("an agent that a process of a run forks is in no run") {
  Case it;
  it.tick();
  CHECK(is_in_run(*it.engine, it.child));
  CHECK(!is_in_run(*it.engine, it.agent));
  bind(*it.engine, it.world, it.agent);
  CHECK(!is_in_run(*it.engine, it.agent));
}

TEST("what such an agent used is not granted to the run when it is reaped") {
  Case it;
  it.tick();
  it.world.use(it.agent, it.agent, 500'000'000);
  it.tick();
  it.world.exit(it.agent);
  it.world.reap(it.agent);
  it.tick();
  it.tick();
  CHECK_EQ(static_cast<uint64_t>(it.engine->snapshot().runs.at(0).totals.value[kCpu]), 0);
}

TEST("nor does a scan find it") {
  Case it;
  Sources sources = it.world.sources(false, false, false);
  const int later = sources.own_pid = it.agent + 1;
  Engine engine(std::move(sources), 3'000'000'000ull);
  engine.open_run(kRun, kUnattributed);
  bind(engine, it.world, it.root);
  CHECK_EQ(it.world.fork(it.root, it.root).pid, later);
  const int other = it.world.fork(it.root, it.root).pid;
  it.world.now_ns += 100'000'000;
  it.world.publish();
  engine.tick(true);
  CHECK(is_in_run(engine, other));
  CHECK(!is_in_run(engine, later));
}

}  // namespace
}  // namespace lezea::test
