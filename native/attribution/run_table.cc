// See run_table.h.

#include "attribution/run_table.h"

#include <algorithm>

#include "attribution/apportion.h"

namespace lezea {

void RunTable::open_run(uint32_t id, uint32_t unattributed) {
  Run& run = runs_[id];
  run.id = id;
  run.unattributed = unattributed;
  define_slot(unattributed, id, 0);
}

void RunTable::define_slot(uint32_t id, uint32_t run_id, uint32_t parent) {
  Run* owner = run(run_id);
  if (owner == nullptr || id == 0 || slots_.count(id) != 0) return;
  Slot& slot = slots_[id];
  slot.id = id;
  slot.run = run_id;
  slot.parent = parent;
  // A scope starts at 0 in every column that its run measures, so that the first increment is seen.
  slot.totals.known = owner->totals.known & ~bit(kMemoryPeak);
  owner->slots.push_back(id);
  dirty_.push_back(id);
}

void RunTable::close_run(uint32_t id) {
  const auto found = runs_.find(id);
  if (found == runs_.end()) return;
  const auto gone = [this, id](uint32_t slot_id) {
    const Slot* found_slot = slot(slot_id);
    return found_slot == nullptr || found_slot->run == id;
  };
  for (auto* list : {&dirty_, &holding_, &was_holding_, &touched_}) {
    list->erase(std::remove_if(list->begin(), list->end(), gone), list->end());
  }
  for (const uint32_t slot_id : found->second.slots) slots_.erase(slot_id);
  runs_.erase(found);
}

Run* RunTable::run(uint32_t id) {
  const auto found = runs_.find(id);
  return found == runs_.end() ? nullptr : &found->second;
}

Slot* RunTable::slot(uint32_t id) {
  const auto found = slots_.find(id);
  return found == slots_.end() ? nullptr : &found->second;
}

uint32_t RunTable::slot_or_unattributed(uint32_t run_id, uint32_t slot_id) {
  const Slot* found = slot(slot_id);
  if (found != nullptr && found->run == run_id) return slot_id;
  const Run* owner = run(run_id);
  return owner == nullptr ? 0 : owner->unattributed;
}

void RunTable::mark_dirty(Slot& slot) {
  if (slot.dirty) return;
  slot.dirty = true;
  dirty_.push_back(slot.id);
}

void RunTable::give(uint32_t slot_id, Column column, Amount amount) {
  Slot* target = slot(slot_id);
  if (target == nullptr) return;
  const bool news = amount != 0 || (target->totals.known & bit(column)) == 0;
  if (column == kCpu && amount != 0 && target->totals.uncharged_cpu_ns == 0)
    runs_.at(target->run).uncharged_slots.push_back(slot_id);
  target->totals.add(column, amount);
  if (news) mark_dirty(*target);
}

void RunTable::charge(Run& run, std::optional<Amount> energy_uj) {
  weights_.clear();
  for (const uint32_t id : run.uncharged_slots) {
    uint64_t& cpu_ns = slots_.at(id).totals.uncharged_cpu_ns;
    weights_.push_back(cpu_ns);
    cpu_ns = 0;
  }
  if (energy_uj) {
    // A scope starts at 0 in every column that its run measures.
    if ((run.totals.known & bit(kCpuEnergy)) == 0)
      for (const uint32_t id : run.slots) give(id, kCpuEnergy, 0);
    if (!weights_.empty()) apportion(*energy_uj, weights_, parts_);
    for (size_t i = 0; i < weights_.size(); ++i)
      give(run.uncharged_slots[i], kCpuEnergy, parts_[i]);
    run.totals.add(kCpuEnergy, *energy_uj);
    run.estimated |= bit(kCpuEnergy);
    run.dirty = true;
  }
  run.uncharged_slots.clear();
  run.totals.uncharged_cpu_ns = 0;
}

void RunTable::begin_memory_tick() {
  ++tick_;
  was_holding_.swap(holding_);
  holding_.clear();
  touched_.clear();
}

void RunTable::add_memory(uint32_t slot_id, uint64_t bytes) {
  Slot* holder = slot(slot_id);
  if (holder == nullptr) return;
  if (holder->held_tick != tick_) {
    holder->held_tick = tick_;
    holder->memory = {0, true};
    holding_.push_back(slot_id);
  }
  holder->memory.bytes += bytes;
  Run& owner = runs_.at(holder->run);
  if (owner.tick != tick_) {
    owner.tick = tick_;
    owner.tick_bytes = 0;
  }
  owner.tick_bytes += bytes;
  for (Slot* up = holder; up != nullptr; up = up->parent == 0 ? nullptr : slot(up->parent)) {
    if (up->subtree_tick != tick_) {
      up->subtree_tick = tick_;
      up->subtree_bytes = 0;
      touched_.push_back(up->id);
    }
    up->subtree_bytes += bytes;
  }
}

void RunTable::end_memory_tick() {
  for (const uint32_t id : touched_) {
    Slot& up = slots_.at(id);
    const bool first = (up.totals.known & bit(kMemoryPeak)) == 0;
    if (!first && up.subtree_bytes <= up.totals.value[kMemoryPeak]) continue;
    up.totals.known |= bit(kMemoryPeak);
    up.totals.value[kMemoryPeak] = up.subtree_bytes;
    mark_dirty(up);
  }
  for (const uint32_t id : was_holding_) {
    Slot& left = slots_.at(id);
    if (left.held_tick == tick_) continue;
    left.memory.bytes = 0;
    mark_dirty(left);
  }
  for (const uint32_t id : holding_) mark_dirty(slots_.at(id));
  for (auto& [id, run] : runs_) {
    if (run.tick == 0) continue;
    const bool now = run.tick == tick_;
    run.memory = {now ? run.tick_bytes : 0, true};
    if (!now) continue;
    run.totals.known |= bit(kMemoryPeak);
    if (run.tick_bytes > run.totals.value[kMemoryPeak])
      run.totals.value[kMemoryPeak] = run.tick_bytes;
  }
}

uint32_t RunTable::residual_columns(const Run& run) const {
  std::array<Amount, kColumnCount> sums{};
  for (const uint32_t id : run.slots) {
    const Slot& slot = slots_.at(id);
    for (int column = 0; column < kColumnCount; ++column) sums[column] += slot.totals.value[column];
  }
  uint32_t mask = 0;
  for (int column = 0; column < kColumnCount; ++column) {
    const bool differs = sums[column] != run.totals.value[column];
    if (kColumns[column].additive && differs) mask |= uint32_t{1} << column;
  }
  return mask;
}

void RunTable::take_dirty_slots(std::vector<uint32_t>& out) {
  out.clear();
  out.swap(dirty_);
  for (const uint32_t id : out) slots_.at(id).dirty = false;
}

}  // namespace lezea
