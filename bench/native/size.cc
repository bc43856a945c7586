// What a tick costs against size. `processes N`: N processes of one thread; `threads N`: one process whose N threads
// are each in a scope; `events N`: a tick and drains of a run whose 8 threads write N records a second, per
// second of such ticks; `flood SECONDS N`: that many seconds' worth of N records a second, as fast as they can be
// taken, and the resident memory as it goes. CPU ns of one tick at 10 Hz, or of one second.

#include "machine.h"
#include "scope/ring_file.h"
#include "test/ring_writer.h"

using namespace lezea;

namespace {

constexpr int kRounds = 25;

void measure_ticks(bench::Rounds& rounds, lezea::Engine& engine) {
  for (int round = 0; round < kRounds; ++round) {
    uint64_t used_ns = 0;
    // A second's worth, of which one tick reads the costlier figures; between them CPU is used.
    for (int tick = 0; tick < 10; ++tick) {
      usleep(5000);
      const uint64_t begun = bench::cpu_ns();
      engine.tick(tick == 0);
      used_ns += bench::cpu_ns() - begun;
    }
    engine.snapshot();
    if (round >= 3) rounds.add("tick", static_cast<double>(used_ns) / 10);
  }
}

void processes(bench::Rounds& rounds, int count) {
  bench::Children children(count, 1, 20);
  const auto engine = bench::open_engine({"smaps"});
  for (const int pid : children.pids()) bench::bind(*engine, pid, false, 0);
  measure_ticks(rounds, *engine);
}

void threads(bench::Rounds& rounds, int count) {
  bench::Children children(1, count, 20);
  const auto engine = bench::open_engine({"smaps"});
  bench::bind(*engine, children.pids()[0], true, 10);
  measure_ticks(rounds, *engine);
}

// Writes records as eight client threads would.
class Writer {
 public:
  lezea::RingFile adopt() const {
    std::string why;
    auto ring = lezea::RingFile::adopt(ring_.duplicate(), &why);
    if (!ring.ok()) std::abort();
    return std::move(ring.value);
  }

  // `count` records a lane, of scopes 1…8 in turn, spread over the time up to `until_ns`.
  void write(uint64_t count, const std::vector<int>& tids, uint64_t from_ns, uint64_t until_ns) {
    for (uint32_t lane = 0; lane < kLanes; ++lane) {
      for (uint64_t i = 0; i < count; ++i) {
        lezea::RingRecord record{};
        record.t_mono_ns = from_ns + (until_ns - from_ns) * i / count;
        record.scope = 1 + static_cast<uint32_t>((ring_.head(lane) + lane) % kScopes);
        record.tid = static_cast<uint32_t>(tids[lane]);
        record.flags = LEZEA_RING_FLAG_ACTIVATION;
        ring_.put(lane, record);
      }
    }
  }

  static constexpr uint32_t kLanes = 8;
  static constexpr uint32_t kScopes = 8;

 private:
  lezea::RingWriter ring_{kLanes, LEZEA_RING_DEFAULT_LANE_CAPACITY};
};

// A run whose one process of 8 threads has a ring.
struct Ringed {
  Ringed() : children(1, Writer::kLanes, 20), engine(bench::open_engine({"smaps"})) {
    const int pid = children.pids()[0];
    bench::bind(*engine, pid, false, 0);
    tids = bench::Children::threads_of(pid);
    for (uint32_t scope = 1; scope <= Writer::kScopes; ++scope) {
      engine->define_slot(100 + scope, bench::kRun, 0);
      engine->map_scope(static_cast<uint32_t>(pid), scope, 100 + scope);
    }
    lezea::RingFile ring = writer.adopt();
    if (!engine->adopt_ring(static_cast<uint32_t>(pid), ring)) std::abort();
    engine->tick(true);
    last_ns = bench::read_clock(CLOCK_MONOTONIC);
  }

  // Half a tick's worth of records, then a drain; the same again, then the tick. What the agent used, ns.
  uint64_t tenth_of_a_second(uint64_t per_second) {
    uint64_t used_ns = 0;
    for (const bool tick : {false, true}) {
      const uint64_t now_ns = bench::read_clock(CLOCK_MONOTONIC);
      writer.write(per_second / 20 / Writer::kLanes, tids, last_ns, now_ns);
      last_ns = now_ns;
      usleep(1100);  // a head is believed a millisecond later
      const uint64_t begun = bench::cpu_ns();
      if (tick) {
        engine->tick(false);
      } else {
        engine->drain();
        usleep(1100);
        engine->drain();
      }
      used_ns += bench::cpu_ns() - begun;
    }
    return used_ns;
  }

  bench::Children children;
  std::unique_ptr<lezea::Engine> engine;
  Writer writer;
  std::vector<int> tids;
  uint64_t last_ns = 0;
};

void events(bench::Rounds& rounds, uint64_t per_second) {
  Ringed ringed;
  uint64_t lost = 0;
  for (int round = 0; round < kRounds; ++round) {
    uint64_t used_ns = 0;
    for (int tick = 0; tick < 10; ++tick) used_ns += ringed.tenth_of_a_second(per_second);
    lost = ringed.engine->snapshot().lost_records;
    if (round >= 3) rounds.add("second", static_cast<double>(used_ns));
  }
  rounds.add("lost", static_cast<double>(lost));
}

uint64_t rss_bytes() {
  long pages = 0;
  if (FILE* file = std::fopen("/proc/self/statm", "r")) {
    if (std::fscanf(file, "%*d %ld", &pages) != 1) pages = 0;
    std::fclose(file);
  }
  return static_cast<uint64_t>(pages) * 4096;
}

void flood(bench::Rounds& rounds, uint64_t seconds, uint64_t per_second) {
  Ringed ringed;
  for (uint64_t second = 0; second < seconds; ++second) {
    for (int tick = 0; tick < 10; ++tick) ringed.tenth_of_a_second(per_second);
    const lezea::EngineSnapshot snapshot = ringed.engine->snapshot();
    if (second % (seconds / 20) == 0) rounds.add("rss_bytes", static_cast<double>(rss_bytes()));
    if (second + 1 == seconds) rounds.add("lost", static_cast<double>(snapshot.lost_records));
  }
}

}  // namespace

int main(int count, char** arguments) {
  bench::Rounds rounds;
  const std::string what = count > 2 ? arguments[1] : "";
  const uint64_t size = count > 2 ? std::strtoull(arguments[2], nullptr, 10) : 0;
  if (what == "processes") processes(rounds, static_cast<int>(size));
  if (what == "threads") threads(rounds, static_cast<int>(size));
  if (what == "events") events(rounds, size);
  if (what == "flood" && count > 3) flood(rounds, size, std::strtoull(arguments[3], nullptr, 10));
  rounds.print();
}
