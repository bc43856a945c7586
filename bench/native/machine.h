// What the native benchmarks share: children with threads to sample, an engine bound to them, the CPU clock of
// the calling thread, and figures as JSON. Children die with the benchmark.

#pragma once

#include <fcntl.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "sampler/engine.h"

namespace bench {

inline uint64_t read_clock(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(now.tv_nsec);
}

// CPU time of this thread: on a shared machine wall time is mostly others'.
inline uint64_t cpu_ns() { return read_clock(CLOCK_THREAD_CPUTIME_ID); }

// A process read by bare system calls on kept descriptors: what any monitor has to pay.
class Bare {
 public:
  explicit Bare(int pid)
      : clock_(static_cast<clockid_t>((~static_cast<uint32_t>(pid) << 3) | 2)),
        stat_(open_file(pid, "stat")),
        statm_(open_file(pid, "statm")),
        io_(open_file(pid, "io")) {}

  // CPU clock, statm and io, and stat if asked for. Returns something that depends on all of them.
  uint64_t read(bool stat) const {
    char buffer[2048];
    uint64_t sum = read_clock(clock_);
    const auto read_file = [&](const lezea::UniqueFd& fd) {
      sum += static_cast<uint64_t>(::pread(fd.get(), buffer, sizeof buffer, 0));
    };
    if (stat) read_file(stat_);
    read_file(statm_);
    read_file(io_);
    return sum;
  }

 private:
  static lezea::UniqueFd open_file(int pid, const char* file) {
    char path[64];
    std::snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
    lezea::UniqueFd fd(::open(path, O_RDONLY | O_CLOEXEC));
    if (!fd.valid()) {
      std::perror(path);
      std::exit(1);
    }
    return fd;
  }

  clockid_t clock_;
  lezea::UniqueFd stat_, statm_, io_;
};

// A thread that wakes now and then and uses a little CPU, as a worker between batches does.
inline void* work(void* pause_ms) {
  const timespec pause{0, static_cast<long>(reinterpret_cast<intptr_t>(pause_ms)) * 1'000'000};
  volatile uint64_t sum = 0;
  for (;;) {
    for (uint64_t i = 0; i < 2000; ++i) sum = sum + i;
    nanosleep(&pause, nullptr);
  }
  return nullptr;
}

// Processes of so many threads each, in a group of their own.
class Children {
 public:
  Children(int count, int threads, int pause_ms) {
    for (int i = 0; i < count; ++i) pids_.push_back(start(threads, pause_ms));
    for (const int pid : pids_) wait_for_threads(pid, threads);
  }
  ~Children() {
    for (const int pid : pids_) kill(pid, SIGKILL);
    for (const int pid : pids_) waitpid(pid, nullptr, 0);
  }
  const std::vector<int>& pids() const { return pids_; }

  static std::vector<int> threads_of(int pid) {
    lezea::ProcessFiles files = open_files(pid);
    return files.thread_ids().value;
  }
  static uint64_t start_ticks(int pid) { return open_files(pid).stat().value.start_ticks; }

 private:
  static lezea::ProcessFiles open_files(int pid) {
    static const int root = ::open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    auto files = lezea::ProcessFiles::open(root, pid);
    if (!files.ok()) std::abort();
    return std::move(files.value);
  }
  static int start(int threads, int pause_ms) {
    const int pid = fork();
    if (pid != 0) return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 64 * 1024);
    void* pause = reinterpret_cast<void*>(static_cast<intptr_t>(pause_ms));
    for (int i = 1; i < threads; ++i) {
      pthread_t thread;
      if (pthread_create(&thread, &attributes, work, pause) != 0) _exit(1);
    }
    work(pause);
    _exit(0);
  }
  static void wait_for_threads(int pid, int threads) {
    while (threads_of(pid).size() < static_cast<size_t>(threads)) usleep(1000);
  }

  std::vector<int> pids_;
};

constexpr uint32_t kRun = 1;
constexpr uint32_t kUnattributed = 1;

// An engine on this machine's own kernel, with one run. `sources_off` names sources to do without.
inline std::unique_ptr<lezea::Engine> open_engine(
    const std::vector<std::string>& sources_off = {}) {
  auto engine = std::make_unique<lezea::Engine>(lezea::open_sources("/proc", "/sys", sources_off), 0);
  engine->open_run(kRun, kUnattributed);
  return engine;
}

// Binds `pid` under a session of the same number; with `scopes` every one of its threads is in a scope of its
// own, with slots from `first_slot` on.
inline uint32_t bind(lezea::Engine& engine, int pid, bool scopes, uint32_t first_slot) {
  lezea::BindCommand command;
  command.session = static_cast<uint32_t>(pid);
  command.pid = command.primary_tid = pid;
  command.start_ticks = Children::start_ticks(pid);
  command.run = kRun;
  engine.bind(command);
  if (!scopes) return first_slot;
  for (const int tid : Children::threads_of(pid)) {
    engine.define_slot(first_slot, kRun, 0);
    lezea::EnterCommand enter;
    enter.session = command.session;
    enter.tid = tid;
    enter.slot = first_slot++;
    enter.t_ns = read_clock(CLOCK_MONOTONIC);
    enter.activation = true;
    engine.enter(enter);
  }
  return first_slot;
}

// {"name": [one value a round, …], …}
class Rounds {
 public:
  void add(const std::string& name, double value) { values_[name].push_back(value); }
  void print() const {
    const char* between = "{";
    for (const auto& [name, values] : values_) {
      std::printf("%s\"%s\": [", between, name.c_str());
      for (size_t i = 0; i < values.size(); ++i) std::printf("%s%.9g", i ? ", " : "", values[i]);
      std::printf("]");
      between = ", ";
    }
    std::printf("}\n");
  }

 private:
  std::map<std::string, std::vector<double>> values_;
};

}  // namespace bench
