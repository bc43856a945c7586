// Finds the devices of a library and reads them: facts when found, figures each tick, processes when asked. Devices
// are known by UUID; handles and the driver's state of each belong to one generation. One thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "nvml/fields.h"
#include "nvml/figures.h"
#include "nvml/gpm.h"
#include "nvml/library.h"
#include "nvml/process_lists.h"
#include "nvml/process_shares.h"

namespace lezea::nvml {

// A device of the present generation.
struct OpenDevice {
  DeviceHandle handle = nullptr;
  bool whole = true;              // not a MIG instance
  DeviceHandle parent = nullptr;  // of an instance
  GpuDevice known;
  ShareHistory history;
  uint64_t last_energy_uj = 0;
  uint64_t lost_since_ns = 0;        // or tried last since
  uint64_t spent_ns = 0;             // in calls about it
  std::vector<uint32_t> asked_pids;  // unknown ones that a list was wanted for
  std::unique_ptr<GpmSamples> gpm;
  std::optional<uint64_t> total_bytes;  // of its memory, when it told last
  bool replaced = false;                // an instance that was destroyed, or is another one by now
};

class DeviceReader {
 public:
  DeviceReader(Library& library, const Clock& clock);

  DriverFacts read_driver();
  // All devices and their MIG instances, with facts; those that do not even tell their UUID are left out.
  // `counter_epoch` is where their counters begin.
  std::vector<OpenDevice> find_devices(uint64_t counter_epoch);
  // The figures of now. A device that is lost has none, and is tried again every 30 s.
  // True when a process was seen that is in no list yet.
  bool read_figures(OpenDevice& device);
  void read_processes(OpenDevice& device);

 private:
  void read_facts(OpenDevice& device);
  void read_power_limits(OpenDevice& device);
  void find_instances(DeviceHandle parent, const std::string& parent_uuid, uint64_t counter_epoch,
                      std::vector<OpenDevice>& devices);
  MigFacts read_instance(DeviceHandle handle, const std::string& parent_uuid);
  void read_memory(OpenDevice& device, DeviceFigures& figures);
  void read_whole(const OpenDevice& device, DeviceFigures& figures);
  void read_gpm(OpenDevice& device, DeviceFigures& figures);
  bool read_shares(OpenDevice& device);
  bool is_gone(OpenDevice& device);
  void notice_reset(OpenDevice& device, const DeviceFigures& figures);
  template <class T>
  std::optional<T> ask(const Function<DeviceHandle, T*>& function, DeviceHandle device);
  std::optional<std::string> ask_text(const Function<DeviceHandle, char*, uint32_t>& function,
                                      DeviceHandle device, uint32_t bytes);

  Library& library_;
  const Clock& clock_;
  FieldReader fields_;
  ProcessLists lists_;
  ProcessShareReader shares_;
  GpmReader gpm_;
};

}  // namespace lezea::nvml
