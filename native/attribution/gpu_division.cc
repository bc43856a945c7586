// See gpu_division.h.

#include "attribution/gpu_division.h"

#include <algorithm>
#include <utility>

#include "attribution/apportion.h"

namespace lezea {
namespace {

// One weight for each holder; one more is nobody's.
using Weights = std::vector<uint64_t>;

constexpr uint64_t kWholePpm = 1'000'000;

bool any(const Weights& weights) {
  return std::any_of(weights.begin(), weights.end(), [](uint64_t weight) { return weight > 0; });
}

// By memory among those that the predicate takes, and by how long each was there; in equal parts where the driver does
// not tell the memory of each.
template <class Takes>
Weights by_memory(const std::vector<GpuHolder>& holders, Takes takes) {
  Weights memory;
  Weights equal;
  bool all_known = true;
  for (const GpuHolder& holder : holders) {
    const bool taken = takes(holder);
    const uint64_t there_ppm = holder.to_ppm - holder.from_ppm;
    const Amount held = Amount{holder.memory_bytes.value_or(0)} * there_ppm / kWholePpm;
    equal.push_back(taken ? there_ppm : 0);
    memory.push_back(taken ? static_cast<uint64_t>(held) : 0);
    all_known = all_known && (!taken || holder.memory_bytes);
  }
  return all_known && any(memory) ? memory : equal;
}

// In which part of the interval any of them was there.
template <class Takes>
uint64_t covered_of(const std::vector<GpuHolder>& holders, Takes takes) {
  std::vector<std::pair<uint32_t, uint32_t>> stays;
  for (const GpuHolder& holder : holders)
    if (takes(holder)) stays.emplace_back(holder.from_ppm, holder.to_ppm);
  std::sort(stays.begin(), stays.end());
  uint64_t covered = 0;
  uint32_t until = 0;
  for (const auto& [from, to] : stays) {
    if (to > until) covered += to - std::max(from, until);
    until = std::max(until, to);
  }
  return covered;
}

// What is divided by memory: nobody's is what was while nobody was there.
struct ByMemory {
  Weights weights;
  uint64_t covered_ppm;

  template <class Takes>
  ByMemory(const std::vector<GpuHolder>& holders, Takes takes)
      : weights(by_memory(holders, takes)), covered_ppm(covered_of(holders, takes)) {}

  // One part for each holder, and the last for nobody.
  void divide(Amount amount, std::vector<Amount>& parts) const {
    const Amount held = amount * covered_ppm / kWholePpm;
    parts.clear();
    if (!weights.empty()) apportion(held, weights, parts);
    parts.push_back(weights.empty() ? amount : amount - held);
  }
};

bool is_listed(const GpuHolder& holder) { return holder.listed; }

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

// Of the samples of work; none where there are none.
Weights by_work(const std::vector<GpuHolder>& holders) {
  Weights work;
  for (const GpuHolder& holder : holders) work.push_back(holder.work);
  hand_on(holders, work);
  return work;
}

ByMemory by_memory_in(const std::vector<GpuHolder>& holders, const GpuInstance& instance) {
  return {holders, [&instance](const GpuHolder& holder) {
            return holder.listed && holder.gpu == instance.gpu;
          }};
}

// Of a device that is cut: each instance has the share of its slices, of work by how busy they were, and within it
// memory decides. Slices of instances that nobody holds, and those of none, are nobody's.
Weights by_slices(const GpuSpending& spent, const std::vector<GpuHolder>& holders, bool of_work) {
  constexpr uint64_t kScale = kWholePpm;  // as the parts of their activity
  constexpr uint64_t kFine = 4096;        // so that little memory is not rounded away
  Weights weights(holders.size() + 1, 0);
  std::vector<Amount> parts;
  uint64_t all_slices = 0;
  for (const GpuInstance& instance : spent.instances) {
    const uint64_t busy = of_work ? instance.active_ppm.value_or(0) : kScale;
    all_slices += instance.slices;
    by_memory_in(holders, instance).divide(instance.slices * busy * kFine, parts);
    for (size_t i = 0; i < parts.size(); ++i) weights[i] += static_cast<uint64_t>(parts[i]);
  }
  if (!of_work && spent.slices > all_slices)
    weights.back() += (spent.slices - all_slices) * kScale * kFine;
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

void give(const std::vector<Amount>& given, GpuParts& parts, Amount GpuPart::* what) {
  for (size_t i = 0; i < parts.holders.size(); ++i) parts.holders[i].*what = given[i];
  parts.nobody.*what = given.back();
}

// Each instance's own time is its own: of those that hold it, by memory.
void give_active_of_instances(const GpuSpending& spent, const std::vector<GpuHolder>& holders,
                              GpuParts& parts) {
  std::vector<Amount> given;
  for (const GpuInstance& instance : spent.instances) {
    if (!instance.active_ppm) continue;
    const Amount active_ns = Amount{spent.length_ns} * *instance.active_ppm / kWholePpm;
    by_memory_in(holders, instance).divide(active_ns, given);
    for (size_t i = 0; i < holders.size(); ++i) parts.holders[i].active_ns += given[i];
    parts.nobody.active_ns += given.back();
    if (given.back() != 0) parts.unheld.push_back({instance.gpu, given.back()});
  }
}

void divide_cut(const GpuSpending& spent, const std::vector<GpuHolder>& holders, GpuParts& parts) {
  std::vector<Amount> given;
  const Amount energy_uj = spent.energy_uj.value_or(0);
  const Amount work_uj = energy_uj * busy_ppm(spent).value_or(0) / kWholePpm;
  apportion(work_uj, by_slices(spent, holders, true), given);
  give(given, parts, &GpuPart::work_energy_uj);
  apportion(energy_uj - work_uj, by_slices(spent, holders, false), given);
  give(given, parts, &GpuPart::held_energy_uj);
  give_active_of_instances(spent, holders, parts);
}

void divide_whole(const GpuSpending& spent, const std::vector<GpuHolder>& holders,
                  GpuParts& parts) {
  const ByMemory held(holders, is_listed);
  Weights work = by_work(holders);
  const bool sampled = any(work);
  work.push_back(0);
  std::vector<Amount> given;
  const auto divide_work = [&](Amount amount) {
    if (sampled) return apportion(amount, work, given);
    held.divide(amount, given);
  };
  const Amount energy_uj = spent.energy_uj.value_or(0);
  Amount work_uj = 0;
  if (spent.active_ns && spent.length_ns > 0)
    work_uj = energy_uj * *spent.active_ns / spent.length_ns;
  divide_work(work_uj);
  give(given, parts, &GpuPart::work_energy_uj);
  held.divide(energy_uj - work_uj, given);
  give(given, parts, &GpuPart::held_energy_uj);
  divide_work(spent.active_ns.value_or(0));
  give(given, parts, &GpuPart::active_ns);
}

}  // namespace

GpuParts divide_gpu(const GpuSpending& spent, const std::vector<GpuHolder>& holders) {
  GpuParts parts;
  parts.holders.resize(holders.size());
  if (spent.instances.empty()) {
    divide_whole(spent, holders, parts);
  } else {
    divide_cut(spent, holders, parts);
  }
  return parts;
}

}  // namespace lezea
