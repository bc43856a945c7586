// pidfds: a name for a process that cannot be recycled, what it exited with, and the pidfd of a
// socket's peer. Emits facts; the caller owns the descriptors.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "base/unique_fd.h"

namespace lezea {

struct PidInfo {
  bool has_ids = false;  // false once reaped
  int pid = 0;
  int tgid = 0;
  int ppid = 0;
  uint32_t uid = 0;  // real, in the caller's user namespace
  uint32_t gid = 0;
  bool has_cgroup = false;
  uint64_t cgroup_id = 0;    // inode of the v2 cgroup directory
  bool has_exit = false;     // the process was reaped and the kernel kept its status (Linux 6.15)
  uint32_t exit_status = 0;  // wait status: signal in the low 7 bits, exit code << 8
};

// kGone if there is no such process; kUnsupported before Linux 5.3.
Result<UniqueFd> open_pidfd(int pid);

// PIDFD_GET_INFO, asking also for the exit status. Works for anybody's process without privilege.
// kGone: reaped, and the kernel kept nothing; kUnsupported before Linux 6.13.
Result<PidInfo> pid_info(int pidfd);

// True when the process has ended (zombie or reaped): poll() says the pidfd is readable.
bool pidfd_ended(int pidfd);

// pidfd_send_signal. kGone: the process was reaped; kDenied: this process may not.
ReadStatus send_signal(int pidfd, int signal);

// SO_PEERPIDFD of a connected unix stream socket; kUnsupported before Linux 6.5.
Result<UniqueFd> peer_pidfd(int socket_fd);

}  // namespace lezea
