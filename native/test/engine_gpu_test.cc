// GPUs in the engine: whose each interval of a device is, over processes that come, go and move between runs, scopes that
// change, times that clients measured, and restarts; the books of every device balance always.
#include <random>

#include "check.h"
#include "fake_gpus.h"

namespace lezea::test {

TEST("two runs and a stranger: work by its shares, the rest by memory, books that balance") {
  GpuNode node;
  const int first = node.bind(1, 11).pid;
  const int second = node.bind(2, 21).pid;
  const int stranger = node.world.spawn(1).pid;
  node.gpus->hold(0, first, 100 * kMiB);
  node.gpus->hold(0, second, 200 * kMiB);
  node.gpus->hold(0, stranger, 100 * kMiB);
  node.read(0, 0);
  CHECK(!node.knows(11, kGpuEnergy));
  const uint64_t begun_ns = node.world.now_ns - kTickNs;
  node.ticks(9);
  node.gpus->work(0, begun_ns, node.world.now_ns, {{first, 60}, {second, 20}, {stranger, 20}});
  node.read(1'000'000, 50);
  CHECK_EQ(node.of(11, kGpuEnergy), 300'000 + 125'000);
  CHECK_EQ(node.of(21, kGpuEnergy), 100'000 + 250'000);
  CHECK_EQ(node.of(11, kGpuActive), kSecondNs / 2 * 60 / 100);
  CHECK_EQ(node.of(21, kGpuAllocated), kSecondNs);
  CHECK_EQ(node.of(11, kGpuMemoryTime) / kSecondNs, 100 * kMiB);
  CHECK_EQ(node.of(11, kGpuMemoryPeak), 100 * kMiB);
  CHECK_EQ(node.of_run(1, kGpuMemoryPeak), 100 * kMiB);
  CHECK_EQ(node.of(11, kGpuEnergy, 1), node.of(11, kGpuEnergy));
  CHECK_EQ(node.of(11, kGpuMemoryPeak, 1), 100 * kMiB);
  CHECK((node.runs[1].estimated & bit(kGpuEnergy)) != 0);
  CHECK((node.runs[1].estimated & bit(kGpuAllocated)) == 0);
  const GpuBooks& books = node.books[1];
  CHECK_EQ(number(books.runs.energy_uj), 775'000);
  CHECK_EQ(number(books.others.energy_uj), 225'000);
  CHECK_EQ(number(books.nobody.energy_uj), 0);
  // Every scope of the run begins at 0; of a device only those that used it have a row.
  CHECK(node.knows(12, kGpuEnergy));
  CHECK_EQ(node.of(12, kGpuEnergy), 0);
  CHECK_EQ(node.rows.count({12, 1}), 0u);
}

TEST("within a process it goes by where its time went in the device's interval") {
  GpuNode node;
  const FakeProcess& process = node.bind(1, 0);
  node.bind(process.pid, process.start_ticks, 1, 0, 5);
  node.gpus->hold(0, process.pid, kMiB);
  node.enter(5, process.pid, 11);
  node.read(0, 0);
  node.ticks(2);
  node.enter(5, process.pid, 12);
  node.ticks(7);
  node.gpus->read(node.world.now_ns, 1'000'000, 100);
  node.enter(5, process.pid, 11);
  node.tick();
  // Of a second 0.3 in the outer scope, 0.7 in the inner one.
  CHECK_EQ(node.of(11, kGpuEnergy), 300'000);
  CHECK_EQ(node.of(12, kGpuEnergy), 700'000);
  CHECK_EQ(node.of(12, kGpuActive), kSecondNs / 10 * 7);
  CHECK_EQ(node.of(12, kGpuAllocated), kSecondNs / 10 * 7);
  CHECK((node.runs[1].apportioned & bit(kGpuAllocated)) != 0);
}

TEST("times that the client measured divide the work, not the holding") {
  GpuNode node;
  const FakeProcess& process = node.bind(1, 0);
  const int pid = process.pid;
  node.bind(pid, process.start_ticks, 1, 0, 5);
  node.engine->map_scope(5, 1, 11);
  node.engine->map_scope(5, 2, 12);
  FakeProcess& found = *node.world.find(pid);
  found.ring = std::make_unique<RingWriter>(8, 1024);
  std::string why;
  Result<RingFile> ring = RingFile::adopt(found.ring->duplicate(), &why);
  CHECK(ring.ok() && node.engine->adopt_ring(5, ring.value));
  node.gpus->hold(0, pid, kMiB);
  node.world.announce(pid, pid, 1, false, true);
  node.read(0, 0);
  node.ticks(8);
  const auto measured = [&](uint32_t scope, uint64_t gpu_ns, uint8_t device) {
    RingRecord record{};
    record.t_mono_ns = node.world.now_ns;
    record.value = gpu_ns;
    record.scope = scope;
    record.tid = static_cast<uint32_t>(pid);
    record.kind = LEZEA_RING_KIND_GPU;
    record.device = device;
    found.ring->put(0, record);
  };
  measured(1, 100'000'000, 0);
  measured(2, 300'000'000, 0);
  measured(2, 300'000'000, 7);  // never named
  node.tick();
  node.engine->map_device(5, 0,
                          "1");  // as CUDA tells it, without the prefix; after the first record
  node.read(1'000'000, 80);
  // Rings are read a millisecond into a tick: ten of them are 1.01 s. Of 0.8 of that, 0.1 and 0.3 s were measured;
  // the rest goes by time, which was all in the outer scope.
  const auto milliseconds = [&](uint32_t slot, uint32_t gpu) {
    return node.of(slot, kGpuActive, gpu) / 1'000'000;
  };
  const uint64_t worked = node.of_run(1, kGpuActive) / 1'000'000;
  CHECK(worked >= 800 && worked <= 820);
  CHECK_EQ(milliseconds(12, 0), 300);
  CHECK_EQ(milliseconds(12, 1), 300);
  CHECK_EQ(milliseconds(11, 0), worked - 300);
  CHECK_EQ(node.of(12, kGpuEnergy) / 1000, 800 * 300 / worked);
  CHECK_EQ(node.of(12, kGpuAllocated), 0);
  // Weights count where they arrive: what is more than the device worked is not carried on.
  node.ticks(8);
  measured(2, 900'000'000, 0);
  node.tick();
  node.read(1'000'000, 50);
  CHECK_EQ(milliseconds(11, 0), worked - 300);
  CHECK_EQ(milliseconds(12, 0), 300 + (node.of_run(1, kGpuActive) / 1'000'000 - worked));
  const uint64_t inner = milliseconds(12, 0);
  node.ticks(9);
  node.read(1'000'000, 50);
  CHECK_EQ(milliseconds(12, 0), inner);
}

TEST("processes of one run hold a device once; another run that holds it too has it as long") {
  GpuNode node;
  const int a = node.bind(1, 11).pid;
  const int b = node.bind(1, 12).pid;
  const int c = node.bind(2, 21).pid;
  for (const int pid : {a, b, c}) node.gpus->hold(0, pid, kMiB);
  node.read(0, 0);
  node.ticks(9);
  node.read(900, 0);
  CHECK_EQ(node.of_run(1, kGpuAllocated), kSecondNs);
  CHECK_EQ(node.of(11, kGpuAllocated), kSecondNs / 2);
  CHECK_EQ(node.of_run(2, kGpuAllocated), kSecondNs);
  CHECK_EQ(node.of(11, kGpuMemoryPeak), 2 * kMiB);  // with the scope in it
  CHECK_EQ(node.of(12, kGpuMemoryPeak), kMiB);
}

TEST("a process that has gone, and one bound late, have their parts of an interval") {
  GpuNode node;
  FakeProcess& gone = node.bind(1, 11);
  const int late = node.world.spawn(1).pid;
  const uint64_t late_start = node.world.find(late)->start_ticks;
  node.ticks(3);
  node.gpus->hold(0, gone.pid, kMiB);
  node.gpus->hold(0, late, kMiB);
  node.read(0, 0);
  node.ticks(4);
  const int gone_pid = gone.pid;
  node.world.exit(gone_pid);
  node.world.reap(gone_pid);
  node.bind(late, late_start, 2, 21);
  node.ticks(5);
  node.gpus->leave(0, gone_pid);
  node.gpus->work(0, node.world.now_ns - kSecondNs, node.world.now_ns,
                  {{gone_pid, 50}, {late, 50}});
  node.read(2'000'000, 100);
  CHECK_EQ(node.of(11, kGpuEnergy), 1'000'000);
  CHECK_EQ(node.of_run(1, kGpuEnergy), 1'000'000);
  Amount told = 0;
  for (const ExitedProcess& one : node.exited)
    if (one.run == 1) told += one.totals.value[kGpuEnergy];
  CHECK_EQ(number(told), 1'000'000);
  // Half of the interval was before its binding.
  CHECK(node.of_run(2, kGpuEnergy) <= 510'000 && node.of_run(2, kGpuEnergy) >= 490'000);
  CHECK_EQ(number(node.books[1].runs.energy_uj + node.books[1].others.energy_uj), 2'000'000);
}

TEST(
    "a process that has gone held what it held until then, and a run what any of its processes "
    "did") {
  GpuNode node;
  const int first = node.bind(1, 11).pid;
  const int stays = node.bind(2, 21).pid;
  node.gpus->hold(0, first, 300 * kMiB);
  node.gpus->hold(0, stays, 100 * kMiB);
  node.read(0, 0);
  node.ticks(4);
  node.world.exit(first);
  node.world.reap(first);
  node.gpus->leave(0, first);
  const int second = node.bind(1, 12).pid;
  node.gpus->hold(0, second, 100 * kMiB);
  node.ticks(5);
  node.read(1'000'000, 0);
  // Half a second of 300 MiB beside a whole one of 100, and half a one of 100.
  const uint64_t had = node.of(11, kGpuEnergy);
  CHECK(had > 490'000 && had < 510'000);
  CHECK(node.of_run(1, kGpuAllocated) > 950'000'000);
  CHECK(node.of_run(1, kGpuAllocated) <= 1'000'000'000);
}

TEST("children without end drive nobody out who used a device") {
  GpuNode node;
  const int holder = node.bind(1, 11).pid;
  const int forks = node.bind(2, 21).pid;
  node.gpus->hold(0, holder, kMiB);
  node.read(0, 0);
  node.ticks(9);
  node.world.exit(holder);
  node.world.reap(holder);
  node.tick();
  for (int i = 0; i < 50; ++i) {
    for (int j = 0; j < 100; ++j) {
      const int child = node.world.fork(forks, forks).pid;
      node.world.exit(child);
      node.world.reap(child);
    }
    node.world.now_ns += 1'000'000;
    node.world.publish();
    node.engine->tick(true);
  }
  node.gpus->leave(0, holder);
  node.gpus->work(0, node.world.now_ns - kSecondNs, node.world.now_ns, {{holder, 50}});
  node.read(1'000'000, 100);
  CHECK(node.of_run(1, kGpuEnergy) > 900'000);
}

TEST("an MPS server's work is its clients'; its name alone makes no server of a process in a run") {
  for (const bool is_server : {true, false}) {
    GpuNode node;
    FakeProcess& one = is_server ? node.world.spawn(1) : node.bind(1, 11);
    const int client = node.bind(2, 21).pid;
    node.gpus->hold(0, one.pid, kMiB);
    node.gpus->hold(0, client, kMiB);
    for (nvml::GpuProcess& process : node.gpus->devices[0].processes->processes)
      process.mps = static_cast<int>(process.pid) == client;
    one.comm = "nvidia-cuda-mps";
    node.read(0, 0);
    node.ticks(9);
    node.gpus->work(0, node.world.now_ns - kSecondNs, node.world.now_ns, {{one.pid, 90}});
    node.read(1'000'000, 100);
    CHECK_EQ(node.of_run(1, kGpuEnergy), is_server ? 0 : 1'000'000);
    CHECK_EQ(node.of_run(2, kGpuEnergy), is_server ? 1'000'000 : 0);
  }
}

TEST("after a restart a device goes on from its counter") {
  GpuNode node;
  const int pid = node.bind(1, 11).pid;
  node.gpus->hold(0, pid, kMiB);
  node.read(0, 0);
  node.ticks(9);
  node.read(1'000'000, 100);
  CHECK_EQ(node.of(11, kGpuEnergy), 1'000'000);
  node.world.now_ns += 5 * kSecondNs;
  node.restart();
  node.read(3'000'000, 100);
  CHECK_EQ(node.of(11, kGpuEnergy), 4'000'000);
  CHECK_EQ(node.of(11, kGpuActive), kSecondNs);  // nothing tells what it did meanwhile
  CHECK_EQ(node.of(11, kGpuEnergy, 1), 4'000'000);
  CHECK_EQ(number(node.books[1].runs.energy_uj), 3'000'000);
}

TEST("after a restart the time that the agent was away goes to the scopes of then") {
  GpuNode node;
  const FakeProcess& process = node.bind(1, 0);
  const int pid = process.pid;
  node.bind(pid, process.start_ticks, 1, 0, 5);
  node.enter(5, pid, 11);
  node.gpus->hold(0, pid, kMiB);
  node.read(0, 0);
  node.ticks(2);
  node.restart();
  const uint64_t away_since_ns = node.world.now_ns;
  node.world.now_ns += 9 * kSecondNs;
  node.bind(pid, process.start_ticks, 1, 0, 6);
  node.enter(6, pid, 12);
  // NVML answers some ticks after the agent has begun.
  node.ticks(5);
  node.read(10'000'000, 100);
  CHECK(node.world.now_ns - away_since_ns < 10 * kSecondNs);
  CHECK(node.of(12, kGpuEnergy) < 1'000'000);
  CHECK_EQ(node.of_run(1, kGpuEnergy), 10'000'000);
}

TEST("while nothing is heard of a device little is remembered, and nothing of what was held") {
  GpuNode node;
  const int pid = node.bind(1, 11).pid;
  node.gpus->hold(0, pid, kMiB);
  node.read(0, 0);
  const uint64_t peak = node.of(11, kGpuMemoryPeak);
  for (int second = 0; second < 100; ++second) {
    node.world.now_ns += kSecondNs;
    node.tick();
  }
  CHECK_EQ(node.of(11, kGpuMemoryPeak), peak);
  CHECK_EQ(node.of_run(1, kGpuActive), 0);
  // How busy it was is told of the last second: of the rest only the counter is.
  node.read(5'000'000, 100);
  CHECK_EQ(node.of(11, kGpuEnergy), 5'000'000);
  CHECK(!node.knows(11, kGpuActive));
}

TEST("lists are wanted when a process is bound, and when one that held a device has gone") {
  GpuNode node;
  node.read(0, 0);
  const int before = node.gpus->lists_wanted;
  const int pid = node.bind(1, 11).pid;
  CHECK_EQ(node.gpus->lists_wanted, before + 1);
  node.gpus->hold(0, pid, kMiB);
  node.read(0, 0);
  node.world.exit(pid);
  node.world.reap(pid);
  node.ticks(2);
  CHECK(node.gpus->lists_wanted > before + 1);
}

// Processes come, fork, go, move between runs and hold what they like; agents die. Nothing is lost or made up.
TEST("whatever happens, the books of devices and of runs balance") {
  for (uint32_t seed = 1; seed <= 60; ++seed) {
    std::mt19937 random(seed);
    const auto up_to = [&random](uint32_t most) { return random() % (most + 1); };
    GpuNode node(2);
    std::vector<int> pids;
    Amount spent[3] = {};  // by device's number
    bool restarted = false;
    node.read(0, 0);
    for (int step = 0; step < 80; ++step) {
      switch (up_to(9)) {
        case 0:
          pids.push_back(node.bind(1 + up_to(1), 0).pid);
          break;
        case 1:
          pids.push_back(node.world.spawn(1).pid);
          break;
        case 2:
          if (!pids.empty()) {
            const int pid = pids[up_to(static_cast<uint32_t>(pids.size()) - 1)];
            if (node.world.exists(pid)) pids.push_back(node.world.fork(pid, pid).pid);
          }
          break;
        case 3:
          if (!pids.empty()) {
            const int pid = pids[up_to(static_cast<uint32_t>(pids.size()) - 1)];
            if (node.world.exists(pid) && !node.world.find(pid)->zombie) {
              node.world.exit(pid);
              node.world.reap(pid);
            }
          }
          break;
        case 4:
          if (!pids.empty()) {
            const int pid = pids[up_to(static_cast<uint32_t>(pids.size()) - 1)];
            if (const FakeProcess* process = node.world.find(pid); process && !process->zombie) {
              const uint32_t run = 1 + up_to(1);
              node.bind(pid, process->start_ticks, run, 10 * run + 1 + up_to(1));
            }
          }
          break;
        case 5:
          if (!pids.empty())
            node.gpus->hold(up_to(1), pids[up_to(static_cast<uint32_t>(pids.size()) - 1)],
                            up_to(1000) * kMiB);
          break;
        case 6:
          if (seed % 2 == 0 || up_to(5) > 0) break;
          node.tick();
          node.restart();
          restarted = true;
          break;
        default: {
          std::vector<std::pair<int, uint32_t>> shares;
          for (const int pid : pids)
            if (up_to(2) == 0) shares.emplace_back(pid, up_to(60));
          const uint32_t device = up_to(1);
          node.gpus->work(device, node.world.now_ns - kSecondNs, node.world.now_ns, shares);
          const uint64_t uj = up_to(900'000);
          node.read(uj, up_to(100));
          spent[1] += uj;
          spent[2] += uj;
        }
      }
      node.ticks(static_cast<int>(up_to(2)));
    }
    node.tick();
    for (uint32_t gpu = 1; gpu <= 2; ++gpu) {
      Amount of_runs = 0;
      for (const auto& [of, totals] : node.rows)
        if (of.second == gpu) of_runs += totals.value[kGpuEnergy];
      CHECK(of_runs <= spent[gpu]);
      const auto books = node.books.find(gpu);
      if (restarted || books == node.books.end()) continue;
      const GpuBooks& one = books->second;
      CHECK_EQ(number(one.runs.energy_uj), number(of_runs));
      CHECK_EQ(number(one.runs.energy_uj + one.others.energy_uj + one.nobody.energy_uj),
               number(spent[gpu]));
    }
    for (uint32_t run = 1; run <= 2; ++run) {
      for (const Column column : {kGpuActive, kGpuAllocated, kGpuEnergy, kGpuMemoryTime}) {
        Amount slots = 0;
        Amount by_gpu = 0;
        for (const auto& [of, totals] : node.rows) {
          if (of.first != run && of.first / 10 != run) continue;
          (of.second == 0 ? slots : by_gpu) += totals.value[column];
        }
        CHECK_EQ(number(slots), node.of_run(run, column));
        CHECK_EQ(number(by_gpu), number(slots));
      }
    }
    if (failures() > 0) {
      fail(__FILE__, __LINE__, "seed " + std::to_string(seed));
      return;
    }
  }
}

}  // namespace lezea::test
