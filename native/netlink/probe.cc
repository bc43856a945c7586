// Self-tests with real children. A child here does nothing but spend a little CPU and end: it may
// be forked from a process with many threads, where only async-signal-safe calls are allowed.
#include "netlink/probe.h"

#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

#include "netlink/pid_info.h"

namespace lezea {
namespace {

constexpr uint64_t kPatienceNs = 100000000;
constexpr uint64_t kChildCpuNs = 1000000;
constexpr int kProbeExitCode = 42;

uint64_t clock_ns(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000000 + static_cast<uint64_t>(now.tv_nsec);
}

// The pid, or -1. The child burns a millisecond and exits with kProbeExitCode. Its thread does, whose
// record it is: sanitizers may start another one beside it.
int fork_probe_child() {
  int pid = fork();
  if (pid != 0) return pid;
  while (clock_ns(CLOCK_THREAD_CPUTIME_ID) < kChildCpuNs) {
  }
  _exit(kProbeExitCode);
}

void reap(int pid) {
  while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
}

// Drains until `accept` says enough or 100 ms have passed since the child was reaped.
template <class Source, class Record, class Accept>
bool await(Source& source, std::vector<Record>& records, Accept accept) {
  uint64_t deadline = clock_ns(CLOCK_MONOTONIC) + kPatienceNs;
  while (true) {
    source.drain(records);
    if (accept(records)) return true;
    uint64_t now = clock_ns(CLOCK_MONOTONIC);
    if (now >= deadline) return false;
    pollfd entry{source.fd(), POLLIN, 0};
    (void)poll(&entry, 1, static_cast<int>((deadline - now) / 1000000 + 1));
  }
}

bool is_child_record(const TaskUsage& usage, int child) {
  return !usage.group && usage.tid == child;
}

}  // namespace

std::string probe_exit_records(ExitListener& listener, std::vector<TaskUsage>& heard) {
  int child = fork_probe_child();
  if (child < 0) return "cannot fork a child to test with";
  reap(child);
  const TaskUsage* own = nullptr;
  const bool came = await(listener, heard, [&own, child](const std::vector<TaskUsage>& all) {
    own = nullptr;
    for (const TaskUsage& usage : all) {
      if (is_child_record(usage, child)) own = &usage;
    }
    return own != nullptr;
  });
  if (!came) {
    return "registered, but no exit record came within 100 ms: not in the initial network "
           "namespace, or a kernel with another record layout";
  }
  if (own->cpu_ns < kChildCpuNs) return "exit records without CPU time: no CONFIG_TASK_DELAY_ACCT";
  return "";
}

std::string probe_proc_events(ProcEvents& events, std::vector<ProcEvent>& heard) {
  int child = fork_probe_child();
  if (child < 0) return "cannot fork a child to test with";
  reap(child);
  const bool came = await(events, heard, [child](const std::vector<ProcEvent>& all) {
    bool forked = false;
    bool exited = false;
    for (const ProcEvent& event : all) {
      if (event.tid != child) continue;
      forked |= event.kind == ProcEvent::Kind::kFork && event.parent_tgid == getpid();
      exited |= event.kind == ProcEvent::Kind::kExit;
    }
    return forked && exited;
  });
  if (came) return "";
  return "listening, but no fork and exit event came within 100 ms: not in the initial network "
         "namespace, or no privilege on this kernel";
}

std::string probe_taskstats_reader(TaskstatsReader& reader) {
  int tid = static_cast<int>(syscall(SYS_gettid));
  std::vector<Result<TaskUsage>> threads;
  reader.threads({tid}, threads);
  if (!threads[0].ok()) return std::string("asking for a thread: ") + name(threads[0].status);
  if (threads[0].value.cpu_ns == 0) return "no CPU time: a kernel without CONFIG_TASK_DELAY_ACCT";
  Result<TaskUsage> group = reader.group(getpid());
  if (!group.ok()) return std::string("asking for a process: ") + name(group.status);
  return "";
}

std::string probe_pidfd_exit_info() {
  int child = fork_probe_child();
  if (child < 0) return "cannot fork a child to test with";
  Result<UniqueFd> pidfd = open_pidfd(child);
  reap(child);
  if (!pidfd.ok()) return std::string("pidfd_open: ") + name(pidfd.status);
  Result<PidInfo> info = pid_info(pidfd.value.get());
  if (!info.ok()) return "this kernel does not tell the exit status of a reaped process";
  if (!info.value.has_exit || info.value.exit_status != kProbeExitCode << 8) {
    return "the exit status of a reaped process came out wrong";
  }
  return "";
}

}  // namespace lezea
