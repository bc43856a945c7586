// SECONDS: CPU ns of one sample of one process, by the agent's reader and by bare system calls on kept descriptors, in
// turns over 100 processes. `reader` and `floor` do the same reads (CPU clock, stat, statm, io); `three` only those
// of which the figures come (CPU clock, statm, io); `tick` is the engine's whole tick, divided by the processes.

#include <fcntl.h>

#include "machine.h"
#include "sampler/process_reader.h"

namespace {

constexpr int kProcesses = 100;

struct Bare {
  clockid_t clock;
  lezea::UniqueFd stat, statm, io;
};

lezea::UniqueFd open_file(int pid, const char* file) {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
  return lezea::UniqueFd(::open(path, O_RDONLY | O_CLOEXEC));
}

uint64_t read_bare(const Bare& bare, bool stat) {
  char buffer[2048];
  uint64_t sum = bench::read_clock(bare.clock);
  const auto read = [&](const lezea::UniqueFd& fd) {
    const ssize_t got = ::pread(fd.get(), buffer, sizeof buffer, 0);
    if (got <= 0) std::abort();
    sum += static_cast<uint64_t>(got);
  };
  if (stat) read(bare.stat);
  read(bare.statm);
  read(bare.io);
  return sum;
}

template <class Body>
double per_process_ns(Body body) {
  const uint64_t begun = bench::cpu_ns();
  body();
  return static_cast<double>(bench::cpu_ns() - begun) / kProcesses;
}

}  // namespace

int main(int, char** arguments) {
  const double seconds = std::atof(arguments[1]);
  bench::Children children(kProcesses, 1, 50);
  lezea::Sources sources = lezea::open_sources("/proc", {"smaps"});
  const auto engine = bench::open_engine({"smaps"});
  std::vector<std::unique_ptr<lezea::ProcessReader>> readers;
  std::vector<Bare> bare;
  for (const int pid : children.pids()) {
    readers.push_back(std::make_unique<lezea::ProcessReader>(sources, pid, false));
    if (!readers.back()->open()) return 1;
    bare.push_back({static_cast<clockid_t>((~static_cast<uint32_t>(pid) << 3) | 2),
                    open_file(pid, "stat"), open_file(pid, "statm"), open_file(pid, "io")});
    bench::bind(*engine, pid, false, 0);
  }
  bench::Rounds rounds;
  volatile uint64_t sink = 0;
  const uint64_t until = bench::read_clock(CLOCK_MONOTONIC) + static_cast<uint64_t>(seconds * 1e9);
  for (int round = 0; round < 20 || bench::read_clock(CLOCK_MONOTONIC) < until; ++round) {
    const double reader = per_process_ns([&] {
      for (auto& one : readers) {
        lezea::Reading reading;
        one->read(reading, false);
        one->read_thread_io(reading);
        sink = sink + reading.counter[lezea::kCpu];
      }
    });
    const double floor = per_process_ns([&] {
      for (const Bare& one : bare) sink = sink + read_bare(one, true);
    });
    const double three = per_process_ns([&] {
      for (const Bare& one : bare) sink = sink + read_bare(one, false);
    });
    const double tick = per_process_ns([&] { engine->tick(false); });
    engine->snapshot();
    if (round < 3) continue;
    rounds.add("reader", reader);
    rounds.add("floor", floor);
    rounds.add("three", three);
    rounds.add("tick", tick);
  }
  rounds.print();
}
