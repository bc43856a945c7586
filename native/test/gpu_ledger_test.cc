// From readings of devices to intervals with their holders: against a driver's double over minutes of its own time, and
// against snapshots by hand.
#include "sampler/gpu_ledger.h"

#include <cmath>
#include <map>

#include "check.h"
#include "gpu_sums.h"
#include "manual_clock.h"
#include "nvml/gpu_collector.h"
#include "nvml/pid_trust.h"
#include "nvml_double.h"

using namespace lezea;
using lezea::test::GpuSums;
using lezea::test::ManualClock;
using lezea::test::NvmlDouble;

namespace {

constexpr uint64_t kSecondNs = 1'000'000'000;

// A device by hand.
struct Hand {
  nvml::GpuSnapshot snapshot;
  Hand() {
    snapshot.state = nvml::GpuState::kRunning;
    snapshot.devices.emplace_back();
    snapshot.devices[0].facts.uuid = "GPU-1";
  }
  nvml::GpuDevice& device() { return snapshot.devices[0]; }
  // The reading at so many seconds.
  const nvml::GpuSnapshot& at(uint64_t second, uint64_t energy_uj, uint32_t percent) {
    nvml::DeviceFigures figures;
    figures.t_ns = snapshot.t_ns = second * kSecondNs;
    figures.energy_uj = energy_uj;
    figures.utilization_percent = percent;
    device().figures = figures;
    return snapshot;
  }
  void hold(uint32_t pid, uint64_t bytes, uint64_t second) {
    nvml::ProcessList list;
    list.t_ns = second * kSecondNs;
    nvml::GpuProcess process;
    process.pid = pid;
    process.memory_bytes = bytes;
    list.processes = {process};
    device().processes = list;
  }
};

}  // namespace

TEST("tenants sum to each device's counters, each within 2 points of the truth") {
  NvmlDouble machine("two_tenants");
  ManualClock clock;
  nvml::CollectorOptions options;
  options.nvml.path = machine.path();
  nvml::GpuCollector collector(options, clock);
  GpuLedger ledger;
  std::map<uint32_t, GpuSums> sums;
  std::map<uint32_t, uint64_t> first_uj;
  std::map<uint32_t, uint64_t> last_uj;
  std::map<uint32_t, Amount> integrated_ns;
  for (int second = 0; second < 600; ++second) {
    machine.advance_ms(1000);
    clock.advance_ms(1000);
    collector.step();
    const auto snapshot = collector.snapshot();
    for (const GpuInterval& interval : ledger.take(*snapshot, true)) {
      sums[interval.gpu].add(interval);
      integrated_ns[interval.gpu] += *interval.spent.active_ns;
    }
    for (uint32_t i = 0; i < 3; ++i) {
      last_uj[i + 1] = *snapshot->devices[i].figures->energy_uj;
      first_uj.emplace(i + 1, last_uj[i + 1]);
    }
  }
  const std::map<uint32_t, std::vector<uint32_t>> tenants = {
      {1, {1000, 1001}}, {2, {1002, 1003, 1004}}, {3, {1005}}};
  for (const auto& [gpu, pids] : tenants) {
    const GpuSums& sum = sums.at(gpu);
    CHECK_EQ(sum.energy_uj(), last_uj[gpu] - first_uj[gpu]);
    CHECK_EQ(sum.active_ns(), static_cast<uint64_t>(integrated_ns[gpu]));
    const uint32_t index = gpu - 1;
    const double busy_us = static_cast<double>(machine.truth("busy_us", index));
    for (const uint32_t pid : pids) {
      CHECK_EQ(sum.holders.count({gpu, pid}), 1);
      if (busy_us == 0) continue;
      const double true_share =
          static_cast<double>(machine.truth("process_us", index, pid)) / busy_us;
      const double share =
          static_cast<double>(sum.of(pid).active_ns) / static_cast<double>(sum.active_ns());
      CHECK(std::abs(share - true_share) <= 0.02);
    }
  }
  // The one that only holds the third has what that spent, and none of its work.
  CHECK_EQ(static_cast<uint64_t>(sums.at(3).of(1005).active_ns), 0);
  CHECK_EQ(static_cast<uint64_t>(sums.at(3).of(1005).held_energy_uj), last_uj[3] - first_uj[3]);
}

TEST("instances of a GPU that is cut have the energy of their slices") {
  NvmlDouble machine("mig");
  ManualClock clock;
  nvml::CollectorOptions options;
  options.nvml.path = machine.path();
  nvml::GpuCollector collector(options, clock);
  GpuLedger ledger;
  GpuSums sum;
  std::optional<uint64_t> first_uj;
  uint64_t last_uj = 0;
  for (int second = 0; second < 60; ++second) {
    machine.advance_ms(1000);
    clock.advance_ms(1000);
    collector.step();
    for (const GpuInterval& interval : ledger.take(*collector.snapshot(), true)) {
      if (!interval.spent.instances.empty()) sum.add(interval);
    }
    for (const nvml::GpuDevice& device : collector.snapshot()->devices) {
      if (device.facts.mig_mode != true) continue;
      last_uj = *device.figures->energy_uj;
      if (!first_uj) first_uj = last_uj;
    }
  }
  const double all = static_cast<double>(last_uj - *first_uj);
  CHECK_EQ(sum.energy_uj(), last_uj - *first_uj);
  CHECK_EQ(sum.active_ns(), 0);  // nothing tells it of a GPU that is cut
  CHECK(std::abs(static_cast<double>(sum.of(2000).held_energy_uj) / all - 4.0 / 7) < 1e-6);
  CHECK(std::abs(static_cast<double>(sum.of(2001).held_energy_uj) / all - 1.0 / 7) < 1e-6);
}

TEST("an interval is what a counter grew by, and none spans two epochs") {
  Hand hand;
  GpuLedger ledger;
  CHECK(ledger.take(hand.at(10, 5'000, 50), true).empty());
  const std::vector<GpuInterval> ended = ledger.take(hand.at(12, 6'000, 25), true);
  CHECK_EQ(ended.size(), 1);
  CHECK_EQ(*ended[0].spent.energy_uj, 1'000);
  CHECK_EQ(*ended[0].spent.active_ns, kSecondNs / 2);
  CHECK_EQ(ended[0].spent.length_ns, 2 * kSecondNs);
  CHECK(ledger.take(hand.at(12, 6'000, 25), true).empty());
  hand.device().counter_epoch = 1;
  CHECK(ledger.take(hand.at(13, 100, 25), true).empty());
  CHECK_EQ(*ledger.take(hand.at(14, 150, 25), true)[0].spent.energy_uj, 50);
}

TEST("where the counter is not told for a moment the interval goes on, and nothing of it is lost") {
  Hand hand;
  GpuLedger ledger;
  ledger.take(hand.at(10, 5'000, 50), true);
  const auto untold = [&hand](uint64_t second) -> const nvml::GpuSnapshot& {
    hand.at(second, 0, 50);
    hand.device().figures->energy_uj.reset();
    return hand.snapshot;
  };
  CHECK(ledger.take(untold(11), true).empty());
  const std::vector<GpuInterval> ended = ledger.take(hand.at(12, 7'000, 50), true);
  REQUIRE(ended.size() == 1);
  CHECK_EQ(ended[0].from_ns, 10 * kSecondNs);
  CHECK_EQ(*ended[0].spent.energy_uj, 2'000);
  CHECK_EQ(*ended[0].spent.active_ns, kSecondNs);
  // For long, or of a counter that began anew meanwhile: it is not known.
  CHECK(ledger.take(untold(50), true).empty());
  CHECK_EQ(ledger.take(untold(53), true).size(), 1);
  const std::vector<GpuInterval> later = ledger.take(hand.at(54, 9'000, 50), true);
  REQUIRE(later.size() == 1);
  CHECK(!later[0].spent.energy_uj);
  ++hand.device().counter_epoch;
  CHECK(ledger.take(untold(55), true).empty());
  CHECK_EQ(ledger.take(untold(56), true).size(), 1);
}

TEST("a list that was not read for long holds nobody") {
  Hand hand;
  GpuLedger ledger;
  ledger.take(hand.at(10, 0, 0), true);
  hand.hold(7, 100, 10);
  CHECK_EQ(ledger.take(hand.at(20, 10, 0), true)[0].holders.size(), 1);
  CHECK_EQ(ledger.memory_by_pid(hand.snapshot, true).size(), 1);
  CHECK_EQ(ledger.take(hand.at(60, 20, 0), true)[0].holders.size(), 0);
  CHECK(ledger.memory_by_pid(hand.snapshot, true).empty());
}

TEST("of those in other PID namespaces nobody here pays for the work and the memory") {
  Hand hand;
  GpuLedger ledger;
  hand.snapshot.driver.driver_version = "580.10";
  ledger.take(hand.at(10, 0, 50), false);
  hand.hold(7, 100, 10);
  hand.at(11, 1'000, 50);
  hand.device().figures->memory_used_bytes = 400;
  hand.device().shares = nvml::ProcessShares{10 * kSecondNs, 11 * kSecondNs, {{8, 90, 0, 0, 0}}};
  const std::vector<GpuInterval> ended = ledger.take(hand.snapshot, false);
  const GpuParts parts = divide_gpu(ended[0].spent, ended[0].holders);
  CHECK_EQ(ended[0].holders[0].pid, 7);
  CHECK_EQ(static_cast<uint64_t>(parts.holders[0].active_ns), 0);
  CHECK_EQ(static_cast<uint64_t>(parts.holders[0].held_energy_uj), 125);
  CHECK_EQ(static_cast<uint64_t>(parts.nobody.held_energy_uj), 0);
}

TEST("samples of work count in one interval") {
  Hand hand;
  GpuLedger ledger;
  ledger.take(hand.at(10, 0, 50), true);
  hand.device().shares = nvml::ProcessShares{10 * kSecondNs, 11 * kSecondNs, {{7, 80, 0, 0, 0}}};
  CHECK_EQ(ledger.take(hand.at(11, 10, 50), true)[0].holders[0].work, 80);
  CHECK(ledger.take(hand.at(12, 20, 50), true)[0].holders.empty());
}

TEST("a restored mark goes on from its counter, not past what a device can draw") {
  Hand hand;
  GpuLedger before;
  before.take(hand.at(10, 1'000'000, 50), true);
  ByteWriter out;
  before.encode(out);
  const auto restored = [&out] {
    GpuLedger after;
    after.name(1, "GPU-1");
    ByteReader in(out.bytes());
    after.decode(in);
    CHECK(in.finished());
    return after;
  };
  GpuLedger after = restored();
  const std::vector<GpuInterval> ended = after.take(hand.at(20, 4'000'000, 90), true);
  CHECK_EQ(*ended[0].spent.energy_uj, 3'000'000);
  CHECK(!ended[0].spent.active_ns);
  CHECK_EQ(ended[0].from_ns, 10 * kSecondNs);
  GpuLedger other = restored();
  CHECK(!other.take(hand.at(20, 900'000'000'000, 90), true)[0].spent.energy_uj);
  GpuLedger reset = restored();
  CHECK(!reset.take(hand.at(20, 500, 90), true)[0].spent.energy_uj);
}

TEST("how busy an instance was while no agent was there is not known either") {
  Hand hand;
  hand.device().facts.mig_mode = true;
  hand.snapshot.devices.emplace_back();
  nvml::GpuDevice& instance = hand.snapshot.devices[1];
  instance.facts.uuid = "MIG-1";
  instance.facts.mig.emplace();
  instance.facts.mig->parent_uuid = "GPU-1";
  instance.facts.mig->gpu_instance_slices = 7;
  const auto at = [&](uint64_t second, uint64_t energy_uj) -> const nvml::GpuSnapshot& {
    hand.at(second, energy_uj, 0);
    hand.device().figures->utilization_percent.reset();
    nvml::DeviceFigures figures;
    figures.t_ns = second * kSecondNs;
    figures.gpm_from_ns = (second - 1) * kSecondNs;
    figures.gpm_to_ns = second * kSecondNs;
    figures.gpm_graphics_active_ppm = 500'000;
    hand.snapshot.devices[1].figures = figures;
    return hand.snapshot;
  };
  GpuLedger before;
  before.take(at(10, 1'000), true);
  ByteWriter out;
  before.encode(out);
  GpuLedger after;
  after.name(1, "GPU-1");
  ByteReader in(out.bytes());
  after.decode(in);
  const std::vector<GpuInterval> away = after.take(at(30, 2'000), true);
  REQUIRE(away.size() == 1);
  CHECK_EQ(*away[0].spent.energy_uj, 1'000);
  CHECK(!away[0].spent.instances.at(0).active_ppm);
  CHECK_EQ(*after.take(at(31, 3'000), true).at(0).spent.instances.at(0).active_ppm, 500'000);
}

TEST("a device keeps its number, and is found with or without the prefix of its UUID") {
  GpuLedger ledger;
  ledger.name(4, "GPU-4");
  Hand hand;
  ledger.take(hand.at(1, 0, 0), true);
  CHECK_EQ(*ledger.find("GPU-4"), 4);
  CHECK_EQ(*ledger.find("4"), 4);
  CHECK_EQ(*ledger.find("GPU-1"), 5);
  CHECK(!ledger.find("GPU-2"));
}

TEST("in another PID namespace only those numbers count that the driver translates") {
  CHECK(nvml::pid_trust(true, std::nullopt).unlisted_work);
  const nvml::PidTrust old = nvml::pid_trust(false, "535.104.05");
  CHECK(!old.lists && !old.work && !old.memory);
  const nvml::PidTrust lists = nvml::pid_trust(false, "550.54.15");
  CHECK(lists.lists && !lists.work && !lists.memory && !lists.unlisted_work);
  const nvml::PidTrust all = nvml::pid_trust(false, "575.57.08");
  CHECK(all.lists && all.work && all.memory && !all.unlisted_work);
  CHECK(!nvml::pid_trust(false, std::nullopt).lists);

  Hand hand;
  GpuLedger ledger;
  hand.snapshot.driver.driver_version = "550.54.15";
  ledger.take(hand.at(10, 0, 50), false);
  hand.hold(7, 100, 10);
  hand.device().shares =
      nvml::ProcessShares{10 * kSecondNs, 11 * kSecondNs, {{7, 80, 0, 0, 0}, {8, 20, 0, 0, 0}}};
  const std::vector<GpuInterval> ended = ledger.take(hand.at(11, 10, 50), false);
  // What they did is of somebody who cannot be told, and none of theirs.
  CHECK_EQ(ended[0].holders.size(), 2);
  CHECK_EQ(ended[0].holders[0].work, 0);
  CHECK(!ended[0].holders[0].memory_bytes);
  CHECK_EQ(ended[0].holders[1].pid, 0);
  CHECK_EQ(ended[0].holders[1].work, 100);
}
