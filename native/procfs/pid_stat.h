// Parses /proc/<pid>/stat (and task/<tid>/stat, the same form). Reads text, emits PidStat.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace lezea {

struct PidStat {
  char state = '?';  // R S D T t Z X I as the kernel prints it
  std::string comm;  // at most 15 bytes for user processes, any byte but NUL
  int ppid = 0;
  bool exiting = false;      // PF_EXITING: set before its exit record is sent, and on a zombie
  uint64_t start_ticks = 0;  // since boot; ticks are sysconf(_SC_CLK_TCK), 10 ms
  // Cumulative, clock ticks. For a process: all its threads, exited ones too. The split between
  // user and system is sampled at timer ticks and then scaled; only the sum is trustworthy.
  uint64_t utime_ticks = 0;
  uint64_t stime_ticks = 0;
  uint64_t cutime_ticks = 0;  // of children waited for, with theirs
  uint64_t cstime_ticks = 0;
  uint64_t minor_faults = 0;         // cumulative count, without children's
  uint64_t reaped_minor_faults = 0;  // of children waited for, with theirs
  uint64_t major_faults = 0;
  uint64_t threads = 0;
};

Result<PidStat> parse_pid_stat(std::string_view text);

}  // namespace lezea
