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
  kColumnCount
};

inline constexpr int kAdditiveColumns = kMemoryPeak;

inline constexpr std::array<const char*, kColumnCount> kColumnNames = {
    "cpu_seconds",           "cpu_user_seconds",
    "cpu_system_seconds",    "runqueue_wait_seconds",
    "memory_byte_seconds",   "io_read_bytes",
    "io_write_bytes",        "io_cancelled_write_bytes",
    "io_logical_read_bytes", "io_logical_write_bytes",
    "io_read_ops",           "io_write_ops",
    "minor_faults",          "major_faults",
    "voluntary_switches",    "involuntary_switches",
    "active_seconds",        "activations",
    "memory_peak_bytes"};

// Wide enough for byte·ns of a terabyte over years.
__extension__ typedef unsigned __int128 Amount;

constexpr uint32_t bit(Column column) { return uint32_t{1} << column; }

// Cumulative totals of a scope, a run or a process. A column whose bit is not in `known` was never
// measured: it is absent outside, never 0.
struct Totals {
  uint32_t known = 0;
  std::array<Amount, kColumnCount> value{};

  void add(Column column, Amount amount) {
    known |= bit(column);
    value[column] += amount;
  }
};

inline constexpr int kFrameWords = 24;
using FrameRow = std::array<uint64_t, kFrameWords>;
inline constexpr uint64_t kMemoryNowKnown = uint64_t{1} << 63;

// Word 0 id, 1 known mask (bit 63: word 2 holds the memory at the last tick), 3..6 columns 0..3,
// 7 and 8 the low and high half of kMemoryTime, 9..22 columns 5..18, 23 reserved.
struct MemoryNow {
  uint64_t bytes = 0;
  bool known = false;
};
FrameRow to_frame(uint32_t id, const Totals& totals, MemoryNow now);
Totals from_frame(const FrameRow& row);

}  // namespace lezea
