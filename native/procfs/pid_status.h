// Parses /proc/<pid>/status and task/<tid>/status. Reads text, emits PidStatus.
#pragma once

#include <csignal>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace lezea {

struct PidStatus {
  // Cumulative context switches of one thread (in a process's own file: of its leader).
  uint64_t voluntary_switches = 0;
  uint64_t involuntary_switches = 0;
  int tgid = 0;
  // The id in each nested PID namespace, the reader's first; empty on kernels before 4.1.
  std::vector<int> ns_pids;
  uint64_t ignored_signals = 0;  // bit n-1 is signal n
  uint64_t caught_signals = 0;
  uint32_t uid = 0;  // real, as seen from the reader's user namespace
  uint32_t effective_uid = 0;
  uint32_t gid = 0;

  // With SIGCHLD ignored the kernel reaps children itself and their use never reaches cutime.
  bool ignores_child_signal() const { return ((ignored_signals >> (SIGCHLD - 1)) & 1) != 0; }
};

Result<PidStatus> parse_pid_status(std::string_view text);

}  // namespace lezea
