// One process seen through descriptors that stay open: every file is opened relative to the kept
// /proc/<pid> directory, and a descriptor of a reaped process answers ESRCH for ever, so nothing
// here can ever read a recycled pid. Owns the descriptors. Not thread-safe: one owner thread.
//
// stat(), rss_bytes(), io() and thread_schedstat() read with pread into the stack and allocate
// nothing once their descriptor is open.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "procfs/pid_io.h"
#include "procfs/pid_stat.h"
#include "procfs/pid_status.h"
#include "procfs/schedstat.h"
#include "procfs/smaps_rollup.h"

namespace lezea {

// Of the process whose /proc/<pid> this is. It waits while the target's address space is locked.
Result<SmapsRollup> read_smaps_rollup(int process_fd);

class ProcessFiles {
 public:
  ProcessFiles() = default;
  // proc_root_fd is a descriptor of /proc (or of a captured root); it is not kept.
  static Result<ProcessFiles> open(int proc_root_fd, int pid);

  Result<PidStat> stat();
  Result<uint64_t> rss_bytes();
  // Includes the IO of every reaped child. kDenied without the same uid or ptrace rights; after a
  // refusal it is asked again, since rights come and go with exec and setuid.
  Result<PidIo> io();
  // Takes milliseconds for gigabytes of small pages; may be kDenied; kGone for zombies too.
  Result<SmapsRollup> smaps_rollup() const { return read_smaps_rollup(directory_.get()); }
  // Of /proc/<pid>, for whoever reads it elsewhere.
  Result<UniqueFd> duplicate_directory() const;
  Result<PidStatus> status();
  Result<std::string> cgroup_text();
  Result<std::string> exe();              // kDenied for other users; "… (deleted)" as it is
  Result<int64_t> monotonic_offset_ns();  // see timens_offsets.h; kUnsupported before Linux 5.6
  Result<uint64_t>
  pid_namespace();  // inode of ns/pid; kDenied for other users in another than ours

  Result<std::vector<int>> thread_ids();
  // Per-thread descriptors are opened at the first call for a tid and kept, so that an ended
  // thread's id taken by a later thread reads kGone until forget_thread(tid).
  Result<Schedstat> thread_schedstat(int tid);
  Result<PidIo> thread_io(int tid);
  Result<PidStatus> thread_status(int tid);
  Result<PidStat> thread_stat(int tid);
  void forget_thread(int tid);
  void keep_threads(const std::vector<int>& tids);  // forgets all others; `tids` is sorted

  // False once the process has been reaped (zombies are alive). True on any doubt.
  bool alive();
  int pid() const { return pid_; }
  size_t open_descriptors() const;

 private:
  struct ThreadFiles {
    UniqueFd schedstat;
    UniqueFd io;
    UniqueFd status;
    UniqueFd stat;
  };

  int pid_ = 0;
  UniqueFd directory_;  // closed last: the others were opened relative to it
  UniqueFd task_;
  UniqueFd stat_;
  UniqueFd statm_;
  UniqueFd io_;
  UniqueFd status_;
  std::unordered_map<int, ThreadFiles> threads_;

  // Opens task/<tid>/<file> into the member if it is not open yet.
  Result<int> thread_file(int tid, const char* file, UniqueFd ThreadFiles::* member);
  // Opens <file> into `fd` if it is not open yet.
  Result<int> kept(const char* file, UniqueFd& fd);
};

}  // namespace lezea
