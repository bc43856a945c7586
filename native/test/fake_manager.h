// A service manager's end of NOTIFY_SOCKET, as far as it keeps descriptors: a real socket, real descriptors.
#pragma once

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "check.h"
#include "service/descriptor_store.h"

namespace lezea::test {

// NOTIFY_SOCKET's other end, by path or abstract name.
inline UniqueFd bind_notify_socket(const std::string& name, bool is_abstract) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_un at{};
  at.sun_family = AF_UNIX;
  std::memcpy(at.sun_path + (is_abstract ? 1 : 0), name.data(), name.size());
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size() + 1);
  CHECK_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&at), length), 0);
  return fd;
}

class FakeManager {
 public:
  FakeManager() {
    static int count = 0;
    name_ = "lezea-manager-" + std::to_string(::getpid()) + "-" + std::to_string(count++);
    fd_ = bind_notify_socket(name_, true);
  }

  std::string address() const { return "@" + name_; }
  std::shared_ptr<DescriptorStore> store() const {
    return std::make_shared<DescriptorStore>(address());
  }

  // Takes in what was sent; false when there was nothing.
  bool receive() {
    bool any = false;
    while (receive_one()) any = true;
    return any;
  }
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const KeptDescriptor& kept : kept_) names.push_back(kept.name);
    return names;
  }
  // What the service gets when it is started again; kept here all the same.
  std::vector<KeptDescriptor> passed() const {
    std::vector<KeptDescriptor> passed;
    for (const KeptDescriptor& kept : kept_)
      passed.push_back({kept.name, UniqueFd(::fcntl(kept.fd.get(), F_DUPFD_CLOEXEC, 0))});
    return passed;
  }

 private:
  bool receive_one() {
    char text[512];
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    iovec part{text, sizeof text};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t size = ::recvmsg(fd_.get(), &message, MSG_CMSG_CLOEXEC);
    if (size < 0) return false;
    const std::string said(text, static_cast<size_t>(size));
    const std::string name = said.substr(said.find("FDNAME=") + 7);
    if (said.rfind("FDSTOREREMOVE=1\n", 0) == 0) {
      const auto is_it = [&name](const KeptDescriptor& kept) { return kept.name == name; };
      kept_.erase(std::remove_if(kept_.begin(), kept_.end(), is_it), kept_.end());
      return true;
    }
    CHECK_EQ(said, "FDSTORE=1\nFDPOLL=0\nFDNAME=" + name);
    const cmsghdr* rights = CMSG_FIRSTHDR(&message);
    CHECK(rights != nullptr);
    if (rights == nullptr) return true;
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(rights), sizeof fd);
    UniqueFd kept(fd);
    if (!has(kept.get())) kept_.push_back({name, std::move(kept)});
    return true;
  }

  bool has(int fd) const {
    struct stat wanted{};
    ::fstat(fd, &wanted);
    return std::any_of(kept_.begin(), kept_.end(), [&wanted](const KeptDescriptor& kept) {
      struct stat found{};
      return ::fstat(kept.fd.get(), &found) == 0 && found.st_dev == wanted.st_dev &&
             found.st_ino == wanted.st_ino;
    });
  }

  std::string name_;
  UniqueFd fd_;
  std::vector<KeptDescriptor> kept_;
};

}  // namespace lezea::test
