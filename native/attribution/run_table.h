// Runs, their scopes' slots, and the totals given to them. Owned and used by the sampling thread only.
// Knows no names: TypeScript chooses the numbers and keeps the trees.

#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "attribution/columns.h"

namespace lezea {

// Which memory: the host's, that of all devices together, or of one (gauge_of).
using Gauge = uint32_t;
inline constexpr Gauge kHostMemory = 0;
inline constexpr Gauge kGpusMemory = 1;
constexpr Gauge gauge_of(uint32_t gpu) { return kGpusMemory + gpu; }

// Of one kind of memory, what a slot and its subtree hold.
struct Held {
  MemoryNow now;              // self, at the last tick
  uint64_t held_tick = 0;     // the last memory tick at which it held any itself
  uint64_t subtree_tick = 0;  // the last one at which its subtree did, and the sum there so far
  uint64_t subtree_bytes = 0;
};

// What a slot had of one device.
struct SlotOfGpu {
  Totals totals;  // the columns of GPUs
  bool dirty = false;
};

struct Slot {
  uint32_t id = 0;
  uint32_t run = 0;
  uint32_t parent = 0;       // 0: a root of its run
  Totals totals;             // self; peaks are the subtree's
  std::vector<Held> memory;  // by Gauge
  std::map<uint32_t, SlotOfGpu> gpus;
  bool dirty = true;

  Held& held(Gauge gauge) {
    if (memory.size() <= gauge) memory.resize(gauge + 1);
    return memory[gauge];
  }
  MemoryNow memory_now(Gauge gauge) const {
    return gauge < memory.size() ? memory[gauge].now : MemoryNow{};
  }
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
  struct Sum {
    uint64_t tick = 0;
    uint64_t bytes = 0;
  };
  std::array<Sum, kGpusMemory + 1> at_tick;
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
  // What a slot had of a device (1 and up): to the slot, and to its row of that device.
  void give_of_gpu(uint32_t slot, uint32_t gpu, Column column, Amount amount);
  // From the first figure on every scope of the run has one: 0 where it had none. The run's own is the caller's.
  void begin_column(Run& run, Column column);

  // The energy of the CPU that the run and its slots were given since the last call, among the slots by that
  // CPU; nothing: it is not known, and never will be.
  void charge(Run& run, std::optional<Amount> energy_uj);

  // One memory tick: add every process's parts, then settle peaks and the current figures.
  void begin_memory_tick();
  void add_memory(uint32_t slot, uint64_t bytes, Gauge gauge = kHostMemory);
  void end_memory_tick();

  // The columns whose sum over the run's slots is not the run's total: 0 unless there is a bug.
  uint32_t residual_columns(const Run& run) const;

  // Moves the numbers of the slots that changed since the last call into `out`.
  void take_dirty_slots(std::vector<uint32_t>& out);
  void take_dirty_gpus(std::vector<RowId>& out);

 private:
  // Of one kind of memory.
  struct MemoryTick {
    std::vector<uint32_t> holding;  // slots with memory at the last tick
    std::vector<uint32_t> was_holding;
    std::vector<uint32_t> touched;  // slots whose subtree has memory in this tick
  };

  void mark_dirty(Slot& slot);
  void mark_dirty(Slot& slot, uint32_t gpu);
  void mark_dirty_in(Slot& slot, Gauge gauge);
  void end_memory_tick(Gauge gauge);

  std::unordered_map<uint32_t, Run> runs_;
  std::unordered_map<uint32_t, Slot> slots_;
  std::vector<uint32_t> dirty_;
  std::vector<RowId> dirty_gpus_;
  std::vector<MemoryTick> memory_ticks_;  // by Gauge
  uint64_t tick_ = 0;
  std::vector<uint64_t> weights_;  // scratch of charge()
  std::vector<Amount> parts_;
};

}  // namespace lezea
