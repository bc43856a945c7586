// The threads that call the driver: nobody waits for a call that hangs, nothing is told while it does, and all is as
// before when it returns. XIDs are counted by device and code.
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "base/clock.h"
#include "check.h"
#include "manual_clock.h"
#include "nvml/gpu_poller.h"
#include "nvml_double.h"

using namespace lezea;
using namespace lezea::nvml;
using lezea::test::ManualClock;
using lezea::test::NvmlDouble;

namespace {

constexpr uint64_t kDeadlineNs = 100'000'000;

CollectorOptions fast_options(const NvmlDouble& machine) {
  CollectorOptions options;
  options.nvml.path = machine.path();
  options.nvml.call_deadline_ns = kDeadlineNs;
  options.tick_ns = 1'000'000;
  return options;
}

// Can hold the poller's thread where it asks for the time: the first but its maker's to ask.
class HoldingClock final : public Clock {
 public:
  void hold() { holds_ = true; }
  void let_go() { holds_ = false; }
  bool is_holding() const { return waits_; }

  uint64_t monotonic_ns() const override {
    std::thread::id nobody;
    const std::thread::id self = std::this_thread::get_id();
    if (self != maker_) held_.compare_exchange_strong(nobody, self);
    while (holds_ && self == held_.load()) {
      waits_ = true;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return clock_.monotonic_ns();
  }
  uint64_t boot_offset_ns() const override { return clock_.boot_offset_ns(); }
  uint64_t wall_ms() const override { return clock_.wall_ms(); }
  Result<uint64_t> process_cpu_ns(int pid) const override { return clock_.process_cpu_ns(pid); }
  void sleep_ns(uint64_t ns) const override { clock_.sleep_ns(ns); }

 private:
  const SystemClock clock_;
  const std::thread::id maker_ = std::this_thread::get_id();
  mutable std::atomic<std::thread::id> held_{};
  mutable std::atomic<bool> waits_{false};
  std::atomic<bool> holds_{false};
};

// Polls until the condition holds; 20 s at most.
bool wait_until(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (std::chrono::steady_clock::now() < deadline) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

bool has_figures(const GpuPoller& poller) {
  const auto now = poller.take();
  return now->state == GpuState::kRunning && !now->devices.empty() &&
         now->devices[0].figures.has_value();
}

uint64_t count_of(const GpuSnapshot& now, const std::string& uuid_end, uint64_t code) {
  for (const XidCount& xid : now.xids) {
    if (xid.uuid.substr(4, 8) == uuid_end && xid.code == code) return xid.count;
  }
  return 0;
}

}  // namespace

TEST("a poller publishes what its thread reads") {
  NvmlDouble machine("two_tenants");
  GpuPoller poller(fast_options(machine), std::make_shared<SystemClock>());
  REQUIRE(wait_until([&] { return has_figures(poller); }));
  CHECK_EQ(poller.take()->devices.size(), 3);
  machine.advance_ms(5000);
  REQUIRE(wait_until([&] {
    return *poller.take()->devices[0].figures->energy_uj == machine.truth("counted_energy_uj", 0);
  }));
}

TEST("a reading that is asked for began after it was, however long the rest") {
  NvmlDouble machine("two_tenants");
  CollectorOptions options = fast_options(machine);
  options.tick_ns = 3'600'000'000'000;
  auto clock = std::make_shared<SystemClock>();
  GpuPoller poller(options, clock);
  REQUIRE(wait_until([&] { return has_figures(poller); }));
  for (int i = 0; i < 3; ++i) {
    machine.advance_ms(1000);
    const uint64_t lists = machine.calls("nvmlDeviceGetComputeRunningProcesses_v3");
    const uint64_t asked_ns = clock->monotonic_ns();
    // Again and again only where the budget of NVML's time is used up.
    REQUIRE(wait_until([&] {
      CHECK(poller.refresh(std::chrono::seconds(20)));
      return poller.newest()->devices[0].figures->t_ns >= asked_ns;
    }));
    CHECK_EQ(*poller.newest()->devices[0].figures->energy_uj,
             machine.truth("counted_energy_uj", 0));
    REQUIRE(wait_until([&] {
      CHECK(poller.refresh(std::chrono::seconds(20)));
      return machine.calls("nvmlDeviceGetComputeRunningProcesses_v3") > lists;
    }));
  }
  std::thread other([&] { poller.refresh(std::chrono::seconds(20)); });
  CHECK(poller.refresh(std::chrono::seconds(20)));
  other.join();
}

TEST(
    "who asks for a reading while a call hangs, or the poller ends, waits no longer than it said") {
  NvmlDouble machine("hang");
  auto clock = std::make_shared<SystemClock>();
  GpuPoller poller(fast_options(machine), clock);
  REQUIRE(wait_until([&] { return has_figures(poller); }));
  machine.advance_ms(4000);
  REQUIRE(wait_until([&] { return poller.take()->state == GpuState::kStuck; }));
  const uint64_t begun_ns = clock->monotonic_ns();
  CHECK(!poller.refresh(std::chrono::milliseconds(50)));
  CHECK(clock->monotonic_ns() - begun_ns < 2'000'000'000);
  std::thread waiting([&] { CHECK(!poller.refresh(std::chrono::hours(1))); });
  poller.stop();
  waiting.join();
  CHECK(!poller.refresh(std::chrono::hours(1)));
}

TEST("while a call hangs nothing is told but that; no second one is made, and it recovers") {
  NvmlDouble machine("hang");
  auto clock = std::make_shared<SystemClock>();
  GpuPoller poller(fast_options(machine), clock);
  REQUIRE(wait_until([&] { return has_figures(poller); }));
  machine.advance_ms(4000);
  REQUIRE(wait_until([&] { return poller.take()->state == GpuState::kStuck; }));
  const uint64_t calls = machine.all_calls();
  const uint64_t begun_ns = clock->monotonic_ns();
  for (int i = 0; i < 1000; ++i) {
    const auto now = poller.take();
    CHECK(now->state == GpuState::kStuck);
    CHECK(now->devices.empty());
    CHECK(now->late_calls >= 1);
  }
  // A thousand snapshots wait for nothing.
  CHECK(clock->monotonic_ns() - begun_ns < 2'000'000'000);
  CHECK(poller.take()->reason.find("nvmlDeviceGetFieldValues has not returned for ") == 0);
  // The events' thread may still begin one wait.
  CHECK(machine.all_calls() - machine.calls("nvmlEventSetWait_v2") <= calls);
  machine.advance_ms(6000);
  REQUIRE(wait_until([&] { return has_figures(poller); }));
  CHECK_EQ(poller.take()->late_calls, 1);
  CHECK_EQ(poller.take()->generation, 1);
  REQUIRE(wait_until([&] {
    const auto now = poller.take();
    return now->devices[0].figures->energy_uj == machine.truth("counted_energy_uj", 0);
  }));
}

TEST("what was read before a call hung is not told again before its step is done") {
  NvmlDouble machine("hang");
  auto clock = std::make_shared<HoldingClock>();
  GpuPoller poller(fast_options(machine), clock);
  REQUIRE(wait_until([&] { return has_figures(poller); }));
  machine.advance_ms(4000);
  REQUIRE(wait_until([&] { return poller.take()->state == GpuState::kStuck; }));
  clock->hold();
  machine.advance_ms(6000);
  CHECK(wait_until([&] { return clock->is_holding(); }));
  CHECK(poller.take()->state == GpuState::kStuck);
  CHECK_EQ(poller.take()->late_calls, 1);
  clock->let_go();
  REQUIRE(wait_until([&] { return has_figures(poller); }));
  CHECK_EQ(poller.take()->late_calls, 1);
}

TEST("a poller whose call hangs is let go of at once, and never shuts the library down") {
  NvmlDouble machine("hang");
  auto clock = std::make_shared<SystemClock>();
  uint64_t begun_ns = 0;
  {
    GpuPoller poller(fast_options(machine), clock);
    REQUIRE(wait_until([&] { return has_figures(poller); }));
    machine.advance_ms(4000);
    REQUIRE(wait_until([&] { return poller.take()->state == GpuState::kStuck; }));
    begun_ns = clock->monotonic_ns();
  }
  CHECK(clock->monotonic_ns() - begun_ns < 1'000'000'000);
  // Its thread is still in the call; the other one, of events, may have closed its own.
  CHECK(machine.calls("nvmlShutdown") < machine.calls("nvmlInit_v2"));
  machine.release();
  CHECK(wait_until([&] { return machine.calls("nvmlShutdown") == machine.calls("nvmlInit_v2"); }));
}

TEST("a poller without a library says why, and its end waits for nothing") {
  CollectorOptions options;
  options.nvml.path = "/nonexistent/libnvidia-ml.so.1";
  GpuPoller poller(options, std::make_shared<SystemClock>());
  CHECK(wait_until([&] { return poller.take()->state == GpuState::kNoLibrary; }));
  CHECK(poller.take()->reason.find("/nonexistent/") != std::string::npos);
  CHECK(!poller.take()->xids_watched);
}

TEST("a storm of XIDs is counted to the last one, by device and code") {
  NvmlDouble machine("xid_storm");
  auto clock = std::make_shared<SystemClock>();
  GpuPoller poller(fast_options(machine), clock);
  REQUIRE(wait_until([&] { return poller.take()->xids_watched; }));
  CHECK(poller.take()->xids.empty());
  machine.advance_ms(3000);
  REQUIRE(wait_until([&] { return count_of(*poller.take(), "00000001", 999) == 1; }));
  const auto now = poller.take();
  CHECK_EQ(now->xids.size(), 3);
  CHECK_EQ(count_of(*now, "00000000", 79), 60'000);
  CHECK_EQ(count_of(*now, "00000001", 31), 40'000);
  CHECK(now->xids[0].last_wall_ms > 0);
  CHECK(has_figures(poller));
}

TEST("XIDs are counted on after the driver was reloaded, beside those of before") {
  NvmlDouble machine("xid_reload");
  GpuPoller poller(fast_options(machine), std::make_shared<SystemClock>());
  REQUIRE(wait_until([&] { return poller.take()->xids_watched; }));
  machine.advance_ms(1500);
  REQUIRE(wait_until([&] { return count_of(*poller.take(), "00000000", 79) == 5; }));
  machine.advance_ms(1000);
  REQUIRE(wait_until([&] {
    const auto now = poller.take();
    return now->state == GpuState::kNoDriver && !now->xids_watched;
  }));
  CHECK_EQ(count_of(*poller.take(), "00000000", 79), 5);
  // Both threads have found it gone when they tried to open it again.
  REQUIRE(wait_until([&] { return machine.calls("nvmlInit_v2") >= 4; }));
  machine.advance_ms(1000);
  REQUIRE(wait_until([&] { return has_figures(poller) && poller.take()->xids_watched; }));
  CHECK_EQ(poller.take()->generation, 2);
  machine.advance_ms(2000);
  REQUIRE(wait_until([&] { return count_of(*poller.take(), "00000000", 79) == 8; }));
  CHECK_EQ(poller.take()->xids.size(), 1);
}

TEST("a wait for events that fails ends with its set, and another one goes on") {
  NvmlDouble machine("xid_unknown");
  GpuPoller poller(fast_options(machine), std::make_shared<SystemClock>());
  REQUIRE(wait_until([&] { return poller.take()->xids_watched; }));
  machine.advance_ms(1500);
  REQUIRE(wait_until([&] { return machine.calls("nvmlEventSetFree") >= 1; }));
  REQUIRE(wait_until([&] { return !poller.take()->xids_watched; }));
  CHECK(has_figures(poller));
  machine.advance_ms(1000);
  REQUIRE(wait_until([&] { return poller.take()->xids_watched; }));
  machine.advance_ms(1000);
  REQUIRE(wait_until([&] { return count_of(*poller.take(), "00000000", 79) == 2; }));
  CHECK_EQ(poller.take()->generation, 1);
}

TEST("an init that hangs is given a minute, is told as stuck then, and used when it returns") {
  NvmlDouble machine("hang_init");
  auto clock = std::make_shared<ManualClock>();
  CollectorOptions options;
  options.nvml.path = machine.path();
  GpuPoller poller(options, clock);
  REQUIRE(wait_until([&] { return machine.calls("nvmlInit_v2") == 1; }));
  clock->advance_ns(options.nvml.init_deadline_ns);
  CHECK(poller.take()->state == GpuState::kStarting);
  clock->advance_ns(1);
  CHECK(poller.take()->state == GpuState::kStuck);
  CHECK(poller.take()->reason == "nvmlInit_v2 has not returned for 60000 ms");
  CHECK_EQ(poller.take()->late_calls, 1);
  machine.advance_ms(6000);
  REQUIRE(wait_until([&] { return has_figures(poller); }));
  CHECK_EQ(poller.take()->late_calls, 1);
  CHECK_EQ(poller.take()->generation, 1);
}

TEST("devices that tell no XIDs are read like any other") {
  NvmlDouble machine("not_supported");
  GpuPoller poller(fast_options(machine), std::make_shared<SystemClock>());
  // It tries again: on a slow machine there may have been another by now.
  REQUIRE(wait_until([&] { return machine.calls("nvmlEventSetFree") >= 1; }));
  REQUIRE(wait_until([&] { return has_figures(poller); }));
  CHECK(!poller.take()->xids_watched);
}
