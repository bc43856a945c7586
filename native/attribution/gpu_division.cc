// See gpu_division.h.

#include "attribution/gpu_division.h"

#include <algorithm>

#include "attribution/apportion.h"

namespace lezea {
namespace {

// One weight for each holder, and the last for nobody.
using Weights = std::vector<uint64_t>;

bool any(const Weights& weights) {
  return std::any_of(weights.begin(), weights.end(), [](uint64_t weight) { return weight > 0; });
}

Weights or_nobody(Weights weights) {
  weights.push_back(any(weights) ? 0 : 1);
  return weights;
}

// By memory among those that the predicate takes; in equal parts where the driver does not tell it of each.
template <class Takes>
Weights by_memory(const std::vector<GpuHolder>& holders, Takes takes) {
  Weights memory;
  Weights equal;
  bool all_known = true;
  for (const GpuHolder& holder : holders) {
    const bool taken = takes(holder);
    const Amount held = Amount{holder.memory_bytes.value_or(0)} * holder.held_permille / 1000;
    equal.push_back(taken ? holder.held_permille : 0);
    memory.push_back(taken ? static_cast<uint64_t>(held) : 0);
    all_known = all_known && (!taken || holder.memory_bytes);
  }
  return all_known && any(memory) ? memory : equal;
}

Weights by_held_memory(const std::vector<GpuHolder>& holders) {
  return by_memory(holders, [](const GpuHolder& holder) { return holder.listed; });
}

// A server works for its clients: what it did goes to them.
void hand_on(const std::vector<GpuHolder>& holders, Weights& work) {
  const auto is_client = [](const GpuHolder& holder) { return holder.mps_client; };
  if (std::none_of(holders.begin(), holders.end(), is_client)) return;
  const Weights clients = by_memory(holders, is_client);
  std::vector<Amount> parts;
  // Fine enough that a client of little memory is not rounded away.
  constexpr uint64_t kScale = 1'000'000;
  for (uint64_t& weight : work) weight *= kScale;
  for (size_t i = 0; i < holders.size(); ++i) {
    if (!holders[i].mps_server || work[i] == 0) continue;
    apportion(work[i], clients, parts);
    work[i] = 0;
    for (size_t client = 0; client < parts.size(); ++client)
      work[client] += static_cast<uint64_t>(parts[client]);
  }
}

Weights by_work(const std::vector<GpuHolder>& holders) {
  Weights work;
  for (const GpuHolder& holder : holders) work.push_back(holder.work);
  hand_on(holders, work);
  return any(work) ? work : by_held_memory(holders);
}

Weights by_memory_in(const std::vector<GpuHolder>& holders, const GpuInstance& instance) {
  return by_memory(holders, [&instance](const GpuHolder& holder) {
    return holder.listed && holder.gpu == instance.gpu;
  });
}

// Of a device that is cut: each instance has the share of its slices, of work by how busy they were, and within it
// memory decides. Slices of instances that nobody holds, and those of none, are nobody's.
Weights by_slices(const GpuSpending& spent, const std::vector<GpuHolder>& holders, bool of_work) {
  constexpr uint64_t kScale = 1'000'000;  // as the parts of their activity
  constexpr uint64_t kFine = 4096;        // so that little memory is not rounded away
  Weights weights(holders.size(), 0);
  std::vector<Amount> parts;
  uint64_t others = 0;
  uint64_t all_slices = 0;
  for (const GpuInstance& instance : spent.instances) {
    const uint64_t busy = of_work ? instance.active_ppm.value_or(0) : kScale;
    const uint64_t weight = instance.slices * busy * kFine;
    all_slices += instance.slices;
    const Weights inside = by_memory_in(holders, instance);
    if (!any(inside)) {
      others += weight;
      continue;
    }
    apportion(weight, inside, parts);
    for (size_t i = 0; i < parts.size(); ++i) weights[i] += static_cast<uint64_t>(parts[i]);
  }
  if (!of_work && spent.slices > all_slices) others += (spent.slices - all_slices) * kScale * kFine;
  weights.push_back(others);
  if (!any(weights)) weights.back() = 1;
  return weights;
}

// How busy the slices were together, all of them; without the figure of each instance it is not known.
std::optional<uint64_t> busy_ppm(const GpuSpending& spent) {
  uint64_t busy = 0;
  uint64_t slices = 0;
  for (const GpuInstance& instance : spent.instances) {
    if (!instance.active_ppm) return std::nullopt;
    busy += uint64_t{instance.slices} * *instance.active_ppm;
    slices += instance.slices;
  }
  slices = std::max<uint64_t>(slices, spent.slices);
  if (slices == 0) return std::nullopt;
  return busy / slices;
}

void give(Amount amount, const Weights& weights, GpuParts& parts, Amount GpuPart::* what) {
  std::vector<Amount> given;
  apportion(amount, weights, given);
  for (size_t i = 0; i < parts.holders.size(); ++i) parts.holders[i].*what = given[i];
  parts.nobody.*what = given.back();
}

// Each instance's own time is its own: of those that hold it, by memory.
void give_active_of_instances(const GpuSpending& spent, const std::vector<GpuHolder>& holders,
                              GpuParts& parts) {
  std::vector<Amount> given;
  for (const GpuInstance& instance : spent.instances) {
    if (!instance.active_ppm) continue;
    const Amount active_ns = Amount{spent.length_ns} * *instance.active_ppm / 1'000'000;
    apportion(active_ns, or_nobody(by_memory_in(holders, instance)), given);
    for (size_t i = 0; i < holders.size(); ++i) parts.holders[i].active_ns += given[i];
    parts.nobody.active_ns += given.back();
    if (given.back() != 0) parts.unheld.push_back({instance.gpu, given.back()});
  }
}

GpuParts divide_cut(const GpuSpending& spent, const std::vector<GpuHolder>& holders) {
  GpuParts parts;
  parts.holders.resize(holders.size());
  const Amount energy_uj = spent.energy_uj.value_or(0);
  const Amount work_uj = energy_uj * busy_ppm(spent).value_or(0) / 1'000'000;
  give(work_uj, by_slices(spent, holders, true), parts, &GpuPart::work_energy_uj);
  give(energy_uj - work_uj, by_slices(spent, holders, false), parts, &GpuPart::held_energy_uj);
  give_active_of_instances(spent, holders, parts);
  return parts;
}

}  // namespace

GpuParts divide_gpu(const GpuSpending& spent, const std::vector<GpuHolder>& holders) {
  if (!spent.instances.empty()) return divide_cut(spent, holders);
  GpuParts parts;
  parts.holders.resize(holders.size());
  const Weights held = or_nobody(by_held_memory(holders));
  const Weights work = or_nobody(by_work(holders));
  Amount work_uj = 0;
  const Amount energy_uj = spent.energy_uj.value_or(0);
  if (spent.active_ns && spent.length_ns > 0)
    work_uj = energy_uj * *spent.active_ns / spent.length_ns;
  give(work_uj, work, parts, &GpuPart::work_energy_uj);
  give(energy_uj - work_uj, held, parts, &GpuPart::held_energy_uj);
  give(spent.active_ns.value_or(0), work, parts, &GpuPart::active_ns);
  return parts;
}

}  // namespace lezea
