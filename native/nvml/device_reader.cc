// See device_reader.h.
#include "nvml/device_reader.h"

#include <algorithm>
#include <utility>

namespace lezea::nvml {
namespace {

// More than any machine has; against a count that is none.
constexpr uint32_t kMostDevices = 256;
constexpr uint64_t kTryLostEveryNs = 30'000'000'000;
constexpr size_t kMostAskedPids = 1024;

template <class Call>
std::optional<std::string> text_of(uint32_t bytes, Call call) {
  std::string out(bytes, '\0');
  if (call(out.data(), bytes) != Return::kSuccess) return std::nullopt;
  out.resize(std::min(out.find('\0'), out.size()));
  if (out.empty()) return std::nullopt;
  return out;
}

std::optional<std::string> mode_name(std::optional<ComputeMode> mode) {
  if (!mode) return std::nullopt;
  switch (*mode) {
    case ComputeMode::kDefault:
      return "default";
    case ComputeMode::kProhibited:
      return "prohibited";
    case ComputeMode::kExclusiveProcess:
      return "exclusive_process";
  }
  return std::nullopt;
}

}  // namespace

DeviceReader::DeviceReader(Library& library, const Clock& clock)
    : library_(library),
      clock_(clock),
      fields_(library, clock),
      lists_(library, clock),
      shares_(library, clock),
      gpm_(library, clock) {}

template <class T>
std::optional<T> DeviceReader::ask(const Function<DeviceHandle, T*>& function,
                                   DeviceHandle device) {
  T value{};
  if (library_.call(function, device, &value) != Return::kSuccess) return std::nullopt;
  return value;
}

std::optional<std::string> DeviceReader::ask_text(
    const Function<DeviceHandle, char*, uint32_t>& function, DeviceHandle device, uint32_t bytes) {
  return text_of(
      bytes, [&](char* out, uint32_t size) { return library_.call(function, device, out, size); });
}

DriverFacts DeviceReader::read_driver() {
  DriverFacts facts;
  const auto version = [&](const Function<char*, uint32_t>& function) {
    return text_of(kVersionBytes,
                   [&](char* out, uint32_t size) { return library_.call(function, out, size); });
  };
  facts.driver_version = version(function::kDriverVersion);
  facts.nvml_version = version(function::kNvmlVersion);
  int cuda = 0;
  if (library_.call(function::kCudaVersion, &cuda) == Return::kSuccess && cuda > 0) {
    facts.cuda_version = static_cast<uint32_t>(cuda);
  }
  return facts;
}

std::vector<OpenDevice> DeviceReader::find_devices(uint64_t counter_epoch) {
  std::vector<OpenDevice> devices;
  uint32_t count = 0;
  if (library_.call(function::kDeviceCount, &count) != Return::kSuccess) return devices;
  for (uint32_t i = 0; i < std::min(count, kMostDevices); ++i) {
    OpenDevice device;
    if (library_.call(function::kDeviceByIndex, i, &device.handle) != Return::kSuccess) continue;
    const auto uuid = ask_text(function::kUuid, device.handle, kUuidBytes);
    if (!uuid) continue;
    device.known.facts.uuid = *uuid;
    device.known.counter_epoch = counter_epoch;
    read_facts(device);
    const DeviceHandle handle = device.handle;
    const bool cut = device.known.facts.mig_mode == true;
    devices.push_back(std::move(device));
    if (cut) find_instances(handle, *uuid, counter_epoch, devices);
  }
  return devices;
}

void DeviceReader::read_facts(OpenDevice& device) {
  DeviceFacts& facts = device.known.facts;
  const DeviceHandle handle = device.handle;
  facts.name = ask_text(function::kName, handle, kNameBytes);
  facts.compute_mode = mode_name(ask(function::kComputeMode, handle));
  MemoryV1 memory{};
  if (library_.call(function::kMemoryV1, handle, &memory) == Return::kSuccess) {
    facts.memory_total_bytes = memory.total;
  }
  if (!device.whole) return;
  facts.serial = ask_text(function::kSerial, handle, kSerialBytes);
  facts.vbios_version = ask_text(function::kVbios, handle, kVbiosBytes);
  PciInfo pci{};
  if (library_.call(function::kPciInfo, handle, &pci) == Return::kSuccess) {
    pci.bus_id[sizeof pci.bus_id - 1] = '\0';
    facts.pci_bus_id = pci.bus_id;
  }
  if (const auto mode = ask(function::kPersistenceMode, handle))
    facts.persistence_mode = *mode == 1;
  uint32_t mig_now = 0;
  uint32_t mig_pending = 0;
  if (library_.call(function::kMigMode, handle, &mig_now, &mig_pending) == Return::kSuccess) {
    facts.mig_mode = mig_now == 1;
  }
  read_power_limits(device);
  const auto most_clock = [&](ClockDomain domain) -> std::optional<uint32_t> {
    uint32_t mhz = 0;
    if (library_.call(function::kMaxClock, handle, domain, &mhz) != Return::kSuccess) return {};
    return mhz;
  };
  facts.most_sm_clock_mhz = most_clock(ClockDomain::kSm);
  facts.most_memory_clock_mhz = most_clock(ClockDomain::kMemory);
}

void DeviceReader::read_power_limits(OpenDevice& device) {
  DeviceFacts& facts = device.known.facts;
  facts.power_limit_milliwatts = ask(function::kPowerLimit, device.handle);
  facts.default_power_limit_milliwatts = ask(function::kDefaultPowerLimit, device.handle);
  uint32_t least = 0;
  uint32_t most = 0;
  if (library_.call(function::kPowerLimitRange, device.handle, &least, &most) == Return::kSuccess) {
    facts.least_power_limit_milliwatts = least;
    facts.most_power_limit_milliwatts = most;
  }
}

void DeviceReader::find_instances(DeviceHandle parent, const std::string& parent_uuid,
                                  uint64_t counter_epoch, std::vector<OpenDevice>& devices) {
  const std::optional<uint32_t> most = ask(function::kMaxMigDevices, parent);
  for (uint32_t i = 0; i < std::min(most.value_or(0), kMostDevices); ++i) {
    OpenDevice instance;
    // Indices have holes: an instance that was destroyed leaves its number free.
    const Return result = library_.call(function::kMigDeviceByIndex, parent, i, &instance.handle);
    if (result != Return::kSuccess) continue;
    const auto uuid = ask_text(function::kUuid, instance.handle, kUuidBytes);
    if (!uuid) continue;
    instance.whole = false;
    instance.parent = parent;
    instance.known.facts.uuid = *uuid;
    instance.known.counter_epoch = counter_epoch;
    read_facts(instance);
    instance.known.facts.mig = read_instance(instance.handle, parent_uuid);
    instance.known.facts.mig->parent_slices = most;
    devices.push_back(std::move(instance));
  }
}

MigFacts DeviceReader::read_instance(DeviceHandle handle, const std::string& parent_uuid) {
  MigFacts facts;
  facts.parent_uuid = parent_uuid;
  facts.gpu_instance = ask(function::kGpuInstanceId, handle);
  facts.compute_instance = ask(function::kComputeInstanceId, handle);
  if (const auto attributes = ask(function::kAttributes, handle)) {
    facts.gpu_instance_slices = attributes->gpu_instance_slices;
    facts.compute_instance_slices = attributes->compute_instance_slices;
  }
  return facts;
}

bool DeviceReader::read_figures(OpenDevice& device) {
  const uint64_t spent_before_ns = library_.total_ns();
  DeviceFigures figures;
  figures.t_ns = clock_.monotonic_ns();
  device.known.figures.reset();
  device.known.shares.reset();
  if (device.known.lost) {
    if (figures.t_ns - device.lost_since_ns < kTryLostEveryNs) return false;
    library_.try_again(device.handle);
    device.lost_since_ns = figures.t_ns;
  }
  read_memory(device, figures);
  if (device.whole && !is_gone(device)) read_whole(device, figures);
  if (!is_gone(device)) read_gpm(device, figures);
  bool unlisted = false;
  if (!is_gone(device)) {
    if (device.known.lost) {
      // It was reset meanwhile, or may have been: its counters are others, and its ring.
      device.known.lost = false;
      ++device.known.counter_epoch;
      device.history = ShareHistory{};
      device.last_energy_uj = 0;
    }
    notice_reset(device, figures);
    device.known.figures = figures;
    unlisted = device.whole && read_shares(device);
  }
  device.spent_ns += library_.total_ns() - spent_before_ns;
  return unlisted;
}

// A counter that runs backwards began anew; the others then did, too.
void DeviceReader::notice_reset(OpenDevice& device, const DeviceFigures& figures) {
  if (!figures.energy_uj) return;
  if (*figures.energy_uj < device.last_energy_uj) ++device.known.counter_epoch;
  device.last_energy_uj = *figures.energy_uj;
}

// Any call may be the one that tells.
bool DeviceReader::is_gone(OpenDevice& device) {
  if (!library_.is_lost(device.handle)) return false;
  if (!device.known.lost) device.lost_since_ns = clock_.monotonic_ns();
  device.known.lost = true;
  device.known.processes.reset();
  device.gpm.reset();
  return true;
}

void DeviceReader::read_memory(OpenDevice& device, DeviceFigures& figures) {
  std::optional<uint64_t> total_bytes;
  MemoryV2 memory{};
  memory.version = kMemoryV2Version;
  // What the older call tells as used contains what is reserved, and cannot be told from it.
  MemoryV1 older{};
  if (library_.call(function::kMemoryV2, device.handle, &memory) == Return::kSuccess) {
    total_bytes = memory.total;
    figures.memory_used_bytes = memory.used;
    figures.memory_reserved_bytes = memory.reserved;
    figures.memory_free_bytes = memory.free;
    figures.memory_occupied_bytes = memory.used + memory.reserved;
  } else if (library_.call(function::kMemoryV1, device.handle, &older) == Return::kSuccess) {
    total_bytes = older.total;
    figures.memory_free_bytes = older.free;
    figures.memory_occupied_bytes = older.used;
  }
  // Number, identity and handle of an instance may be those of one before: its size tells them apart. One of the same
  // size that is there within a tick is taken for the same, and one mean of that tick may be of both.
  device.replaced = !device.whole && device.total_bytes && device.total_bytes != total_bytes;
  if (total_bytes) device.total_bytes = total_bytes;
}

void DeviceReader::read_whole(const OpenDevice& device, DeviceFigures& figures) {
  fields_.read(device.handle, figures);
  // It is not defined where the device is cut, whatever the call answers.
  if (device.known.facts.mig_mode != true) {
    if (const auto utilization = ask(function::kUtilization, device.handle)) {
      if (utilization->gpu <= 100) figures.utilization_percent = utilization->gpu;
      if (utilization->memory <= 100) figures.memory_utilization_percent = utilization->memory;
    }
  }
  const auto clock_of = [&](ClockDomain domain) -> std::optional<uint32_t> {
    uint32_t mhz = 0;
    if (library_.call(function::kClock, device.handle, domain, &mhz) != Return::kSuccess) return {};
    return mhz;
  };
  figures.sm_clock_mhz = clock_of(ClockDomain::kSm);
  figures.memory_clock_mhz = clock_of(ClockDomain::kMemory);
  uint32_t celsius = 0;
  if (library_.call(function::kTemperature, device.handle, TemperatureSensor::kGpu, &celsius) ==
      Return::kSuccess) {
    figures.temperature_celsius = celsius;
  }
  figures.fan_percent = ask(function::kFanSpeed, device.handle);
}

void DeviceReader::read_gpm(OpenDevice& device, DeviceFigures& figures) {
  if (device.whole) {
    // Of one that is cut nobody says what its counters are of.
    if (device.known.facts.mig_mode == true) return;
    gpm_.read({device.handle, std::nullopt, device.handle}, device.gpm, figures);
    return;
  }
  // Its number is another's by now, or may be.
  if (device.replaced || !device.total_bytes) {
    device.gpm.reset();
    return;
  }
  // Counters are of GPU instances: where several compute instances share one they are of none of these.
  const std::optional<MigFacts>& mig = device.known.facts.mig;
  const bool alone = mig && mig->gpu_instance && mig->gpu_instance_slices &&
                     mig->gpu_instance_slices == mig->compute_instance_slices;
  if (!alone) return;
  gpm_.read({device.parent, GpuInstance{*mig->gpu_instance}, device.handle}, device.gpm, figures);
}

bool DeviceReader::read_shares(OpenDevice& device) {
  if (device.known.facts.mig_mode == true) return false;
  bool unlisted = false;
  const auto seen = [&](uint32_t pid) {
    if (device.known.processes) {
      for (const GpuProcess& process : device.known.processes->processes) {
        if (process.pid == pid) return;
      }
    }
    // Of a process that never shows in a list, one list is enough.
    std::vector<uint32_t>& asked = device.asked_pids;
    if (std::find(asked.begin(), asked.end(), pid) == asked.end()) {
      if (asked.size() >= kMostAskedPids) asked.clear();
      asked.push_back(pid);
      unlisted = true;
    }
  };
  const bool busy = device.known.figures->utilization_percent.value_or(0) > 0;
  device.known.shares = shares_.read(device.handle, device.history, busy, seen);
  device.known.dropped_rows = device.history.dropped_rows();
  return unlisted;
}

void DeviceReader::read_processes(OpenDevice& device) {
  const uint64_t spent_before_ns = library_.total_ns();
  if (!device.known.lost) device.known.processes = lists_.read(device.handle);
  device.spent_ns += library_.total_ns() - spent_before_ns;
}

}  // namespace lezea::nvml
