// Whose an interval of a GPU is where processes move, are released, end, begin in it or take a number again, and after
// the agent was away.
#include "check.h"
#include "fake_gpus.h"

namespace lezea::test {
namespace {

// A device's reading after a second, in ten ticks.
void second_of(GpuNode& node, uint64_t uj, uint32_t percent) {
  node.ticks(9);
  node.read(uj, percent);
}

bool about(uint64_t value, uint64_t expected) {
  return value + expected / 50 >= expected && value <= expected + expected / 50;
}

}  // namespace

TEST("a process that moves after one of its threads has ended leaves its run what it had to then") {
  GpuNode node;
  const int pid = node.bind(1, 11).pid;
  const uint64_t start_ticks = node.world.find(pid)->start_ticks;
  const int worker = node.world.clone_thread(pid);
  node.gpus->hold(0, pid, kMiB);
  node.ticks(2);
  node.world.end_thread(pid, worker);
  node.ticks(3);
  node.read(0, 0);
  node.ticks(4);
  node.bind(pid, start_ticks, 2, 21);
  node.ticks(5);
  node.gpus->work(0, node.world.now_ns - kSecondNs, node.world.now_ns, {{pid, 90}});
  node.read(1'000'000, 100);
  CHECK(about(node.of_run(1, kGpuEnergy), 500'000));
  CHECK_EQ(node.of_run(1, kGpuEnergy) + node.of_run(2, kGpuEnergy), 1'000'000);
  CHECK(about(node.of_run(1, kGpuAllocated), 500'000'000));
}

TEST("a living process that is released has ended now, whenever its last thread did") {
  GpuNode node;
  const int pid = node.bind(1, 11).pid;
  const uint64_t start_ticks = node.world.find(pid)->start_ticks;
  const int worker = node.world.clone_thread(pid);
  node.ticks(2);
  node.world.end_thread(pid, worker);
  node.ticks(10);
  node.engine->end_part(pid, start_ticks, {});
  const uint64_t now_ns = node.world.now_ns;
  node.look();
  REQUIRE(node.exited.size() == 1);
  CHECK(node.exited[0].released);
  CHECK_EQ(node.exited[0].ended_ns, now_ns);
}

TEST("who is released in an interval pays for none of what it does after") {
  for (const bool listed : {true, false}) {
    GpuNode node;
    const int pid = node.bind(1, 11).pid;
    const uint64_t start_ticks = node.world.find(pid)->start_ticks;
    if (listed) node.gpus->hold(0, pid, kMiB);
    node.read(0, 0);
    node.gpus->lists_are_read = false;  // none that is newer
    node.ticks(4);
    node.engine->end_part(pid, start_ticks, {});
    node.ticks(5);
    node.gpus->work(0, node.world.now_ns - kSecondNs, node.world.now_ns, {{pid, 90}});
    node.read(1'000'000, 100);
    CHECK(about(node.of_run(1, kGpuEnergy), 500'000));
    CHECK_EQ(number(node.books[1].runs.energy_uj + node.books[1].others.energy_uj), 1'000'000);
  }
}

TEST("a number that was taken again gets neither work nor memory of an old list") {
  GpuNode node;
  const int pid = node.bind(1, 11).pid;
  node.gpus->hold(0, pid, 100 * kMiB);
  node.read(0, 0);
  node.gpus->lists_are_read = false;
  node.world.exit(pid);
  node.world.reap(pid);
  second_of(node, 1'000'000, 100);
  const uint64_t had = node.of_run(1, kGpuEnergy);
  node.world.next_pid = pid;
  CHECK_EQ(node.bind(2, 21).pid, pid);
  second_of(node, 1'000'000, 0);
  node.gpus->work(0, node.world.now_ns - kSecondNs, node.world.now_ns, {{pid, 90}});
  second_of(node, 1'000'000, 100);
  CHECK_EQ(node.of_run(1, kGpuEnergy), had);
  CHECK_EQ(node.of_run(2, kGpuEnergy), 0);
  CHECK(!node.knows(21, kGpuMemoryPeak));
  CHECK_EQ(number(node.books[1].others.energy_uj + node.books[1].nobody.energy_uj),
           3'000'000 - had);
  // With a list of its own time it is who it is.
  node.gpus->lists_are_read = true;
  second_of(node, 1'000'000, 100);
  CHECK(node.of_run(2, kGpuEnergy) > 900'000);
  CHECK_EQ(node.of(21, kGpuMemoryPeak), 100 * kMiB);
}

TEST("who takes the number of one that has just gone gets nothing of what that held") {
  GpuNode node;
  const int pid = node.bind(1, 11).pid;
  const int stays = node.bind(2, 22).pid;
  node.gpus->hold(0, pid, 100 * kMiB);
  node.gpus->hold(0, stays, 100 * kMiB);
  node.read(0, 0);
  node.ticks(4);
  node.world.exit(pid);
  node.world.reap(pid);
  node.gpus->leave(0, pid);
  node.tick();
  node.world.next_pid = pid;
  CHECK_EQ(node.bind(2, 21).pid, pid);
  node.ticks(4);
  node.read(1'000'000, 0);
  CHECK_EQ(node.of(21, kGpuEnergy), 0);
  CHECK_EQ(node.of(21, kGpuAllocated), 0);
  CHECK(node.of(11, kGpuEnergy) > 250'000);
}

TEST("one that moves and then ends in an interval held its memory until then") {
  GpuNode node;
  const int pid = node.bind(1, 11).pid;
  const uint64_t start_ticks = node.world.find(pid)->start_ticks;
  const int stays = node.bind(1, 12).pid;
  node.gpus->hold(0, pid, 100 * kMiB);
  node.gpus->hold(0, stays, 100 * kMiB);
  node.read(0, 0);
  node.ticks(1);
  node.bind(pid, start_ticks, 2, 21);
  node.ticks(6);
  node.world.exit(pid);
  node.world.reap(pid);
  node.gpus->leave(0, pid);
  node.ticks(2);
  node.read(1'800'000, 0);
  // 0.8 of a second beside a whole one; of that 0.2 before the move.
  CHECK(about(node.of(12, kGpuEnergy), 1'000'000));
  CHECK(about(node.of(21, kGpuEnergy), 600'000));
}

TEST("who begins in an interval pays for none of what was before it") {
  for (const bool in_run : {true, false}) {
    GpuNode node;
    const int first = node.bind(1, 11).pid;
    node.gpus->hold(0, first, 100 * kMiB);
    node.read(0, 0);
    node.gpus->leave(0, first);
    node.world.exit(first);
    node.world.reap(first);
    second_of(node, 0, 0);
    node.ticks(7);
    const int late = in_run ? node.bind(2, 21).pid : node.world.spawn(1).pid;
    node.gpus->hold(0, late, 100 * kMiB);
    node.ticks(2);
    node.read(1'000'000, 0);
    const GpuBooks& books = node.books[1];
    CHECK(about(number((in_run ? books.runs : books.others).energy_uj), 200'000));
    CHECK(about(number(books.nobody.energy_uj), 800'000));
  }
}

TEST("after an hour without agent who has just begun does not pay for that hour") {
  GpuNode node;
  const int first = node.bind(1, 11).pid;
  node.bind(1, 12);
  node.gpus->hold(0, first, 100 * kMiB);
  node.read(0, 0);
  node.tick();
  node.world.exit(first);
  node.world.reap(first);
  node.gpus->leave(0, first);
  node.world.now_ns += 3600 * kSecondNs;
  node.restart();
  const int late = node.bind(2, 21).pid;
  node.gpus->hold(0, late, 100 * kMiB);
  node.ticks(9);
  node.read(3600 * 700'000'000ULL, 100);
  // A second of 700 W is what it can have had.
  CHECK(node.of_run(2, kGpuEnergy) <= 800'000'000);
  CHECK(node.of_run(2, kGpuEnergy) >= 600'000'000);
  CHECK(node.of_run(2, kGpuAllocated) <= kSecondNs + kTickNs);
}

TEST("after a restart a device's interval waits for the rings that tell where its time went") {
  GpuNode node;
  const int pid = node.bind(1, 0).pid;
  const uint64_t start_ticks = node.world.find(pid)->start_ticks;
  node.bind(pid, start_ticks, 1, 0, 5);
  node.world.find(pid)->ring = std::make_unique<RingWriter>(8, 1024);
  const auto offer = [&](uint32_t session) {
    node.engine->map_scope(session, 1, 11);
    node.engine->map_scope(session, 2, 12);
    std::string why;
    Result<RingFile> ring = RingFile::adopt(node.world.find(pid)->ring->duplicate(), &why);
    CHECK(ring.ok() && node.engine->adopt_ring(session, ring.value));
  };
  offer(5);
  node.world.announce(pid, pid, 1, false, true);
  node.gpus->hold(0, pid, kMiB);
  node.read(0, 0);
  node.tick();
  node.engine.reset();
  node.world.now_ns += 2 * kSecondNs;
  node.world.announce(pid, pid, 2, false, true);
  node.world.now_ns += 2 * kSecondNs;
  node.restart();
  node.ticks(2);
  node.read(4'000'000, 100);
  CHECK_EQ(node.of_run(1, kGpuEnergy), 0);
  node.bind(pid, start_ticks, 1, 0, 6);
  offer(6);
  second_of(node, 1'000'000, 100);
  CHECK_EQ(node.of_run(1, kGpuEnergy), 5'000'000);
  CHECK(node.of(11, kGpuEnergy) < 2'200'000);
  CHECK(node.of(12, kGpuEnergy) > 2'800'000);
}

TEST("who ends while an agent that has just begun waits for the driver held a device until then") {
  GpuNode node;
  const int pid = node.bind(1, 11).pid;
  node.gpus->hold(0, pid, kMiB);
  node.read(0, 0);
  node.tick();
  node.gpus->begin();
  node.restart();
  node.ticks(4);
  node.gpus->devices[0].processes->t_ns = node.world.now_ns;
  node.gpus->lists_are_read = false;
  node.tick();
  node.world.exit(pid);
  node.world.reap(pid);
  node.ticks(2);
  node.read(1'000'000, 100);
  CHECK(node.of_run(1, kGpuEnergy) > 700'000);
  CHECK(node.of_run(1, kGpuEnergy) < 800'000);
}

}  // namespace lezea::test
