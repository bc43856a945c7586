// The parsers of native/procfs against real lines, hostile ones and every truncation of real ones.
#include <string>

#include "check.h"
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

using namespace lezea;

namespace {

const std::string kStat =
    "11942 (python3) S 11938 11938 2975 0 -1 4194304 2973 6491 4 3 31 64 3 5 20 0 4 0 299178 "
    "243531776 3432 18446744073709551615\n";

const std::string kIo =
    "rchar: 1692462\nwchar: 12584613\nsyscr: 674\nsyscw: 223\nread_bytes: 811008\n"
    "write_bytes: 12587008\ncancelled_write_bytes: 4096\n";

const std::string kStatus =
    "Name:\tevil\\nUid:\\t1\nState:\tS (sleeping)\nTgid:\t4242\nPid:\t4243\nPPid:\t1\n"
    "Uid:\t1000\t1001\t1000\t1000\nGid:\t100\t100\t100\t100\nNSpid:\t4243\t77\t8\n"
    "SigIgn:\t0000000001011006\nSigCgt:\t0000000100000000\nvoluntary_ctxt_switches:\t30\n"
    "nonvoluntary_ctxt_switches:\t4\n";

const std::string kId = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

WorkloadIdentity identity_of(const std::string& text) {
  Result<WorkloadIdentity> identity = parse_workload_identity(text);
  CHECK(identity.ok());
  return identity.value;
}

// Every text that is a prefix of a good one, up to `last` bytes short, must be refused or give a
// value, but never crash or read beyond (the sanitizers watch).
template <class Parse>
void feed_truncations(const std::string& text, Parse parse) {
  for (size_t size = 0; size <= text.size(); size++) {
    const std::string exact(text.data(), size);
    parse(exact);
  }
}

}  // namespace

TEST("stat is read field by field") {
  Result<PidStat> stat = parse_pid_stat(kStat);
  REQUIRE(stat.ok());
  CHECK_EQ(stat.value.comm, "python3");
  CHECK_EQ(stat.value.state, 'S');
  CHECK_EQ(stat.value.ppid, 11938);
  CHECK_EQ(stat.value.minor_faults, 2973);
  CHECK_EQ(stat.value.major_faults, 4);
  CHECK_EQ(stat.value.utime_ticks, 31);
  CHECK_EQ(stat.value.stime_ticks, 64);
  CHECK_EQ(stat.value.cutime_ticks, 3);
  CHECK_EQ(stat.value.cstime_ticks, 5);
  CHECK_EQ(stat.value.threads, 4);
  CHECK_EQ(stat.value.start_ticks, 299178);
}

TEST("a process name cannot forge stat fields") {
  const std::string tail = kStat.substr(kStat.find(')') + 1);
  for (const std::string& comm :
       {std::string("a) R 1 (b"), std::string(") S 0"), std::string("\n"), std::string(""),
        std::string("((("), std::string("kworker/u8:0-events_unbound_long")}) {
    Result<PidStat> stat = parse_pid_stat("11942 (" + comm + ")" + tail);
    REQUIRE(stat.ok());
    CHECK_EQ(stat.value.comm, comm);
    CHECK_EQ(stat.value.ppid, 11938);
    CHECK_EQ(stat.value.start_ticks, 299178);
  }
}

TEST("a malformed stat is refused") {
  for (const char* bad : {"", "1", "1 (a", "1 a) S 1", ")(", "1 (a) S", "1 (a) SS 1 2 3",
                          "1 (a) S x 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1"}) {
    CHECK_EQ(parse_pid_stat(bad).status, ReadStatus::kMalformed);
  }
  std::string overflow = kStat;
  overflow.replace(overflow.find("299178"), 6, "99999999999999999999");
  CHECK_EQ(parse_pid_stat(overflow).status, ReadStatus::kMalformed);
  feed_truncations(kStat, [](const std::string& text) { return parse_pid_stat(text).ok(); });
}

TEST("io is read field by field and a missing field is no zero") {
  Result<PidIo> io = parse_pid_io(kIo);
  REQUIRE(io.ok());
  CHECK_EQ(io.value.logical_read_bytes, 1692462);
  CHECK_EQ(io.value.logical_write_bytes, 12584613);
  CHECK_EQ(io.value.read_ops, 674);
  CHECK_EQ(io.value.write_ops, 223);
  CHECK_EQ(io.value.read_bytes, 811008);
  CHECK_EQ(io.value.write_bytes, 12587008);
  CHECK_EQ(io.value.cancelled_write_bytes, 4096);
  const std::string without_last = kIo.substr(0, kIo.find("cancelled"));
  CHECK_EQ(parse_pid_io(without_last).status, ReadStatus::kMalformed);
  CHECK_EQ(parse_pid_io("").status, ReadStatus::kMalformed);
  feed_truncations(kIo, [](const std::string& text) { return parse_pid_io(text).ok(); });
}

TEST("statm, schedstat and smaps_rollup") {
  CHECK_EQ(parse_statm_rss_bytes("59456 3470 1672 1 0 8278 0\n", 4096).value, 3470u * 4096);
  CHECK_EQ(parse_statm_rss_bytes("1", 4096).status, ReadStatus::kMalformed);
  CHECK_EQ(parse_statm_rss_bytes("1 18446744073709551615", 4096).status, ReadStatus::kMalformed);

  Result<Schedstat> sched = parse_schedstat("302621588 8029938 271\n");
  CHECK_EQ(sched.value.cpu_ns, 302621588);
  CHECK_EQ(sched.value.runqueue_wait_ns, 8029938);
  CHECK_EQ(parse_schedstat("302621588 8029938").status, ReadStatus::kMalformed);

  const std::string rollup =
      "564843030000-7ffff0fd3000 ---p 00000000 00:00 0     [rollup]\nRss:               13880 kB\n"
      "Pss:               12163 kB\nPss_Dirty:          7192 kB\n";
  CHECK_EQ(parse_smaps_rollup(rollup).value.rss_bytes, 13880u * 1024);
  CHECK_EQ(parse_smaps_rollup(rollup).value.pss_bytes, 12163u * 1024);
  CHECK_EQ(parse_smaps_rollup("Rss: 1 kB\nPss_Dirty: 2 kB\n").status, ReadStatus::kMalformed);
  CHECK_EQ(parse_smaps_rollup("Rss: 18446744073709551615 kB\nPss: 1 kB\n").status,
           ReadStatus::kMalformed);
}

TEST("status gives ids, switches and signal masks") {
  Result<PidStatus> status = parse_pid_status(kStatus);
  REQUIRE(status.ok());
  CHECK_EQ(status.value.tgid, 4242);
  CHECK_EQ(status.value.uid, 1000);
  CHECK_EQ(status.value.effective_uid, 1001);
  CHECK_EQ(status.value.gid, 100);
  CHECK_EQ(status.value.voluntary_switches, 30);
  CHECK_EQ(status.value.involuntary_switches, 4);
  CHECK(status.value.ns_pids == (std::vector<int>{4243, 77, 8}));
  CHECK_EQ(status.value.ignored_signals, 0x1011006);
  CHECK_EQ(status.value.caught_signals, 0x100000000);
  CHECK(status.value.ignores_child_signal());
  feed_truncations(kStatus, [](const std::string& text) { return parse_pid_status(text).ok(); });
}

TEST("status without NSpid is an old kernel, with a broken one is malformed") {
  std::string old_kernel = kStatus;
  old_kernel.erase(old_kernel.find("NSpid"), old_kernel.find("SigIgn") - old_kernel.find("NSpid"));
  CHECK(parse_pid_status(old_kernel).ok());
  CHECK(parse_pid_status(old_kernel).value.ns_pids.empty());
  std::string broken = kStatus;
  broken.replace(broken.find("77"), 2, "7x");
  CHECK_EQ(parse_pid_status(broken).status, ReadStatus::kMalformed);
}

TEST("timens offsets may be negative and must fit") {
  CHECK_EQ(parse_monotonic_offset_ns("monotonic           0         0\nboottime  5  5\n").value, 0);
  CHECK_EQ(parse_monotonic_offset_ns("monotonic      100000       250\n").value, 100000000000250);
  CHECK_EQ(parse_monotonic_offset_ns("monotonic          -2 500000000\n").value, -1500000000);
  CHECK_EQ(parse_monotonic_offset_ns("boottime 1 1\n").status, ReadStatus::kMalformed);
  CHECK_EQ(parse_monotonic_offset_ns("monotonic 9223372036854775807 0\n").status,
           ReadStatus::kMalformed);
}

TEST("cgroup paths of v2, v1 and hybrid machines") {
  const std::string hybrid = "4:memory:/docker/x\n3:cpu,cpuacct:/docker/x\n0::/init.scope\n";
  CHECK_EQ(cgroup2_path(hybrid).value, "/init.scope");
  CHECK_EQ(cgroup1_path(hybrid, "cpuacct").value, "/docker/x");
  CHECK_EQ(cgroup1_path(hybrid, "acct").status, ReadStatus::kUnsupported);
  CHECK_EQ(cgroup2_path("4:memory:/a\n").status, ReadStatus::kUnsupported);
  CHECK_EQ(cgroup2_path("0::/gone.scope (deleted)\n").value, "/gone.scope");
  CHECK_EQ(cgroup2_path("0::/a:b\n").value, "/a:b");
  for (const char* bad : {"", "0", "0:", "0::", "0::relative\n", "0::/a\nnonsense\n"}) {
    CHECK_EQ(parse_workload_identity(bad).status, ReadStatus::kMalformed);
    CHECK_EQ(cgroup2_path(bad).status, ReadStatus::kUnsupported);
  }
}

TEST("units are the innermost service or scope, else the slice") {
  CHECK_EQ(*identity_of("0::/system.slice/ssh.service\n").unit, "ssh.service");
  CHECK_EQ(*identity_of("0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.scope/leaf\n")
                .unit,
           "x.scope");
  CHECK_EQ(*identity_of("0::/user.slice/user-1000.slice\n").unit, "user-1000.slice");
  CHECK_EQ(*identity_of("9:name=systemd:/system.slice/cron.service\n4:memory:/a/b.service\n").unit,
           "cron.service");
  CHECK(!identity_of("0::/\n").unit);
  CHECK_EQ(identity_of("0::/\n").cgroup, "/");
  CHECK_EQ(identity_of("1:cpu:/\n4:memory:/longer\n").cgroup, "/longer");
  CHECK_EQ(identity_of("1:cpu:/longer\n0::/\n").cgroup, "/");
}

TEST("container ids of every runtime's way to write them") {
  for (const std::string& path :
       {"/system.slice/docker-" + kId + ".scope", "/docker/" + kId,
        "/machine.slice/libpod-" + kId + ".scope/container",
        "/kubepods.slice/kubepods-pod1.slice/cri-containerd-" + kId + ".scope",
        "/kubepods/burstable/pod0a/" + kId, "/system.slice/crio-" + kId + ".scope",
        "/a/kubepods-pod1.slice:cri-containerd:" + kId}) {
    WorkloadIdentity identity = identity_of("0::" + path + "\n");
    REQUIRE(identity.container_id.has_value());
    CHECK_EQ(*identity.container_id, kId);
  }
  CHECK(!identity_of("0::/machine.slice/libpod-conmon-" + kId + ".scope\n").container_id);
  CHECK(!identity_of("0::/docker/" + kId.substr(1) + "\n").container_id);
  CHECK(!identity_of("0::/docker/f" + kId + "\n").container_id);
  CHECK(!identity_of("0::/docker/G" + kId.substr(1) + "\n").container_id);
  // Hybrid: the unified path says nothing, the v1 one does.
  CHECK_EQ(*identity_of("4:memory:/docker/" + kId + "\n0::/\n").container_id, kId);
}

TEST("Slurm jobs, old and new layout, and nothing that only looks like one") {
  CHECK_EQ(
      *identity_of("0::/system.slice/slurmstepd.scope/job_1234/step_0/user/task_0\n").slurm_job_id,
      "1234");
  CHECK_EQ(*identity_of("4:memory:/slurm/uid_7/job_99/step_batch\n0::/\n").slurm_job_id, "99");
  CHECK(!identity_of("0::/user.slice/job_1234\n").slurm_job_id);
  CHECK(!identity_of("0::/slurm/job_x1\n").slurm_job_id);
  CHECK(!identity_of("0::/slurm/job_\n").slurm_job_id);
}

TEST("mount points of the hierarchies, with escapes, without foreign roots") {
  const std::string text =
      "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime shared:3 - cgroup cgroup rw,cpu,cpuacct\n"
      "40 31 0:38 /docker/abc /inner rw - cgroup2 cgroup2 rw\n"
      "41 31 0:38 / /sys/fs/my\\040cgroup rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n"
      "broken line\n";
  CHECK_EQ(parse_cgroup2_mount(text).value, "/sys/fs/my cgroup");
  CHECK_EQ(parse_cgroup1_mount(text, "cpuacct").value, "/sys/fs/cgroup/cpu");
  CHECK_EQ(parse_cgroup1_mount(text, "memory").status, ReadStatus::kUnsupported);
  CHECK_EQ(parse_cgroup2_mount("1 2 3 / /x\\04 rw - cgroup2 c rw\n").value, "/x\\04");
  CHECK_EQ(parse_cgroup2_mount("").status, ReadStatus::kUnsupported);
}

TEST("cgroup counters") {
  CHECK_EQ(parse_cpu_stat_usage_ns("usage_usec 1525\nuser_usec 900\n").value, 1525000);
  CHECK_EQ(parse_cpu_stat_usage_ns("user_usec 900\n").status, ReadStatus::kMalformed);
  CHECK_EQ(parse_cpu_stat_usage_ns("usage_usec 18446744073709551615\n").status,
           ReadStatus::kMalformed);
  CHECK_EQ(parse_oom_kills("low 0\noom 4\noom_kill 3\noom_group_kill 1\n").value, 3);
  CHECK_EQ(parse_oom_kills("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n").value, 2);
  CHECK_EQ(parse_oom_kills("oom_kill_disable 0\nunder_oom 0\n").status, ReadStatus::kUnsupported);
}
