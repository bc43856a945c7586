// Descriptors that the service manager keeps while the service is started again (sd_notify(3), FDSTORE=1), by name. Sends without
// waiting: what the manager's socket cannot take waits here. Owns duplicates of what waits. One thread at a time.
#pragma once

#include <cstddef>
#include <deque>
#include <string>
#include <vector>

#include "base/unique_fd.h"

namespace lezea {

struct KeptDescriptor {
  std::string name;
  UniqueFd fd;
};

class DescriptorStore {
 public:
  // `address`: NOTIFY_SOCKET, see notify.h. Everything is a no-op where there is no such place.
  explicit DescriptorStore(const std::string& address);

  // `name`: printable ASCII without a colon, at most 255 bytes; several descriptors may have one name. One that the manager
  // has already is kept once.
  void keep(const std::string& name, int fd);
  // All of that name.
  void drop(const std::string& name);
  // Sends what waits, as far as it can be sent now.
  void flush();
  size_t waiting() const { return waiting_.size(); }

 private:
  struct Message {
    std::string text;
    UniqueFd fd;
  };
  bool send(const Message& message);

  UniqueFd socket_;  // connected
  std::deque<Message> waiting_;
};

// The descriptors from 3 on that the manager passed to this process (sd_listen_fds(3)) are closed in every program that it
// starts from now on.
void guard_passed_descriptors(size_t count);
// Those descriptors, of which `names` has one each in order.
std::vector<KeptDescriptor> take_passed_descriptors(const std::vector<std::string>& names);

}  // namespace lezea
