// Peer credentials of real sockets: one's own, a child's, a dead child's, and of what is no socket.
#include "scope/peer.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "base/unique_fd.h"
#include "check.h"
#include "procfs/process_files.h"

namespace lezea {
namespace {

constexpr uid_t kNobody = 65534;

UniqueFd proc_root() { return UniqueFd(::open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC)); }

uint64_t start_ticks_of(int pid) {
  Result<ProcessFiles> files = ProcessFiles::open(proc_root().get(), pid);
  return files.ok() ? files.value.stat().value.start_ticks : 0;
}

// Ends whatever the child of a test is waiting for.
int status_of(pid_t child) {
  int status = -1;
  ::waitpid(child, &status, 0);
  return status;
}

// A listening socket in the abstract name space, so that nothing is left behind.
struct Listener {
  Listener() {
    fd.reset(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    address.sun_family = AF_UNIX;
    std::string name = "lezea-peer-test-" + std::to_string(::getpid());
    name.copy(address.sun_path + 1, sizeof address.sun_path - 2);
    if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) ::abort();
    if (::listen(fd.get(), 4) != 0) ::abort();
  }
  // A child that connects, and then lives until it is killed.
  pid_t connect_child() {
    pid_t child = ::fork();
    if (child != 0) return child;
    UniqueFd client(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    if (::connect(client.get(), reinterpret_cast<sockaddr*>(&address), sizeof address)) ::_exit(1);
    for (;;) ::pause();
  }
  UniqueFd accept() { return UniqueFd(::accept4(fd.get(), nullptr, nullptr, SOCK_CLOEXEC)); }

  UniqueFd fd;
  sockaddr_un address{};
};

}  // namespace

TEST("says who the peer is") {
  int sockets[2];
  CHECK_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
  UniqueFd one(sockets[0]);
  UniqueFd other(sockets[1]);
  Result<Peer> peer = peer_of(one.get(), proc_root().get());
  REQUIRE(peer.ok());
  CHECK_EQ(peer.value.pid, ::getpid());
  CHECK_EQ(peer.value.uid, ::getuid());
  CHECK_EQ(peer.value.gid, ::getgid());
  CHECK(peer.value.start_ticks > 0);
  CHECK_EQ(peer.value.start_ticks, start_ticks_of(::getpid()));
  struct stat file{};
  CHECK_EQ(::stat("/proc/self/ns/pid", &file), 0);
  CHECK_EQ(peer.value.pid_namespace, uint64_t{file.st_ino});
}

TEST("says which process connected, and no longer once it has ended") {
  Listener listener;
  pid_t child = listener.connect_child();
  UniqueFd connection = listener.accept();
  Result<Peer> peer = peer_of(connection.get(), proc_root().get());
  REQUIRE(peer.ok());
  CHECK_EQ(peer.value.pid, child);
  CHECK_EQ(peer.value.start_ticks, start_ticks_of(child));

  ::kill(child, SIGKILL);
  siginfo_t info{};
  CHECK_EQ(::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT), 0);
  // A zombie still has its pid and its start time, but it is nobody's client any more.
  CHECK_EQ(peer_of(connection.get(), proc_root().get()).status, ReadStatus::kGone);
  status_of(child);
  CHECK_EQ(peer_of(connection.get(), proc_root().get()).status, ReadStatus::kGone);
}

TEST("knows its own PID namespace also in a process it may not look into, and no other") {
  if (::geteuid() != 0) SKIP("only root can become somebody else");
  int sockets[2];
  CHECK_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets), 0);
  UniqueFd one(sockets[0]);
  UniqueFd other(sockets[1]);
  UniqueFd root = proc_root();
  pid_t parent = ::getpid();
  uint64_t start_ticks = start_ticks_of(parent);
  pid_t child = ::fork();
  if (child == 0) {
    struct stat own{};
    if (::stat("/proc/self/ns/pid", &own) != 0) ::_exit(2);
    // Its next child is the first process of another namespace, and as much root's as the parent is.
    int life[2];
    const bool contained = ::pipe(life) == 0 && ::unshare(CLONE_NEWPID) == 0;
    const pid_t inner = contained ? ::fork() : -1;
    if (inner == 0) {
      ::close(life[1]);
      char byte = 0;
      ::_exit(::read(life[0], &byte, 1) == 0 ? 0 : 1);  // until this test's child has gone
    }
    if (::setresgid(kNobody, kNobody, kNobody) != 0) ::_exit(2);
    if (::setresuid(kNobody, kNobody, kNobody) != 0) ::_exit(2);
    Result<Peer> peer = peer_of(one.get(), root.get());
    bool right = peer.ok() && peer.value.pid == parent && peer.value.uid == 0 &&
                 peer.value.start_ticks == start_ticks && peer.value.pid_namespace == own.st_ino;
    if (inner > 0) {
      Result<ProcessFiles> files = ProcessFiles::open(root.get(), inner);
      right = right && files.ok() && files.value.pid_namespace().status == ReadStatus::kDenied;
    }
    ::_exit(!right ? 1 : contained ? 0 : 3);
  }
  const int status = status_of(child);
  if (status == 3 << 8) SKIP("this machine lets nobody make namespaces");
  CHECK_EQ(status, 0);
}

TEST("does not take anything else for a peer") {
  UniqueFd root = proc_root();
  UniqueFd file(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  UniqueFd unconnected(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  UniqueFd internet(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  CHECK_EQ(peer_of(-1, root.get()).status, ReadStatus::kUnsupported);
  CHECK_EQ(peer_of(file.get(), root.get()).status, ReadStatus::kUnsupported);
  CHECK_EQ(peer_of(unconnected.get(), root.get()).status, ReadStatus::kUnsupported);
  CHECK_EQ(peer_of(internet.get(), root.get()).status, ReadStatus::kUnsupported);
}

}  // namespace lezea
