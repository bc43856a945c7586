// The sampling rate against the agent's own use of CPU.

#include "sampler/rate_governor.h"

#include "check.h"

using lezea::RateGovernor;

namespace {

constexpr uint64_t kSecond = 1'000'000'000;
constexpr uint64_t kConfigured = 100'000'000;

// An agent whose sampling costs `tick_ns` of CPU each time, and the rest of it a share of the time.
struct Machine {
  RateGovernor governor{kConfigured, 0.005};
  uint64_t tick_ns = 0;
  double rest = 0;
  uint64_t now_ns = 77 * kSecond;
  uint64_t sampling_ns = 0;
  uint64_t agent_ns = 3 * kSecond;  // what starting it took

  uint64_t run(int seconds) {
    for (int i = 0; i < seconds; ++i) {
      governor.note(now_ns, agent_ns, sampling_ns);
      now_ns += kSecond;
      const uint64_t used_ns = tick_ns * (kSecond / governor.interval_ns());
      sampling_ns += used_ns;
      agent_ns += used_ns + static_cast<uint64_t>(rest * kSecond);
    }
    return governor.interval_ns();
  }
};

}  // namespace

TEST("the rate stays as configured while the budget is kept") {
  Machine machine;
  machine.tick_ns = 400'000;  // 0.4 % at 10 Hz
  CHECK_EQ(machine.run(120), kConfigured);
}

TEST("it goes to the fastest rate that keeps the budget, at once") {
  Machine machine;
  machine.tick_ns = 800'000;  // 0.8 % at 10 Hz, 0.4 % at 5
  CHECK_EQ(machine.run(7), 2 * kConfigured);
  CHECK_EQ(machine.run(300), 2 * kConfigured);  // and stays: 10 Hz would not fit
}

TEST("2 and 1 Hz come next, and nothing is slower") {
  Machine machine;
  machine.tick_ns = 2'000'000;
  CHECK_EQ(machine.run(7), 5 * kConfigured);
  machine.tick_ns = 90'000'000;
  CHECK_EQ(machine.run(10), 10 * kConfigured);
  CHECK_EQ(machine.run(60), 10 * kConfigured);
}

TEST("it comes back step by step once there is room for it") {
  Machine machine;
  machine.tick_ns = 4'000'000;
  CHECK_EQ(machine.run(7), 10 * kConfigured);
  machine.tick_ns = 50'000;
  CHECK_EQ(machine.run(12), 10 * kConfigured);  // not at the first calm moment
  CHECK_EQ(machine.run(60), kConfigured);
}

TEST("it does not swing where the faster rate fits barely or not") {
  for (const uint64_t tick_ns : {900'000u, 480'000u}) {
    Machine machine;
    machine.tick_ns = tick_ns;
    machine.run(60);
    const uint64_t settled_ns = machine.governor.interval_ns();
    for (int i = 0; i < 200; ++i) CHECK_EQ(machine.run(1), settled_ns);
  }
}

TEST("sampling is not slowed for what others in the agent use") {
  Machine machine;
  machine.tick_ns = 50'000;
  machine.rest = 0.4;
  CHECK_EQ(machine.run(60), kConfigured);
}

TEST("without a budget, and from a second on, nothing is slowed") {
  RateGovernor unlimited(kConfigured, 0);
  RateGovernor slow(2 * kSecond, 0.005);
  for (uint64_t second = 1; second < 60; ++second) {
    unlimited.note(second * kSecond, second * kSecond, second * kSecond);
    slow.note(second * kSecond, second * kSecond, second * kSecond);
  }
  CHECK_EQ(unlimited.interval_ns(), kConfigured);
  CHECK_EQ(slow.interval_ns(), 2 * kSecond);
}

TEST("a checkpoint a second, which comes a little late, takes the place of a tick at any rate") {
  constexpr uint64_t kCheckpoint = kSecond + 10'000'000;
  for (const uint64_t interval_ns : {kConfigured, 2 * kConfigured, 5 * kConfigured, kSecond}) {
    const RateGovernor governor(interval_ns, 0);
    uint64_t ticks = 1;  // the checkpoint's own
    for (uint64_t at = governor.interval_after_fresh_ns(); at < kCheckpoint; at += interval_ns)
      ++ticks;
    CHECK_EQ(ticks, kSecond / interval_ns);
  }
}
