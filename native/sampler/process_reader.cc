// See process_reader.h.

#include "sampler/process_reader.h"

#include <unistd.h>

#include <algorithm>

#include "netlink/pid_info.h"

namespace lezea {
namespace {

uint64_t ticks_to_ns(uint64_t ticks) {
  static const uint64_t ns_per_tick =
      1'000'000'000ull / static_cast<uint64_t>(sysconf(_SC_CLK_TCK));
  return ticks * ns_per_tick;
}

}  // namespace

ProcessReader::ProcessReader(Sources& sources, int pid, bool forked_in_run)
    : sources_(&sources), pid_(pid), raw_io_known_(forked_in_run) {
  if (forked_in_run) {
    memory_.starts_forked();
  } else {
    memory_.starts_fresh();
  }
}

bool ProcessReader::open() {
  Result<UniqueFd> pidfd = open_pidfd(pid_);
  Result<ProcessFiles> files = ProcessFiles::open(sources_->proc_root.get(), pid_);
  if (!files.ok()) return false;
  if (pidfd.ok()) pidfd_ = std::move(pidfd.value);
  files_ = std::move(files.value);
  open_ = true;
  return true;
}

bool ProcessReader::ended() {
  if (!open_) return true;
  if (pidfd_.valid()) return pidfd_ended(pidfd_.get());
  const Result<PidStat> stat = files_.stat();
  return !stat.ok() || (stat.value.state == 'Z' && stat.value.threads <= 1);
}

uint64_t ProcessReader::started_boot_ns() {
  const Result<PidStat> stat = files_.stat();
  return stat.ok() ? ticks_to_ns(stat.value.start_ticks) : UINT64_MAX;
}

void ProcessReader::ask_wait_status() {
  if (!pidfd_.valid() || !sources_->pidfd_info) return;
  const Result<PidInfo> info = pid_info(pidfd_.get());
  if (info.ok() && info.value.has_exit) wait_status_ = info.value.exit_status;
}

bool ProcessReader::read(Reading& reading, bool slow) {
  if (!open_) return false;
  read_cpu(reading);
  const Result<PidStat> stat = files_.stat();
  if (!stat.ok()) {  // reaped meanwhile: the clock read above may be another's
    reading = Reading{};
    return false;
  }
  stat_ = stat.value;
  note_facts(stat.value);
  reading.set(kCpuUser, ticks_to_ns(stat.value.utime_ticks));
  if ((reading.known & bit(kCpu)) == 0) {
    reading.set(kCpu, ticks_to_ns(stat.value.utime_ticks + stat.value.stime_ticks));
  }
  read_memory(reading);
  reading.slow = slow;
  if (slow) {
    reading.set(kMinorFaults, stat.value.minor_faults);
    reading.set(kMajorFaults, stat.value.major_faults);
    if (!io_by_threads()) read_io_by_process(reading);
    read_scheduling(reading);
  }
  for (int column = 0; column < kReadingColumns; ++column) {
    if ((reading.known >> column & 1) != 0)
      seen_.set(static_cast<Column>(column), reading.counter[column]);
  }
  return true;
}

void ProcessReader::note_facts(const PidStat& stat) {
  StatFacts facts;
  facts.start_ticks = stat.start_ticks;
  facts.reaped_cpu_ns = ticks_to_ns(stat.cutime_ticks + stat.cstime_ticks);
  // Not even a fault: no child was ever waited for.
  const uint64_t rounding_ticks = stat.reaped_minor_faults == 0 ? 0 : 2;
  facts.reaped_cpu_most_ns = facts.reaped_cpu_ns + ticks_to_ns(rounding_ticks);
  facts.threads = stat.threads;
  facts.parent_pid = stat.ppid;
  facts_ = facts;
}

void ProcessReader::read_cpu(Reading& reading) {
  const Result<uint64_t> cpu = sources_->clock->process_cpu_ns(pid_);
  reading.t_ns = sources_->clock->monotonic_ns();
  if (cpu.ok()) reading.set(kCpu, cpu.value);
}

void ProcessReader::read_memory(Reading& reading) {
  const Result<uint64_t> rss = files_.rss_bytes();
  if (!rss.ok() || (stat_->state == 'Z')) return;
  read_proportion(reading.t_ns, rss.value);
  reading.memory_bytes = memory_.proportional_bytes(rss.value);
  reading.memory_estimated = memory_.estimated();
}

// Asked for in one sample, it may be there in the same or in a later one.
void ProcessReader::read_proportion(uint64_t t_ns, uint64_t rss_bytes) {
  if (!sources_->rollups) return;
  if (!rollup_ && memory_.due(t_ns, rss_bytes)) {
    Result<UniqueFd> process = files_.duplicate_directory();
    memory_.asked();
    if (process.ok()) rollup_ = sources_->rollups->ask(std::move(process.value));
  }
  if (!rollup_ || !rollup_->done) return;
  const std::optional<SmapsRollup>& sizes = rollup_->sizes;
  if (sizes && sizes->rss_bytes > 0) {
    memory_.refreshed(sizes->rss_bytes, sizes->pss_bytes, t_ns, rollup_->cost_ns);
  } else {
    memory_.refused(t_ns);
  }
  rollup_.reset();
}

std::vector<int> ProcessReader::thread_ids() {
  if (facts_ && facts_->threads == 1) return {pid_};
  Result<std::vector<int>> ids = files_.thread_ids();
  return ids.ok() ? std::move(ids.value) : std::vector<int>{};
}

void ProcessReader::read_scheduling(Reading& reading) {
  if (sources_->taskstats != nullptr) {
    const Result<TaskUsage> group = sources_->taskstats->group(pid_);
    if (group.ok()) {
      reading.set(kRunqueueWait, group.value.runqueue_wait_ns);
      reading.set(kVoluntarySwitches, group.value.voluntary_switches);
      reading.set(kInvoluntarySwitches, group.value.involuntary_switches);
    }
    return;
  }
  const std::vector<int> tids = thread_ids();
  bool complete = !tids.empty();
  for (const int tid : tids) {
    const Result<Schedstat> schedstat = files_.thread_schedstat(tid);
    const Result<PidStatus> status = files_.thread_status(tid);
    if (schedstat.ok() && status.ok()) {
      thread_scheduling_.live(tid,
                              {schedstat.value.runqueue_wait_ns, status.value.voluntary_switches,
                               status.value.involuntary_switches});
    } else if (schedstat.status != ReadStatus::kGone && status.status != ReadStatus::kGone) {
      complete = false;
    }
  }
  std::vector<int> vanished;
  thread_scheduling_.each_living([&](int tid) {
    if (std::find(tids.begin(), tids.end(), tid) == tids.end()) vanished.push_back(tid);
  });
  for (const int tid : vanished) thread_ended(tid);
  if (!complete) return;
  const auto sums = thread_scheduling_.total();
  reading.set(kRunqueueWait, sums[0]);
  reading.set(kVoluntarySwitches, sums[1]);
  reading.set(kInvoluntarySwitches, sums[2]);
}

std::optional<uint64_t> ProcessReader::thread_cpu_ns(int tid) {
  if (!open_) return std::nullopt;
  const Result<Schedstat> schedstat = files_.thread_schedstat(tid);
  if (!schedstat.ok()) return std::nullopt;
  return schedstat.value.cpu_ns;
}

void ProcessReader::add_thread_io(int tid, ThreadReading& reading) {
  const auto known = thread_io_.living().find(tid);
  if (known != thread_io_.living().end()) {  // read a moment ago, with the process's own figures
    reading.read_bytes = known->second[0];
    reading.write_bytes = known->second[1];
    return;
  }
  const Result<PidIo> figures = files_.thread_io(tid);
  if (figures.ok()) {
    reading.read_bytes = figures.value.read_bytes;
    reading.write_bytes = figures.value.write_bytes;
  }
}

void ProcessReader::thread_ended(int tid) {
  thread_io_.gone(tid);
  note_told(tid);
  thread_scheduling_.ended(tid, nullptr);
  files_.forget_thread(tid);
}

void ProcessReader::miss_threads() {
  const std::vector<int> tids = open_ ? thread_ids() : std::vector<int>{};
  if (!tids.empty()) thread_io_.missed(tids, pid_);  // else it has ended as a whole
}

void ProcessReader::keep_threads(const std::vector<int>& listed) { files_.keep_threads(listed); }

void ProcessReader::exec() {
  told_.erase(pid_);
  wait_status_.reset();  // another's, who had the leader's id before
  thread_io_.exec(pid_);
  thread_scheduling_.exec(pid_);
  rollup_.reset();  // of the program before
  memory_.starts_fresh();
}

void ProcessReader::note_exit_record(const TaskUsage& usage) {
  if (usage.group) {
    group_exit_ = usage;
    return;
  }
  if (usage.has_io) {
    const IoFigures figures = io_figures(usage.io);
    thread_io_.ended(usage.tid, &figures);
  }
  note_told(usage.tid);
  last_told_ = last_told_ || usage.last_of_group;
  // A task too short for the tick that samples this split has neither part: taken for user.
  const uint64_t sampled_us = usage.user_us + usage.system_us;
  ended_user_ns_ += sampled_us == 0 ? usage.cpu_ns : usage.cpu_ns / sampled_us * usage.user_us;
  if (usage.tid == pid_) {
    leader_exit_ = usage;
    wait_status_ = usage.exit_code;
  }
}

// Exit records come before the address space is torn down, so a zombie's clock may tell more; a process
// that was reaped before it could be read has only its records, and what was seen of it before.
void ProcessReader::finish(Reading& reading) {
  const auto at_least = [&reading](Column column, uint64_t value) {
    const uint64_t before = (reading.known & bit(column)) != 0 ? reading.counter[column] : 0;
    reading.set(column, std::max(before, value));
  };
  for (int column = 0; column < kReadingColumns; ++column) {
    if ((seen_.known >> column & 1) != 0)
      at_least(static_cast<Column>(column), seen_.counter[column]);
  }
  const std::optional<TaskUsage>& whole = group_exit_ ? group_exit_ : leader_exit_;
  if (whole) {
    at_least(kCpu, whole->cpu_ns);
    at_least(kRunqueueWait, whole->runqueue_wait_ns);
    at_least(kVoluntarySwitches, whole->voluntary_switches);
    at_least(kInvoluntarySwitches, whole->involuntary_switches);
  }
  if (leader_exit_) at_least(kCpuUser, ended_user_ns_);
  if (leader_exit_ && !group_exit_ && leader_exit_->has_faults) {
    at_least(kMinorFaults, leader_exit_->minor_faults);
    at_least(kMajorFaults, leader_exit_->major_faults);
  }
  if (io_by_threads()) set_io(reading, thread_io_.total());
  reading.slow = true;
}

uint64_t ProcessReader::cpu_told_ns() const {
  uint64_t most_ns = seen_.counter[kCpu];
  if (leader_exit_) most_ns = std::max(most_ns, leader_exit_->cpu_ns);
  if (group_exit_) most_ns = std::max(most_ns, group_exit_->cpu_ns);
  return most_ns;
}

void ProcessReader::encode(ByteWriter& out) const {
  const auto figures = [&out](const auto& values) {
    for (const uint64_t value : values) out.u64(value);
  };
  IoFigures left{};
  const auto threads = thread_io_.unsettled(left);
  figures(left);
  out.u32(static_cast<uint32_t>(threads.size()));
  for (const auto& [tid, values] : threads) {
    out.i64(tid);
    figures(values);
  }
  figures(thread_scheduling_.left());
  out.u8(leader_told() ? 1 : 0);
  out.u8(raw_io_known_ ? 1 : 0);
  figures(raw_io_);
  figures(absorbed_);
  figures(to_absorb_);
}

void ProcessReader::decode(ByteReader& in) {
  const auto figures = [&in](auto values) {
    for (uint64_t& value : values) value = in.u64();
    return values;
  };
  thread_io_.restore_left(figures(IoFigures{}));
  const uint32_t living = in.u32();
  for (uint32_t i = 0; i < living && in.ok(); ++i) {
    const int tid = static_cast<int>(in.i64());
    thread_io_.live(tid, figures(IoFigures{}));
  }
  thread_scheduling_.restore_left(figures(ThreadSums<3>::Figures{}));
  if (in.u8() != 0) told_.insert(pid_);
  raw_io_known_ = in.u8() != 0;
  raw_io_ = figures(IoFigures{});
  absorbed_ = figures(IoFigures{});
  to_absorb_ = figures(IoFigures{});
}

}  // namespace lezea
