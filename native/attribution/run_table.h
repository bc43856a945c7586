// Runs, their scopes' slots, and the totals given to them. Owned and used by the sampling thread only.
// Knows no names: TypeScript chooses the numbers and keeps the trees.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "attribution/columns.h"

namespace lezea {

struct Slot {
  uint32_t id = 0;
  uint32_t run = 0;
  uint32_t parent = 0;  // 0: a root of its run
  Totals totals;        // self; kMemoryPeak is the subtree's
  MemoryNow memory;     // self, at the last tick
  bool dirty = true;

  uint64_t held_tick = 0;     // the last memory tick at which it held memory itself
  uint64_t subtree_tick = 0;  // the last one at which its subtree did, and the sum there so far
  uint64_t subtree_bytes = 0;
};

struct Run {
  uint32_t id = 0;
  uint32_t unattributed = 0;  // slot
  Totals totals;              // the sum over its processes, kept apart from the slots
  MemoryNow memory;
  uint32_t estimated = 0;    // columns of which some part is an estimate
  uint32_t apportioned = 0;  // columns of which some part was divided by time overlap
  uint64_t lost_events = 0;
  uint64_t opened_ns = 0;    // CLOCK_MONOTONIC of the first tick, 0 before
  uint64_t ticked_ns = 0;    // of the last tick
  uint64_t observed_ns = 0;  // wall time covered by ticks
  uint32_t processes = 0;    // alive
  bool dirty = true;
  std::vector<uint32_t> slots;
  std::vector<uint32_t> uncharged_slots;  // those with CPU that no energy was given for yet
  uint64_t tick = 0;
  uint64_t tick_bytes = 0;
};

class RunTable {
 public:
  void open_run(uint32_t run, uint32_t unattributed);
  void define_slot(uint32_t slot, uint32_t run, uint32_t parent);
  void close_run(uint32_t run);

  // nullptr for an unknown number.
  Run* run(uint32_t id);
  Slot* slot(uint32_t id);
  std::unordered_map<uint32_t, Run>& runs() { return runs_; }

  // `slot` must be of `run`; else the run's unattributed slot is returned (a stale or hostile number).
  uint32_t slot_or_unattributed(uint32_t run, uint32_t slot);

  void give(uint32_t slot, Column column, Amount amount);

  // The energy of the CPU that the run and its slots were given since the last call, among the slots by that
  // CPU; nothing: it is not known, and never will be.
  void charge(Run& run, std::optional<Amount> energy_uj);

  // One memory tick: add every process's parts, then settle peaks and the current figures.
  void begin_memory_tick();
  void add_memory(uint32_t slot, uint64_t bytes);
  void end_memory_tick();

  // The columns whose sum over the run's slots is not the run's total: 0 unless there is a bug.
  uint32_t residual_columns(const Run& run) const;

  // Moves the numbers of the slots that changed since the last call into `out`.
  void take_dirty_slots(std::vector<uint32_t>& out);

 private:
  void mark_dirty(Slot& slot);

  std::unordered_map<uint32_t, Run> runs_;
  std::unordered_map<uint32_t, Slot> slots_;
  std::vector<uint32_t> dirty_;
  std::vector<uint32_t> holding_;  // slots with memory at the last tick
  std::vector<uint32_t> was_holding_;
  std::vector<uint32_t> touched_;  // slots whose subtree has memory in this tick
  uint64_t tick_ = 0;
  std::vector<uint64_t> weights_;  // scratch of charge()
  std::vector<Amount> parts_;
};

}  // namespace lezea
