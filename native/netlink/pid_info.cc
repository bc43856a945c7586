// pidfd system calls. The structure and numbers are written out here because they are younger than
// the headers of the systems this builds on.
#include "netlink/pid_info.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace lezea {
namespace {

// include/uapi/linux/pidfd.h. The first published size; exit_code took the place of its spare word
// in Linux 6.15. The kernel says in `mask` which groups of fields it filled in.
struct KernelPidInfo {
  uint64_t mask;
  uint64_t cgroup_id;
  uint32_t pid, tgid, ppid;
  uint32_t ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid;
  int32_t exit_code;
};
static_assert(sizeof(KernelPidInfo) == 64, "PIDFD_INFO_SIZE_VER0");

constexpr uint64_t kInfoPid = 1 << 0;
constexpr uint64_t kInfoCreds = 1 << 1;
constexpr uint64_t kInfoCgroupId = 1 << 2;
constexpr uint64_t kInfoExit = 1 << 3;
constexpr unsigned long kGetInfo = _IOWR(0xFF, 11, KernelPidInfo);

#ifdef SYS_pidfd_open
constexpr long kPidfdOpen = SYS_pidfd_open;
#else
constexpr long kPidfdOpen = 434;  // the same on every architecture
#endif

#ifdef SYS_pidfd_send_signal
constexpr long kPidfdSendSignal = SYS_pidfd_send_signal;
#else
constexpr long kPidfdSendSignal = 424;  // the same on every architecture
#endif

#ifdef SO_PEERPIDFD
constexpr int kPeerPidfd = SO_PEERPIDFD;
#else
constexpr int kPeerPidfd = 77;  // asm-generic, which x86-64 and arm64 use
#endif

}  // namespace

Result<UniqueFd> open_pidfd(int pid) {
  long fd = syscall(kPidfdOpen, pid, 0);
  if (fd < 0) return Result<UniqueFd>::fail_errno(errno);
  return Result<UniqueFd>::of(UniqueFd(static_cast<int>(fd)));
}

Result<PidInfo> pid_info(int pidfd) {
  KernelPidInfo kernel{};
  kernel.mask = kInfoPid | kInfoCreds | kInfoCgroupId | kInfoExit;
  if (ioctl(pidfd, kGetInfo, &kernel) != 0) return Result<PidInfo>::fail_errno(errno);
  PidInfo info;
  info.has_ids = (kernel.mask & kInfoPid) != 0 && kernel.pid != 0;
  if (info.has_ids) {
    info.pid = static_cast<int>(kernel.pid);
    info.tgid = static_cast<int>(kernel.tgid);
    info.ppid = static_cast<int>(kernel.ppid);
    info.uid = kernel.ruid;
    info.gid = kernel.rgid;
  }
  info.has_cgroup = (kernel.mask & kInfoCgroupId) != 0;
  if (info.has_cgroup) info.cgroup_id = kernel.cgroup_id;
  info.has_exit = (kernel.mask & kInfoExit) != 0;
  if (info.has_exit) info.exit_status = static_cast<uint32_t>(kernel.exit_code);
  return Result<PidInfo>::of(info);
}

bool pidfd_ended(int pidfd) {
  pollfd entry{pidfd, POLLIN, 0};
  return poll(&entry, 1, 0) > 0 && (entry.revents & (POLLIN | POLLHUP)) != 0;
}

ReadStatus send_signal(int pidfd, int signal) {
  if (syscall(kPidfdSendSignal, pidfd, signal, nullptr, 0) == 0) return ReadStatus::kOk;
  return status_of_errno(errno);
}

Result<UniqueFd> peer_pidfd(int socket_fd) {
  int fd = -1;
  socklen_t size = sizeof fd;
  if (getsockopt(socket_fd, SOL_SOCKET, kPeerPidfd, &fd, &size) != 0) {
    return Result<UniqueFd>::fail_errno(errno);
  }
  return Result<UniqueFd>::of(UniqueFd(fd));
}

}  // namespace lezea
