// GPM: figures of two samples of the hardware's counters, against what the scenario did; what is asked, kept and freed.
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "check.h"
#include "manual_clock.h"
#include "nvml/gpm.h"
#include "nvml/gpu_collector.h"
#include "nvml_double.h"

using namespace lezea;
using namespace lezea::nvml;
using lezea::test::ManualClock;
using lezea::test::NvmlDouble;

namespace {

constexpr uint64_t kMillisecondNs = 1'000'000;

// A collector that has made its first step at 0 s, and is stepped when the test says.
struct Node {
  explicit Node(const std::string& scenario, const std::string& variant = "current",
                std::set<std::string> disabled = {})
      : machine(scenario, variant), collector(options_for(std::move(disabled)), clock) {
    collector.step();
  }
  CollectorOptions options_for(std::set<std::string> disabled) const {
    CollectorOptions options;
    options.nvml.path = machine.path();
    options.nvml.disabled_symbols = std::move(disabled);
    return options;
  }
  void pass_ms(uint64_t ms) {
    machine.advance_ms(ms);
    clock.advance_ms(ms);
    collector.step();
  }
  void pass_s(int seconds) {
    for (int i = 0; i < seconds; ++i) pass_ms(1000);
  }
  const GpuDevice& device(size_t i) {
    snapshot = collector.snapshot();
    return snapshot->devices.at(i);
  }
  const DeviceFigures& figures(size_t i) {
    static const DeviceFigures kNone;
    const GpuDevice& found = device(i);
    return found.figures ? *found.figures : kNone;
  }
  uint64_t calls(const char* symbol) { return machine.calls(symbol); }

  NvmlDouble machine;
  ManualClock clock;
  GpuCollector collector;
  std::shared_ptr<const GpuSnapshot> snapshot;
};

GpmMetric metric_of(double value, Return result = Return::kSuccess) {
  return {gpm_metric::kSmActive, result, value, nullptr, nullptr, nullptr};
}

}  // namespace

TEST("a percentage is told in parts per million; what cannot be one is absent") {
  CHECK_EQ(*parts_per_million(metric_of(0)), 0);
  CHECK_EQ(*parts_per_million(metric_of(37.12345)), 371'235);
  CHECK_EQ(*parts_per_million(metric_of(100)), 1'000'000);
  CHECK_EQ(*parts_per_million(metric_of(100.4)), 1'000'000);
  CHECK(!parts_per_million(metric_of(5, Return::kNotSupported)));
  for (const double value : {-0.001, 101.1, 1e300, std::numeric_limits<double>::infinity(),
                             std::numeric_limits<double>::quiet_NaN()}) {
    CHECK(!parts_per_million(metric_of(value)));
  }
}

TEST("a metric goes where it belongs, and one that nobody asked for nowhere") {
  DeviceFigures figures;
  GpmMetric metric = metric_of(12.5);
  metric.id = gpm_metric::kSmOccupancy;
  apply_gpm_metric(metric, figures);
  CHECK_EQ(*figures.gpm_sm_occupancy_ppm, 125'000);
  metric.id = 174;
  apply_gpm_metric(metric, figures);
  CHECK(!figures.gpm_sm_active_ppm && !figures.gpm_graphics_active_ppm);
  CHECK(!figures.gpm_memory_bandwidth_ppm);
}

TEST("figures are of the time between two samples, and there are none before the second") {
  Node node("gpm");
  CHECK(!node.figures(0).gpm_sm_active_ppm && !node.figures(0).gpm_to_ns);
  const uint64_t begun_ns = node.clock.monotonic_ns();
  node.pass_s(1);
  const DeviceFigures figures = node.figures(0);
  CHECK_EQ(*figures.gpm_from_ns, begun_ns);
  CHECK_EQ(*figures.gpm_to_ns, begun_ns + 1000 * kMillisecondNs);
  // Active for 600 of 1000 ms, with 80 % of the multiprocessors.
  CHECK_EQ(*figures.gpm_graphics_active_ppm, 600'000);
  CHECK_EQ(*figures.gpm_sm_active_ppm, 480'000);
  CHECK_EQ(*figures.gpm_sm_occupancy_ppm, 150'000);
  CHECK_EQ(*figures.gpm_memory_bandwidth_ppm, 240'000);
}

TEST("the sums of many readings are what the hardware did") {
  Node node("gpm");
  double sm_us = 0;
  for (int i = 0; i < 50; ++i) {
    node.pass_ms(i % 2 == 0 ? 700 : 1300);
    const DeviceFigures& figures = node.figures(0);
    const auto window_ns = static_cast<double>(*figures.gpm_to_ns - *figures.gpm_from_ns);
    sm_us += window_ns / 1000 * *figures.gpm_sm_active_ppm / 1e6;
  }
  const auto truth_us = static_cast<double>(node.machine.truth("sm_us", 0));
  CHECK(std::abs(sm_us - truth_us) <= 1e-5 * truth_us);
}

TEST("samples that would be too close are not taken; the one before is kept") {
  Node node("gpm");
  node.pass_s(1);
  const uint64_t samples = node.calls("nvmlGpmSampleGet");
  CHECK_EQ(samples, 2);
  const uint64_t sampled_ns = *node.figures(0).gpm_to_ns;
  node.pass_ms(60);
  CHECK(!node.figures(0).gpm_to_ns && node.figures(0).energy_uj);
  node.pass_ms(40);
  CHECK(!node.figures(0).gpm_to_ns);
  CHECK_EQ(node.calls("nvmlGpmSampleGet"), samples);
  node.pass_ms(100);
  CHECK_EQ(node.calls("nvmlGpmSampleGet"), samples + 1);
  CHECK_EQ(*node.figures(0).gpm_from_ns, sampled_ns);
  CHECK_EQ(*node.figures(0).gpm_to_ns, sampled_ns + 200 * kMillisecondNs);
  CHECK_EQ(*node.figures(0).gpm_graphics_active_ppm, 1'000'000);
}

TEST("samples that are more than a minute apart are not compared") {
  Node node("gpm");
  node.pass_s(1);
  node.pass_ms(60'001);
  CHECK(!node.figures(0).gpm_to_ns);
  node.pass_s(1);
  CHECK_EQ(*node.figures(0).gpm_graphics_active_ppm, 600'000);
}

TEST("a device that does not have it is asked once, and has no buffers") {
  Node node("gpm");
  node.pass_s(10);
  CHECK(!node.figures(1).gpm_to_ns && node.figures(1).energy_uj);
  // Each whole GPU that is not cut, and the instance that has its GPU instance for itself.
  CHECK_EQ(node.calls("nvmlGpmQueryDeviceSupport"), 3);
  CHECK_EQ(node.machine.gpm_samples(), 2 * 2);
}

TEST("two calls a tick, of devices that have it") {
  Node node("gpm");
  node.pass_s(2);
  const uint64_t samples = node.calls("nvmlGpmSampleGet");
  const uint64_t instances = node.calls("nvmlGpmMigSampleGet");
  const uint64_t metrics = node.calls("nvmlGpmMetricsGet");
  node.pass_s(100);
  CHECK_EQ(node.calls("nvmlGpmSampleGet") - samples, 100);
  CHECK_EQ(node.calls("nvmlGpmMigSampleGet") - instances, 100);
  CHECK_EQ(node.calls("nvmlGpmMetricsGet") - metrics, 200);
  CHECK_EQ(node.calls("nvmlGpmSampleAlloc"), 4);
  CHECK_EQ(node.calls("nvmlGpmQueryDeviceSupport"), 3);
}

TEST("an instance has figures of its own; its GPU, and instances that share one, have none") {
  Node node("gpm");
  node.pass_s(2);
  CHECK(!node.figures(2).gpm_to_ns && node.figures(2).energy_uj);
  const DeviceFigures instance = node.figures(3);
  CHECK_EQ(*instance.gpm_graphics_active_ppm, 500'000);
  CHECK_EQ(*instance.gpm_sm_active_ppm, 450'000);
  CHECK_EQ(node.machine.truth("instance_sm_us", 2, 1), 2 * 450'000);
  for (const size_t shared : {4, 5}) {
    CHECK(!node.figures(shared).gpm_to_ns && node.figures(shared).memory_used_bytes);
  }
}

TEST("an instance that takes a destroyed one's number is never told under the other's name") {
  Node node("gpm_mig_change");
  const std::string second = "MIG-00000000-aaaa-bbbb-cccc-000000000002";
  uint64_t told_of_second = 0;
  for (int i = 0; i < 400; ++i) {
    node.pass_ms(250);
    const auto now = node.collector.snapshot();
    for (const GpuDevice& device : now->devices) {
      if (!device.facts.mig || !device.figures || !device.figures->gpm_to_ns) continue;
      const bool is_second = device.facts.uuid == second;
      told_of_second += is_second ? 1 : 0;
      // The second is always active, the first in a tenth of the time: in 250 ms of it for 100 ms at most.
      CHECK(is_second ? device.figures->gpm_graphics_active_ppm == 1'000'000U
                      : device.figures->gpm_graphics_active_ppm <= 500'000U);
    }
  }
  CHECK(told_of_second > 0);
  CHECK_EQ(node.machine.gpm_samples(), 2);
}

TEST("an instance that has another's number, identity and handle is told apart by its size") {
  Node node("gpm_mig_same");
  for (int i = 0; i < 100; ++i) {
    node.pass_ms(250);
    const DeviceFigures& figures = node.figures(1);
    // The first is idle, the second always active.
    CHECK(!figures.gpm_to_ns || *figures.gpm_graphics_active_ppm == (i < 80 ? 0U : 1'000'000U));
  }
  CHECK_EQ(*node.figures(1).gpm_graphics_active_ppm, 1'000'000);
  CHECK_EQ(*node.device(1).facts.memory_total_bytes, uint64_t{32'768} << 20);
  CHECK_EQ(*node.figures(1).memory_used_bytes, uint64_t{4000} << 20);
}

TEST("a driver that goes away takes its samples with it; the next one's begin anew") {
  Node node("gpm_reload");
  node.pass_s(3);
  CHECK_EQ(node.machine.gpm_samples(), 2);
  node.pass_s(3);
  CHECK(node.collector.snapshot()->state == GpuState::kNoDriver);
  CHECK_EQ(node.machine.gpm_samples(), 0);
  node.pass_s(10);
  CHECK(node.collector.snapshot()->state == GpuState::kRunning);
  CHECK_EQ(node.machine.gpm_samples(), 2);
  CHECK_EQ(*node.figures(0).gpm_sm_active_ppm, 480'000);
}

TEST("a lost device has no samples; one that is back has figures after two") {
  Node node("gpm_lost");
  node.pass_s(2);
  CHECK_EQ(*node.figures(0).gpm_sm_active_ppm, 480'000);
  node.pass_s(2);
  CHECK(node.device(0).lost);
  CHECK_EQ(node.machine.gpm_samples(), 0);
  int since_back = 0;
  while (since_back < 3) {
    node.pass_s(1);
    since_back += node.device(0).figures ? 1 : 0;
    CHECK(since_back != 1 || !node.figures(0).gpm_to_ns);
    CHECK(since_back < 2 || node.figures(0).gpm_sm_active_ppm == 480'000U);
  }
}

TEST("without one of its calls, for want of it or by the kill-switch, none is made") {
  const char* const symbols[] = {"nvmlGpmQueryDeviceSupport", "nvmlGpmSampleAlloc",
                                 "nvmlGpmSampleFree", "nvmlGpmSampleGet", "nvmlGpmMetricsGet"};
  for (const char* disabled : symbols) {
    Node node("gpm_reload", "current", {disabled});
    node.pass_s(3);
    CHECK(node.figures(0).energy_uj && !node.figures(0).gpm_to_ns);
    for (const char* symbol : symbols) CHECK_EQ(node.calls(symbol), 0);
  }
  Node old("gpm_reload", "r450");
  old.pass_s(3);
  CHECK(old.figures(0).energy_uj && !old.figures(0).gpm_to_ns);
  Node whole("gpm", "current", {"nvmlGpmMigSampleGet"});
  whole.pass_s(3);
  CHECK(whole.figures(0).gpm_to_ns && !whole.figures(3).gpm_to_ns);
}

TEST("a metric that a device does not have is not asked for again; the others are told") {
  Node node("gpm_refused");
  node.pass_s(3);
  CHECK_EQ(*node.figures(0).gpm_graphics_active_ppm, 600'000);
  CHECK(!node.figures(0).gpm_sm_occupancy_ppm);
  // The other device is refused its samples: it is asked ever more seldom, as for any permission.
  CHECK(!node.figures(1).gpm_to_ns && node.figures(1).energy_uj);
  node.pass_s(97);
  CHECK(node.calls("nvmlGpmSampleGet") <= 101 + 9);
}
