// The sampling thread and all who speak to it at once: commands, pulls, rings, and stopping in the middle.
// Run under the thread sanitizer too (`npm run test:tsan`).
#include "sampler/sampler.h"

#include <atomic>
#include <future>
#include <thread>
#include <vector>

#include "live_sampler.h"
#include "ring_writer.h"

namespace lezea::test {
namespace {

constexpr auto kAnswer = std::chrono::seconds(10);

RunState run_of(const Snapshot& snapshot, uint32_t number) {
  for (const RunState& run : snapshot.engine.runs) {
    if (run.run == number) return run;
  }
  return {};
}

// The answer to a pull; nothing if the sampler was stopped before.
std::optional<Snapshot> answer_to(std::future<Snapshot> pull) {
  try {
    CHECK(pull.wait_for(kAnswer) == std::future_status::ready);
    return pull.get();
  } catch (const std::future_error&) {
    return std::nullopt;
  }
}

}  // namespace

TEST("before the start a command runs at once, after it on the sampler's thread, then never") {
  LiveSampler live;
  std::thread::id where;
  const auto note = [&where](Engine&) { where = std::this_thread::get_id(); };
  live.sampler->post(note);
  CHECK(where == std::this_thread::get_id());
  REQUIRE(live.start());
  where = {};
  live.sampler->post(note);
  CHECK(answer_to(live.sampler->pull(true)).has_value());
  CHECK(where != std::thread::id() && where != std::this_thread::get_id());
  live.sampler->stop();
  where = {};
  live.sampler->post(note);
  CHECK(where == std::thread::id());
  CHECK(!answer_to(live.sampler->pull(true)).has_value());
  CHECK(live.start());
}

TEST("a session that is opened again offers rings with its new token only") {
  LiveSampler live;
  live.open_run(1);
  BindCommand again;
  again.session = 1;
  again.pid = ::getpid();
  again.start_ticks = start_ticks_of(::getpid());
  again.run = 1;
  again.birth_slot = 11;
  live.sampler->post_bind(again, token_of(99));
  REQUIRE(live.start());
  RingWriter writer;
  CHECK_EQ(live.offer_ring(1, writer.fd()), refused("unknown_session"));
  CHECK_EQ(live.offer_ring(99, writer.fd()), kAccepted);
  live.sampler->close_session(1);
  CHECK_EQ(live.offer_ring(99, writer.fd()), refused("unknown_session"));
}

TEST("a ring that is offered is read, and its scopes get what the process used") {
  LiveSampler live;
  live.open_run(1);
  REQUIRE(live.start());
  RingWriter writer;
  CHECK_EQ(live.offer_ring(1, writer.fd()), kAccepted);
  RingRecord record{};
  record.t_mono_ns = SystemClock().monotonic_ns();
  record.scope = 2;
  record.tid = static_cast<uint32_t>(::getpid());
  record.flags = LEZEA_RING_FLAG_ACTIVATION;
  writer.put(0, record);
  uint64_t activations = 0;
  CHECK(eventually([&] {
    const std::optional<Snapshot> snapshot = answer_to(live.sampler->pull(true));
    if (!snapshot) return false;
    const RunState run = run_of(*snapshot, 1);
    CHECK_EQ(run.residual_columns, 0);
    activations = static_cast<uint64_t>(run.totals.value[kActivations]);
    return activations > 0;
  }));
  CHECK_EQ(activations, 1);
}

TEST("a ring is read from when it is offered, however far the next tick is") {
  constexpr uint32_t kCapacity = 16384;
  constexpr uint64_t kRecords = 2 * kCapacity;
  LiveSampler live(60'000'000'000);
  live.open_run(1);
  REQUIRE(live.start());
  CHECK(answer_to(live.sampler->pull(true)).has_value());  // the only tick for a minute
  RingWriter writer(1, kCapacity);
  CHECK_EQ(live.offer_ring(1, writer.fd()), kAccepted);
  const SystemClock clock;
  for (uint64_t written = 0; written < kRecords; written += 4096) {
    for (uint64_t i = 0; i < 4096; ++i) {
      RingRecord record{};
      record.t_mono_ns = clock.monotonic_ns();
      record.scope = 2;
      record.tid = static_cast<uint32_t>(::getpid());
      record.flags = LEZEA_RING_FLAG_ACTIVATION;
      writer.put(0, record);
    }
    // A whole turn, which nobody else wakes the sampler for, has looked at the ring, however late it comes.
    const uint64_t turns = live.sampler->turns();
    REQUIRE(eventually([&] { return live.sampler->turns() >= turns + 2; }));
  }
  const std::optional<Snapshot> snapshot = answer_to(live.sampler->pull(true));
  REQUIRE(snapshot.has_value());
  CHECK_EQ(snapshot->engine.lost_records, 0);
  CHECK_EQ(static_cast<uint64_t>(run_of(*snapshot, 1).totals.value[kActivations]), kRecords);
}

namespace {

// Everything that the agent's threads do to a running sampler, many times over. Not a sequence that an
// agent would choose: rings of sessions that have gone, runs closed under their processes.
class Load {
 public:
  explicit Load(LiveSampler& live) : live_(live) {
    start([this](uint32_t round) { command(1 + round % 4); });
    start([this](uint32_t round) {
      if (round % 2 == 0) pulled_ += answer_to(live_.sampler->pull(round % 4 == 0)).has_value();
      (void)live_.sampler->node_figures();
      (void)live_.sampler->source_statuses();
    });
    start([this](uint32_t round) { offer_and_write(1 + round % 4); });
  }
  ~Load() {
    ended_ = true;
    for (std::thread& thread : threads_) thread.join();
  }

  uint64_t pulled() const { return pulled_; }
  uint64_t accepted() const { return accepted_; }

 private:
  template <class Work>
  void start(Work work) {
    threads_.emplace_back([this, work] {
      for (uint32_t round = 0; !ended_; ++round) work(round);
    });
  }

  void command(uint32_t number) {
    live_.open_run(number);
    EnterCommand enter;
    enter.session = number;
    enter.tid = ::getpid();
    enter.slot = number * 10 + 2;
    enter.t_ns = SystemClock().monotonic_ns();
    live_.sampler->post([enter](Engine& engine) { engine.enter(enter); });
    // As clients wait for their answers: else the queue would only grow, and no ring would find its session.
    const uint64_t before = carried_out_;
    live_.sampler->post([this](Engine&) { ++carried_out_; });
    wait_for([this, before] { return carried_out_ > before; });
    live_.close_run(number);
  }

  // Not for ever: what is posted while the sampler is stopped is dropped.
  static void wait_for(const std::function<bool()>& holds) {
    for (int ms = 0; ms < 50 && !holds(); ++ms) SystemClock().sleep_ns(kMs);
  }

  void offer_and_write(uint32_t number) {
    RingWriter writer(2, 256);
    writer.put_numbered(0, 300);
    accepted_ += live_.offer_ring(number, writer.fd()) == kAccepted;
    writer.put_numbered(1, 300);
  }

  LiveSampler& live_;
  std::atomic<bool> ended_{false};
  std::atomic<uint64_t> pulled_{0};
  std::atomic<uint64_t> accepted_{0};
  std::atomic<uint64_t> carried_out_{0};
  std::vector<std::thread> threads_;
};

}  // namespace

TEST("commands, pulls and rings of many threads, through starts and stops") {
  constexpr int kStarts = 6;
  LiveSampler live(1'000'000);
  REQUIRE(live.start());
  Load load(live);
  for (int i = 0; i < kStarts; ++i) {
    const uint64_t pulled = load.pulled();
    CHECK(eventually([&] { return load.pulled() >= pulled + 3; }));
    if (i == kStarts / 2) CHECK(eventually([&] { return load.accepted() > 0; }));
    live.sampler->stop();
    if (i + 1 < kStarts) CHECK(live.start());
  }
}

}  // namespace lezea::test
