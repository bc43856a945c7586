// See notify.h.

#include "service/notify.h"

#include <sys/socket.h>
#include <sys/time.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "base/unique_fd.h"

namespace lezea {
namespace {

constexpr timeval kPatience{1, 0};

}  // namespace

// An abstract name has a zero byte in front and none at its end.
socklen_t notify_address(const std::string& address, sockaddr_un& to) {
  const bool is_path = !address.empty() && address[0] == '/';
  const bool is_abstract = address.size() > 1 && address[0] == '@';
  if (!is_path && !is_abstract) return 0;
  if (address.size() + (is_path ? 1 : 0) > sizeof to.sun_path) return 0;
  to.sun_family = AF_UNIX;
  std::memcpy(to.sun_path, address.data(), address.size());
  if (is_abstract) to.sun_path[0] = '\0';
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + address.size() +
                                (is_path ? 1 : 0));
}

std::string notify_service(const std::string& address, const std::string& message) {
  sockaddr_un to{};
  const socklen_t length = notify_address(address, to);
  if (length == 0) return address + ": expected the path of a socket, or @ and its abstract name";
  const UniqueFd socket_fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket_fd.valid()) return std::string("socket: ") + std::strerror(errno);
  setsockopt(socket_fd.get(), SOL_SOCKET, SO_SNDTIMEO, &kPatience, sizeof kPatience);
  // A manager reads whole datagrams: all of it is sent, or nothing.
  const ssize_t sent = sendto(socket_fd.get(), message.data(), message.size(), MSG_NOSIGNAL,
                              reinterpret_cast<const sockaddr*>(&to), length);
  if (sent < 0) return address + ": " + std::strerror(errno);
  return "";
}

}  // namespace lezea
