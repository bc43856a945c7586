// The texts of /proc, /sys and cgroups: the first byte chooses the file, the rest is its text. No text may
// break a parser, a text that is refused gives nothing, and what is given keeps to the file's own limits.
#include <cmath>
#include <string>
#include <vector>

#include "fuzz.h"
#include "node/figures.h"
#include "node/powercap.h"
#include "procfs/cgroup_cpu.h"
#include "procfs/mountinfo.h"
#include "procfs/pid_cgroup.h"
#include "procfs/pid_io.h"
#include "procfs/pid_stat.h"
#include "procfs/pid_statm.h"
#include "procfs/pid_status.h"
#include "procfs/schedstat.h"
#include "procfs/smaps_rollup.h"
#include "procfs/timens_offsets.h"

namespace lezea::fuzz {
namespace {

// The fields of a space-separated text, as the kernel would print them from what was read.
template <class... Numbers>
std::string line_of(Numbers... numbers) {
  std::string line;
  ((line += std::to_string(numbers) + " "), ...);
  return line;
}

bool is_made_of(const std::string& text, const char* characters) {
  return text.find_first_not_of(characters) == std::string::npos;
}

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() > end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

void check_stat(std::string_view text) {
  const Result<PidStat> stat = parse_pid_stat(text);
  if (!stat.ok()) return;
  const PidStat& got = stat.value;
  EXPECT(text.find("(" + got.comm + ")") != std::string_view::npos);
  const std::string again =
      "1 (" + got.comm + ") " + got.state + " " + line_of(got.ppid) + "0 0 0 0 0 " +
      line_of(got.minor_faults, got.reaped_minor_faults, got.major_faults) + "0 " +
      line_of(got.utime_ticks, got.stime_ticks, got.cutime_ticks, got.cstime_ticks) + "0 0 " +
      line_of(got.threads) + "0 " + line_of(got.start_ticks);
  const Result<PidStat> second = parse_pid_stat(again);
  EXPECT(second.ok() && second.value.comm == got.comm && second.value.state == got.state);
  EXPECT(second.value.start_ticks == got.start_ticks && second.value.threads == got.threads);
}

void check_statm(std::string_view text) {
  const Result<uint64_t> rss = parse_statm_rss_bytes(text, 4096);
  EXPECT(rss.value % 4096 == 0);
  EXPECT(rss.ok() || rss.value == 0);
}

void check_io(std::string_view text) {
  const Result<PidIo> io = parse_pid_io(text);
  if (!io.ok()) return;
  const PidIo& got = io.value;
  const std::string again =
      "rchar: " + line_of(got.logical_read_bytes) + "wchar: " + line_of(got.logical_write_bytes) +
      "syscr: " + line_of(got.read_ops) + "syscw: " + line_of(got.write_ops) +
      "read_bytes: " + line_of(got.read_bytes) + "write_bytes: " + line_of(got.write_bytes) +
      "cancelled_write_bytes: " + line_of(got.cancelled_write_bytes);
  const Result<PidIo> second = parse_pid_io(again);
  EXPECT(second.ok() && second.value.read_bytes == got.read_bytes);
  EXPECT(second.value.cancelled_write_bytes == got.cancelled_write_bytes);
}

void check_status(std::string_view text) {
  const Result<PidStatus> status = parse_pid_status(text);
  if (!status.ok()) return;
  // Two bytes a number at least.
  EXPECT(status.value.ns_pids.size() <= text.size() / 2 + 1);
  EXPECT(status.value.ignores_child_signal() == ((status.value.ignored_signals & 0x10000) != 0));
}

void check_schedstat(std::string_view text) {
  const Result<Schedstat> stat = parse_schedstat(text);
  if (!stat.ok()) return;
  const Result<Schedstat> again =
      parse_schedstat(line_of(stat.value.cpu_ns, stat.value.runqueue_wait_ns, 0));
  EXPECT(again.ok() && again.value.cpu_ns == stat.value.cpu_ns);
}

void check_smaps(std::string_view text) {
  const Result<SmapsRollup> rollup = parse_smaps_rollup(text);
  EXPECT(rollup.value.rss_bytes % 1024 == 0 && rollup.value.pss_bytes % 1024 == 0);
}

void check_mounts(std::string_view text) {
  for (const Result<std::string>& mount :
       {parse_cgroup2_mount(text), parse_cgroup1_mount(text, "memory")}) {
    EXPECT(mount.ok() != mount.value.empty());
    EXPECT(mount.value.size() <= text.size());
  }
}

void check_cgroup(std::string_view text) {
  for (const Result<std::string>& path : {cgroup2_path(text), cgroup1_path(text, "memory")}) {
    EXPECT(!path.ok() || path.value.front() == '/');
  }
  const Result<WorkloadIdentity> identity = parse_workload_identity(text);
  if (!identity.ok()) return;
  const WorkloadIdentity& got = identity.value;
  EXPECT(got.cgroup.front() == '/');
  EXPECT(!got.container_id || got.container_id->size() == 64);
  EXPECT(!got.container_id || is_made_of(*got.container_id, "0123456789abcdef"));
  EXPECT(!got.slurm_job_id || !got.slurm_job_id->empty());
  EXPECT(!got.slurm_job_id || is_made_of(*got.slurm_job_id, "0123456789"));
  EXPECT(!got.unit || got.unit->find('/') == std::string::npos);
  EXPECT(!got.unit || ends_with(*got.unit, ".service") || ends_with(*got.unit, ".scope") ||
         ends_with(*got.unit, ".slice"));
}

void check_cgroup_figures(std::string_view text) {
  EXPECT(parse_cpu_stat_usage_ns(text).value % 1000 == 0);
  const Result<uint64_t> kills = parse_oom_kills(text);
  EXPECT(kills.ok() || kills.value == 0);
}

void check_timens(std::string_view text) {
  const Result<int64_t> offset = parse_monotonic_offset_ns(text);
  if (!offset.ok()) return;
  const int64_t seconds = offset.value / 1'000'000'000;
  const int64_t rest = offset.value % 1'000'000'000;
  const Result<int64_t> again = parse_monotonic_offset_ns("monotonic " + line_of(seconds, rest));
  EXPECT(again.ok() && again.value == offset.value);
}

void check_figures(bool ok, const std::vector<NodeFigure>& figures, std::string_view text) {
  EXPECT(ok || figures.empty());
  EXPECT(figures.size() <= 8 * text.size());
  for (const NodeFigure& figure : figures) {
    EXPECT(!figure.name.empty());
    EXPECT(std::isfinite(figure.value) && figure.value >= 0);
    for (const auto& [label, value] : figure.labels) EXPECT(!label.empty() && !value.empty());
  }
}

// The kernel prints two decimals of a number that fits; what does not must not come out as another.
void check_loadavg(bool ok, const std::vector<NodeFigure>& figures, std::string_view text) {
  if (!ok) return;
  const double first = std::strtod(std::string(text).c_str(), nullptr);
  EXPECT(std::fabs(figures[0].value - first) <= 1e-6 * first + 1e-9);
}

void check_node(uint8_t file, std::string_view text) {
  std::vector<NodeFigure> figures;
  bool ok = false;
  const auto every_disk = [](const std::string& name) { return name.size() % 2 == 0; };
  switch (file % 7) {
    case 0:
      ok = parse_meminfo(text, figures);
      break;
    case 1:
      ok = parse_diskstats(text, every_disk, figures);
      break;
    case 2:
      ok = parse_net_dev(text, figures);
      break;
    case 3:
      ok = parse_pressure(text, "cpu", figures);
      break;
    case 4:
      ok = parse_pressure(text, "io", figures);
      break;
    case 5:
      ok = parse_loadavg(text, figures);
      check_loadavg(ok, figures, text);
      break;
    case 6:
      ok = parse_proc_stat(text, 100, figures);
      break;
  }
  check_figures(ok, figures, text);
}

// As many CPUs as a list of one range has that names so many.
void check_cpu_list(std::string_view text) {
  const Result<uint32_t> cpus = parse_cpu_list(text);
  EXPECT(cpus.ok() ? cpus.value > 0 : cpus.value == 0);
  if (!cpus.ok() || cpus.value == UINT32_MAX) return;
  const Result<uint32_t> again = parse_cpu_list("0-" + std::to_string(cpus.value - 1));
  EXPECT(again.ok() && again.value == cpus.value);
}

constexpr void (*kChecks[])(std::string_view) = {
    check_stat,           check_statm,  check_io,      check_status,
    check_schedstat,      check_smaps,  check_mounts,  check_cgroup,
    check_cgroup_figures, check_timens, check_cpu_list};
constexpr size_t kCheckCount = sizeof kChecks / sizeof kChecks[0];

}  // namespace
}  // namespace lezea::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lezea;
  fuzz::Input input(data, size);
  const uint8_t file = input.byte();
  if (file < fuzz::kCheckCount) {
    fuzz::kChecks[file](input.rest());
  } else {
    fuzz::check_node(file, input.rest());
  }
  return 0;
}
