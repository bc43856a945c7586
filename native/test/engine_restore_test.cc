// What a restarted engine makes of a stored state that does not fit: a disk or a database may have lost
// part of it.
#include <fstream>
#include <iterator>

#include "check.h"
#include "fake_world.h"
#include "fixture.h"

namespace lezea::test {
namespace {

constexpr uint32_t kRun = 1;
constexpr uint32_t kUnattributed = 1;
constexpr uint32_t kBirth = 2;
constexpr uint64_t kRestartWaitNs = 3'000'000'000;

BindCommand bound_in(uint32_t slot, const FakeProcess& process) {
  BindCommand command;
  command.pid = process.pid;
  command.start_ticks = process.start_ticks;
  command.run = kRun;
  command.birth_slot = slot;
  return command;
}

void tick(FakeWorld& world, Engine& engine) {
  world.now_ns += 100'000'000;
  world.publish();
  engine.tick(true);
}

// The state of a process in slot kBirth that has used some CPU.
std::string state_of(FakeWorld& world, FakeProcess& process) {
  Engine engine(world.sources(false, false, false), kRestartWaitNs);
  engine.open_run(kRun, kUnattributed);
  engine.define_slot(kBirth, kRun, 0);
  world.publish();
  engine.bind(bound_in(kBirth, process));
  world.use(process.pid, process.pid, 5'000'000);
  tick(world, engine);
  return engine.snapshot().processes.at(0).state;
}

}  // namespace

TEST("a stored scope that is not the run's any more counts as unattributed, in no other run") {
  for (const uint32_t run_of_slot : {0u, kRun + 1}) {
    FakeWorld world;
    FakeProcess& process = world.spawn(1);
    const std::string state = state_of(world, process);
    Engine engine(world.sources(false, false, false), kRestartWaitNs);
    engine.open_run(kRun, kUnattributed);
    if (run_of_slot != 0) engine.open_run(run_of_slot, kBirth);
    REQUIRE(engine.restore_process(kRun, state));
    world.use(process.pid, process.pid, 7'000'000);
    tick(world, engine);
    const EngineSnapshot snapshot = engine.snapshot();
    for (const RunState& run : snapshot.runs) {
      CHECK_EQ(run.residual_columns, 0);
      CHECK_EQ(static_cast<uint64_t>(run.totals.value[kCpu]), run.run == kRun ? 7'000'000 : 0);
    }
    for (const FrameRow& row : snapshot.slots) {
      CHECK_EQ(static_cast<uint64_t>(from_frame(row).value[kCpu]),
               row[0] == kUnattributed ? 7'000'000 : 0);
    }
  }
}

TEST("a process as the program before stored it goes on, with the figures that it had") {
  std::ifstream file(fixture_path("stored/process-state-2.bin"), std::ios::binary);
  const std::string state((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  REQUIRE(!state.empty());
  FakeWorld world;
  FakeProcess& process = world.spawn(1);
  world.use(process.pid, process.pid, 14'000'000);
  world.now_ns = 1'000'300'000'000;  // after its last interval
  world.publish();
  Engine engine(world.sources(false, false, false), kRestartWaitNs);
  engine.open_run(kRun, kUnattributed);
  REQUIRE(engine.restore_process(kRun, state));
  world.use(process.pid, process.pid, 7'000'000);
  world.now_ns += kRestartWaitNs;  // nobody offers its ring again
  tick(world, engine);
  world.exit(process.pid);
  world.reap(process.pid);
  tick(world, engine);
  const EngineSnapshot snapshot = engine.snapshot();
  REQUIRE(snapshot.exited.size() == 1);
  CHECK_EQ(static_cast<uint64_t>(snapshot.exited[0].totals.value[kCpu]), 9'000'000 + 7'000'000);
}

}  // namespace lezea::test
