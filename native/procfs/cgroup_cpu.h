// Reads one cgroup v2 directory: CPU use and members, and the OOM kills of a process's cgroup
// (v2 or v1). Emits cumulative figures; owns the directory and cpu.stat descriptors.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace lezea {

class CgroupCpu {
 public:
  CgroupCpu() = default;
  // `path` as /proc/<pid>/cgroup prints it ("/user.slice/x.scope"); a path with ".." is refused.
  static Result<CgroupCpu> open(const std::string& cgroup2_mount, const std::string& path);

  // Cumulative CPU time of everything that ever ran in the cgroup or below it, whether or not the
  // cpu controller is enabled. Source: usage_usec of cpu.stat, so microsecond steps.
  Result<uint64_t> usage_ns();
  // Process ids directly in the cgroup, 0 for one outside the reader's PID namespace. Members of
  // child cgroups are not among them. kUnsupported in a threaded cgroup.
  Result<std::vector<int>> procs();
  // True if the cgroup has child cgroups, whose processes procs() does not name.
  Result<bool> has_children();

 private:
  UniqueFd directory_;
  UniqueFd cpu_stat_;
};

// usage_usec of a cpu.stat text, in nanoseconds.
Result<uint64_t> parse_cpu_stat_usage_ns(std::string_view text);

// Where the unified hierarchy is mounted with its root visible; kUnsupported if nowhere.
Result<std::string> find_cgroup2_mount(int proc_root_fd);

// How many processes the OOM killer has killed in the memory cgroup that this /proc/<pid>/cgroup
// text names: oom_kill of memory.events (v2) or of memory.oom_control (v1). Cumulative;
// kUnsupported if the process is in no such cgroup or only in v2's root, which does not count them.
Result<uint64_t> read_oom_kills(int proc_root_fd, std::string_view pid_cgroup_text);
Result<uint64_t> parse_oom_kills(std::string_view text);

}  // namespace lezea
