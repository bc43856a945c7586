// What a process had of the GPUs: told of an interval some time after its end, and divided by where the process's time
// went in it.

#include <algorithm>
#include <utility>

#include "attribution/apportion.h"
#include "attribution/process_account.h"

namespace lezea {
void ProcessAccount::keep_history() {
  if (!history_) history_.emplace();
}

void ProcessAccount::forget_gpus() {
  history_.reset();
  gpu_memory_.clear();
  gpu_claims_.clear();
}

void ProcessAccount::forget_history(uint64_t before_ns) {
  if (history_) history_->forget_before(before_ns);
}

void ProcessAccount::remember_interval(uint64_t t_ns) {
  if (!history_) return;
  slot_weights_.clear();
  for (const uint32_t index : shares_.touched()) {
    const Share& share = shares_.at(index);
    if (share.equal_weight > 0) slot_weights_.emplace_back(share.slot, share.equal_weight);
  }
  history_->add(last_close_ns_, t_ns, slot_weights_);
}

void ProcessAccount::set_gpu_memory(std::vector<std::pair<uint32_t, uint64_t>> bytes_by_gpu) {
  gpu_memory_ = std::move(bytes_by_gpu);
}

void ProcessAccount::claim_gpu(uint32_t gpu, uint32_t slot, uint64_t gpu_ns) {
  GpuClaims& claims = gpu_claims_[gpu];
  // More than a device's time of an hour is none.
  constexpr uint64_t kMostNs = 3'600'000'000'000;
  if (gpu_ns > kMostNs - claims.sum_ns) {
    ++cut_stamps_;
    return;
  }
  claims.by_slot[slot] += gpu_ns;
  claims.sum_ns += gpu_ns;
}

void ProcessAccount::give_of_gpu(uint32_t gpu, Column column, const std::vector<uint32_t>& slots,
                                 Amount amount, const std::vector<uint64_t>& weights,
                                 RunTable& table) {
  Run* run = table.run(run_);
  table.begin_column(*run, column);
  apportion(amount, weights, more_);
  for (size_t i = 0; i < slots.size(); ++i) {
    if (more_[i] != 0 || weights[i] != 0) table.give_of_gpu(slots[i], gpu, column, more_[i]);
  }
  count(table, column, amount);
  const auto positive = [](uint64_t weight) { return weight > 0; };
  const bool divided = std::count_if(weights.begin(), weights.end(), positive) > 1;
  if (amount != 0 && divided) run->apportioned |= bit(column);
}

void ProcessAccount::give_gpu(const GpuUse& use, RunTable& table) {
  Run* run = table.run(run_);
  if (run == nullptr) return;
  ScopeHistory::Weights times;
  if (history_) times = history_->weigh(use.from_ns, use.to_ns);
  if (times.empty()) times[follow_slot()] = 1;
  const GpuClaims claims = std::exchange(gpu_claims_[use.gpu], {});
  for (const auto& [slot, ns] : claims.by_slot) times.try_emplace(slot, 0);

  std::vector<uint32_t> slots;
  std::vector<uint64_t> held;
  std::vector<uint64_t> work;
  for (const auto& [slot, ns] : times) {
    const auto claim = claims.by_slot.find(slot);
    slots.push_back(slot);
    held.push_back(ns);
    work.push_back(claim == claims.by_slot.end() ? 0 : claim->second);
  }
  // What was measured are weights as far as it goes; the rest of the time that the device worked goes by time.
  const Amount active_ns = use.active_ns.value_or(claims.sum_ns);
  if (active_ns > claims.sum_ns) {
    apportion(active_ns - claims.sum_ns, held, parts_);
    for (size_t i = 0; i < slots.size(); ++i) work[i] += static_cast<uint64_t>(parts_[i]);
  }
  if (claims.sum_ns == 0) work = held;

  run->dirty = true;
  run->estimated |= bit(kGpuActive) | bit(kGpuEnergy);
  if (use.active_ns) give_of_gpu(use.gpu, kGpuActive, slots, active_ns, work, table);
  if (use.energy_uj) {
    give_of_gpu(use.gpu, kGpuEnergy, slots, use.work_energy_uj, work, table);
    // Where nothing tells how long it worked, all is held, and what was measured says most of it.
    const std::vector<uint64_t>& rest = use.active_ns ? held : work;
    give_of_gpu(use.gpu, kGpuEnergy, slots, *use.energy_uj - use.work_energy_uj, rest, table);
  }
  if (use.allocated_ns) give_of_gpu(use.gpu, kGpuAllocated, slots, *use.allocated_ns, held, table);
  if (use.memory_byte_ns)
    give_of_gpu(use.gpu, kGpuMemoryTime, slots, *use.memory_byte_ns, held, table);
}

}  // namespace lezea
