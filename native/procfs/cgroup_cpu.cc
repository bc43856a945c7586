// cpu.stat sample: "usage_usec 1525\nuser_usec 900\nsystem_usec 625\n…"; memory.events sample:
// "low 0\nhigh 0\nmax 12\noom 1\noom_kill 1\n…"; v1's memory.oom_control: "oom_kill_disable 0\n
// under_oom 0\noom_kill 0\n"
#include "procfs/cgroup_cpu.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>

#include "base/read_file.h"
#include "base/text.h"
#include "procfs/mountinfo.h"
#include "procfs/pid_cgroup.h"

namespace lezea {
namespace {

constexpr size_t kCpuStatBytes = 4096;

// A cgroup namespace shows what lies outside of it as "/../..": no file of ours.
bool climbs(std::string_view path) {
  return path.empty() || path.front() != '/' || path.substr(0, 3) == "/..";
}

// A missing controller file in a cgroup that exists is a lack of support, not an end.
Result<uint64_t> read_counter(const std::string& file) {
  Result<std::string> text = read_file_at(AT_FDCWD, file.c_str());
  if (text.status == ReadStatus::kGone) return Result<uint64_t>::fail(ReadStatus::kUnsupported);
  if (!text.ok()) return Result<uint64_t>::fail(text.status);
  return parse_oom_kills(text.value);
}

}  // namespace

Result<uint64_t> parse_cpu_stat_usage_ns(std::string_view text) {
  uint64_t usec = 0;
  if (!find_number(text, "usage_usec ", usec) || usec > UINT64_MAX / 1000) {
    return Result<uint64_t>::fail(ReadStatus::kMalformed);
  }
  return Result<uint64_t>::of(usec * 1000);
}

Result<uint64_t> parse_oom_kills(std::string_view text) {
  uint64_t kills = 0;
  // The blank keeps oom_kill_disable and oom_group_kill apart. Kernels before 4.13 lack the line.
  if (!find_number(text, "oom_kill ", kills)) {
    return Result<uint64_t>::fail(ReadStatus::kUnsupported);
  }
  return Result<uint64_t>::of(kills);
}

Result<CgroupCpu> CgroupCpu::open(const std::string& cgroup2_mount, const std::string& path) {
  using Opened = Result<CgroupCpu>;
  if (climbs(path)) return Opened::fail(ReadStatus::kUnsupported);
  Result<UniqueFd> directory = open_directory_at(AT_FDCWD, (cgroup2_mount + path).c_str());
  if (!directory.ok()) return Opened::fail(directory.status);
  Result<UniqueFd> cpu_stat = open_at(directory.value.get(), "cpu.stat");
  if (!cpu_stat.ok()) return Opened::fail(cpu_stat.status);
  CgroupCpu cgroup;
  cgroup.directory_ = std::move(directory.value);
  cgroup.cpu_stat_ = std::move(cpu_stat.value);
  return Opened::of(std::move(cgroup));
}

Result<uint64_t> CgroupCpu::usage_ns() {
  char buffer[kCpuStatBytes];
  Result<std::string_view> text = pread_file(cpu_stat_.get(), buffer, sizeof buffer);
  if (!text.ok()) return Result<uint64_t>::fail(text.status);
  return parse_cpu_stat_usage_ns(text.value);
}

Result<std::vector<int>> CgroupCpu::procs() {
  using Ids = Result<std::vector<int>>;
  Result<std::string> text = read_file_at(directory_.get(), "cgroup.procs");
  if (!text.ok()) return Ids::fail(text.status);
  std::vector<int> ids;
  TextScanner words(text.value);
  std::string_view word;
  while (words.word(word)) {
    int pid = 0;
    if (!TextScanner(word).number(pid)) return Ids::fail(ReadStatus::kMalformed);
    ids.push_back(pid);
  }
  return Ids::of(std::move(ids));
}

Result<bool> CgroupCpu::has_children() {
  struct stat info{};
  if (fstat(directory_.get(), &info) != 0) return Result<bool>::fail_errno(errno);
  // cgroupfs counts links as Unix directories do: ".", the parent's entry, each child's "..".
  return Result<bool>::of(info.st_nlink > 2);
}

Result<std::string> find_cgroup2_mount(int proc_root_fd) {
  Result<std::string> text = read_file_at(proc_root_fd, "self/mountinfo");
  if (!text.ok()) return text;
  return parse_cgroup2_mount(text.value);
}

Result<uint64_t> read_oom_kills(int proc_root_fd, std::string_view pid_cgroup_text) {
  using Kills = Result<uint64_t>;
  Result<std::string> mounts = read_file_at(proc_root_fd, "self/mountinfo");
  if (!mounts.ok()) return Kills::fail(mounts.status);

  Result<std::string> mount = parse_cgroup2_mount(mounts.value);
  Result<std::string> path = cgroup2_path(pid_cgroup_text);
  if (mount.ok() && path.ok() && !climbs(path.value)) {
    Kills kills = read_counter(mount.value + path.value + "/memory.events");
    if (kills.ok()) return kills;
  }
  // On hybrid machines the memory controller lives in a v1 hierarchy.
  mount = parse_cgroup1_mount(mounts.value, "memory");
  path = cgroup1_path(pid_cgroup_text, "memory");
  if (!mount.ok() || !path.ok() || climbs(path.value)) return Kills::fail(ReadStatus::kUnsupported);
  return read_counter(mount.value + path.value + "/memory.oom_control");
}

}  // namespace lezea
