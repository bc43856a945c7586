// The kernel's process events (CN_PROC): every fork, exec and exit of the machine. Needs no
// privilege on recent kernels, root on older ones, and the initial user, PID and network namespaces
// everywhere.
// Owns its socket. One owner thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "netlink/netlink_socket.h"

namespace lezea {

struct ProcEvent {
  enum class Kind { kFork, kExec, kExit } kind = Kind::kFork;
  uint64_t t_mono_ns = 0;  // CLOCK_MONOTONIC
  // kFork of a process (tid == tgid): parent_tid is the thread that called fork or clone,
  //   parent_tgid its process; with CLONE_PARENT the real parent's instead.
  // kFork of a thread (tid != tgid): tgid is the process it joins. The parents are those of that
  //   *process*, i.e. whoever forked it, not the thread that created this one: the kernel copies
  //   real_parent. Who created a thread is not told.
  // kExec: tid == tgid, for exec by any thread makes it the leader; parents are 0.
  // kExit: one for each thread. Parents are those of the process; 0 before Linux 4.18 and whenever
  //   the kernel has released the task already: non-leader threads, and processes whose parent
  //   ignores SIGCHLD.
  int parent_tid = 0;
  int parent_tgid = 0;
  int tid = 0;
  int tgid = 0;
  uint32_t exit_code = 0;  // kExit: wait status

  bool new_thread() const { return kind == Kind::kFork && tid != tgid; }
};

// Where process events come from; tests supply their own.
class ProcEvents {
 public:
  virtual ~ProcEvents() = default;
  virtual int fd() const = 0;
  // Appends everything that waits without blocking. Events of one CPU are in order; across CPUs
  // sort by t_mono_ns.
  virtual void drain(std::vector<ProcEvent>& out) = 0;
  // How often the kernel had to throw events away (ENOBUFS). Each time stands for one or more.
  virtual uint64_t lost() const = 0;
  // Its socket is kept by somebody else too, and the kernel goes on sending there after this object is gone.
  virtual void outlive() {}
};

class ProcConnector final : public ProcEvents {
 public:
  // kUnsupported when the kernel does not acknowledge the registration within 50 ms.
  static Result<std::unique_ptr<ProcConnector>> open();
  // One that an earlier agent opened: its events of the meantime wait in it.
  static Result<std::unique_ptr<ProcConnector>> adopt(UniqueFd socket);
  ~ProcConnector() override;
  // What was drained is drained again.
  void unread(std::vector<ProcEvent> events) { unread_ = std::move(events); }

  int fd() const override { return socket_.get(); }
  void drain(std::vector<ProcEvent>& out) override;
  uint64_t lost() const override { return lost_; }
  void outlive() override { outlives_ = true; }
  // How many other events came and were left out: 0 where the kernel has the filter (Linux 6.6).
  uint64_t unwanted() const { return unwanted_; }

 private:
  ProcConnector() = default;
  UniqueFd socket_;
  uint64_t lost_ = 0;
  uint64_t unwanted_ = 0;
  bool outlives_ = false;
  std::vector<ProcEvent> unread_;
  std::vector<char> buffer_;
  Datagrams datagrams_;
};

// Appends the fork, exec and exit events of one datagram; returns how many others it held.
size_t parse_proc_events(std::string_view datagram, std::vector<ProcEvent>& out);

// The errno in the acknowledgement of a listen operation sent with this token (0: accepted), if the
// datagram holds it. Acknowledgements go to every listener of the machine.
std::optional<int> find_listen_ack(std::string_view datagram, uint32_t token);

}  // namespace lezea
