// The GPUs over time: generations, lost devices, budgets of NVML's time, lists when they are due or wanted.
#include <string>
#include <tuple>
#include <vector>

#include "check.h"
#include "manual_clock.h"
#include "nvml/gpu_collector.h"
#include "nvml/time_budget.h"
#include "nvml_double.h"

using namespace lezea;
using namespace lezea::nvml;
using lezea::test::ManualClock;
using lezea::test::NvmlDouble;

namespace {

constexpr uint64_t kSecondNs = 1'000'000'000;

// Goes on by itself whenever it is read: each call of the library takes that long.
class SlowClock final : public Clock {
 public:
  explicit SlowClock(uint64_t step_ns) : step_ns_(step_ns) {}
  void set_ns(uint64_t now_ns) { now_ns_ = now_ns; }
  uint64_t monotonic_ns() const override { return now_ns_ += step_ns_; }
  uint64_t boot_offset_ns() const override { return 0; }
  uint64_t wall_ms() const override { return 0; }
  Result<uint64_t> process_cpu_ns(int) const override {
    return Result<uint64_t>::fail(ReadStatus::kUnsupported);
  }
  void sleep_ns(uint64_t ns) const override { now_ns_ += ns; }

 private:
  uint64_t step_ns_;
  mutable uint64_t now_ns_ = 1000 * kSecondNs;
};

CollectorOptions options_for(const NvmlDouble& machine) {
  CollectorOptions options;
  options.nvml.path = machine.path();
  return options;
}

// A collector that is stepped once a second, whatever it says is due.
struct Node {
  explicit Node(const std::string& scenario)
      : machine(scenario), collector(options_for(machine), clock) {
    collector.step();
  }
  void pass_s(int seconds) {
    for (int i = 0; i < seconds; ++i) {
      machine.advance_ms(1000);
      clock.advance_ms(1000);
      collector.step();
    }
  }
  const GpuSnapshot& now() {
    snapshot = collector.snapshot();
    return *snapshot;
  }
  NvmlDouble machine;
  ManualClock clock;
  GpuCollector collector;
  std::shared_ptr<const GpuSnapshot> snapshot;
};

}  // namespace

TEST("a machine without the library says so, and looks again ever more seldom") {
  ManualClock clock;
  CollectorOptions options;
  options.nvml.path = "/nonexistent/libnvidia-ml.so.1";
  GpuCollector collector(options, clock);
  CHECK(collector.snapshot()->state == GpuState::kStarting);
  for (const uint64_t pause_s : {1, 2, 4, 8, 16, 30, 30}) {
    const uint64_t next_ns = collector.step();
    CHECK(collector.snapshot()->state == GpuState::kNoLibrary);
    CHECK(collector.snapshot()->reason.find("/nonexistent/") != std::string::npos);
    CHECK(collector.snapshot()->devices.empty());
    CHECK_EQ(next_ns, clock.monotonic_ns() + pause_s * kSecondNs);
    clock.advance_ns(pause_s * kSecondNs);
  }
}

TEST("two tenants: a snapshot has their device's facts, figures, processes and shares") {
  Node node("two_tenants");
  node.pass_s(10);
  const GpuSnapshot& now = node.now();
  CHECK(now.state == GpuState::kRunning && now.reason.empty());
  CHECK_EQ(*now.driver.driver_version, std::string("550.54.15"));
  REQUIRE(now.devices.size() == 3);
  const GpuDevice& device = now.devices[0];
  CHECK_EQ(*device.figures->energy_uj, node.machine.truth("counted_energy_uj", 0));
  CHECK_EQ(device.processes->processes.size(), 2);
  CHECK_EQ(device.shares->shares.size(), 2);
  CHECK(now.devices[2].shares->shares.empty());
  CHECK_EQ(now.devices[2].processes->processes.size(), 1);
  CHECK_EQ(*now.devices[2].figures->utilization_percent, 0);
  CHECK_EQ(now.late_calls, 0);
}

TEST("calls of each device and second are few: one for the fields, lists every 5 s") {
  Node node("h200x8");
  node.pass_s(1);
  const uint64_t before = node.machine.all_calls();
  const uint64_t lists_before = node.machine.calls("nvmlDeviceGetComputeRunningProcesses_v3");
  node.pass_s(100);
  CHECK_EQ(node.machine.calls("nvmlDeviceGetFieldValues"), 8 * 102);
  CHECK_EQ(node.machine.calls("nvmlDeviceGetComputeRunningProcesses_v3") - lists_before, 8 * 20);
  // Seven a tick, and three lists every 5 s.
  CHECK_EQ(node.machine.all_calls() - before, 8 * (7 * 100 + 3 * 20));
}

TEST("lists are read at once when they are wanted") {
  Node node("two_tenants");
  node.pass_s(2);
  const uint64_t lists = node.machine.calls("nvmlDeviceGetComputeRunningProcesses_v3");
  node.pass_s(1);
  CHECK_EQ(node.machine.calls("nvmlDeviceGetComputeRunningProcesses_v3"), lists);
  node.collector.want_lists();
  node.pass_s(1);
  CHECK_EQ(node.machine.calls("nvmlDeviceGetComputeRunningProcesses_v3"), lists + 3);
}

TEST("a driver that goes away takes its devices with it; what comes back counts in another epoch") {
  Node node("driver_reload");
  node.pass_s(4);
  const uint64_t epoch = node.now().devices.at(0).counter_epoch;
  const uint64_t energy_uj = *node.now().devices.at(0).figures->energy_uj;
  CHECK(energy_uj > 0);
  node.pass_s(2);
  CHECK(node.now().state == GpuState::kNoDriver);
  CHECK(node.now().devices.empty());
  CHECK(!node.now().driver.driver_version.has_value());
  node.pass_s(8);
  CHECK(node.now().state == GpuState::kRunning);
  CHECK_EQ(node.now().generation, 2);
  REQUIRE(node.now().devices.size() == 1);
  CHECK(node.now().devices[0].counter_epoch != epoch);
  CHECK_EQ(*node.now().devices[0].figures->energy_uj, node.machine.truth("counted_energy_uj", 0));
}

TEST("a library of another version than the driver is let go of, and loaded anew") {
  Node node("version_mismatch");
  node.pass_s(1);
  CHECK(node.now().state == GpuState::kRunning);
  node.pass_s(2);
  CHECK(node.now().state == GpuState::kNoDriver && node.now().devices.empty());
  node.pass_s(1);
  CHECK_EQ(node.now().reason,
           std::string("nvmlInit_v2: library and driver are of different versions"));
  node.pass_s(6);
  CHECK(node.now().state == GpuState::kRunning);
  CHECK_EQ(node.now().generation, 2);
  CHECK(node.now().devices.at(0).figures->memory_used_bytes.has_value());
}

TEST("a device that needs a reset is as good as lost; the others go on") {
  Node node("reset_required");
  node.pass_s(1);
  CHECK(!node.now().devices.at(1).lost);
  node.pass_s(9);
  CHECK(node.now().devices.at(1).lost && !node.now().devices[1].figures);
  CHECK(!node.now().devices[0].lost && node.now().devices[0].figures);
  CHECK_EQ(node.now().generation, 1);
}

TEST("one lost device is told as lost and leaves the others as they are") {
  Node node("gpu_lost");
  node.pass_s(10);
  REQUIRE(node.now().devices.size() == 2);
  CHECK(node.now().devices[0].figures.has_value() && !node.now().devices[0].lost);
  CHECK(!node.now().devices[1].figures.has_value() && node.now().devices[1].lost);
  CHECK(!node.now().devices[1].processes.has_value());
  // Also when the devices are looked for again.
  node.clock.advance_ns(700 * kSecondNs);
  node.collector.step();
  CHECK_EQ(node.now().devices.size(), 2);
  node.pass_s(60);
  CHECK(node.now().devices[1].figures.has_value() && !node.now().devices[1].lost);
  CHECK(node.now().devices[1].counter_epoch != node.now().devices[0].counter_epoch);
}

TEST("MIG instances are found again each minute, and their GPU's figures go on") {
  Node node("mig");
  node.pass_s(1);
  const uint64_t asked = node.machine.calls("nvmlDeviceGetMigDeviceHandleByIndex");
  CHECK_EQ(asked, 7);
  node.pass_s(60);
  CHECK_EQ(node.machine.calls("nvmlDeviceGetMigDeviceHandleByIndex"), 14);
  REQUIRE(node.now().devices.size() == 4);
  CHECK_EQ(node.now().devices[1].processes->processes.size(), 1);
  CHECK(node.now().devices[0].figures->energy_uj.has_value());
}

TEST("an instance that was destroyed is gone in seconds; one that takes its number is another") {
  Node node("mig_change");
  node.pass_s(18);
  REQUIRE(node.now().devices.size() == 3);
  node.pass_s(5);
  REQUIRE(node.now().devices.size() == 2);
  CHECK_EQ(*node.now().devices[1].figures->memory_used_bytes, 0);
  node.pass_s(65);
  REQUIRE(node.now().devices.size() == 3);
  CHECK_EQ(node.now().devices[2].facts.uuid,
           std::string("MIG-00000000-aaaa-bbbb-cccc-000000000003"));
  CHECK_EQ(*node.now().devices[2].facts.mig->gpu_instance, 6);
}

TEST("counters that run backwards begin another epoch") {
  Node node("counter_reset");
  node.pass_s(4);
  const uint64_t epoch = node.now().devices.at(0).counter_epoch;
  CHECK_EQ(*node.now().devices[0].figures->energy_uj, 5'400'000);
  node.pass_s(2);
  CHECK_EQ(*node.now().devices[0].figures->energy_uj, 620'000);
  CHECK_EQ(node.now().devices[0].counter_epoch, epoch + 1);
  node.pass_s(5);
  CHECK_EQ(node.now().devices[0].counter_epoch, epoch + 1);
}

TEST("a budget lets a burst pass, then its share, and never pauses for more than 30 s") {
  TimeBudget budget(1000);
  uint64_t now_ns = 1000 * kSecondNs;
  CHECK(budget.allows(now_ns));
  budget.spend(7'000'000);  // the first burst and 2 s of its share
  CHECK(!budget.allows(now_ns));
  now_ns += 2 * kSecondNs - 1000;
  CHECK(!budget.allows(now_ns));
  now_ns += 1000;
  CHECK(budget.allows(now_ns));
  budget.spend(100 * kSecondNs);
  now_ns += 30 * kSecondNs;
  CHECK(budget.allows(now_ns));
  // Idle for an hour, it has saved 5 s of its share.
  now_ns += 3600 * kSecondNs;
  CHECK(budget.allows(now_ns));
  budget.spend(5'000'001);
  CHECK(!budget.allows(now_ns));
}

TEST("a slow driver is asked less often: at most 2 ms of a device's second") {
  // Devices, instances among them, and whole GPUs.
  const std::tuple<const char*, uint64_t, uint64_t> machines[] = {{"h200x8", 8, 8}, {"gpm", 6, 3}};
  for (const auto& [scenario, devices, gpus] : machines) {
    NvmlDouble machine(scenario);
    SlowClock clock(300'000);
    GpuCollector collector(options_for(machine), clock);
    collector.step();
    const uint64_t before_ns = collector.nvml().total_ns();
    constexpr uint64_t kSeconds = 200;
    for (uint64_t s = 1; s <= kSeconds; ++s) {
      clock.set_ns((1000 + s) * kSecondNs);
      machine.advance_ms(1000);
      collector.step();
    }
    const uint64_t spent_ns = collector.nvml().total_ns() - before_ns;
    CHECK(spent_ns <= devices * (kSeconds * 2'000'000 + 10'000'000));
    // It is still asked.
    CHECK(machine.calls("nvmlDeviceGetFieldValues") >= gpus * kSeconds / 4);
  }
}
