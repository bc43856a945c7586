// The listening end of ring.sock: a SOCK_SEQPACKET unix socket at a path, with a mode that holds
// from the first moment somebody can connect. Owns the descriptor and remembers which file is its.
#pragma once

#include <sys/types.h>

#include <string>

#include "base/unique_fd.h"

namespace lezea {

class RingListener {
 public:
  RingListener() = default;
  // Replaces the socket of an agent that has died, but nothing that still answers and nothing that
  // is no socket. False with a sentence in `error`.
  bool open(const std::string& path, mode_t mode, std::string* error);
  // Removes the file, unless another agent has put its own there, and gives the descriptor away:
  // closing it also closes what waits in its backlog, which can hang.
  UniqueFd close();

  int fd() const { return fd_.get(); }

 private:
  UniqueFd fd_;
  std::string path_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

}  // namespace lezea
