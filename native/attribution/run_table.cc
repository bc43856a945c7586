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
  slot.totals.known = owner->totals.known & ~(bit(kMemoryPeak) | bit(kGpuMemoryPeak));
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
  std::vector<std::vector<uint32_t>*> lists = {&dirty_};
  for (MemoryTick& tick : memory_ticks_)
    lists.insert(lists.end(), {&tick.holding, &tick.was_holding, &tick.touched});
  for (auto* list : lists)
    list->erase(std::remove_if(list->begin(), list->end(), gone), list->end());
  const auto row_gone = [&gone](const RowId& row) { return gone(row.id); };
  dirty_gpus_.erase(std::remove_if(dirty_gpus_.begin(), dirty_gpus_.end(), row_gone),
                    dirty_gpus_.end());
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

void RunTable::mark_dirty(Slot& slot, uint32_t gpu) {
  SlotOfGpu& row = slot.gpus[gpu];
  if (row.dirty) return;
  row.dirty = true;
  dirty_gpus_.push_back({slot.id, gpu});
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

void RunTable::give_of_gpu(uint32_t slot_id, uint32_t gpu, Column column, Amount amount) {
  Slot* target = slot(slot_id);
  if (target == nullptr) return;
  give(slot_id, column, amount);
  Totals& of_gpu = target->gpus[gpu].totals;
  const bool news = amount != 0 || (of_gpu.known & bit(column)) == 0;
  of_gpu.add(column, amount);
  if (news) mark_dirty(*target, gpu);
}

void RunTable::begin_column(Run& run, Column column) {
  if ((run.totals.known & bit(column)) != 0) return;
  for (const uint32_t id : run.slots) give(id, column, 0);
}

void RunTable::charge(Run& run, std::optional<Amount> energy_uj) {
  weights_.clear();
  for (const uint32_t id : run.uncharged_slots) {
    uint64_t& cpu_ns = slots_.at(id).totals.uncharged_cpu_ns;
    weights_.push_back(cpu_ns);
    cpu_ns = 0;
  }
  if (energy_uj) {
    begin_column(run, kCpuEnergy);
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
  for (MemoryTick& tick : memory_ticks_) {
    tick.was_holding.swap(tick.holding);
    tick.holding.clear();
    tick.touched.clear();
  }
}

void RunTable::add_memory(uint32_t slot_id, uint64_t bytes, Gauge gauge) {
  Slot* holder = slot(slot_id);
  if (holder == nullptr) return;
  if (memory_ticks_.size() <= gauge) memory_ticks_.resize(gauge + 1);
  MemoryTick& tick = memory_ticks_[gauge];
  Held& held = holder->held(gauge);
  if (held.held_tick != tick_) {
    held.held_tick = tick_;
    held.now = {0, true};
    tick.holding.push_back(slot_id);
  }
  held.now.bytes += bytes;
  if (gauge <= kGpusMemory) {
    Run::Sum& sum = runs_.at(holder->run).at_tick[gauge];
    if (sum.tick != tick_) sum = {tick_, 0};
    sum.bytes += bytes;
  }
  for (Slot* up = holder; up != nullptr; up = up->parent == 0 ? nullptr : slot(up->parent)) {
    Held& subtree = up->held(gauge);
    if (subtree.subtree_tick != tick_) {
      subtree.subtree_tick = tick_;
      subtree.subtree_bytes = 0;
      tick.touched.push_back(up->id);
    }
    subtree.subtree_bytes += bytes;
  }
}

// The row that tells of this memory: where all devices are summed up there is nothing of now in it.
void RunTable::mark_dirty_in(Slot& slot, Gauge gauge) {
  if (gauge <= kGpusMemory) return mark_dirty(slot);
  mark_dirty(slot, gauge - kGpusMemory);
}

namespace {

// True: it rose.
bool raise_peak(Totals& totals, Column column, uint64_t bytes) {
  const bool first = (totals.known & bit(column)) == 0;
  if (!first && bytes <= totals.value[column]) return false;
  totals.known |= bit(column);
  totals.value[column] = bytes;
  return true;
}

}  // namespace

void RunTable::end_memory_tick(Gauge gauge) {
  MemoryTick& tick = memory_ticks_[gauge];
  const Column peak = gauge == kHostMemory ? kMemoryPeak : kGpuMemoryPeak;
  for (const uint32_t id : tick.touched) {
    Slot& up = slots_.at(id);
    Totals& totals = gauge <= kGpusMemory ? up.totals : up.gpus[gauge - kGpusMemory].totals;
    if (raise_peak(totals, peak, up.held(gauge).subtree_bytes)) mark_dirty_in(up, gauge);
  }
  for (const uint32_t id : tick.was_holding) {
    Slot& left = slots_.at(id);
    if (left.held(gauge).held_tick == tick_) continue;
    left.held(gauge).now.bytes = 0;
    mark_dirty_in(left, gauge);
  }
  if (gauge != kGpusMemory)
    for (const uint32_t id : tick.holding) mark_dirty_in(slots_.at(id), gauge);
}

void RunTable::end_memory_tick() {
  for (Gauge gauge = 0; gauge < memory_ticks_.size(); ++gauge) end_memory_tick(gauge);
  for (auto& [id, run] : runs_) {
    const Run::Sum& host = run.at_tick[kHostMemory];
    if (host.tick != 0) run.memory = {host.tick == tick_ ? host.bytes : 0, true};
    if (host.tick == tick_) raise_peak(run.totals, kMemoryPeak, host.bytes);
    const Run::Sum& gpus = run.at_tick[kGpusMemory];
    if (gpus.tick == tick_) raise_peak(run.totals, kGpuMemoryPeak, gpus.bytes);
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

void RunTable::take_dirty_gpus(std::vector<RowId>& out) {
  out.clear();
  out.swap(dirty_gpus_);
  for (const RowId& row : out) slots_.at(row.id).gpus.at(row.gpu).dirty = false;
}

}  // namespace lezea
