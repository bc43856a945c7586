// SystemClock: the kernel's clocks by clock_gettime. Owns nothing.
#include "base/clock.h"

#include <cerrno>
#include <ctime>

namespace lezea {
namespace {

constexpr uint64_t kNsPerSecond = 1000000000;

uint64_t to_ns(const timespec& time) {
  return static_cast<uint64_t>(time.tv_sec) * kNsPerSecond + static_cast<uint64_t>(time.tv_nsec);
}

// include/linux/posix-timers.h: the bits above the low three are the complement of the pid, and 2
// is CPUCLOCK_SCHED without the per-thread bit: the thread group's sum_exec_runtime.
clockid_t process_clock_id(int pid) {
  return static_cast<clockid_t>((~static_cast<unsigned>(pid) << 3) | 2u);
}

}  // namespace

uint64_t SystemClock::monotonic_ns() const {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return to_ns(time);
}

uint64_t SystemClock::boot_offset_ns() const {
  const uint64_t monotonic =
      monotonic_ns();  // read first: at worst the offset is a little too great
  timespec time{};
  clock_gettime(CLOCK_BOOTTIME, &time);
  return to_ns(time) > monotonic ? to_ns(time) - monotonic : 0;
}

uint64_t SystemClock::wall_ms() const {
  timespec time{};
  clock_gettime(CLOCK_REALTIME, &time);
  return to_ns(time) / 1000000;
}

Result<uint64_t> SystemClock::process_cpu_ns(int pid) const {
  // Pid 0 would be the caller's own clock.
  if (pid <= 0) return Result<uint64_t>::fail(ReadStatus::kGone);
  timespec time{};
  if (clock_gettime(process_clock_id(pid), &time) == 0) return Result<uint64_t>::of(to_ns(time));
  // EINVAL is how this call says that there is no such process.
  if (errno == EINVAL) return Result<uint64_t>::fail(ReadStatus::kGone);
  return Result<uint64_t>::fail_errno(errno);
}

void SystemClock::sleep_ns(uint64_t ns) const {
  timespec rest{static_cast<time_t>(ns / kNsPerSecond), static_cast<long>(ns % kNsPerSecond)};
  while (clock_nanosleep(CLOCK_MONOTONIC, 0, &rest, &rest) == EINTR) {
  }
}

}  // namespace lezea
