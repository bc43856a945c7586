// Devices of the double's machines: facts, figures, processes and their shares, against what the scenario says.
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "check.h"
#include "manual_clock.h"
#include "nvml/device_reader.h"
#include "nvml_double.h"

using namespace lezea;
using namespace lezea::nvml;
using lezea::test::ManualClock;
using lezea::test::NvmlDouble;

namespace {

constexpr uint64_t kMib = 1024 * 1024;

// A machine with an open library, read a second at a time.
struct Node {
  explicit Node(const std::string& scenario, const std::string& variant = "current",
                std::set<std::string> disabled = {})
      : machine(scenario, variant),
        library({machine.path(), std::move(disabled)}, clock),
        reader(library, clock) {
    std::string reason;
    CHECK(library.open(reason));
    devices = reader.find_devices(1);
  }
  void pass_ms(uint64_t ms) {
    machine.advance_ms(ms);
    clock.advance_ms(ms);
  }
  const DeviceFigures& read(size_t i) {
    reader.read_figures(devices[i]);
    static const DeviceFigures kNone;
    return devices[i].known.figures ? *devices[i].known.figures : kNone;
  }
  NvmlDouble machine;
  ManualClock clock;
  Library library;
  DeviceReader reader;
  std::vector<OpenDevice> devices;
};

// What each process of a device had of the SM by the driver's samples, over `seconds` readings.
std::map<uint32_t, double> sum_shares(Node& node, size_t device, int seconds) {
  std::map<uint32_t, double> sums;
  for (int i = 0; i < seconds; ++i) {
    node.pass_ms(1000);
    if (i % 5 == 0) node.reader.read_processes(node.devices[device]);
    node.read(device);
    const auto& shares = node.devices[device].known.shares;
    if (!shares) continue;
    const double span_s = static_cast<double>(shares->to_ns - shares->from_ns) / 1e9;
    for (const ProcessShare& share : shares->shares) {
      sums[share.pid] += span_s * share.sm_percent / 100;
    }
  }
  return sums;
}

}  // namespace

TEST("eight devices are known by UUID, with their facts") {
  Node node("h200x8");
  REQUIRE(node.devices.size() == 8);
  const DriverFacts driver = node.reader.read_driver();
  CHECK_EQ(*driver.driver_version, std::string("550.54.15"));
  CHECK_EQ(*driver.nvml_version, std::string("12.550.54.15"));
  CHECK_EQ(*driver.cuda_version, 12040);
  for (size_t i = 0; i < 8; ++i) {
    const DeviceFacts& facts = node.devices[i].known.facts;
    const std::string digit = std::to_string(i);
    CHECK_EQ(facts.uuid, "GPU-0000000" + digit + "-1111-2222-3333-444444444444");
    CHECK_EQ(*facts.name, std::string("NVIDIA H200"));
    CHECK_EQ(*facts.serial, "165432100000" + digit);
    CHECK_EQ(*facts.vbios_version, std::string("96.00.99.00.01"));
    CHECK_EQ(*facts.memory_total_bytes, 143771 * kMib);
    CHECK(facts.persistence_mode == true);
    CHECK(!facts.mig_mode.has_value());
    CHECK_EQ(*facts.compute_mode, std::string("default"));
    CHECK_EQ(*facts.power_limit_milliwatts, 700000);
    CHECK_EQ(*facts.least_power_limit_milliwatts, 200000);
    CHECK_EQ(*facts.most_sm_clock_mhz, 1980);
    CHECK_EQ(*facts.most_memory_clock_mhz, 3201);
  }
  CHECK_EQ(*node.devices[1].known.facts.pci_bus_id, std::string("00000000:1F:00.0"));
}

TEST("figures are those of the scenario, in their units; what it does not have is absent") {
  Node node("h200x8");
  node.pass_ms(10'000);
  const DeviceFigures figures = node.read(0);
  CHECK_EQ(*figures.utilization_percent, 0);
  CHECK_EQ(*figures.memory_used_bytes, 0);
  CHECK_EQ(*figures.memory_reserved_bytes, 500 * kMib);
  CHECK_EQ(*figures.memory_free_bytes, (143771 - 500) * kMib);
  CHECK_EQ(*figures.energy_uj, node.machine.truth("energy_uj", 0));
  CHECK_EQ(*figures.energy_uj, 75'000 * 10'000);
  CHECK_EQ(*figures.power_instant_milliwatts, 75'000);
  CHECK_EQ(*figures.module_power_instant_milliwatts, 820'000);
  CHECK(!figures.module_power_average_milliwatts.has_value());
  CHECK_EQ(*figures.memory_temperature_celsius, 41);
  CHECK_EQ(*figures.temperature_celsius, 35);
  CHECK(!figures.fan_percent.has_value());
  CHECK_EQ(*figures.nvlink_transmitted_bytes, 1100 * 1024);
  CHECK_EQ(*figures.nvlink_received_bytes, 2200 * 1024);
  CHECK(!figures.pcie_transmitted_bytes.has_value());
  CHECK_EQ(*figures.pcie_received_bytes, 7010);
  CHECK_EQ(*figures.throttle_power_ns, 15'000'000);
  CHECK_EQ(*figures.throttle_power_brake_ns, 13);
  CHECK_EQ(*figures.ecc_corrected, 2);
  CHECK_EQ(*figures.ecc_uncorrected, 0);
  CHECK_EQ(*figures.remapped_correctable_rows, 1);
  CHECK(figures.remapping_pending == false);
  CHECK_EQ(*figures.recovery_action, 0);
  CHECK_EQ(*figures.sm_clock_mhz, 345);
  // The other devices have none of those fields.
  const DeviceFigures other = node.read(1);
  CHECK(other.energy_uj.has_value());
  CHECK(!other.nvlink_received_bytes.has_value() && !other.ecc_corrected.has_value());
}

TEST("a tick is one call for all fields and a few more, and refused fields are not asked again") {
  Node node("h200x8");
  const uint64_t before = node.machine.all_calls();
  constexpr int kTicks = 50;
  for (int i = 0; i < kTicks; ++i) {
    node.pass_ms(1000);
    node.read(0);
  }
  CHECK_EQ(node.machine.calls("nvmlDeviceGetFieldValues"), kTicks);
  // Fields, memory, utilisation, two clocks, temperature, process utilisation; the fan and GPM once.
  CHECK_EQ(node.machine.all_calls() - before, 7 * kTicks + 2);
}

TEST("where nothing is supported everything is absent, and little is asked twice") {
  Node node("not_supported");
  REQUIRE(node.devices.size() == 1);
  CHECK(!node.devices[0].known.facts.name.has_value());
  for (int i = 0; i < 3; ++i) {
    node.pass_ms(1000);
    node.reader.read_processes(node.devices[0]);
    const DeviceFigures figures = node.read(0);
    CHECK(!figures.utilization_percent && !figures.memory_used_bytes && !figures.energy_uj);
    CHECK(!figures.memory_occupied_bytes && !figures.temperature_celsius);
    CHECK(!node.devices[0].known.shares && !node.devices[0].known.processes);
  }
  CHECK_EQ(node.machine.calls("nvmlDeviceGetFieldValues"), 1);
  CHECK_EQ(node.machine.calls("nvmlDeviceGetComputeRunningProcesses_v3"), 1);
}

TEST("without an energy counter there is no energy, and power as it is told") {
  Node node("no_energy_counter");
  node.pass_ms(1200);
  const DeviceFigures figures = node.read(0);
  CHECK(!figures.energy_uj.has_value());
  CHECK(!figures.power_instant_milliwatts.has_value());
  CHECK_EQ(*figures.power_average_milliwatts, 700'000);
  CHECK_EQ(*figures.sm_clock_mhz, 1830);
}

TEST("an old driver's memory is told with what is reserved, and not as used") {
  Node node("two_tenants", "r450");
  const DeviceFigures figures = node.read(0);
  CHECK(!figures.memory_used_bytes && !figures.memory_reserved_bytes);
  CHECK_EQ(*figures.memory_occupied_bytes, (30'000 + 500) * kMib);
  CHECK_EQ(*figures.memory_free_bytes, (143'771 - 30'500) * kMib);
}

TEST("processes of every layout of the driver are the same processes") {
  const std::pair<const char*, const char*> drivers[] = {
      {"two_tenants", "current"}, {"two_tenants", "r450"}, {"r535_layout", "r535"}};
  for (const auto& [scenario, variant] : drivers) {
    Node node(scenario, variant);
    node.reader.read_processes(node.devices[0]);
    const auto& list = node.devices[0].known.processes;
    REQUIRE(list.has_value() && list->processes.size() == 2);
    CHECK(list->complete);
    CHECK_EQ(list->processes[0].pid, 1000);
    CHECK_EQ(*list->processes[0].memory_bytes, 20'000 * kMib);
    CHECK_EQ(list->processes[1].pid, 1001);
    CHECK_EQ(*list->processes[1].memory_bytes, 10'000 * kMib);
  }
}

TEST("a process that computes and draws is one, and memory that is not told is absent") {
  Node node("two_tenants");
  node.reader.read_processes(node.devices[1]);
  const auto& list = node.devices[1].known.processes;
  REQUIRE(list.has_value() && list->processes.size() == 3);
  CHECK(list->processes[2].compute && list->processes[2].graphics);
  CHECK(!list->processes[2].memory_bytes.has_value());
}

TEST("a list that is longer than its buffer is read with a longer one, up to a limit") {
  Node node("many_processes");
  const char* const symbol = "nvmlDeviceGetComputeRunningProcesses_v3";
  node.reader.read_processes(node.devices[0]);
  REQUIRE(node.devices[0].known.processes.has_value());
  CHECK(node.devices[0].known.processes->complete);
  CHECK_EQ(node.devices[0].known.processes->processes.size(), 1000);
  CHECK_EQ(node.machine.calls(symbol), 2);
  // The buffer is kept.
  node.reader.read_processes(node.devices[0]);
  CHECK_EQ(node.machine.calls(symbol), 3);
  for (int i = 1; i <= 2; ++i) {
    node.reader.read_processes(node.devices[1]);
    REQUIRE(node.devices[1].known.processes.has_value());
    CHECK(!node.devices[1].known.processes->complete);
    CHECK(node.devices[1].known.processes->processes.empty());
    CHECK_EQ(node.machine.calls(symbol), 3 + 3 * i);
  }
}

TEST("a list that grows meanwhile is tried three times, and then said to be incomplete") {
  Node node("short_lists");
  const char* const symbol = "nvmlDeviceGetComputeRunningProcesses_v3";
  node.reader.read_processes(node.devices[0]);
  REQUIRE(node.devices[0].known.processes.has_value());
  CHECK(!node.devices[0].known.processes->complete);
  CHECK_EQ(node.machine.calls(symbol), 3);
  node.reader.read_processes(node.devices[0]);
  CHECK(node.devices[0].known.processes->complete);
  CHECK_EQ(node.devices[0].known.processes->processes.size(), 2);
  CHECK_EQ(node.machine.calls(symbol), 6);
}

TEST("samples of processes that do not fit are read with more room, three times at most") {
  Node node("short_lists");
  node.reader.read_processes(node.devices[0]);
  node.read(0);
  CHECK(!node.devices[0].known.shares.has_value());
  CHECK_EQ(node.machine.calls("nvmlDeviceGetProcessesUtilizationInfo"), 3);
  node.read(0);
  CHECK_EQ(node.machine.calls("nvmlDeviceGetProcessesUtilizationInfo"), 6);
  node.pass_ms(1000);
  node.reader.read_processes(node.devices[0]);
  node.read(0);
  CHECK_EQ(node.machine.calls("nvmlDeviceGetProcessesUtilizationInfo"), 7);
  REQUIRE(node.devices[0].known.shares.has_value());
  CHECK_EQ(node.devices[0].known.shares->shares.size(), 2);
}

TEST("a driver that does not take the new structure of samples is asked by the old call") {
  Node node("old_utilization");
  const auto sums = sum_shares(node, 0, 300);
  REQUIRE(sums.size() == 2);
  const double all_s = sums.at(1000) + sums.at(1001);
  const auto busy_us = static_cast<double>(node.machine.truth("busy_us", 0));
  for (const uint32_t pid : {1000U, 1001U}) {
    const auto truth_us = static_cast<double>(node.machine.truth("process_us", 0, pid));
    CHECK(std::abs(sums.at(pid) / all_s - truth_us / busy_us) <= 0.02);
  }
  CHECK_EQ(node.machine.calls("nvmlDeviceGetProcessesUtilizationInfo"), 1);
  CHECK_EQ(node.machine.calls("nvmlDeviceGetProcessUtilization"), 300);
}

TEST("shares of the SM follow the scenario's truth, in both layouts and domains of the clock") {
  const std::pair<const char*, const char*> drivers[] = {
      {"two_tenants", "current"}, {"clock_domain_boot", "current"}, {"two_tenants", "r450"}};
  for (const auto& [scenario, variant] : drivers) {
    Node node(scenario, variant);
    const auto sums = sum_shares(node, 0, 300);
    REQUIRE(sums.size() == 2);
    const double all_s = sums.at(1000) + sums.at(1001);
    const auto busy_us = static_cast<double>(node.machine.truth("busy_us", 0));
    for (const uint32_t pid : {1000U, 1001U}) {
      const auto truth_us = static_cast<double>(node.machine.truth("process_us", 0, pid));
      CHECK(std::abs(sums.at(pid) / all_s - truth_us / busy_us) <= 0.02);
    }
    CHECK_EQ(node.devices[0].known.dropped_rows, 0);
  }
}

TEST("a process that ended before it was asked for the first time is charged nothing") {
  Node node("two_tenants");
  node.pass_ms(20'000);
  node.reader.read_processes(node.devices[0]);
  node.read(0);
  CHECK(!node.devices[0].known.shares.has_value());
  node.pass_ms(1000);
  node.read(0);
  const auto& shares = node.devices[0].known.shares;
  REQUIRE(shares.has_value());
  CHECK(shares->to_ns - shares->from_ns <= 1'000'000'000);
}

TEST("what a process did that is in no list yet is told, and wants one list") {
  Node node("two_tenants");
  node.read(0);
  node.pass_ms(2000);
  CHECK(node.reader.read_figures(node.devices[0]));
  CHECK_EQ(node.devices[0].known.shares->shares.size(), 2);
  CHECK_EQ(node.devices[0].known.dropped_rows, 0);
  node.pass_ms(2000);
  CHECK(!node.reader.read_figures(node.devices[0]));
  node.reader.read_processes(node.devices[0]);
  node.pass_ms(2000);
  CHECK(!node.reader.read_figures(node.devices[0]));
  CHECK_EQ(node.devices[0].known.shares->shares.size(), 2);
}

TEST("MIG instances are devices of their own; numbers that are free are passed over") {
  Node node("mig");
  REQUIRE(node.devices.size() == 4);
  CHECK(node.devices[0].known.facts.mig_mode == true);
  CHECK(node.devices[3].known.facts.mig_mode == false);
  const DeviceFacts& second = node.devices[2].known.facts;
  CHECK_EQ(second.uuid, std::string("MIG-00000000-aaaa-bbbb-cccc-000000000002"));
  REQUIRE(second.mig.has_value());
  CHECK_EQ(second.mig->parent_uuid, node.devices[0].known.facts.uuid);
  CHECK_EQ(*second.mig->gpu_instance, 5);
  CHECK_EQ(*second.mig->compute_instance, 0);
  CHECK_EQ(*second.mig->gpu_instance_slices, 1);
  CHECK_EQ(*second.memory_total_bytes, 16'384 * kMib);
  CHECK(!second.serial.has_value());
}

TEST("a GPU that is cut has energy but no utilisation; its instances have memory and processes") {
  Node node("mig");
  node.pass_ms(1000);
  const DeviceFigures parent = node.read(0);
  CHECK(!parent.utilization_percent.has_value());
  CHECK_EQ(*parent.energy_uj, node.machine.truth("counted_energy_uj", 0));
  CHECK(!node.devices[0].known.shares.has_value());
  const DeviceFigures instance = node.read(1);
  CHECK_EQ(*instance.memory_used_bytes, 30'000 * kMib);
  CHECK(!instance.energy_uj && !instance.utilization_percent);
  node.reader.read_processes(node.devices[1]);
  const auto& list = node.devices[1].known.processes;
  REQUIRE(list.has_value() && list->processes.size() == 1);
  CHECK_EQ(list->processes[0].pid, 2000);
  CHECK_EQ(*list->processes[0].gpu_instance, 1);
}

TEST("a lost device is tried every 30 s; when it is back, its counters begin anew") {
  Node node("gpu_lost");
  node.pass_ms(1000);
  CHECK(node.read(1).energy_uj.has_value());
  node.pass_ms(2000);
  node.read(1);
  CHECK(node.devices[1].known.lost && !node.devices[1].known.figures);
  const uint64_t calls = node.machine.calls("nvmlDeviceGetMemoryInfo_v2");
  for (int i = 0; i < 56; ++i) {
    node.pass_ms(1000);
    node.read(1);
    CHECK(node.read(0).energy_uj.has_value());
    CHECK(node.devices[1].known.lost);
  }
  // One try, and 56 readings of the other.
  CHECK_EQ(node.machine.calls("nvmlDeviceGetMemoryInfo_v2") - calls, 56 + 1);
  node.pass_ms(5000);
  CHECK(node.read(1).energy_uj.has_value());
  CHECK(!node.devices[1].known.lost);
  CHECK_EQ(node.devices[1].known.counter_epoch, 2);
  CHECK_EQ(node.devices[0].known.counter_epoch, 1);
}

TEST("a machine whose clock goes by itself, or by a file, is where that clock is") {
  {
    Node node("real_time");
    const SystemClock clock;
    const uint64_t deadline_ns = clock.monotonic_ns() + 20'000'000'000;
    while (node.read(0).energy_uj.value_or(0) == 0 && clock.monotonic_ns() < deadline_ns) {
      clock.sleep_ns(1'000'000);
    }
    CHECK(node.read(0).energy_uj.value_or(0) >= 70'000'000);
  }
  char path[] = "/tmp/lezea-nvml-clock-XXXXXX";
  const int file = mkstemp(path);
  REQUIRE(file >= 0);
  CHECK(write(file, "0\n", 2) == 2);
  setenv("LEZEA_NVML_CLOCK", path, 1);
  {
    Node node("h200x8");
    CHECK_EQ(*node.read(0).energy_uj, 0);
    CHECK(pwrite(file, "3000\n", 5, 0) == 5);
    CHECK_EQ(*node.read(0).energy_uj, 3000 * 75'000);
  }
  unsetenv("LEZEA_NVML_CLOCK");
  close(file);
  unlink(path);
}
