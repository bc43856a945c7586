// What every scenario comes to, device by device and process by process, in whole units: the golden table. The parts
// of a line sum to what was counted, checked here and not only in the table.
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>

#include "check.h"
#include "manual_clock.h"
#include "nvml/gpu_collector.h"
#include "nvml_double.h"
#include "sampler/gpu_ledger.h"

using namespace lezea;
using lezea::test::fixture_path;
using lezea::test::ManualClock;
using lezea::test::NvmlDouble;

namespace {

// Of one device: what its intervals counted, and who had it.
struct Device {
  std::string uuid;
  GpuPart nobody;
  std::map<std::pair<uint32_t, uint32_t>, GpuPart> holders;  // by the device or instance, and pid
  Amount energy_uj = 0;
  Amount active_ns = 0;
  bool energy_known = false;
  bool active_known = false;

  void add(const GpuInterval& interval) {
    const GpuParts parts = divide_gpu(interval.spent, interval.holders);
    const auto take = [](GpuPart& sum, const GpuPart& part) {
      sum.work_energy_uj += part.work_energy_uj;
      sum.held_energy_uj += part.held_energy_uj;
      sum.active_ns += part.active_ns;
    };
    for (size_t i = 0; i < interval.holders.size(); ++i)
      take(holders[{interval.holders[i].gpu, interval.holders[i].pid}], parts.holders[i]);
    take(nobody, parts.nobody);
    energy_uj += interval.spent.energy_uj.value_or(0);
    active_ns += interval.spent.active_ns.value_or(0);
    // Of a GPU that is cut each instance tells its own.
    for (const GpuInstance& instance : interval.spent.instances)
      active_ns += Amount{interval.spent.length_ns} * instance.active_ppm.value_or(0) / 1'000'000;
    energy_known |= interval.spent.energy_uj.has_value();
    active_known |= interval.spent.active_ns.has_value();
  }
};

std::string figures(const GpuPart& part) {
  std::ostringstream out;
  out << "work " << static_cast<uint64_t>(part.work_energy_uj) << " uJ, held "
      << static_cast<uint64_t>(part.held_energy_uj) << " uJ, active "
      << static_cast<uint64_t>(part.active_ns) << " ns";
  return out.str();
}

// A minute of a scenario, read once a second.
std::string minute_of(const std::string& scenario, const std::string& variant) {
  NvmlDouble machine(scenario, variant);
  ManualClock clock;
  nvml::CollectorOptions options;
  options.nvml.path = machine.path();
  nvml::GpuCollector collector(options, clock);
  GpuLedger ledger;
  std::map<uint32_t, Device> devices;
  for (int second = 0; second < 60; ++second) {
    machine.advance_ms(1000);
    clock.advance_ms(1000);
    collector.step();
    for (const GpuInterval& interval : ledger.take(*collector.snapshot(), true))
      devices[interval.gpu].add(interval);
  }
  std::ostringstream out;
  out << scenario << " (" << variant << ")\n";
  const auto uuid_of = [&ledger](uint32_t gpu) { return ledger.books().at(gpu).uuid; };
  for (const auto& [gpu, device] : devices) {
    out << "  " << uuid_of(gpu);
    if (device.energy_known) out << " energy " << static_cast<uint64_t>(device.energy_uj) << " uJ";
    if (device.active_known) out << " active " << static_cast<uint64_t>(device.active_ns) << " ns";
    out << "\n    nobody: " << figures(device.nobody) << "\n";
    Amount energy_uj = device.nobody.work_energy_uj + device.nobody.held_energy_uj;
    Amount active_ns = device.nobody.active_ns;
    for (const auto& [of, part] : device.holders) {
      out << "    " << of.second << " on " << uuid_of(of.first) << ": " << figures(part) << "\n";
      energy_uj += part.work_energy_uj + part.held_energy_uj;
      active_ns += part.active_ns;
    }
    CHECK(energy_uj == device.energy_uj);
    CHECK(active_ns == device.active_ns);
  }
  return out.str();
}

}  // namespace

TEST("every scenario comes to what the golden table says") {
  const std::pair<const char*, const char*> scenarios[] = {
      {"h200x8", "current"},
      {"two_tenants", "current"},
      {"mig", "current"},
      {"mig_change", "current"},
      {"no_energy_counter", "r450"},
      {"no_energy_counter", "current"},
      {"gpu_lost", "current"},
      {"driver_reload", "current"},
      {"r535_layout", "r535"},
      {"clock_domain_boot", "current"},
      {"not_supported", "current"},
      {"xid_storm", "current"},
      {"counter_reset", "current"},
      {"two_tenants", "empty"},
      {"comes_and_goes", "current"},
      {"gpm", "current"},
  };
  std::string table;
  for (const auto& [scenario, variant] : scenarios) table += minute_of(scenario, variant) + "\n";
  const std::string path = fixture_path("../golden/gpu-attribution.txt");
  if (std::getenv("UPDATE_GOLDEN") != nullptr) std::ofstream(path) << table;
  std::ifstream file(path);
  const std::string golden{std::istreambuf_iterator<char>(file), {}};
  CHECK(table == golden);
  if (table == golden) return;
  std::ofstream("/dev/stderr") << table;
}
