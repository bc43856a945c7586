// Taskstats over generic netlink: exit records of every task of the machine, and figures of living
// tasks on request. Needs CAP_NET_ADMIN in the initial user namespace; the exit records also the
// initial PID and *network* namespaces (elsewhere registration succeeds and nothing arrives, which
// is why probe.h demands a record). Own their sockets. One owner thread each.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "netlink/netlink_socket.h"
#include "netlink/task_usage.h"

namespace lezea {

// Where exit records come from; tests supply their own.
class ExitListener {
 public:
  virtual ~ExitListener() = default;
  virtual int fd() const = 0;  // readable when records wait
  // Appends everything that waits, in the kernel's order, without blocking. A thread's own record
  // comes before the group record that its group's last thread triggers.
  virtual void drain(std::vector<TaskUsage>& out) = 0;
  // How often the kernel had to throw records away (ENOBUFS). Each time stands for one or more.
  virtual uint64_t lost() const = 0;
  // Its socket is kept by somebody else too, and the kernel goes on sending there after this object is gone.
  virtual void outlive() {}
};

class TaskstatsListener final : public ExitListener {
 public:
  static Result<std::unique_ptr<TaskstatsListener>> open();
  // One that an earlier agent opened: its records of the meantime wait in it.
  static Result<std::unique_ptr<TaskstatsListener>> adopt(UniqueFd socket);
  ~TaskstatsListener() override;
  // What was drained is drained again.
  void unread(std::vector<TaskUsage> records) { unread_ = std::move(records); }

  int fd() const override { return socket_.get(); }
  void drain(std::vector<TaskUsage>& out) override;
  uint64_t lost() const override { return lost_; }
  void outlive() override { outlives_ = true; }

 private:
  TaskstatsListener() = default;
  UniqueFd socket_;
  uint16_t family_ = 0;
  uint64_t lost_ = 0;
  bool outlives_ = false;
  std::vector<TaskUsage> unread_;
  std::vector<char> buffer_;
  Datagrams datagrams_;
};

class TaskstatsReader {
 public:
  TaskstatsReader() = default;
  // Asks for the calling thread, so that what is refused or laid out differently fails here.
  static Result<TaskstatsReader> open();

  // The whole thread group, exited threads included: CPU, delays, switches only.
  Result<TaskUsage> group(int tgid);
  // One entry for each tid in order, kGone for the ended. Sent 64 at a time.
  // Like every id, a tid is not pinned: check the tgid, and read the process's kept files after.
  void threads(const std::vector<int>& tids, std::vector<Result<TaskUsage>>& out);

 private:
  UniqueFd socket_;
  uint16_t family_ = 0;
  uint32_t sequence_ = 0;
  // Kept between calls so that a tick does not allocate them anew.
  std::vector<char> buffer_;
  Datagrams datagrams_;
  std::string requests_;
  std::string attributes_;
  std::vector<TaskUsage> records_;

  // Asks for `ids` in one send; the answers go to out[out_at...]. What stays unanswered keeps the
  // status it had.
  struct Question {
    uint16_t attribute = 0;  // TASKSTATS_CMD_ATTR_PID or _TGID
    const int* ids = nullptr;
    size_t count = 0;
  };
  void ask(const Question& question, Result<TaskUsage>* answers);
};

// Every record in the payload of one taskstats message (an exit message may hold two).
void parse_task_records(std::string_view payload, std::vector<TaskUsage>& out);

// The answer to one question: a record, or the kernel's refusal. `type` is the message's, `family`
// that of taskstats; `records` is scratch.
Result<TaskUsage> parse_task_reply(uint16_t type, uint16_t family, std::string_view payload,
                                   std::vector<TaskUsage>& records);

}  // namespace lezea
