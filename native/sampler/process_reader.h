// Reads one process's cumulative figures, each from the best source that this machine gives, and keeps
// what is needed to make them cumulative: ended threads' last figures, IO taken over from reaped
// children. Owns the process's descriptors. Used by the sampling thread only.

#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "attribution/process_account.h"
#include "base/bytes.h"
#include "base/unique_fd.h"
#include "procfs/process_files.h"
#include "sampler/memory_estimate.h"
#include "sampler/sources.h"
#include "sampler/thread_sums.h"

namespace lezea {

// Figures of /proc/PID/io in the order of the IO columns.
inline constexpr size_t kIoFigures = 7;
using IoFigures = std::array<uint64_t, kIoFigures>;
IoFigures io_figures(const PidIo& io);

// What one stat line tells beside the process's own figures.
struct StatFacts {
  uint64_t start_ticks = 0;
  uint64_t reaped_cpu_ns = 0;  // of children waited for, theirs included: at least,
  uint64_t reaped_cpu_most_ns =
      0;  //   and less than: user and system are rounded down to a tick each
  uint64_t threads = 1;
  int parent_pid = 0;
};

class ProcessReader {
 public:
  ProcessReader(Sources& sources, int pid, bool forked_in_run);

  // False when there is no such process (any more).
  bool open();
  bool is_open() const { return open_; }
  void close() { open_ = false; }
  // On CLOCK_BOOTTIME, rounded down to the kernel's tick; UINT64_MAX: it cannot be read.
  uint64_t started_boot_ns();
  // True once the process has ended (zombie or reaped).
  bool ended();
  // False once it was reaped.
  bool alive() { return open_ && files_.alive(); }

  // The process's figures now; `slow`: the costlier ones too. False: it is gone, nothing was read.
  bool read(Reading& reading, bool slow);
  // With taskstats, its threads' IO: to be read when the ends of threads were told.
  void read_thread_io(Reading& reading);
  // Threads may have ended, or one of them exec'd, without being told.
  void miss_threads();
  // Closes what is open of all but these.
  void keep_threads(const std::vector<int>& listed);
  // The last word on an ended process: what exit records told, where they tell more.
  void finish(Reading& reading);
  void add_thread_io(int tid, ThreadReading& reading);
  std::optional<uint64_t> thread_cpu_ns(int tid);

  // One thread's or the group's exit record.
  void note_exit_record(const TaskUsage& usage);
  // Whether it has had one like this; it may be of the next process with its pid, or after an exec by another thread
  // its own.
  bool has_exit_record(const TaskUsage& like) const {
    return like.group ? group_exit_.has_value() : like.tid == pid_ && leader_exit_.has_value();
  }
  // Whether none like this can come any more: it is of the next process with its pid.
  bool had_last_exit_record(const TaskUsage& like) const {
    const bool kernel_says = like.tgid != 0;
    return like.group || !kernel_says ? has_exit_record(like) : last_told_;
  }
  // Whether what it used to its end came in an exit record.
  bool has_exit_told() const { return group_exit_ || leader_exit_; }
  void thread_ended(int tid);
  // The greatest CPU time that was seen or told of it, closed or not.
  uint64_t cpu_told_ns() const;
  // Whether the leader's end was told; other threads may go on, and exec starts anew.
  bool leader_told() const { return told_.count(pid_) != 0; }
  void exec();
  // A child that this process reaped took its IO along into this process's own figures.
  void absorb(const IoFigures& child);
  // So did one of which nothing is known: what this process's figures grow by counts for nobody.
  void absorb_all() { to_absorb_.fill(UINT64_MAX); }

  const std::optional<StatFacts>& facts() const { return facts_; }
  // What a parent takes over when it reaps this process, as far as it was seen.
  IoFigures left_to_parent() const;
  bool io_by_threads() const { return sources_->taskstats != nullptr; }
  ProcessFiles& files() { return files_; }
  MemoryEstimate& memory() { return memory_; }
  std::optional<uint32_t> wait_status() const { return wait_status_; }
  int pidfd() const { return pidfd_.get(); }
  // One from when the process lived: its status may be asked for although it is gone.
  void take_pidfd(UniqueFd pidfd) {
    if (!pidfd_.valid()) pidfd_ = std::move(pidfd);
  }
  // Asks the kernel for the status of a process that was reaped (PIDFD_GET_INFO). It knows better than
  // the end of the leader, which may have gone before the others.
  void ask_wait_status();
  void set_wait_status(uint32_t status) { wait_status_ = status; }

  void encode(ByteWriter& out) const;
  void decode(ByteReader& in);

 private:
  void note_facts(const PidStat& stat);
  void read_cpu(Reading& reading);
  void read_memory(Reading& reading);
  void read_proportion(uint64_t t_ns, uint64_t rss_bytes);
  void read_io_by_process(Reading& reading);
  void read_scheduling(Reading& reading);
  std::vector<int> thread_ids();
  bool no_thread_did_io();
  bool counted_at_its_end(int tid);
  void note_told(int tid);
  void forget_told();
  void set_io(Reading& reading, const IoFigures& figures);

  Sources* sources_;
  int pid_;
  bool open_ = false;
  UniqueFd pidfd_;
  ProcessFiles files_;
  MemoryEstimate memory_;
  std::shared_ptr<Rollup> rollup_;  // asked for, not taken yet
  std::optional<StatFacts> facts_;
  std::optional<PidStat> stat_;

  ThreadSums<kIoFigures> thread_io_;
  std::optional<IoFigures> all_io_;  // /proc/PID/io when the threads were read last
  ThreadSums<3> thread_scheduling_;  // run-queue wait ns, voluntary, involuntary switches
  std::set<int>
      told_;  // of the leader the end was told; with taskstats, of others that may be listed still
  IoFigures raw_io_{};     // /proc/PID/io as last read
  IoFigures absorbed_{};   // of it, what came from reaped children
  IoFigures to_absorb_{};  // of children reaped since the last reading
  bool raw_io_known_ = false;

  Reading seen_;  // the last figure of each column, closed or not
  std::optional<TaskUsage> group_exit_;
  std::optional<TaskUsage> leader_exit_;
  bool last_told_ = false;      // the last thread's exit record came
  uint64_t ended_user_ns_ = 0;  // user time of the threads whose exit records came
  std::optional<uint32_t> wait_status_;
};

}  // namespace lezea
