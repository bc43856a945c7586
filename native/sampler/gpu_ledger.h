// What each device has spent, from one of its readings to the next, with who held it meanwhile: the intervals that are
// to be divided, and the books of what became of them. Owns the devices' numbers and marks. Used by the sampling thread
// only; reads the poller's snapshots, never the driver.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "attribution/gpu_division.h"
#include "base/bytes.h"
#include "nvml/gpu_snapshot.h"

namespace lezea {

// What a device spent in an interval that is over.
struct GpuInterval {
  uint32_t gpu = 0;
  uint64_t from_ns = 0;
  uint64_t to_ns = 0;
  GpuSpending spent;
  std::vector<GpuHolder> holders;
};

// What a process holds of a device, as a list of that time says.
struct GpuMemory {
  uint32_t gpu = 0;
  uint64_t bytes = 0;
  uint64_t listed_ns = 0;
};

// What became of what a device spent since the agent began: the three sum to what was counted.
struct GpuBooks {
  struct Line {
    Amount energy_uj = 0;
    Amount active_ns = 0;
  };

  uint32_t gpu = 0;
  std::string uuid;
  Line runs;    // given to runs
  Line others;  // of processes that are in no run
  Line nobody;  // while nobody held it
  bool energy_known = false;
  bool active_known = false;
};

class GpuLedger {
 public:
  // The number of a device in stored rows, before the first snapshot.
  void name(uint32_t gpu, const std::string& uuid);
  // Of a device that a client names, with or without the "GPU-" before it.
  std::optional<uint32_t> find(const std::string& uuid) const;

  // The intervals that this snapshot ends. A device whose counters began anew begins a new one.
  std::vector<GpuInterval> take(const nvml::GpuSnapshot& snapshot, bool initial_pid_namespace);
  // What each process holds of each device now, by pid; where the driver does not say how much, it is left out.
  std::map<uint32_t, std::vector<GpuMemory>> memory_by_pid(const nvml::GpuSnapshot& snapshot,
                                                           bool initial_pid_namespace);
  // What became of an interval's parts. Energy is the device's, time that of what was held: the device, or an instance.
  void note(GpuBooks::Line GpuBooks::* line, const GpuInterval& interval, uint32_t gpu,
            const GpuPart& part);
  void note_nobody(const GpuInterval& interval, const GpuParts& parts);
  const std::map<uint32_t, GpuBooks>& books() const { return books_; }

  // No interval that is still open began before.
  uint64_t open_since_ns(uint64_t now_ns) const;

  void encode(ByteWriter& out) const;
  // The newest of the marks that are given back counts, as of the CPU's energy.
  void decode(ByteReader& in);

 private:
  // A reading, from which the next interval goes on.
  struct Mark {
    uint64_t epoch = 0;
    uint64_t t_ns = 0;
    std::optional<uint64_t> energy_uj;
    uint64_t shares_to_ns = 0;
    bool restored = false;  // of an earlier agent: whether its counter goes on is not known
  };

  uint32_t number_of(const std::string& uuid);
  static bool goes_on(const Mark& mark, const nvml::GpuDevice& device);
  std::optional<GpuInterval> since(const Mark& mark, const nvml::GpuSnapshot& snapshot,
                                   const nvml::GpuDevice& device);
  void add_instances(const nvml::GpuSnapshot& snapshot, const nvml::GpuDevice& device,
                     GpuInterval& interval);
  std::optional<GpuSpending> spent_since(const Mark& mark, const nvml::GpuDevice& device) const;
  void add_holders(const nvml::GpuDevice& device, uint32_t gpu, uint64_t to_ns,
                   std::vector<GpuHolder>& holders) const;
  void add_work(const nvml::ProcessShares& shares, uint32_t gpu,
                std::vector<GpuHolder>& holders) const;

  std::map<std::string, uint32_t> numbers_;
  std::map<uint32_t, Mark> marks_;
  std::map<uint32_t, GpuBooks> books_;
};

}  // namespace lezea
