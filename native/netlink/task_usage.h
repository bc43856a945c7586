// What the kernel says one thread, or one whole thread group, has used so far or used in all.
// Parses struct taskstats by its length, whatever version the kernel sends.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "procfs/pid_io.h"

namespace lezea {

// All cumulative since the task began. A group record (TGID) covers every thread, exited ones too,
// but carries no IO, faults, comm, exit code or begin time.
struct TaskUsage {
  int tid = 0;   // of a group record: the tgid
  int tgid = 0;  // 0 when the kernel does not say (taskstats before version 12)
  bool group = false;
  // cpu_run_virtual_total, as of the scheduler's last look at the task: a timer tick, a switch or
  // the task reading its own CPU clock. An exit record therefore lacks up to one tick (4 ms at
  // 250 Hz, 2 ms on average): of 50 children that spun 1 ms each it had 8.7 of 59 ms, of 9 ms each
  // 368 of 459.
  uint64_t cpu_ns = 0;
  uint64_t user_us = 0;  // a 2 ms task has 0 here
  uint64_t system_us = 0;
  uint64_t runqueue_wait_ns = 0;  // cpu_delay_total
  bool has_io = false;
  PidIo io;
  bool has_faults = false;
  uint64_t minor_faults = 0;
  uint64_t major_faults = 0;
  uint64_t voluntary_switches = 0;
  uint64_t involuntary_switches = 0;
  uint32_t exit_code = 0;      // wait status: signal in the low 7 bits, exit code << 8
  uint64_t elapsed_us = 0;     // since the task began
  uint64_t begin_wall_s = 0;   // seconds since 1970
  int parent_tgid = 0;         // at the time of the record
  bool last_of_group = false;  // exit record of the group's last thread (since version 12)
  std::string comm;            // at most 31 bytes, so usually no allocation
};

// One struct taskstats of any version. kMalformed when it is shorter than version 1's end of the
// fields read here, i.e. than anything since Linux 2.6.18.
Result<TaskUsage> parse_taskstats(std::string_view bytes, bool group);

}  // namespace lezea
