// What a service's manager receives, on real sockets by path and by abstract name, and what is said where it cannot.
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <string>

#include "base/unique_fd.h"
#include "check.h"
#include "fake_manager.h"
#include "ring_client.h"
#include "service/notify.h"

using namespace lezea;
using namespace lezea::test;

namespace {

// A manager's end, which is told who speaks as systemd is.
UniqueFd manager(const std::string& name, bool is_abstract) {
  UniqueFd fd = bind_notify_socket(name, is_abstract);
  const int yes = 1;
  CHECK_EQ(::setsockopt(fd.get(), SOL_SOCKET, SO_PASSCRED, &yes, sizeof yes), 0);
  return fd;
}

// The next datagram, and in `pid` who sent it.
std::string receive(int fd, pid_t* pid) {
  char text[512];
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(ucred))];
  iovec part{text, sizeof text};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t size = ::recvmsg(fd, &message, 0);
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (size < 0 || header == nullptr) return "nothing";
  ucred sender{};
  std::memcpy(&sender, CMSG_DATA(header), sizeof sender);
  *pid = sender.pid;
  return std::string(text, static_cast<size_t>(size));
}

}  // namespace

TEST("the manager receives one datagram by path, and knows from whom") {
  const Folder folder;
  const std::string path = folder.socket();
  const UniqueFd fd = manager(path, false);
  CHECK_EQ(notify_service(path, "READY=1\nSTATUS=2 runs"), "");
  pid_t sender = 0;
  CHECK_EQ(receive(fd.get(), &sender), "READY=1\nSTATUS=2 runs");
  CHECK_EQ(sender, ::getpid());
  CHECK_EQ(receive(fd.get(), &sender), "nothing");
}

TEST("the manager receives it by abstract name, of which every byte counts") {
  const std::string name = "lezea-notify-" + std::to_string(::getpid());
  const UniqueFd fd = manager(name, true);
  CHECK_EQ(notify_service("@" + name, "WATCHDOG=1"), "");
  pid_t sender = 0;
  CHECK_EQ(receive(fd.get(), &sender), "WATCHDOG=1");
  CHECK(notify_service("@" + name + "x", "WATCHDOG=1").find("refused") != std::string::npos);
}

TEST("who is no manager's socket is named, with the reason") {
  const Folder folder;
  const std::string none = folder.socket();
  CHECK_EQ(notify_service(none, "READY=1"), none + ": No such file or directory");
  for (const std::string& address : {std::string(), std::string("@"), std::string("notify"),
                                     std::string("vsock:2:1"), "/" + std::string(200, 'x')}) {
    CHECK_EQ(notify_service(address, "READY=1"),
             address + ": expected the path of a socket, or @ and its abstract name");
  }
}

TEST("a manager that does not read is waited for a second, not longer") {
  const Folder folder;
  const std::string path = folder.socket();
  const UniqueFd fd = manager(path, false);
  std::string why;
  for (int i = 0; why.empty() && i < 100'000; i++) why = notify_service(path, "WATCHDOG=1");
  CHECK_EQ(why, path + ": Resource temporarily unavailable");
}
