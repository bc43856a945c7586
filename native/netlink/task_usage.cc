// struct taskstats (uapi linux/taskstats.h): the kernel may send a longer one than our headers
// know, or a shorter one; each field is read only when the record reaches over it.
#include "netlink/task_usage.h"

#include <linux/taskstats.h>

#include <cstddef>
#include <cstring>

namespace lezea {
namespace {

// Since version 12, behind everything that older headers know.
constexpr size_t kTgidOffset = 368;
// Version 15 (Linux 6.14) put new fields into the middle; version 16 moved them to the end.
constexpr uint16_t kBrokenVersion = 15;
constexpr uint8_t kLastOfGroup = 0x20;  // AGROUP in linux/acct.h since version 12

#if TASKSTATS_VERSION >= 12
static_assert(offsetof(taskstats, ac_tgid) == kTgidOffset, "taskstats is append-only");
#endif

template <class T>
void read_at(std::string_view bytes, size_t offset, T& out) {
  if (offset + sizeof(T) > bytes.size()) return;
  std::memcpy(&out, bytes.data() + offset, sizeof(T));
}

// Everything up to the voluntary switches has been there since version 4 (Linux 2.6.20).
constexpr size_t kLeastBytes = offsetof(taskstats, nivcsw) + sizeof(uint64_t);

void read_thread_only(const taskstats& stats, TaskUsage& usage) {
  usage.has_io = true;
  usage.io.logical_read_bytes = stats.read_char;
  usage.io.logical_write_bytes = stats.write_char;
  usage.io.read_ops = stats.read_syscalls;
  usage.io.write_ops = stats.write_syscalls;
  usage.io.read_bytes = stats.read_bytes;
  usage.io.write_bytes = stats.write_bytes;
  usage.io.cancelled_write_bytes = stats.cancelled_write_bytes;
  usage.has_faults = true;
  usage.minor_faults = stats.ac_minflt;
  usage.major_faults = stats.ac_majflt;
  usage.exit_code = stats.ac_exitcode;
  usage.begin_wall_s = stats.ac_btime;
  usage.parent_tgid = static_cast<int>(stats.ac_ppid);
  usage.last_of_group = (stats.ac_flag & kLastOfGroup) != 0;
  usage.comm.assign(stats.ac_comm, strnlen(stats.ac_comm, sizeof stats.ac_comm));
}

}  // namespace

Result<TaskUsage> parse_taskstats(std::string_view bytes, bool group) {
  if (bytes.size() < kLeastBytes) return Result<TaskUsage>::fail(ReadStatus::kMalformed);
  taskstats stats{};
  std::memcpy(&stats, bytes.data(), bytes.size() < sizeof stats ? bytes.size() : sizeof stats);

  if (stats.version == kBrokenVersion) return Result<TaskUsage>::fail(ReadStatus::kMalformed);

  TaskUsage usage;
  usage.group = group;
  usage.tid = static_cast<int>(stats.ac_pid);
  uint32_t tgid = 0;
  read_at(bytes, kTgidOffset, tgid);
  usage.tgid = static_cast<int>(tgid);
  usage.cpu_ns = stats.cpu_run_virtual_total;
  usage.runqueue_wait_ns = stats.cpu_delay_total;
  usage.user_us = stats.ac_utime;
  usage.system_us = stats.ac_stime;
  usage.elapsed_us = stats.ac_etime;
  usage.voluntary_switches = stats.nvcsw;
  usage.involuntary_switches = stats.nivcsw;
  if (!group) read_thread_only(stats, usage);
  return Result<TaskUsage>::of(std::move(usage));
}

}  // namespace lezea
