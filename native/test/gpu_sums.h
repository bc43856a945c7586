// What became of the intervals of one device: what they counted, and who had it.
#pragma once

#include <map>
#include <utility>

#include "sampler/gpu_ledger.h"

namespace lezea::test {

struct GpuSums {
  std::map<std::pair<uint32_t, uint32_t>, GpuPart> holders;  // by the device or instance, and pid
  GpuPart nobody;
  Amount counted_uj = 0;
  Amount counted_ns = 0;
  bool energy_known = false;
  bool active_known = false;

  void add(const GpuInterval& interval) {
    const GpuSpending& spent = interval.spent;
    const GpuParts parts = divide_gpu(spent, interval.holders);
    for (size_t i = 0; i < interval.holders.size(); ++i)
      add_to(holders[{interval.holders[i].gpu, interval.holders[i].pid}], parts.holders[i]);
    add_to(nobody, parts.nobody);
    counted_uj += spent.energy_uj.value_or(0);
    counted_ns += spent.active_ns.value_or(0);
    // Of a GPU that is cut each instance tells its own.
    for (const GpuInstance& instance : spent.instances)
      counted_ns += Amount{spent.length_ns} * instance.active_ppm.value_or(0) / 1'000'000;
    energy_known |= spent.energy_uj.has_value();
    active_known |= spent.active_ns.has_value();
  }
  // Of all that one process held.
  GpuPart of(uint32_t pid) const {
    GpuPart sum;
    for (const auto& [of, part] : holders)
      if (of.second == pid) add_to(sum, part);
    return sum;
  }
  // Of the parts.
  uint64_t energy_uj() const {
    const GpuPart sum = all();
    return static_cast<uint64_t>(sum.work_energy_uj + sum.held_energy_uj);
  }
  uint64_t active_ns() const { return static_cast<uint64_t>(all().active_ns); }

 private:
  static void add_to(GpuPart& sum, const GpuPart& part) {
    sum.work_energy_uj += part.work_energy_uj;
    sum.held_energy_uj += part.held_energy_uj;
    sum.active_ns += part.active_ns;
  }
  GpuPart all() const {
    GpuPart sum = nobody;
    for (const auto& [of, part] : holders) add_to(sum, part);
    return sum;
  }
};

}  // namespace lezea::test
