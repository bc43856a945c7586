// ProcessFiles, listings and cgroups: on the captured root, then on real children of this test.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <algorithm>
#include <condition_variable>
#include <csignal>
#include <fstream>
#include <mutex>
#include <thread>
#include <vector>

#include "allocations.h"
#include "base/clock.h"
#include "base/read_file.h"
#include "check.h"
#include "fixture.h"
#include "live_child.h"
#include "procfs/cgroup_cpu.h"
#include "procfs/pid_cgroup.h"
#include "procfs/pid_list.h"
#include "procfs/process_files.h"

using namespace lezea;
using lezea::test::burn_cpu;
using lezea::test::fixture_path;
using lezea::test::LiveChild;

namespace {

constexpr int kCapturedPid = 11942;

UniqueFd captured_root() {
  return std::move(open_directory_at(AT_FDCWD, fixture_path("debian12-vm/proc").c_str()).value);
}

UniqueFd live_root() { return std::move(open_directory_at(AT_FDCWD, "/proc").value); }

Result<ProcessFiles> open_live(int pid) { return ProcessFiles::open(live_root().get(), pid); }

}  // namespace

TEST("a captured process is read as it was") {
  Result<ProcessFiles> opened = ProcessFiles::open(captured_root().get(), kCapturedPid);
  REQUIRE(opened.ok());
  ProcessFiles& files = opened.value;
  CHECK_EQ(files.stat().value.comm, "python3");
  CHECK_EQ(files.stat().value.start_ticks, 299178);
  CHECK_EQ(files.rss_bytes().value, 3470u * static_cast<uint64_t>(sysconf(_SC_PAGESIZE)));
  CHECK_EQ(files.io().value.write_bytes, 12587008);
  CHECK_EQ(files.smaps_rollup().value.pss_bytes, 12163u * 1024);
  CHECK(files.status().value.ignores_child_signal());
  CHECK_EQ(cgroup2_path(files.cgroup_text().value).value, "/");
  CHECK_EQ(files.monotonic_offset_ns().value, 0);
  CHECK(files.alive());

  uint64_t cpu_ns = 0;
  uint64_t written = 0;
  Result<std::vector<int>> threads = files.thread_ids();
  REQUIRE(threads.ok());
  CHECK_EQ(threads.value.size(), 4);
  for (int tid : threads.value) {
    cpu_ns += files.thread_schedstat(tid).value.cpu_ns;
    written += files.thread_io(tid).value.write_bytes;
    CHECK_EQ(files.thread_status(tid).value.tgid, kCapturedPid);
    CHECK_EQ(files.thread_stat(tid).value.threads, 4);
  }
  CHECK_EQ(cpu_ns, 964193715);  // 95 ticks of 10 ms in stat
  CHECK_EQ(written, files.io().value.write_bytes);
}

TEST("what a root lacks is unsupported or gone, never zero") {
  UniqueFd root = captured_root();
  CHECK_EQ(ProcessFiles::open(root.get(), 1).status, ReadStatus::kGone);
  ProcessFiles files = std::move(ProcessFiles::open(root.get(), kCapturedPid).value);
  CHECK(!files.exe().ok());
  CHECK_EQ(files.thread_schedstat(1).status, ReadStatus::kGone);
  CHECK(list_pids(root.get()).value == std::vector<int>{kCapturedPid});
  CHECK_EQ(find_cgroup2_mount(root.get()).value, "/sys/fs/cgroup/unified");
}

TEST("a child that burned 50 ms shows them, alive, as a zombie, and not after") {
  LiveChild child([] { burn_cpu(50000000); });
  REQUIRE(child.ready());
  SystemClock clock;
  Result<ProcessFiles> opened = open_live(child.pid());
  REQUIRE(opened.ok());
  ProcessFiles& files = opened.value;
  uint64_t cpu_ns = clock.process_cpu_ns(child.pid()).value;
  CHECK(cpu_ns >= 50000000);
  CHECK(cpu_ns < 150000000);
  uint64_t thread_ns = files.thread_schedstat(child.pid()).value.cpu_ns;
  CHECK(thread_ns >= 50000000);
  CHECK(files.rss_bytes().value > 0);
  CHECK_EQ(files.stat().value.ppid, getpid());
  CHECK(!files.thread_stat(child.pid()).value.exiting);
  CHECK(!files.exe().value.empty());
  CHECK(files.pid_namespace().value > 0);

  child.finish();
  CHECK_EQ(files.stat().value.state, 'Z');
  CHECK(files.thread_stat(child.pid()).value.exiting);
  CHECK(files.alive());
  CHECK_EQ(files.rss_bytes().value, 0);
  // Without ptrace rights a zombie's io is refused even to its own user.
  if (geteuid() == 0) CHECK(files.io().ok());
  CHECK(clock.process_cpu_ns(child.pid()).value >= cpu_ns);
  CHECK(!files.smaps_rollup().ok());

  child.reap();
  CHECK(!files.alive());
  CHECK_EQ(files.stat().status, ReadStatus::kGone);
  CHECK(!files.io().ok());
  CHECK_EQ(files.rss_bytes().status, ReadStatus::kGone);
  CHECK_EQ(files.status().status, ReadStatus::kGone);
  CHECK_EQ(files.cgroup_text().status, ReadStatus::kGone);
  CHECK_EQ(files.thread_ids().status, ReadStatus::kGone);
  CHECK_EQ(files.thread_schedstat(files.pid()).status, ReadStatus::kGone);
}

TEST("an ended thread stays gone until it is forgotten") {
  int tid = 0;
  bool go = false;
  std::mutex mutex;
  std::condition_variable changed;
  std::thread thread([&] {
    std::unique_lock<std::mutex> lock(mutex);
    tid = static_cast<int>(syscall(SYS_gettid));
    changed.notify_all();
    changed.wait(lock, [&go] { return go; });
  });
  {
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait(lock, [&tid] { return tid != 0; });
  }
  ProcessFiles files = std::move(open_live(getpid()).value);
  CHECK(files.thread_schedstat(tid).ok());
  CHECK(files.thread_status(tid).ok());
  size_t open = files.open_descriptors();
  {
    std::lock_guard<std::mutex> lock(mutex);
    go = true;
  }
  changed.notify_all();
  thread.join();
  // join returns when the kernel clears the thread's id, a moment before it is unhashed.
  SystemClock clock;
  for (int i = 0; i < 1000 && files.thread_schedstat(tid).ok(); i++) clock.sleep_ns(100000);
  CHECK_EQ(files.thread_schedstat(tid).status, ReadStatus::kGone);
  CHECK_EQ(files.open_descriptors(), open);
  files.forget_thread(tid);
  CHECK_EQ(files.open_descriptors(), open - 2);
}

TEST("smaps_rollup follows an exec") {
  ProcessFiles self = std::move(open_live(getpid()).value);
  CHECK(self.smaps_rollup().value.pss_bytes > 0);

  int gate[2];
  REQUIRE(pipe2(gate, O_CLOEXEC) == 0);
  int pid = fork();
  if (pid == 0) {
    char byte = 0;
    if (read(gate[0], &byte, 1) != 1) _exit(1);
    execl("/bin/sleep", "sleep", "30", static_cast<char*>(nullptr));
    _exit(1);
  }
  ProcessFiles files = std::move(open_live(pid).value);
  CHECK(files.smaps_rollup().ok());
  CHECK_EQ(write(gate[1], "x", 1), 1);
  SystemClock clock;
  for (int i = 0; i < 2000 && files.stat().value.comm != "sleep"; i++) clock.sleep_ns(1000000);
  Result<SmapsRollup> after = files.smaps_rollup();
  CHECK(after.ok());
  CHECK(after.value.rss_bytes > 0);
  kill(pid, SIGKILL);
  waitpid(pid, nullptr, 0);
  close(gate[0]);
  close(gate[1]);
}

TEST("pids are listed in order, with this one among them") {
  Result<std::vector<int>> pids = list_pids(live_root().get());
  REQUIRE(pids.ok());
  CHECK(std::is_sorted(pids.value.begin(), pids.value.end()));
  CHECK(std::binary_search(pids.value.begin(), pids.value.end(), getpid()));
}

TEST("repeated samples allocate nothing") {
  ProcessFiles files = std::move(open_live(getpid()).value);
  const auto sample = [&files] {
    CHECK(files.stat().ok());
    CHECK(files.io().ok());
    CHECK(files.rss_bytes().ok());
    CHECK(files.thread_schedstat(getpid()).ok());
  };
  sample();
  test::allocations() = 0;
  test::counting() = true;
  sample();
  test::counting() = false;
  CHECK_EQ(test::allocations(), 0);
}

TEST("a v2 cgroup's CPU time is read where one can be made") {
  Result<std::string> mount = find_cgroup2_mount(live_root().get());
  if (!mount.ok()) SKIP("no unified cgroup hierarchy is mounted");
  const std::string path = "/lezea-native-test-" + std::to_string(getpid());
  if (mkdir((mount.value + path).c_str(), 0755) != 0) SKIP("no permission to make a cgroup");
  {
    LiveChild child([&] {
      std::ofstream(mount.value + path + "/cgroup.procs") << 0 << std::endl;
      burn_cpu(30000000);
    });
    Result<CgroupCpu> cgroup = CgroupCpu::open(mount.value, path);
    REQUIRE(cgroup.ok());
    CHECK(cgroup.value.procs().value == std::vector<int>{child.pid()});
    CHECK(!cgroup.value.has_children().value);
    CHECK(cgroup.value.usage_ns().value >= 29000000);
    CHECK(CgroupCpu::open(mount.value, "/").value.has_children().value);
    child.finish();
    child.reap();
    CHECK(cgroup.value.procs().value.empty());
    CHECK_EQ(rmdir((mount.value + path).c_str()), 0);
    CHECK_EQ(cgroup.value.usage_ns().status, ReadStatus::kGone);
  }
  CHECK_EQ(CgroupCpu::open(mount.value, path).status, ReadStatus::kGone);
  CHECK_EQ(CgroupCpu::open(mount.value, "/../../etc").status, ReadStatus::kUnsupported);
}

TEST("OOM kills are a count or unsupported") {
  UniqueFd root = live_root();
  ProcessFiles files = std::move(open_live(getpid()).value);
  Result<uint64_t> kills = read_oom_kills(root.get(), files.cgroup_text().value);
  CHECK(kills.ok() || kills.status == ReadStatus::kUnsupported);
  CHECK_EQ(read_oom_kills(root.get(), "0::/no/such/cgroup\n").status, ReadStatus::kUnsupported);
}
