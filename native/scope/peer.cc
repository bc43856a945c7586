// Asks the kernel who is at the other end of a unix socket and pins that process by a pidfd while
// its start time is read.
#include "scope/peer.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "base/unique_fd.h"
#include "procfs/process_files.h"

// Since Linux 6.5; missing from the headers of Debian 12.
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

namespace lezea {
namespace {

// A pidfd of the process that connected; kGone if there is none any more.
Result<UniqueFd> peer_pidfd(int socket_fd, int pid) {
  int fd = -1;
  socklen_t size = sizeof fd;
  if (::getsockopt(socket_fd, SOL_SOCKET, SO_PEERPIDFD, &fd, &size) == 0) {
    return Result<UniqueFd>::of(UniqueFd(fd));
  }
  // EINVAL is how Linux 6.5 says that the process has been reaped.
  if (errno == EINVAL) return Result<UniqueFd>::fail(ReadStatus::kGone);
  if (errno != ENOPROTOOPT) return Result<UniqueFd>::fail_errno(errno);
  // Before Linux 6.5 the pid may have changed hands since connect(); by the checks that follow
  // the answer is at least all of one living process.
  fd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
  if (fd < 0) return Result<UniqueFd>::fail_errno(errno);
  return Result<UniqueFd>::of(UniqueFd(fd));
}

// A pidfd becomes readable when its process ends.
bool has_ended(int pidfd) {
  pollfd event{pidfd, POLLIN, 0};
  return ::poll(&event, 1, 0) != 0;
}

}  // namespace

Result<Peer> peer_of(int socket_fd, int proc_root_fd) {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (::getsockopt(socket_fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0 ||
      credentials.pid <= 0) {
    return Result<Peer>::fail(ReadStatus::kUnsupported);
  }
  Peer peer;
  peer.pid = credentials.pid;
  peer.uid = credentials.uid;
  peer.gid = credentials.gid;
  Result<UniqueFd> pidfd = peer_pidfd(socket_fd, peer.pid);
  if (!pidfd.ok()) return Result<Peer>::fail(pidfd.status);
  Result<ProcessFiles> files = ProcessFiles::open(proc_root_fd, peer.pid);
  if (!files.ok()) return Result<Peer>::fail(files.status);
  Result<PidStat> stat = files.value.stat();
  if (!stat.ok()) return Result<Peer>::fail(stat.status);
  peer.start_ticks = stat.value.start_ticks;
  Result<uint64_t> pid_namespace = files.value.pid_namespace();
  if (pid_namespace.ok()) peer.pid_namespace = pid_namespace.value;
  if (has_ended(pidfd.value.get())) return Result<Peer>::fail(ReadStatus::kGone);
  return Result<Peer>::of(peer);
}

}  // namespace lezea
