// SECONDS PID…: CPU ns of one sample of one of these processes, by the agent's reader and by bare system calls on kept
// descriptors, in turns. `reader` and `floor` do the same reads (CPU clock, stat, statm, io); `three` only those
// of which the figures come (CPU clock, statm, io); `tick` is the engine's whole tick, divided by the processes.

#include "machine.h"
#include "sampler/process_reader.h"

namespace {

template <class Body>
double used_ns(Body body) {
  const uint64_t begun = bench::cpu_ns();
  body();
  return static_cast<double>(bench::cpu_ns() - begun);
}

}  // namespace

int main(int count, char** arguments) {
  const double seconds = std::atof(arguments[1]);
  std::vector<int> pids;
  for (int i = 2; i < count; ++i) pids.push_back(std::atoi(arguments[i]));
  lezea::Sources sources = lezea::open_sources("/proc", "/sys", {"smaps"});
  const auto engine = bench::open_engine({"smaps"});
  std::vector<std::unique_ptr<lezea::ProcessReader>> readers;
  std::vector<bench::Bare> bare;
  for (const int pid : pids) {
    readers.push_back(std::make_unique<lezea::ProcessReader>(sources, pid, false));
    if (!readers.back()->open()) return 1;
    bare.emplace_back(pid);
    bench::bind(*engine, pid, false, 0);
  }
  const double each = static_cast<double>(pids.size());
  bench::Rounds rounds;
  volatile uint64_t sink = 0;
  const uint64_t until = bench::read_clock(CLOCK_MONOTONIC) + static_cast<uint64_t>(seconds * 1e9);
  for (int round = 0; round < 20 || bench::read_clock(CLOCK_MONOTONIC) < until; ++round) {
    const double reader = used_ns([&] {
      for (auto& one : readers) {
        lezea::Reading reading;
        one->read(reading, false);
        one->read_thread_io(reading);
        sink = sink + reading.counter[lezea::kCpu];
      }
    });
    const double floor = used_ns([&] {
      for (const bench::Bare& one : bare) sink = sink + one.read(true);
    });
    const double three = used_ns([&] {
      for (const bench::Bare& one : bare) sink = sink + one.read(false);
    });
    const double tick = used_ns([&] { engine->tick(false); });
    engine->snapshot();
    if (round < 3) continue;
    rounds.add("reader", reader / each);
    rounds.add("floor", floor / each);
    rounds.add("three", three / each);
    rounds.add("tick", tick / each);
  }
  rounds.print();
}
