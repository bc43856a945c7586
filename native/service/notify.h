// What the service says to its manager: one AF_UNIX datagram (sd_notify(3)), without libsystemd. Owns nothing.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <string>

namespace lezea {

// NOTIFY_SOCKET as an address and its length; 0 where it is none.
socklen_t notify_address(const std::string& address, sockaddr_un& to);

// `address`: NOTIFY_SOCKET, a path or, with @ in front, an abstract name. `message`: lines NAME=VALUE. Waits a second at most, for a
// manager that does not read. Empty, or in a sentence why nothing was sent.
std::string notify_service(const std::string& address, const std::string& message);

}  // namespace lezea
