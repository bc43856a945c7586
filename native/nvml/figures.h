// What is known of a GPU: facts that hardly change, figures of a tick, and its processes. Whatever is absent is
// unknown, never 0. Native units: microjoules, milliwatts, bytes, nanoseconds; times are CLOCK_MONOTONIC.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace lezea::nvml {

// Of the library and the driver.
struct DriverFacts {
  std::optional<std::string> driver_version;
  std::optional<std::string> nvml_version;
  std::optional<uint32_t> cuda_version;  // 12040 is 12.4
};

struct MigFacts {
  std::string parent_uuid;
  std::optional<uint32_t> gpu_instance;
  std::optional<uint32_t> compute_instance;
  std::optional<uint32_t> gpu_instance_slices;
  std::optional<uint32_t> compute_instance_slices;
  std::optional<uint32_t> parent_slices;  // as many instances as the GPU can be cut into
};

struct DeviceFacts {
  std::string uuid;  // what it is known by, of a MIG instance too
  std::optional<std::string> name;
  std::optional<std::string> serial;
  std::optional<std::string> vbios_version;
  std::optional<std::string> pci_bus_id;
  std::optional<uint64_t> memory_total_bytes;
  std::optional<bool> persistence_mode;
  std::optional<bool> mig_mode;
  std::optional<std::string> compute_mode;  // "default", "prohibited", "exclusive_process"
  std::optional<uint32_t> power_limit_milliwatts;
  std::optional<uint32_t> default_power_limit_milliwatts;
  std::optional<uint32_t> least_power_limit_milliwatts;
  std::optional<uint32_t> most_power_limit_milliwatts;
  std::optional<uint32_t> most_sm_clock_mhz;
  std::optional<uint32_t> most_memory_clock_mhz;
  std::optional<MigFacts> mig;  // of an instance
};

struct DeviceFigures {
  uint64_t t_ns = 0;  // when the reading began
  // Part of the last 1/6 to 1 s in which any kernel ran; not how full the device was. Absent where it is cut by MIG.
  std::optional<uint32_t> utilization_percent;
  std::optional<uint32_t> memory_utilization_percent;  // in which the memory bus was busy
  std::optional<uint64_t> memory_used_bytes;           // without what is reserved
  std::optional<uint64_t> memory_reserved_bytes;
  std::optional<uint64_t> memory_free_bytes;
  std::optional<uint64_t> memory_occupied_bytes;  // used and reserved; older drivers tell no more
  // Since the driver was loaded; brought up to date every 10 to 100 ms. See GpuDevice::counter_epoch.
  std::optional<uint64_t> energy_uj;
  // Of the GPU with its memory, and of the module that it sits on.
  std::optional<uint32_t> power_instant_milliwatts;
  std::optional<uint32_t> power_average_milliwatts;
  std::optional<uint32_t> module_power_instant_milliwatts;
  std::optional<uint32_t> module_power_average_milliwatts;
  std::optional<uint32_t> sm_clock_mhz;
  std::optional<uint32_t> memory_clock_mhz;
  std::optional<uint32_t> temperature_celsius;
  std::optional<uint32_t> memory_temperature_celsius;
  std::optional<uint32_t> fan_percent;  // as intended, not as measured
  // Cumulative. PCIe only where the driver's counter has 64 bits: one of 32 wraps in 33 ms of a full link.
  std::optional<uint64_t> nvlink_transmitted_bytes;
  std::optional<uint64_t> nvlink_received_bytes;
  std::optional<uint64_t> pcie_transmitted_bytes;
  std::optional<uint64_t> pcie_received_bytes;
  std::optional<uint64_t> throttle_power_ns;
  std::optional<uint64_t> throttle_software_thermal_ns;
  std::optional<uint64_t> throttle_hardware_thermal_ns;
  std::optional<uint64_t> throttle_power_brake_ns;
  std::optional<uint64_t> ecc_corrected;  // since the driver was loaded
  std::optional<uint64_t> ecc_uncorrected;
  std::optional<uint32_t> remapped_correctable_rows;
  std::optional<uint32_t> remapped_uncorrectable_rows;
  std::optional<bool> remapping_pending;
  std::optional<bool> remapping_failed;
  std::optional<uint32_t> recovery_action;  // 0: none is needed
  // Between two samples of the hardware's own counters, parts per million; of GPUs from Hopper on, and of MIG
  // instances whose GPU instance is theirs alone. All absent, or from and to with what was told.
  std::optional<uint64_t> gpm_from_ns;
  std::optional<uint64_t> gpm_to_ns;
  std::optional<uint32_t> gpm_graphics_active_ppm;  // of the time, in which any kernel ran
  std::optional<uint32_t> gpm_sm_active_ppm;        // of the multiprocessors, those that had work
  std::optional<uint32_t>
      gpm_sm_occupancy_ppm;  // of the warps that they can hold, those that were there
  std::optional<uint32_t> gpm_memory_bandwidth_ppm;  // of the memory's greatest
};

// A process that holds the device. The pid is as the driver tells it: of the agent's PID namespace, or the host's.
struct GpuProcess {
  uint32_t pid = 0;
  bool compute = false;
  bool graphics = false;
  bool mps = false;  // a client of an MPS server
  std::optional<uint64_t> memory_bytes;
  std::optional<uint32_t> gpu_instance;
  std::optional<uint32_t> compute_instance;
};

struct ProcessList {
  uint64_t t_ns = 0;
  bool complete = false;  // every kind that this driver has was answered
  std::vector<GpuProcess> processes;
};

// Of one process, the part of the driver's samples in an interval that found it active. Each sample names one process,
// and how many there were is not told: the ratios between a device's processes mean something, their sum does not.
struct ProcessShare {
  uint32_t pid = 0;
  uint32_t sm_percent = 0;
  uint32_t memory_percent = 0;
  uint32_t encoder_percent = 0;
  uint32_t decoder_percent = 0;
};

struct ProcessShares {
  uint64_t from_ns = 0;  // what the driver sampled in between
  uint64_t to_ns = 0;
  std::vector<ProcessShare> shares;  // empty: nobody was active
};

struct GpuDevice {
  DeviceFacts facts;
  bool lost = false;  // off the bus, or in need of a reset: no figures
  // Counters only compare within one epoch: another driver, a reset, a device that came back begin the next.
  uint64_t counter_epoch = 0;
  std::optional<DeviceFigures> figures;
  std::optional<ProcessList> processes;  // of the last list, which may be some seconds old
  std::optional<ProcessShares> shares;   // of this tick
  uint64_t dropped_rows = 0;  // of the driver's samples, that could not be true; of this epoch
};

}  // namespace lezea::nvml
