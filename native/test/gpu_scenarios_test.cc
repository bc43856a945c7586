// What every scenario comes to, device by device and process by process, in whole units: the golden table. The parts
// of a line sum to what was counted, checked here and not only in the table.
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>

#include "check.h"
#include "gpu_sums.h"
#include "manual_clock.h"
#include "nvml/gpu_collector.h"
#include "nvml_double.h"

using namespace lezea;
using lezea::test::fixture_path;
using lezea::test::GpuSums;
using lezea::test::ManualClock;
using lezea::test::NvmlDouble;

namespace {

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
  std::map<uint32_t, GpuSums> devices;
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
    if (device.energy_known) out << " energy " << static_cast<uint64_t>(device.counted_uj) << " uJ";
    if (device.active_known) out << " active " << static_cast<uint64_t>(device.counted_ns) << " ns";
    out << "\n    nobody: " << figures(device.nobody) << "\n";
    for (const auto& [of, part] : device.holders)
      out << "    " << of.second << " on " << uuid_of(of.first) << ": " << figures(part) << "\n";
    CHECK_EQ(device.energy_uj(), static_cast<uint64_t>(device.counted_uj));
    CHECK_EQ(device.active_ns(), static_cast<uint64_t>(device.counted_ns));
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
