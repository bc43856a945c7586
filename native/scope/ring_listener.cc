// Binds ring.sock without a moment in which a stale file or a wrong mode could be met.
#include "scope/ring_listener.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace lezea {
namespace {

constexpr int kBacklog = 128;

bool fail(std::string* error, const std::string& what, const std::string& path) {
  *error = what + " " + path + ": " + std::strerror(errno);
  return false;
}

bool address_of(const std::string& path, sockaddr_un* address) {
  *address = sockaddr_un{};
  address->sun_family = AF_UNIX;
  if (path.size() >= sizeof address->sun_path) {
    errno = ENAMETOOLONG;
    return false;
  }
  std::memcpy(address->sun_path, path.data(), path.size());
  return true;
}

UniqueFd new_socket() {
  return UniqueFd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

// True if nothing is at the path or only a socket at which nobody listens.
bool may_take(const std::string& path, const sockaddr_un& address, std::string* error) {
  struct stat file{};
  if (::lstat(path.c_str(), &file) != 0) {
    return errno == ENOENT || fail(error, "cannot look at", path);
  }
  if (!S_ISSOCK(file.st_mode)) {
    *error = path + " exists and is not a socket";
    return false;
  }
  UniqueFd probe = new_socket();
  if (!probe) return fail(error, "cannot make a socket for", path);
  if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    if (errno == ECONNREFUSED || errno == ENOENT) return true;
    // A full backlog and a socket of another type also have somebody behind them.
    if (errno != EAGAIN && errno != EPROTOTYPE) return fail(error, "cannot probe", path);
  }
  *error = "another program answers at " + path;
  return false;
}

}  // namespace

bool RingListener::open(const std::string& path, mode_t mode, std::string* error) {
  sockaddr_un address{};
  sockaddr_un fresh_address{};
  // Bound under another name and renamed once its mode is right and it listens.
  std::string fresh = path + "~";
  if (!address_of(path, &address) || !address_of(fresh, &fresh_address)) {
    return fail(error, "cannot use", path);
  }
  if (!may_take(path, address, error)) return false;
  UniqueFd fd = new_socket();
  if (!fd) return fail(error, "cannot make a socket for", path);
  ::unlink(fresh.c_str());
  struct stat file{};
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&fresh_address), sizeof fresh_address)) {
    return fail(error, "cannot bind", fresh);
  }
  if (::chmod(fresh.c_str(), mode) != 0 || ::lstat(fresh.c_str(), &file) != 0 ||
      ::listen(fd.get(), kBacklog) != 0 || ::rename(fresh.c_str(), path.c_str()) != 0) {
    fail(error, "cannot set up", path);
    ::unlink(fresh.c_str());
    return false;
  }
  fd_ = std::move(fd);
  path_ = path;
  device_ = file.st_dev;
  inode_ = file.st_ino;
  return true;
}

UniqueFd RingListener::close() {
  if (!fd_) return UniqueFd();
  struct stat file{};
  if (::lstat(path_.c_str(), &file) == 0 && file.st_dev == device_ && file.st_ino == inode_) {
    ::unlink(path_.c_str());
  }
  // New connections are refused from here on, those in the backlog wait for the close.
  ::shutdown(fd_.get(), SHUT_RDWR);
  return std::move(fd_);
}

}  // namespace lezea
