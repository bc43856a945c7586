// What a client can make the engine keep has an end, and what is given up there is counted.
#include "check.h"
#include "fake_world.h"

namespace lezea::test {
namespace {

constexpr uint32_t kRun = 1;
constexpr uint32_t kUnattributed = 1;
constexpr uint32_t kSlot = 2;

class Agent {
 public:
  Agent() : engine_(world_.sources(true, false, false), 3'000'000'000ull) {
    engine_.open_run(kRun, kUnattributed);
    engine_.define_slot(kSlot, kRun, 0);
  }

  // A bound process with a ring; its session has its pid's number.
  int start() {
    FakeProcess& process = world_.spawn(1);
    world_.publish();
    BindCommand command;
    command.session = static_cast<uint32_t>(process.pid);
    command.pid = process.pid;
    command.start_ticks = process.start_ticks;
    command.run = kRun;
    command.primary_tid = process.pid;
    engine_.bind(command);
    process.ring = std::make_unique<RingWriter>(2, LEZEA_RING_MAX_LANE_CAPACITY);
    std::string why;
    Result<RingFile> ring = RingFile::adopt(process.ring->duplicate(), &why);
    CHECK(ring.ok() && engine_.adopt_ring(command.session, ring.value));
    return process.pid;
  }

  // So many different scopes, none of which is ever defined.
  void announce_undefined(int pid, size_t count) {
    RingRecord record{};
    record.t_mono_ns = world_.now_ns;
    record.tid = static_cast<uint32_t>(pid);
    RingWriter& ring = *world_.find(pid)->ring;
    for (size_t i = 0; i < count; ++i) {
      record.scope = ~static_cast<uint32_t>(i);
      ring.put(i % 2, record);
    }
  }

  EngineSnapshot tick() {
    world_.now_ns += 10'000'000;
    world_.publish();
    engine_.tick(true);
    return engine_.snapshot();
  }

 private:
  FakeWorld world_;
  Engine engine_;
};

}  // namespace

TEST("a process keeps records of undefined scopes up to the limit, and gives all up at it") {
  for (const size_t count : {kMostHeld - 1, kMostHeld}) {
    Agent agent;
    const int pid = agent.start();
    agent.announce_undefined(pid, count);
    const EngineSnapshot snapshot = agent.tick();
    CHECK_EQ(snapshot.undefined_records, count < kMostHeld ? 0 : count);
    CHECK_EQ(snapshot.lost_records + snapshot.forged_records, 0);
    for (const RunState& run : snapshot.runs) CHECK_EQ(run.residual_columns, 0);
  }
}

TEST(
    "many processes that wait have an equal share, and one that wants more is alone in giving up") {
  constexpr size_t kProcesses = 8;
  constexpr size_t kShare = kMostHeldInAll / kProcesses;
  Agent agent;
  for (size_t i = 0; i < kProcesses; ++i) {
    agent.announce_undefined(agent.start(), i == 0 ? kShare : kShare - 1);
  }
  CHECK_EQ(agent.tick().undefined_records, kShare);
}

TEST("a ring gives no more than its part of a take, the newest, and counts the rest as lost") {
  constexpr uint64_t kMost = 100;
  for (const uint64_t count : {kMost, kMost + 2}) {
    RingWriter writer(2, 256);
    for (const uint32_t lane : {0u, 1u}) writer.put_numbered(lane, count / 2);
    std::string why;
    Result<RingFile> ring = RingFile::adopt(writer.duplicate(), &why);
    REQUIRE(ring.ok());
    std::vector<TakenRecord> taken;
    RingLosses losses;
    ring.value.note_heads();
    ring.value.take(taken, losses, 0, 1'000, kMost);
    CHECK_EQ(taken.size(), kMost);
    CHECK_EQ(losses.lost, count - kMost);
    CHECK_EQ(losses.overrun_lanes.size(), count > kMost ? 2 : 0);
    CHECK_EQ(taken.back().n, count / 2 - 1);
  }
}

}  // namespace lezea::test
