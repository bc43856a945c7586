// A sampler started and stopped many times leaves nothing behind: no descriptor, no thread, no memory.
// `npm run test:leaks` does it a thousand times under the leak sanitizer, the other runs fewer.
#include <dirent.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "live_sampler.h"
#include "ring_writer.h"

namespace lezea::test {
namespace {

constexpr int kFewCycles = 40;
// A window of cycles is as long as what an allocator keeps for itself takes to settle.
constexpr int kWindows = 8;

int cycles() {
  const char* asked = std::getenv("LEZEA_CYCLES");
  return asked == nullptr ? kFewCycles : std::atoi(asked);
}

size_t count_entries(const char* path) {
  size_t count = 0;
  DIR* folder = ::opendir(path);
  while (::readdir(folder) != nullptr) ++count;
  ::closedir(folder);
  return count;
}

size_t open_descriptors() { return count_entries("/proc/self/fd"); }
size_t threads() { return count_entries("/proc/self/task"); }

// A whole life: a run, a bound process, a ring with records, a pull, and an end at any moment.
void live_and_die(int cycle) {
  LiveSampler live;
  live.open_run(1);
  REQUIRE(live.start());
  RingWriter writer(2, 256);
  writer.put_numbered(0, 3);
  CHECK_EQ(live.offer_ring(1, writer.fd()), kAccepted);
  if (cycle % 3 != 0) CHECK(live.sampler->pull(true).get().engine.t_mono_ns > 0);
  const std::future<Snapshot> unanswered = live.sampler->pull(false);
  if (cycle % 2 == 0) live.close_run(1);
  live.sampler->stop();
}

uint64_t median(std::vector<uint64_t> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(values.size() / 2),
                   values.end());
  return values[values.size() / 2];
}

uint64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  uint64_t size = 0;
  uint64_t resident = 0;
  statm >> size >> resident;
  return resident * 4096;
}

}  // namespace

TEST("a sampler started and stopped many times leaves no descriptor, thread or memory") {
  constexpr uint64_t kMostGrowth = 8 << 20;
  const size_t threads_before = threads();
  live_and_die(1);  // so that what is made only once is there
  CHECK(eventually([&] { return threads() <= threads_before; }));
  const size_t descriptors_before = open_descriptors();
  std::vector<std::vector<uint64_t>> resident(kWindows);
  const int count = cycles();
  for (int cycle = 0; cycle < count; ++cycle) {
    live_and_die(cycle);
    resident[static_cast<size_t>(cycle * kWindows / count)].push_back(resident_bytes());
  }
  // The acceptor's threads are not waited for.
  CHECK(eventually([&] { return threads() <= threads_before; }));
  CHECK(eventually([&] { return open_descriptors() <= descriptors_before; }));
  const uint64_t early = median(resident[kWindows / 2]);
  const uint64_t late = median(resident[kWindows - 1]);
  CHECK(late < early + kMostGrowth);
  std::cout << "  " << count << " lives: " << descriptors_before << " descriptors before, "
            << open_descriptors() << " after, " << threads() << " threads, resident "
            << early / 1024 << " KiB in the middle, " << late / 1024 << " KiB at the end\n";
}

}  // namespace lezea::test
