// The real netlink sources and pidfds with real children. Where the machine withholds a source (no
// privilege, a container) the tests say so and skip.
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <string>
#include <thread>

#include "base/clock.h"
#include "check.h"
#include "fake_manager.h"
#include "live_child.h"
#include "netlink/pid_info.h"
#include "netlink/probe.h"
#include "netlink/proc_connector.h"
#include "netlink/taskstats.h"
#include "sampler/sources.h"

using namespace lezea;
using lezea::test::burn_cpu;
using lezea::test::FakeManager;
using lezea::test::LiveChild;

namespace {

bool kernel_has_event_filter() {
  utsname kernel{};
  int major = 0;
  int minor = 0;
  uname(&kernel);
  bool parsed = std::sscanf(kernel.release, "%d.%d", &major, &minor) == 2;
  return parsed && (major > 6 || (major == 6 && minor >= 6));
}

// Drains until `wanted` records of the thread `tid` are there or 500 ms have passed.
std::vector<TaskUsage> records_about(ExitListener& listener, int tid, size_t wanted) {
  SystemClock clock;
  uint64_t deadline = clock.monotonic_ns() + 500000000;
  std::vector<TaskUsage> all;
  std::vector<TaskUsage> mine;
  do {
    all.clear();
    listener.drain(all);
    for (const TaskUsage& usage : all) {
      if (usage.tid == tid && !usage.group) mine.push_back(usage);
    }
    if (mine.size() < wanted) clock.sleep_ns(1000000);
  } while (mine.size() < wanted && clock.monotonic_ns() < deadline);
  return mine;
}

}  // namespace

TEST("the probes find out what the sources really do") {
  Result<std::unique_ptr<TaskstatsListener>> listener = TaskstatsListener::open();
  if (!listener.ok()) SKIP(std::string("taskstats: ") + name(listener.status));
  int pid = 0;
  {
    LiveChild child([] {});
    pid = child.pid();
  }
  bool heard = !records_about(*listener.value, pid, 1).empty();
  std::vector<TaskUsage> records;
  CHECK_EQ(probe_exit_records(*listener.value, records).empty(), heard);
  Result<TaskstatsReader> reader = TaskstatsReader::open();
  REQUIRE(reader.ok());
  CHECK_EQ(probe_taskstats_reader(reader.value), "");
}

TEST("a source that never sends is found out within its patience") {
  struct SilentListener final : ExitListener {
    int fd() const override { return -1; }
    void drain(std::vector<TaskUsage>&) override {}
    uint64_t lost() const override { return 0; }
  };
  struct SilentEvents final : ProcEvents {
    int fd() const override { return -1; }
    void drain(std::vector<ProcEvent>&) override {}
    uint64_t lost() const override { return 0; }
  };
  SilentListener listener;
  SilentEvents events;
  uint64_t before = SystemClock().monotonic_ns();
  std::vector<TaskUsage> records;
  CHECK(!probe_exit_records(listener, records).empty());
  std::vector<ProcEvent> heard;
  CHECK(!probe_proc_events(events, heard).empty());
  CHECK(SystemClock().monotonic_ns() - before < 2000000000);
}

TEST("an exit record holds what the child used, and a thread's record what the thread used") {
  Result<std::unique_ptr<TaskstatsListener>> listener = TaskstatsListener::open();
  if (!listener.ok()) SKIP(std::string("taskstats: ") + name(listener.status));
  std::vector<TaskUsage> heard;
  const std::string why = probe_exit_records(*listener.value, heard);
  if (!why.empty()) SKIP(why);
  LiveChild child([] { burn_cpu(50000000); });
  REQUIRE(child.ready());
  int pid = child.pid();
  child.finish();
  uint64_t zombie_ns = SystemClock().process_cpu_ns(pid).value;
  child.reap();
  std::vector<TaskUsage> records = records_about(*listener.value, pid, 1);
  REQUIRE(!records.empty());
  CHECK(records[0].cpu_ns >= 50000000);
  CHECK(records[0].cpu_ns <= zombie_ns);
  CHECK_EQ(records[0].exit_code, 7 << 8);
  CHECK(records[0].has_io);
  CHECK_EQ(listener.value->lost(), 0);

  int tid = 0;
  std::thread thread([&tid] {
    tid = static_cast<int>(syscall(SYS_gettid));
    burn_cpu(10000000);
  });
  thread.join();
  records = records_about(*listener.value, tid, 1);
  REQUIRE(!records.empty());
  CHECK(records[0].cpu_ns >= 10000000);
  CHECK(records[0].tgid == getpid() || records[0].tgid == 0);
  CHECK(!records[0].group);
}

TEST("what the kernel tells while there is no agent waits for the next one, once") {
  const std::vector<std::string> others = {"cgroup", "smaps", "pidfd_info", "rapl"};
  FakeManager manager;
  const auto open = [&] {
    return open_sources("/proc", "/sys", others, {manager.store(), manager.passed()});
  };
  int pid = 0;
  {
    Sources before = open();
    if (!before.exits || !before.events) SKIP("no exit records or no process events here");
    CHECK(!before.heard_before);
    hand_over_listeners(before);
    before.kept.store->flush();
    manager.receive();
  }
  {
    LiveChild child([] { burn_cpu(20000000); });
    pid = child.pid();
  }
  Sources after = open();
  manager.receive();
  CHECK(manager.names().empty());  // were this one killed, nothing may be taken for whole
  REQUIRE(after.exits && after.heard_before);
  const std::vector<TaskUsage> records = records_about(*after.exits, pid, 1);
  REQUIRE(records.size() == 1);
  CHECK(records[0].cpu_ns >= 20000000);
  std::vector<ProcEvent> events;
  after.events->drain(events);
  const auto told = [&](ProcEvent::Kind kind) {
    return std::count_if(events.begin(), events.end(), [&](const ProcEvent& event) {
      return event.kind == kind && event.tid == pid;
    });
  };
  CHECK_EQ(told(ProcEvent::Kind::kFork), 1);
  CHECK_EQ(told(ProcEvent::Kind::kExit), 1);
}

TEST("what was lost while there was no agent is not taken for whole") {
  const std::vector<std::string> others = {"cgroup", "smaps", "pidfd_info", "rapl"};
  FakeManager manager;
  {
    Sources before = open_sources("/proc", "/sys", others, {manager.store(), {}});
    if (!before.exits || !before.events) SKIP("no exit records or no process events here");
    const int least = 1;  // the kernel makes it its least
    for (const int fd : {before.exits->fd(), before.events->fd()})
      CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &least, sizeof least), 0);
    hand_over_listeners(before);
    before.kept.store->flush();
    manager.receive();
  }
  for (int i = 0; i < 50; ++i) LiveChild child([] {});
  const Sources after = open_sources("/proc", "/sys", others, {manager.store(), manager.passed()});
  CHECK(after.exits && after.events && !after.heard_before);
}

TEST("threads are asked for in batches, answered in order, the ended as gone") {
  Result<TaskstatsReader> reader = TaskstatsReader::open();
  if (!reader.ok()) SKIP(std::string("taskstats: ") + name(reader.status));
  int own = static_cast<int>(syscall(SYS_gettid));
  std::vector<int> tids;
  for (int i = 0; i < 150; i++) tids.push_back(i % 3 == 0 ? 999999999 : own);
  std::vector<Result<TaskUsage>> answers;
  reader.value.threads(tids, answers);
  REQUIRE(answers.size() == tids.size());
  for (size_t i = 0; i < tids.size(); i++) {
    CHECK_EQ(answers[i].status, i % 3 == 0 ? ReadStatus::kGone : ReadStatus::kOk);
    if (answers[i].ok()) CHECK_EQ(answers[i].value.tid, own);
  }
  reader.value.threads({}, answers);
  CHECK(answers.empty());

  LiveChild child([] { burn_cpu(20000000); });
  Result<TaskUsage> group = reader.value.group(child.pid());
  REQUIRE(group.ok());
  CHECK(group.value.group);
  CHECK(group.value.cpu_ns >= 20000000);
  int pid = child.pid();
  child.finish();
  child.reap();
  CHECK_EQ(reader.value.group(pid).status, ReadStatus::kGone);
}

TEST("process events tell forks by their forking thread, execs and exits, and nothing else") {
  Result<std::unique_ptr<ProcConnector>> connector = ProcConnector::open();
  if (!connector.ok()) SKIP(std::string("process events: ") + name(connector.status));
  std::vector<ProcEvent> events;
  const std::string why = probe_proc_events(*connector.value, events);
  if (!why.empty()) SKIP(why);
  int forking_tid = 0;
  int pid = 0;
  std::thread forker([&] {
    forking_tid = static_cast<int>(syscall(SYS_gettid));
    pid = fork();
    if (pid == 0) {
      prctl(PR_SET_NAME, "renamed");  // a comm event, unwanted
      setsid();                       // a session event, unwanted
      execl("/bin/true", "true", static_cast<char*>(nullptr));
      _exit(1);
    }
    waitpid(pid, nullptr, 0);
  });
  forker.join();

  std::vector<ProcEvent> mine;
  SystemClock clock;
  uint64_t deadline = clock.monotonic_ns() + 500000000;
  const auto has = [&mine](ProcEvent::Kind kind) {
    return std::any_of(mine.begin(), mine.end(),
                       [kind](const ProcEvent& e) { return e.kind == kind; });
  };
  uint64_t thread_forks = 0;
  while (!has(ProcEvent::Kind::kExit) && clock.monotonic_ns() < deadline) {
    std::vector<ProcEvent> all;
    connector.value->drain(all);
    for (const ProcEvent& event : all) {
      if (event.tgid == pid) mine.push_back(event);
      if (event.new_thread() && event.tid == forking_tid) {
        thread_forks++;
        CHECK_EQ(event.tgid, getpid());
        CHECK_EQ(event.parent_tgid, getppid());  // of the process, not of the creating thread
      }
    }
    if (!has(ProcEvent::Kind::kExit)) clock.sleep_ns(1000000);
  }
  CHECK_EQ(thread_forks, 1u);
  REQUIRE(mine.size() == 3);
  CHECK_EQ(mine[0].kind, ProcEvent::Kind::kFork);
  CHECK_EQ(mine[0].parent_tid, forking_tid);
  CHECK_EQ(mine[0].parent_tgid, getpid());
  CHECK_EQ(mine[1].kind, ProcEvent::Kind::kExec);
  CHECK_EQ(mine[2].kind, ProcEvent::Kind::kExit);
  CHECK(mine[0].t_mono_ns < mine[1].t_mono_ns && mine[1].t_mono_ns < mine[2].t_mono_ns);
  CHECK(mine[2].t_mono_ns <= clock.monotonic_ns());
  if (kernel_has_event_filter()) CHECK_EQ(connector.value->unwanted(), 0);
}

TEST("a pidfd tells who and how it ended, also after reaping") {
  LiveChild child([] {});
  Result<UniqueFd> pidfd = open_pidfd(child.pid());
  if (pidfd.status == ReadStatus::kUnsupported) SKIP("no pidfd_open on this kernel");
  REQUIRE(pidfd.ok());
  CHECK(!pidfd_ended(pidfd.value.get()));
  Result<PidInfo> alive = pid_info(pidfd.value.get());
  if (!alive.ok()) SKIP("no PIDFD_GET_INFO on this kernel");
  CHECK(alive.value.has_ids);
  CHECK_EQ(alive.value.pid, child.pid());
  CHECK_EQ(alive.value.ppid, getpid());
  CHECK_EQ(alive.value.uid, getuid());
  CHECK(!alive.value.has_exit);

  kill(child.pid(), SIGKILL);
  child.finish();
  CHECK(pidfd_ended(pidfd.value.get()));
  child.reap();
  CHECK(pidfd_ended(pidfd.value.get()));
  if (!probe_pidfd_exit_info().empty()) SKIP(probe_pidfd_exit_info());
  Result<PidInfo> reaped = pid_info(pidfd.value.get());
  REQUIRE(reaped.ok());
  CHECK(!reaped.value.has_ids);
  CHECK(reaped.value.has_exit);
  CHECK_EQ(reaped.value.exit_status, SIGKILL);
  CHECK_EQ(open_pidfd(999999999).status == ReadStatus::kOk, false);
}

TEST("a signal through a pidfd reaches that process, and nobody once it is reaped") {
  LiveChild child([] {});
  Result<UniqueFd> pidfd = open_pidfd(child.pid());
  if (pidfd.status == ReadStatus::kUnsupported) SKIP("no pidfd_open on this kernel");
  REQUIRE(pidfd.ok());
  CHECK_EQ(send_signal(pidfd.value.get(), 0), ReadStatus::kOk);
  CHECK_EQ(send_signal(pidfd.value.get(), SIGKILL), ReadStatus::kOk);
  child.finish();
  child.reap();
  CHECK_EQ(send_signal(pidfd.value.get(), 0), ReadStatus::kGone);
}

TEST("a socket's peer has a pidfd") {
  int pair[2];
  REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
  Result<UniqueFd> peer = peer_pidfd(pair[0]);
  if (peer.status == ReadStatus::kOk) {
    Result<PidInfo> info = pid_info(peer.value.get());
    if (info.ok()) CHECK_EQ(info.value.pid, getpid());
    CHECK(!pidfd_ended(peer.value.get()));
  } else {
    CHECK_EQ(peer.status, ReadStatus::kUnsupported);
  }
  CHECK(!peer_pidfd(-1).ok());
  close(pair[0]);
  close(pair[1]);
}
