// A scenario of the double: what machine it is and what happens on it when. Read from a file of lines;
// README.md has the format. Holds no state of the run.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "nvml/nvml_abi.h"

namespace lezea::nvml_double {

constexpr uint64_t kForever = ~0ULL;

// A process that is active in the first `busy_ms` of every `period_ms`, from its begin to its end.
struct Process {
  uint32_t pid = 0;
  bool compute = true;
  bool graphics = false;
  bool mps = false;
  uint64_t memory_bytes = 0;  // kNotAvailable64: the driver does not tell
  uint64_t period_ms = 1000;
  uint64_t busy_ms = 0;
  uint64_t phase_ms = 0;
  uint64_t begin_ms = 0;
  uint64_t end_ms = kForever;
  uint32_t gpu_instance = nvml::kNotAvailable32;
  uint32_t compute_instance = nvml::kNotAvailable32;
  // While it is active, percent of what its GPU or instance has.
  uint32_t sm_percent = 100;
  uint32_t occupancy_percent = 50;
  uint32_t bandwidth_percent = 50;

  bool alive(uint64_t t_ms) const { return t_ms >= begin_ms && t_ms < end_ms; }
  bool active(uint64_t t_ms) const {
    return alive(t_ms) && (t_ms + period_ms - phase_ms % period_ms) % period_ms < busy_ms;
  }
};

struct MigInstance {
  uint32_t index = 0;
  std::string uuid;
  uint32_t gpu_instance = 0;
  uint32_t compute_instance = 0;
  uint64_t memory_bytes = 0;
  uint32_t slices = 1;
  uint32_t compute_slices = 1;
  uint64_t begin_ms = 0;
  uint64_t end_ms = kForever;

  bool alive(uint64_t t_ms) const { return t_ms >= begin_ms && t_ms < end_ms; }
};

// A field's value: `base` at the driver's load, `per_second` more each second.
struct Field {
  uint32_t id = 0;
  uint32_t scope = 0;
  nvml::ValueType type = nvml::ValueType::kUnsignedInt;
  double base = 0;
  double per_second = 0;
  uint64_t end_ms = kForever;  // then the next one of this id counts
  nvml::Return result = nvml::Return::kSuccess;
};

struct Gpu {
  std::string uuid;
  std::string name = "NVIDIA H200";
  std::string serial;
  std::string vbios = "96.00.99.00.01";
  std::string pci = "00000000:0F:00.0";
  uint64_t memory_bytes = 0;
  uint64_t reserved_bytes = 0;
  uint64_t idle_milliwatts = 75000;
  uint64_t busy_milliwatts = 700000;
  uint64_t energy_period_ms = 100;  // how often the counter is brought up to date
  uint32_t temperature_celsius = 35;
  uint32_t max_mig = 0;
  bool gpm = false;
  uint32_t no_gpm_metric = 0;  // 0: it has all
  std::vector<MigInstance> mig;
  std::vector<Process> processes;
  std::vector<Field> fields;

  bool mig_enabled() const { return !mig.empty(); }
};

// A call fails with a code, or hangs, in a stretch of time.
struct Trouble {
  std::string symbol;  // "*": every call of a device but those that find it
  nvml::Return result = nvml::Return::kSuccess;
  bool hang = false;
  int64_t gpu = -1;  // -1: every one
  uint64_t begin_ms = 0;
  uint64_t end_ms = kForever;
};

// A call says, so many times, that it lacks room for `needed` entries, whatever room it has.
struct Shortage {
  std::string symbol;
  uint32_t needed = 0;
  uint32_t times = 1;
};

struct Reload {
  uint64_t at_ms = 0;
  uint64_t down_ms = 0;
};

struct Xid {
  uint32_t gpu = 0;
  uint64_t code = 0;
  uint64_t at_ms = 0;
  uint64_t count = 1;
};

struct Scenario {
  bool real_time = false;  // the clock goes on by itself
  std::string driver_version = "550.54.15";
  std::string nvml_version = "12.550.54.15";
  int cuda_version = 12040;
  uint64_t timestamp_base_us = 1'700'000'000'000'000;       // of process samples at time 0
  size_t process_info_bytes = sizeof(nvml::ProcessInfoV2);  // of the `_v3` lists
  std::vector<Gpu> gpus;
  std::vector<Trouble> troubles;
  std::vector<Shortage> shortages;
  std::vector<Reload> reloads;
  std::vector<Xid> xids;
};

// 0, or the number of the line that is wrong, or -1 for a file that cannot be read.
int read_scenario(const std::string& path, Scenario& out);

}  // namespace lezea::nvml_double
