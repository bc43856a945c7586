// What a checkpoint stored, as a broken disk may give it back: the opaque state of a run and of a process.
// It is refused, or an engine goes on from it, ticks and stores it again in the same bytes.
#include <string>
#include <vector>

#include "base/bytes.h"
#include "fake_world.h"
#include "fuzz.h"
#include "sampler/engine.h"

namespace lezea::fuzz {
namespace {

constexpr uint32_t kRun = 1;
constexpr uint32_t kUnattributed = 1;
constexpr uint32_t kSlots = 4;
constexpr uint64_t kRestartWaitNs = 1'000'000'000;

// One process, which the seeds' states are of; the world is made once and never changes.
test::FakeWorld& world() {
  static test::FakeWorld world;
  static const bool made = [] {
    world.add_energy(100, 2);
    test::FakeProcess& process = world.spawn(1);
    world.use(process.pid, process.pid, 5'000'000, 4096, 8192);
    world.publish();
    return true;
  }();
  (void)made;
  return world;
}

Engine fresh_engine() {
  Engine engine(world().sources(false, false, false), kRestartWaitNs);
  engine.open_run(kRun, kUnattributed);
  for (uint32_t slot = 2; slot <= kSlots; slot++) engine.define_slot(slot, kRun, slot / 2);
  return engine;
}

// Stored again, an account is the same: what was left out of the bytes would be lost at every restart.
void check_account(std::string_view bytes) {
  ByteReader in(bytes);
  const ProcessAccount account(kRun, in);
  if (!in.ok()) return;
  ByteWriter first;
  account.encode(first);
  ByteReader again(first.bytes());
  const ProcessAccount second(kRun, again);
  EXPECT(again.finished());
  ByteWriter twice;
  second.encode(twice);
  EXPECT(twice.bytes().size() == first.bytes().size());
}

void check_engine(Input& input) {
  Engine engine = fresh_engine();
  const std::string_view run_state = input.bytes(input.byte());
  const FrameRow row{kRun};
  engine.restore_run(row, run_state);
  const bool sound = engine.restore_process(kRun, input.rest());
  const EngineSnapshot before = engine.snapshot();
  EXPECT(before.processes.size() == (sound ? 1u : 0u));
  world().now_ns += kRestartWaitNs / 2;
  engine.tick(true);
  world().now_ns += kRestartWaitNs;
  engine.tick(true);
  const EngineSnapshot after = engine.snapshot();
  EXPECT(after.processes.size() + after.exited.size() <= 2);
  for (const RunState& run : after.runs) EXPECT(run.residual_columns == 0);
  if (after.processes.empty()) return;
  Engine next = fresh_engine();
  EXPECT(next.restore_process(kRun, after.processes[0].state));
}

}  // namespace
}  // namespace lezea::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lezea::fuzz;
  Input input(data, size);
  if (input.byte() % 2 == 0) {
    check_account(input.rest());
  } else {
    check_engine(input);
  }
  return 0;
}
