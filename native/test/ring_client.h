// A client of ring.sock, honest or not: any message with any descriptors, and the answer it gets. And
// what tests of the acceptor wait with and put their socket in.
#pragma once

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/unique_fd.h"

namespace lezea {

inline constexpr uint64_t kMs = 1'000'000;
inline constexpr int kAnswerMs = 10'000;
inline const std::string kToken = "0123456789abcdef0123456789abcdef";
inline const std::string kAccepted = "{\"accepted\":true}";

inline std::string refused(const std::string& why) { return "{\"refused\":\"" + why + "\"}"; }

inline std::string offer_of(const std::string& token) { return "{\"session\":\"" + token + "\"}"; }

// Waits for what another thread will bring about; fails after ten seconds.
inline bool eventually(const std::function<bool()>& holds) {
  SystemClock clock;
  uint64_t end = clock.monotonic_ns() + 10'000 * kMs;
  while (!holds()) {
    if (clock.monotonic_ns() > end) return false;
    clock.sleep_ns(kMs);
  }
  return true;
}

class Folder {
 public:
  Folder() {
    std::string path = "/tmp/lezea-acceptor-XXXXXX";
    if (!::mkdtemp(path.data())) ::abort();
    path_ = path;
  }
  ~Folder() {
    ::unlink(socket().c_str());
    ::rmdir(path_.c_str());
  }
  std::string socket() const { return path_ + "/ring.sock"; }

 private:
  std::string path_;
};

inline UniqueFd connect_to(const std::string& path) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) fd.reset();
  return fd;
}

inline bool send_message(int socket_fd, const std::string& text, const std::vector<int>& fds) {
  std::vector<char> control(CMSG_SPACE(fds.size() * sizeof(int)));
  iovec parts{const_cast<char*>(text.data()), text.size()};
  msghdr message{};
  message.msg_iov = &parts;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* part = CMSG_FIRSTHDR(&message);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(part), fds.data(), fds.size() * sizeof(int));
  }
  return ::sendmsg(socket_fd, &message, MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
}

// One message, "" at the end of the connection, "(nothing)" if neither comes.
inline std::string answer_from(int socket_fd) {
  pollfd event{socket_fd, POLLIN, 0};
  if (::poll(&event, 1, kAnswerMs) <= 0) return "(nothing)";
  char text[256];
  ssize_t got = ::recv(socket_fd, text, sizeof text, 0);
  return got < 0 ? "(error)" : std::string(text, static_cast<size_t>(got));
}

inline std::string offer(const std::string& path, const std::string& text,
                         const std::vector<int>& fds) {
  UniqueFd client = connect_to(path);
  if (!client) return "(no connection)";
  send_message(client.get(), text, fds);
  return answer_from(client.get());
}

}  // namespace lezea
