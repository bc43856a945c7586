// Who is at the other end of a connected unix socket, as the kernel says. Owns nothing.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "base/result.h"

namespace lezea {

struct Peer {
  int pid = 0;  // in the agent's PID namespace
  uid_t uid = 0;
  gid_t gid = 0;
  uint64_t start_ticks = 0;  // clock ticks since boot, /proc/PID/stat field 22
  uint64_t pid_namespace =
      0;  // inode of /proc/PID/ns/pid; 0: another than ours, which the agent may not look at
};

// Credentials are those of the moment of connect(). The process is pinned by a pidfd (SO_PEERPIDFD,
// else pidfd_open) which is checked alive after the start time was read, so that both belong to one
// process. kGone: it has ended. kUnsupported: not a unix socket, or a peer outside this namespace.
Result<Peer> peer_of(int socket_fd, int proc_root_fd);

}  // namespace lezea
