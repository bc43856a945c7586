// See descriptor_store.h.

#include "service/descriptor_store.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "service/notify.h"

namespace lezea {
namespace {

constexpr int kFirstPassed = 3;  // SD_LISTEN_FDS_START
// For a manager that never reads: what is not kept is missing after the next start, as without a manager.
constexpr size_t kMostWaiting = 4'096;

}  // namespace

DescriptorStore::DescriptorStore(const std::string& address) {
  sockaddr_un to{};
  const socklen_t length = notify_address(address, to);
  if (length == 0) return;
  UniqueFd fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (fd.valid() && connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), length) == 0)
    socket_ = std::move(fd);
}

void DescriptorStore::keep(const std::string& name, int fd) {
  UniqueFd copy(fcntl(fd, F_DUPFD_CLOEXEC, 0));
  // FDPOLL=0: a descriptor that has news is not one to be thrown away.
  if (!copy.valid() || !socket_.valid() || waiting_.size() >= kMostWaiting) return;
  waiting_.push_back({"FDSTORE=1\nFDPOLL=0\nFDNAME=" + name, std::move(copy)});
}

void DescriptorStore::drop(const std::string& name) {
  if (socket_.valid()) waiting_.push_back({"FDSTOREREMOVE=1\nFDNAME=" + name, UniqueFd()});
}

void DescriptorStore::flush() {
  while (!waiting_.empty() && send(waiting_.front())) waiting_.pop_front();
}

// False: later. A manager that is gone, or refuses this one, will not take it later either.
bool DescriptorStore::send(const Message& message) {
  iovec part{const_cast<char*>(message.text.data()), message.text.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  if (message.fd.valid()) {
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    const int fd = message.fd.get();
    std::memcpy(CMSG_DATA(rights), &fd, sizeof fd);
  }
  if (sendmsg(socket_.get(), &header, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) return true;
  // ETOOMANYREFS: too many descriptors are under way.
  return errno != EAGAIN && errno != EINTR && errno != ENOBUFS && errno != ETOOMANYREFS;
}

void guard_passed_descriptors(size_t count) {
  for (size_t i = 0; i < count; ++i)
    (void)fcntl(kFirstPassed + static_cast<int>(i), F_SETFD, FD_CLOEXEC);
}

std::vector<KeptDescriptor> take_passed_descriptors(const std::vector<std::string>& names) {
  std::vector<KeptDescriptor> kept;
  for (const std::string& name : names) {
    const int fd = kFirstPassed + static_cast<int>(kept.size());
    kept.push_back({name, UniqueFd(fcntl(fd, F_GETFD) < 0 ? -1 : fd)});
  }
  return kept;
}

}  // namespace lezea
