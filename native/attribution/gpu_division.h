// How what one device spent in an interval is divided among those that hold it (docs/meaning.md, rule 13). Pure: of its
// energy the part in which it worked goes by the share of that work, the rest by the share of its memory; what
// nobody held, and was before anybody came or after all had gone, stays over. Integers, by largest remainder: the
// parts and what is left are the whole.

#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "attribution/columns.h"

namespace lezea {

// One that holds the device, or worked on it.
struct GpuHolder {
  uint32_t pid = 0;         // 0: whoever cannot be told
  uint32_t gpu = 0;         // what it holds: the device, or an instance of it
  uint64_t work = 0;        // its share of the device's work, in any unit
  bool listed = false;      // holds it, as the driver says
  bool mps_client = false;  // works through a server
  bool mps_server = false;  // works for its clients
  std::optional<uint64_t> memory_bytes;
  uint64_t listed_ns = 0;  // when the driver said so
  // For which part of the interval there was such a process, in parts per million of it.
  uint32_t from_ppm = 0;
  uint32_t to_ppm = 1'000'000;
};

// An instance that the device is cut into, by its own number.
struct GpuInstance {
  uint32_t gpu = 0;
  uint32_t slices = 0;
  std::optional<uint32_t> active_ppm;  // of the interval, in which any kernel ran on it
};

struct GpuSpending {
  std::optional<uint64_t> energy_uj;
  std::optional<uint64_t> active_ns;  // the device's utilisation, integrated
  uint64_t length_ns = 0;             // of the interval
  // Of a device that is cut: what there is of it, those instances that nobody holds included.
  std::vector<GpuInstance> instances;
  uint32_t slices = 0;

  // Of the device, or of an instance of it.
  bool knows_active(uint32_t gpu) const {
    if (active_ns) return true;
    for (const GpuInstance& instance : instances)
      if (instance.gpu == gpu) return instance.active_ppm.has_value();
    return false;
  }
};

struct GpuPart {
  Amount work_energy_uj = 0;
  Amount held_energy_uj = 0;
  Amount active_ns = 0;
};

// Time of an instance that nobody holds; in the part of nobody, too.
struct GpuPartOfInstance {
  uint32_t gpu = 0;
  Amount active_ns = 0;
};

struct GpuParts {
  std::vector<GpuPart> holders;  // in their order
  GpuPart nobody;
  std::vector<GpuPartOfInstance> unheld;
};

GpuParts divide_gpu(const GpuSpending& spent, const std::vector<GpuHolder>& holders);

}  // namespace lezea
