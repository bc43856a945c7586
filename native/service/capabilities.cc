// See capabilities.h.

#include "service/capabilities.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <set>
#include <vector>

#include "base/clock.h"
#include "base/read_file.h"

namespace lezea {
namespace {

constexpr uint64_t kPatienceNs = 2'000'000'000;
constexpr uint64_t kPauseNs = 1'000'000;

// glibc changes the user ids of all threads by this signal (nptl/setxid): sigfillset() leaves it out, so that no thread has it
// blocked, not even those that block everything. sigaction() refuses it, hence the system call.
constexpr int kSignal = __SIGRTMIN + 1;

// As the kernel has it, on x86-64 and arm64.
struct KernelAction {
  void (*handler)(int);
  unsigned long flags;
  void (*restorer)();
  unsigned long mask;
};

bool change_action(const KernelAction* to, KernelAction* before) {
  return syscall(SYS_rt_sigaction, kSignal, to, before, sizeof before->mask) == 0;
}

std::atomic<pid_t> kept_thread{0};

// In each thread that is told. Calls nothing but the kernel.
void obey(int) {
  const int before = errno;
  if (syscall(SYS_gettid) != kept_thread) keep_capabilities(0);
  errno = before;
}

std::vector<pid_t> threads() {
  std::vector<pid_t> found;
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(opendir("/proc/self/task"), closedir);
  if (!folder) return found;
  while (const dirent* entry = readdir(folder.get())) {
    const int tid = std::atoi(entry->d_name);
    if (tid > 0) found.push_back(tid);
  }
  return found;
}

// Whether a thread has, or could pass on, any. One that ended has none.
bool has_any(pid_t tid) {
  const Result<std::string> text =
      read_file_at(AT_FDCWD, ("/proc/self/task/" + std::to_string(tid) + "/status").c_str());
  if (text.status == ReadStatus::kGone) return false;
  for (const char* set : {"\nCapInh:\t", "\nCapPrm:\t", "\nCapAmb:\t"}) {
    const size_t at = text.value.find(set);
    if (at == std::string::npos) return true;
    if (std::strtoull(text.value.c_str() + at + std::char_traits<char>::length(set), nullptr, 16) !=
        0)
      return true;
  }
  return false;
}

// Tells, once each, those that have some; how many those are.
size_t tell(std::set<pid_t>& told) {
  size_t count = 0;
  for (const pid_t tid : threads()) {
    if (tid == kept_thread || !has_any(tid)) continue;
    ++count;
    if (told.insert(tid).second) syscall(SYS_tgkill, getpid(), tid, kSignal);
  }
  return count;
}

}  // namespace

uint64_t permitted_capabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2]{};
  if (syscall(SYS_capget, &header, data) != 0) return 0;
  return data[0].permitted | uint64_t{data[1].permitted} << 32;
}

bool keep_capabilities(uint64_t mask) {
  const uint64_t kept = mask & permitted_capabilities();
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2]{};
  for (const int half : {0, 1}) {
    data[half].permitted = static_cast<uint32_t>(kept >> (32 * half));
    data[half].effective = data[half].permitted;
  }
  return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) == 0 &&
         prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && syscall(SYS_capset, &header, data) == 0;
}

bool drop_capabilities_of_others(pid_t kept, std::string* error) {
  KernelAction before{};
  // There is a handler since there is a second thread; how to come back from one is taken from it.
  if (!change_action(nullptr, &before) || before.restorer == nullptr) {
    *error = "no signal that reaches every thread";
    return false;
  }
  kept_thread = kept;
  const KernelAction ours{obey, before.flags & ~static_cast<unsigned long>(SA_SIGINFO),
                          before.restorer, before.mask};
  if (!change_action(&ours, nullptr)) {
    *error = "the kernel refuses the signal that reaches every thread";
    return false;
  }
  const SystemClock clock;
  const uint64_t end_ns = clock.monotonic_ns() + kPatienceNs;
  std::set<pid_t> told;
  // Twice: a thread may have started another just before it obeyed, and that one is in the next look.
  for (int clean = 0; clean < 2;) {
    clean = tell(told) == 0 ? clean + 1 : 0;
    if (clean > 0) continue;
    if (clock.monotonic_ns() > end_ns) {
      // The handler stays: who is late obeys still.
      *error = "a thread keeps its capabilities";
      return false;
    }
    clock.sleep_ns(kPauseNs);
  }
  change_action(&before, nullptr);
  return true;
}

}  // namespace lezea
