// Another process that offers what it is told to, as another user if asked: forked before any thread
// runs, and told over a socket. Owns the child, which ends with it.
#pragma once

#include <sys/wait.h>

#include <csignal>

#include "ring_client.h"

namespace lezea::test {

class HostileClient {
 public:
  explicit HostileClient(const std::string& ring_socket, uid_t uid = 0) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) ::abort();
    orders_.reset(ends[0]);
    const UniqueFd child_end(ends[1]);
    pid_ = ::fork();
    if (pid_ != 0) return;
    orders_.reset();
    if (uid != 0 && ::setuid(uid) != 0) ::_exit(1);
    forward(child_end.get(), ring_socket);
    ::_exit(0);
  }
  ~HostileClient() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  HostileClient(const HostileClient&) = delete;
  HostileClient& operator=(const HostileClient&) = delete;

  int pid() const { return pid_; }

  // What ring.sock answers to this message from that process.
  std::string offer(const std::string& text, const std::vector<int>& fds) {
    // A message of no bytes would look like the end of the orders.
    send_message(orders_.get(), "!" + text, fds);
    return answer_from(orders_.get());
  }

 private:
  static constexpr size_t kMostBytes = 4096;
  static constexpr size_t kMostFds = 253;

  static void forward(int orders, const std::string& ring_socket) {
    std::vector<char> text(kMostBytes);
    std::vector<char> control(CMSG_SPACE(kMostFds * sizeof(int)));
    for (;;) {
      iovec part{text.data(), text.size()};
      msghdr message{};
      message.msg_iov = &part;
      message.msg_iovlen = 1;
      message.msg_control = control.data();
      message.msg_controllen = control.size();
      const ssize_t got = ::recvmsg(orders, &message, MSG_CMSG_CLOEXEC);
      if (got <= 0) return;
      std::vector<int> fds;
      const cmsghdr* rights = CMSG_FIRSTHDR(&message);
      if (rights != nullptr) fds.resize((rights->cmsg_len - CMSG_LEN(0)) / sizeof(int));
      if (!fds.empty()) std::memcpy(fds.data(), CMSG_DATA(rights), fds.size() * sizeof(int));
      const std::string order(text.data() + 1, static_cast<size_t>(got - 1));
      const std::string answer = lezea::offer(ring_socket, order, fds);
      for (const int fd : fds) ::close(fd);
      send_message(orders, answer, {});
    }
  }

  UniqueFd orders_;
  pid_t pid_ = 0;
};

}  // namespace lezea::test
