// The columns of a total, their native units, and the frame row in which they cross to TypeScript.
// Owns no state. `src/native/frame.ts` holds the same table and refuses to load when the names differ.

#pragma once

#include <array>
#include <cstdint>

namespace lezea {

enum Column : uint8_t {
  kCpu,                  // ns; the process CPU clock, exited threads included
  kCpuUser,              // ns; part of kCpu
  kCpuSystem,            // ns; the rest of kCpu
  kRunqueueWait,         // ns runnable but not running
  kMemoryTime,           // byte·ns; proportional memory integrated over CLOCK_MONOTONIC
  kIoRead,               // bytes fetched from storage
  kIoWrite,              // bytes caused to be written to storage (dirtied pages)
  kIoCancelledWrite,     // bytes whose write-back was cancelled by truncation
  kIoLogicalRead,        // bytes asked of read(2) and its kin
  kIoLogicalWrite,       // bytes given to write(2) and its kin
  kIoReadOps,            // read system calls
  kIoWriteOps,           // write system calls
  kMinorFaults,          // count
  kMajorFaults,          // count
  kVoluntarySwitches,    // count
  kInvoluntarySwitches,  // count
  kActive,               // thread·ns announced in a scope
  kActivations,          // count
  kMemoryPeak,           // bytes; the greatest sum at one tick over the subtree; not additive
  kCpuEnergy,            // µJ of packages and their memory, by CPU time
  kGpuActive,            // ns of the devices' utilisation integrated, by the share of their work
  kGpuAllocated,         // device·ns held
  kGpuEnergy,            // µJ of the devices, by the share of their work and of their memory
  kGpuMemoryTime,        // byte·ns; memory of the devices integrated over CLOCK_MONOTONIC
  kGpuMemoryPeak,        // bytes; as kMemoryPeak, of the devices' memory
  kColumnCount
};

// Of the columns these, the first, are in the readings of a process.
inline constexpr int kReadingColumns = kMemoryPeak;

// How a column crosses: its first word in a row, and how many of them its value takes, low before high.
// Stored rows outlive the program: a column keeps its bit and its words, a new one gets the next.
struct ColumnSpec {
  const char* name;
  int word;
  int words;
  bool additive;
};

inline constexpr std::array<ColumnSpec, kColumnCount> kColumns = {{
    {"cpu_seconds", 3, 1, true},
    {"cpu_user_seconds", 4, 1, true},
    {"cpu_system_seconds", 5, 1, true},
    {"runqueue_wait_seconds", 6, 1, true},
    {"memory_byte_seconds", 7, 2, true},
    {"io_read_bytes", 9, 1, true},
    {"io_write_bytes", 10, 1, true},
    {"io_cancelled_write_bytes", 11, 1, true},
    {"io_logical_read_bytes", 12, 1, true},
    {"io_logical_write_bytes", 13, 1, true},
    {"io_read_ops", 14, 1, true},
    {"io_write_ops", 15, 1, true},
    {"minor_faults", 16, 1, true},
    {"major_faults", 17, 1, true},
    {"voluntary_switches", 18, 1, true},
    {"involuntary_switches", 19, 1, true},
    {"active_seconds", 20, 1, true},
    {"activations", 21, 1, true},
    {"memory_peak_bytes", 22, 1, false},
    {"cpu_energy_joules", 23, 1, true},
    {"gpu_active_seconds", 24, 1, true},
    {"gpu_allocated_seconds", 25, 1, true},
    {"gpu_energy_joules", 26, 1, true},
    {"gpu_memory_byte_seconds", 27, 2, true},
    {"gpu_memory_peak_bytes", 29, 1, false},
}};

// Wide enough for byte·ns of a terabyte over years.
__extension__ typedef unsigned __int128 Amount;

constexpr uint32_t bit(Column column) { return uint32_t{1} << column; }

// Cumulative totals of a scope, a run or a process. A column whose bit is not in `known` was never
// measured: it is absent outside, never 0.
struct Totals {
  uint32_t known = 0;
  std::array<Amount, kColumnCount> value{};
  // CPU that no energy was given for yet. Not stored: an interval that is open when the agent dies begins anew.
  uint64_t uncharged_cpu_ns = 0;

  void add(Column column, Amount amount) {
    known |= bit(column);
    value[column] += amount;
    if (column == kCpu) uncharged_cpu_ns += static_cast<uint64_t>(amount);
  }
};

inline constexpr int kFrameWords = 32;
// Rows as they were stored before; the words after these were not there.
inline constexpr int kOldFrameWords = 24;
using FrameRow = std::array<uint64_t, kFrameWords>;
inline constexpr uint64_t kMemoryNowKnown = uint64_t{1} << 63;

struct MemoryNow {
  uint64_t bytes = 0;
  bool known = false;
};

// Whose a row is: of a slot or a run, of all devices together (0) or of one.
struct RowId {
  uint32_t id = 0;
  uint32_t gpu = 0;
};

// Word 0 id, in its upper half the device; 1 known mask (bit 63: word 2 holds the memory at the last tick: the host's,
// or of that device); then the columns (kColumns), the rest reserved for more of them.
FrameRow to_frame(RowId id, const Totals& totals, MemoryNow now);
RowId row_id(const FrameRow& row);
Totals from_frame(const FrameRow& row);

}  // namespace lezea
