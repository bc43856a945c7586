// The engine's rules that the random schedules do not single out, on a machine that exists only here.
#include <filesystem>
#include <fstream>

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
  explicit Case(bool exit_records = true) {
    const int pid = world.spawn(1).pid;
    Sources sources = world.sources(true, exit_records, exit_records);
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

  uint64_t cpu_ns() {
    for (const RunState& run : engine->snapshot().runs) total = run.totals.value[kCpu];
    return static_cast<uint64_t>(total);
  }

  FakeWorld world;
  std::unique_ptr<Engine> engine;
  Amount total = 0;
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

TEST("a closed run has its processes' last use in the next snapshot and is in no later one") {
  Case it;
  it.tick();
  const uint64_t before = it.cpu_ns();
  it.world.use(it.child, it.child, 30'000'000);
  it.tick();
  it.engine->close_run(kRun);
  const EngineSnapshot last = it.engine->snapshot();
  CHECK_EQ(last.runs.size(), 1u);
  CHECK_EQ(last.exited.size(), 2u);
  CHECK_EQ(static_cast<uint64_t>(last.runs[0].totals.value[kCpu]), before + 30'000'000);
  CHECK_EQ(last.runs[0].residual_columns, 0u);
  it.tick();
  CHECK(it.engine->snapshot().runs.empty());
}

TEST("what a process forked leaves with it, without who has a part of its own and its children") {
  for (const bool own_part : {false, true}) {
    Case it;
    const int grandchild = it.world.fork(it.child, it.child).pid;
    it.tick();
    const auto id_of = [&](int pid) { return ProcessId{pid, it.world.find(pid)->start_ticks}; };
    std::set<ProcessId> own_parts;
    if (own_part) own_parts.insert(id_of(it.child));
    it.engine->end_part(it.root, id_of(it.root).second, own_parts);
    CHECK(!is_in_run(*it.engine, it.root));
    CHECK_EQ(is_in_run(*it.engine, it.child), own_part);
    CHECK_EQ(is_in_run(*it.engine, grandchild), own_part);
  }
}

TEST("without exit records an end that was reaped unread is said to be missing") {
  for (const bool records : {true, false}) {
    for (const bool reaped : {false, true}) {
      Case it(records);
      it.tick();
      const uint64_t before = it.cpu_ns();
      it.world.use(it.root, it.root, 30'000'000);
      it.world.exit(it.root);
      if (reaped) it.world.reap(it.root);
      it.tick();
      if (!reaped) it.world.reap(it.root);
      it.tick();
      const RunState run = it.engine->snapshot().runs.at(0);
      const bool lost = reaped && !records;
      CHECK_EQ(static_cast<uint64_t>(run.totals.value[kCpu]), before + (lost ? 0 : 30'000'000));
      CHECK_EQ((run.estimated & bit(kCpu)) != 0, lost);
    }
  }
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

void write_file(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::trunc) << text;
}

// A v2 cgroup beside the fake /proc. It holds the root of a run, which has had one child.
struct CgroupCase {
  explicit CgroupCase(bool with_earlier_child = false) {
    root = world.spawn(1).pid;
    const int earlier = with_earlier_child ? world.fork(root, root).pid : root;
    Sources sources = world.sources(false, false, false);
    sources.cgroup2_mount = world.root + "/cgroup";
    std::filesystem::create_directories(folder());
    holds({root, earlier});
    uses(0);
    engine = std::make_unique<Engine>(std::move(sources), 3'000'000'000ull);
    engine->open_run(kRun, kUnattributed);
    bind(*engine, world, root);
    const int child = world.fork(root, root).pid;
    holds({root, child, earlier});
    tick();
    world.exit(child);
    world.reap(child);
    holds({root, earlier});
    tick();
  }

  std::string folder() const { return world.root + "/cgroup/job"; }
  void holds(const std::vector<int>& pids) {
    std::string members;
    for (const int pid : pids) {
      members += std::to_string(pid) + "\n";
      write_file(world.root + "/" + std::to_string(pid) + "/cgroup", "0::/job\n");
    }
    write_file(folder() + "/cgroup.procs", members);
  }
  void uses(uint64_t cpu_us) {
    write_file(folder() + "/cpu.stat", "usage_usec " + std::to_string(cpu_us) + "\n");
  }
  void tick() {
    world.now_ns += 100'000'000;
    world.publish();
    engine->tick(true);
    for (const RunState& run : engine->snapshot().runs) {
      cpu_ns = static_cast<uint64_t>(run.totals.value[kCpu]);
    }
  }

  FakeWorld world;
  std::unique_ptr<Engine> engine;
  int root = 0;
  uint64_t cpu_ns = 0;
};

TEST("what a cgroup that holds the run alone has above the known is granted") {
  CgroupCase it;
  it.uses(30'000);
  it.tick();
  CHECK_EQ(it.cpu_ns, 30'000'000);
}

TEST("what is used in its cgroup after a process left the run is not the run's") {
  CgroupCase it;
  it.engine->end_part(it.root, it.world.find(it.root)->start_ticks, {});
  it.uses(30'000);
  it.tick();
  CHECK_EQ(it.cpu_ns, 0);
}

TEST("nor is what a child uses that was forked before the binding") {
  CgroupCase it(true);
  it.uses(30'000);
  it.tick();
  CHECK_EQ(it.cpu_ns, 0);
}

TEST("what a stranger uses who came to the cgroup since the last check is not the run's") {
  CgroupCase it;
  it.holds({it.root, it.world.spawn(1).pid});
  it.uses(30'000);
  it.tick();
  CHECK_EQ(it.cpu_ns, 0);
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

TEST("a daemon that forks itself twice between the readings and the events is in the run") {
  Case it;
  it.tick();
  int daemon = 0;
  it.world.after_readings = [&] {
    it.world.now_ns += 1'000'000;
    const int between = it.world.fork(it.root, it.root).pid;
    daemon = it.world.fork(between, between).pid;
    it.world.exit(between);
    it.world.reap(between);
  };
  it.tick();
  it.world.use(daemon, daemon, 70'000'000);
  it.tick();
  CHECK(is_in_run(*it.engine, daemon));
  it.tick();
  CHECK_EQ(it.cpu_ns(), 70'000'000);
}

TEST("the last moments of children count, however densely children come and go") {
  Case it;
  it.tick();
  uint64_t used_ns = 0;
  for (int i = 0; i < 20; ++i) {
    const int child = it.world.fork(it.root, it.root).pid;
    it.world.use(child, child, 8'000'000);
    it.world.exit(child);
    it.world.exits.back().cpu_ns -=
        2'000'000;  // the record comes before the address space is torn down
    it.world.reap(child);
    const int next = it.world.fork(it.root, it.root).pid;
    // One more is read alive, and reaped before its parent is read: what it used is not missing.
    it.world.use(next, next, 5'000'000);
    it.world.after_readings = [&it, next] {
      it.world.exit(next);
      it.world.reap(next);
    };
    it.tick();
    used_ns += 13'000'000;
  }
  const uint64_t before_ns = it.cpu_ns();
  CHECK(before_ns <= used_ns);
  CHECK(before_ns + 30'000'000 >= used_ns);  // cutime is in ticks
}

}  // namespace
}  // namespace lezea::test
