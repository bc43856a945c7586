// Real processes for tests against the live kernel: a child that runs a function and then waits to
// be told to end. Owns the child; the destructor kills and reaps what is left of it.
#pragma once

#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <ctime>

#include "base/unique_fd.h"

namespace lezea::test {

inline unsigned long clock_now_ns(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<unsigned long>(now.tv_sec) * 1000000000ul +
         static_cast<unsigned long>(now.tv_nsec);
}

// Spends CPU until this thread has used `ns` more of it.
inline void burn_cpu(unsigned long ns) {
  unsigned long end = clock_now_ns(CLOCK_THREAD_CPUTIME_ID) + ns;
  while (clock_now_ns(CLOCK_THREAD_CPUTIME_ID) < end) {
  }
}

class LiveChild {
 public:
  // Returns once the child has finished `work`; it then waits, and exits with 7 on finish().
  template <class Work>
  explicit LiveChild(Work work) {
    int done[2];
    int end[2];
    if (pipe(done) != 0 || pipe(end) != 0) return;
    pid_ = fork();
    if (pid_ == 0) {
      close(end[1]);
      work();
      char byte = 'd';
      if (write(done[1], &byte, 1) != 1) _exit(1);
      // Ends when the parent says so, or has died.
      while (read(end[0], &byte, 1) > 0) {
      }
      _exit(7);
    }
    close(done[1]);
    close(end[0]);
    end_.reset(end[1]);
    char byte = 0;
    ready_ = read(done[0], &byte, 1) == 1;
    close(done[0]);
  }
  ~LiveChild() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    reap();
  }
  LiveChild(const LiveChild&) = delete;
  LiveChild& operator=(const LiveChild&) = delete;

  bool ready() const { return ready_; }
  int pid() const { return pid_; }

  // Lets the child exit and waits until it is a zombie, unreaped.
  void finish() {
    end_.reset();
    siginfo_t info{};
    waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT);
  }
  void reap() {
    waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }

 private:
  int pid_ = 0;
  bool ready_ = false;
  UniqueFd end_;
};

}  // namespace lezea::test
