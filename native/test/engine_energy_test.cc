// The energy of the CPU: each run's share of it, divided by CPU, over what comes late, ends, moves, and restarts.
#include <filesystem>
#include <map>

#include "check.h"
#include "fake_world.h"

namespace lezea::test {
namespace {

constexpr uint32_t kUnattributedOf[] = {0, 1, 2};
constexpr uint64_t kTickNs = 100'000'000;
constexpr uint64_t kWatts = 100;
// Of one tick at that power, µJ.
constexpr uint64_t kTickEnergy = kTickNs / 1000 * kWatts;

// Two runs with two scopes each (slots 11, 12 and 21, 22) on a machine with two CPUs.
class Node {
 public:
  explicit Node(bool with_energy = true) {
    if (with_energy) world.add_energy(kWatts, 2);
    start();
  }

  void start() {
    engine = std::make_unique<Engine>(world.sources(true, true, true), 3'000'000'000);
    for (uint32_t run = 1; run <= 2; ++run) {
      engine->open_run(run, kUnattributedOf[run]);
      engine->define_slot(10 * run + 1, run, 0);
      engine->define_slot(10 * run + 2, run, 0);
    }
  }

  FakeProcess& bind(uint32_t run, uint32_t slot = 0) {
    FakeProcess& process = world.spawn(1);
    bind(process, run, slot);
    return process;
  }

  void bind(const FakeProcess& process, uint32_t run, uint32_t slot) {
    BindCommand command;
    command.pid = process.pid;
    command.start_ticks = process.start_ticks;
    command.run = run;
    command.birth_slot = slot;
    world.publish();
    engine->bind(command);
  }

  // The tick after so much time; what it told is kept.
  void tick(uint64_t after_ns = kTickNs) {
    world.now_ns += after_ns;
    world.publish();
    engine->tick(true);
    look();
  }

  void look() {
    const EngineSnapshot snapshot = engine->snapshot();
    for (const FrameRow& row : snapshot.slots)
      slots[static_cast<uint32_t>(row[0])] = from_frame(row);
    for (const RunState& run : snapshot.runs) {
      CHECK_EQ(run.residual_columns, 0u);
      runs[run.run] = run;
    }
    processes = snapshot.processes;
    for (const ExitedProcess& one : snapshot.exited) exited.push_back(one);
    CHECK(energy_of_runs() <= world.energy_uj());
  }

  uint64_t of_run(uint32_t run) { return energy(runs.at(run).totals); }
  uint64_t of_slot(uint32_t slot) { return energy(slots[slot]); }
  uint64_t energy_of_runs() {
    uint64_t sum = 0;
    for (const auto& [id, run] : runs) sum += energy(run.totals);
    return sum;
  }
  uint64_t of_exited(uint32_t run) {
    uint64_t sum = 0;
    for (const ExitedProcess& one : exited)
      if (one.run == run) sum += energy(one.totals);
    return sum;
  }
  static uint64_t energy(const Totals& totals) {
    return static_cast<uint64_t>(totals.value[kCpuEnergy]);
  }
  static bool knows(const Totals& totals) { return (totals.known & bit(kCpuEnergy)) != 0; }

  void restart() {
    const auto stored_runs = runs;
    const auto stored_slots = slots;
    const auto stored_processes = processes;
    engine.reset();
    start();
    for (const auto& [slot, totals] : stored_slots)
      engine->restore_slot(to_frame({slot}, totals, {}));
    for (const auto& [id, run] : stored_runs)
      engine->restore_run(to_frame({id}, run.totals, run.memory), run.state);
    for (const ProcessState& process : stored_processes)
      CHECK(engine->restore_process(process.run, process.state));
  }

  FakeWorld world;
  std::unique_ptr<Engine> engine;
  std::map<uint32_t, Totals> slots;
  std::map<uint32_t, RunState> runs;
  std::vector<ProcessState> processes;
  std::vector<ExitedProcess> exited;
};

}  // namespace

TEST("a run has the share of the energy that it had of the CPU time there was") {
  Node node;
  node.tick(5 * kTickNs);  // nobody's
  const FakeProcess& process = node.bind(1, 11);
  node.world.use(process.pid, process.pid, 50'000'000);
  node.tick();
  CHECK_EQ(node.of_run(1), kTickEnergy / 4);  // half of one of two CPUs
  CHECK_EQ(node.of_slot(11), kTickEnergy / 4);
  CHECK((node.runs[1].estimated & bit(kCpuEnergy)) != 0);
  node.tick();
  CHECK_EQ(node.of_run(1), kTickEnergy / 4);
  // Every scope of the run begins at 0, one that is defined later too; a run without processes has no figure.
  node.engine->define_slot(19, 1, 0);
  node.look();
  for (const uint32_t slot : {1u, 12u, 19u}) {
    CHECK(Node::knows(node.slots[slot]));
    CHECK_EQ(node.of_slot(slot), 0);
  }
  CHECK(!Node::knows(node.slots[21]));
  CHECK(node.runs.count(2) == 0 || !Node::knows(node.runs[2].totals));
}

TEST("without the counters nothing is known of energy") {
  Node node(false);
  const FakeProcess& process = node.bind(1, 11);
  node.world.use(process.pid, process.pid, 50'000'000);
  node.tick();
  CHECK(!Node::knows(node.runs[1].totals));
  CHECK(!Node::knows(node.slots[11]));
  CHECK_EQ(node.runs[1].estimated & bit(kCpuEnergy), 0u);
}

TEST("runs and their scopes divide by CPU, to the last unit") {
  Node node;
  const FakeProcess& one = node.bind(1, 11);
  const FakeProcess& two = node.bind(1, 12);
  const FakeProcess& other = node.bind(2, 21);
  node.world.use(one.pid, one.pid, 33'333'333);
  node.world.use(two.pid, two.pid, 11'111'111);
  node.world.use(other.pid, other.pid, 77'777'777);
  node.tick();
  CHECK_EQ(node.of_run(1), 2'222'222);  // 10 J × 44.444444 / 200
  CHECK_EQ(node.of_run(2), 3'888'889);
  CHECK_EQ(node.of_slot(11) + node.of_slot(12), node.of_run(1));
  CHECK_EQ(node.of_slot(11), 1'666'667);
}

TEST("more CPU than there was, of an interval that stayed open, gets all energy and no more") {
  Node node;
  const FakeProcess& one = node.bind(1);
  const FakeProcess& two = node.bind(2);
  node.world.use(one.pid, one.pid, 900'000'000);
  node.world.use(two.pid, two.pid, 300'000'000);
  node.tick();
  CHECK_EQ(node.of_run(1), kTickEnergy * 3 / 4);
  CHECK_EQ(node.of_run(2), kTickEnergy / 4);
}

TEST("the sum over the processes is the run's, over those that have ended too") {
  Node node;
  FakeProcess& parent = node.bind(1, 11);
  node.tick();
  for (int i = 0; i < 5; ++i) {
    FakeProcess& child = node.world.fork(parent.pid, parent.pid);
    const int pid = child.pid;
    node.world.use(pid, pid, 13'000'001);
    node.world.use(parent.pid, parent.pid, 7'000'003);
    if (i % 2 == 0) node.tick(kTickNs / 2);
    node.world.exit(pid);
    node.world.reap(pid);
    node.tick();
  }
  node.world.use(parent.pid, parent.pid, 20'000'000);
  node.world.exit(parent.pid);
  node.world.reap(parent.pid);
  node.tick();
  node.tick();
  CHECK(node.of_run(1) > 0);
  CHECK_EQ(node.of_exited(1), node.of_run(1));
}

TEST("a process that moves between two ticks leaves the energy of what it had used") {
  Node node;
  FakeProcess& process = node.bind(1, 11);
  node.bind(1);  // the run goes on
  node.tick();
  node.world.use(process.pid, process.pid, 40'000'000);
  node.world.now_ns += kTickNs / 2;
  node.bind(process, 2, 21);
  node.look();  // it is told as ended before the tick
  node.world.use(process.pid, process.pid, 20'000'000);
  node.tick(kTickNs / 2);
  CHECK_EQ(node.of_run(1), kTickEnergy / 5);
  CHECK_EQ(node.of_slot(11), kTickEnergy / 5);
  CHECK_EQ(node.of_run(2), kTickEnergy / 10);
  CHECK_EQ(node.of_exited(1), node.of_run(1));
}

TEST("what was used while a counter was gone has no energy, not even later") {
  Node node;
  const FakeProcess& process = node.bind(1, 11);
  node.world.use(process.pid, process.pid, 50'000'000);
  node.tick();
  const uint64_t before = node.of_run(1);
  node.world.hide_energy = true;
  node.world.use(process.pid, process.pid, 50'000'000);
  node.tick();
  CHECK_EQ(node.of_run(1), before);
  node.world.hide_energy = false;
  node.world.use(process.pid, process.pid, 50'000'000);
  node.tick();
  CHECK_EQ(node.of_run(1), before);
  node.world.use(process.pid, process.pid, 20'000'000);
  node.tick();
  CHECK_EQ(node.of_run(1), before + kTickEnergy / 10);
}

TEST("counters that begin anew lose nothing") {
  Node node;
  const FakeProcess& process = node.bind(1, 11);
  const uint64_t ticks = 2 * FakeWorld::kEnergyRange / kTickEnergy;
  for (uint64_t i = 0; i < ticks; ++i) {
    node.world.use(process.pid, process.pid, 20'000'000);
    node.tick();
  }
  CHECK_EQ(node.of_run(1), ticks * kTickEnergy / 10);
}

TEST("a restarted agent goes on from what was stored: the dead time counts, once") {
  for (const bool lost_tick : {false, true}) {
    Node node;
    const FakeProcess& process = node.bind(1, 11);
    node.world.use(process.pid, process.pid, 50'000'000);
    node.tick();
    if (lost_tick) {  // not stored: it was killed first
      node.world.use(process.pid, process.pid, 10'000'000);
      node.world.now_ns += kTickNs;
      node.world.publish();
      node.engine->tick(true);
    } else {
      node.world.use(process.pid, process.pid, 10'000'000);
      node.world.now_ns += kTickNs;
    }
    node.restart();
    node.world.use(process.pid, process.pid, 30'000'000);
    node.tick();
    // 40 ms of the 400 that two CPUs had since the checkpoint, of 20 J.
    CHECK_EQ(node.of_run(1), kTickEnergy / 4 + 2 * kTickEnergy / 10);
    node.world.use(process.pid, process.pid, 20'000'000);
    node.tick();
    CHECK_EQ(node.of_run(1), kTickEnergy / 4 + 3 * kTickEnergy / 10);
  }
}

TEST("after a dead time in which the counters may have begun anew twice, nothing is known of it") {
  Node node;
  const FakeProcess& process = node.bind(1, 11);
  node.world.use(process.pid, process.pid, 50'000'000);
  node.tick();
  node.restart();
  node.world.use(process.pid, process.pid, 500'000'000);
  node.tick(FakeWorld::kEnergyRange / 2000 * 1000);
  CHECK_EQ(node.of_run(1), kTickEnergy / 4);
  node.world.use(process.pid, process.pid, 20'000'000);
  node.tick();
  CHECK_EQ(node.of_run(1), kTickEnergy / 4 + kTickEnergy / 10);
}

TEST("a run as the program before stored it goes on, without energy until the next tick") {
  Node node;
  const FakeProcess& process = node.bind(1, 11);
  node.world.use(process.pid, process.pid, 50'000'000);
  node.tick();
  for (auto& [id, run] : node.runs) {
    ByteWriter version;
    version.u32(1);
    run.state = version.take() + run.state.substr(4, 4 * 8 + 2 * 4);
  }
  const uint64_t observed_ns = node.runs[1].observed_ns;
  node.restart();
  node.world.use(process.pid, process.pid, 50'000'000);
  node.tick();
  CHECK_EQ(static_cast<uint64_t>(node.runs[1].totals.value[kCpu]), 100'000'000);
  CHECK_EQ(node.runs[1].observed_ns, observed_ns + kTickNs);
  CHECK_EQ(node.of_run(1), kTickEnergy / 4);
  node.world.use(process.pid, process.pid, 20'000'000);
  node.tick();
  CHECK_EQ(node.of_run(1), kTickEnergy / 4 + kTickEnergy / 10);
}

}  // namespace lezea::test
