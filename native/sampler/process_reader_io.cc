// Storage IO of one process, without that of the children it reaped: by its threads where taskstats tells
// their ends, else by the process less what each reaped child left.

#include <algorithm>
#include <iterator>

#include "sampler/process_reader.h"

namespace lezea {
namespace {

constexpr Column kIoColumns[kIoFigures] = {
    kIoRead, kIoWrite, kIoCancelledWrite, kIoLogicalRead, kIoLogicalWrite, kIoReadOps, kIoWriteOps};

}  // namespace

IoFigures io_figures(const PidIo& io) {
  return {io.read_bytes,         io.write_bytes,         io.cancelled_write_bytes,
          io.logical_read_bytes, io.logical_write_bytes, io.read_ops,
          io.write_ops};
}

void ProcessReader::set_io(Reading& reading, const IoFigures& figures) {
  for (size_t i = 0; i < kIoFigures; ++i) reading.set(kIoColumns[i], figures[i]);
}

// The process's own file holds what all its threads ever did, so threads are read only when it has
// changed. It is read before them: what they do meanwhile shows the next time. One thread's own file
// costs no more.
bool ProcessReader::no_thread_did_io() {
  if (facts_ && facts_->threads == 1) return false;
  const Result<PidIo> io = files_.io();
  if (!io.ok()) return false;
  const IoFigures now = io_figures(io.value);
  const bool same = all_io_ == now;
  all_io_ = now;
  return same;
}

// Of others than the leader it matters only where IO is read by thread.
void ProcessReader::note_told(int tid) {
  if (tid == pid_ || io_by_threads()) told_.insert(tid);
}

// An id that is listed no more may be a later thread's. The leader's is the process's own.
void ProcessReader::forget_told() {
  if (told_.size() == told_.count(pid_)) return;
  const Result<std::vector<int>> listed = files_.thread_ids();
  if (!listed.ok()) return;
  for (auto tid = told_.begin(); tid != told_.end();) {
    const bool stays = *tid == pid_ || std::find(listed.value.begin(), listed.value.end(), *tid) !=
                                           listed.value.end();
    tid = stays ? std::next(tid) : told_.erase(tid);
  }
}

// A thread is listed a little longer than until its last figures are told, and shows them. One that goes on
// is another: of the same id, or the one that exec'd.
bool ProcessReader::counted_at_its_end(int tid) {
  if (told_.count(tid) == 0) return false;
  const Result<PidStat> stat = files_.thread_stat(tid);
  if (!stat.ok()) all_io_.reset();  // unless it has gone, it is asked again
  return !stat.ok() || stat.value.exiting;
}

// A thread's own figures are apart from those of reaped children. Its file is exact; taskstats, which
// needs no right to the process, rounds each figure down to 1024 and so all but loses the call counts.
void ProcessReader::read_thread_io(Reading& reading) {
  if (!open_ || !stat_ || !io_by_threads()) return;
  forget_told();
  if (no_thread_did_io()) return set_io(reading, thread_io_.total());
  const std::vector<int> tids = thread_ids();
  const std::vector<int> untold = thread_io_.missing_from(tids);
  if (sources_->events == nullptr) {
    for (const int tid : untold) thread_io_.gone(tid);
  }
  std::vector<int> refused;
  // A thread that is missing may have exec'd a moment ago: then the leader's figures are its.
  const bool leader_doubtful = sources_->events != nullptr && !untold.empty();
  if (leader_doubtful) all_io_.reset();
  for (const int tid : tids) {
    if ((tid == pid_ && leader_doubtful) || counted_at_its_end(tid)) continue;
    const Result<PidIo> io = files_.thread_io(tid);
    if (io.ok()) {
      thread_io_.live(tid, io_figures(io.value));
    } else if (io.status == ReadStatus::kDenied) {
      refused.push_back(tid);
    } else {
      all_io_.reset();  // it is tried again, whether or not there is more by then
    }
  }
  std::vector<Result<TaskUsage>> usages;
  if (!refused.empty()) sources_->taskstats->threads(refused, usages);
  for (size_t i = 0; i < usages.size(); ++i) {
    const Result<TaskUsage>& usage = usages[i];
    const bool ours = usage.ok() && (usage.value.tgid == 0 || usage.value.tgid == pid_);
    if (ours && usage.value.has_io) {
      thread_io_.live(refused[i], io_figures(usage.value.io));
    } else {
      all_io_.reset();
    }
  }
  set_io(reading, thread_io_.total());
}

// /proc/PID/io takes in a child's figures when the child is reaped; they were counted with the child.
void ProcessReader::read_io_by_process(Reading& reading) {
  const Result<PidIo> io = files_.io();
  if (!io.ok()) return;
  const IoFigures now = io_figures(io.value);
  for (size_t i = 0; i < kIoFigures; ++i) {
    const uint64_t grown = raw_io_known_ && now[i] > raw_io_[i] ? now[i] - raw_io_[i] : 0;
    absorbed_[i] += std::min(grown, to_absorb_[i]);
  }
  to_absorb_ = {};
  raw_io_ = now;
  raw_io_known_ = true;
  IoFigures own = now;
  for (size_t i = 0; i < kIoFigures; ++i) own[i] -= absorbed_[i];
  set_io(reading, own);
}

IoFigures ProcessReader::left_to_parent() const {
  IoFigures figures = raw_io_;
  for (size_t i = 0; i < kIoFigures; ++i) {
    figures[i] += std::min(to_absorb_[i], UINT64_MAX - figures[i]);
  }
  return figures;
}

void ProcessReader::absorb(const IoFigures& child) {
  for (size_t i = 0; i < kIoFigures; ++i) {
    to_absorb_[i] += std::min(child[i], UINT64_MAX - to_absorb_[i]);
  }
}

}  // namespace lezea
