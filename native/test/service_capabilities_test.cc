// Capabilities in one thread alone, in a child that gives up root for an ordinary user as systemd does: threads that block
// every signal, that wait in the kernel, and that come into being meanwhile obey; work goes where the capabilities are.
// Needs root.
#include <linux/capability.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "service/capabilities.h"
#include "service/capable_thread.h"

using namespace lezea;

namespace {

#if defined(__SANITIZE_THREAD__)
constexpr bool kThreadsAfterFork = false;  // its runtime has none in a child
#else
constexpr bool kThreadsAfterFork = true;
#endif

constexpr uint64_t kNetAdmin = uint64_t{1} << CAP_NET_ADMIN;
constexpr uid_t kNobody = 65534;

// Becomes the user with one capability that programs inherit; as setpriv(1) does.
bool become_service() {
  if (::prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0 || ::setresuid(kNobody, kNobody, kNobody) != 0)
    return false;
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2]{};
  data[0] = {kNetAdmin, kNetAdmin, kNetAdmin};
  return ::syscall(SYS_capset, &header, data) == 0 &&
         ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_ADMIN, 0, 0) == 0;
}

// In a child of its own; how many checks failed there.
int in_service(const std::function<void()>& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    lezea::test::failures() = 0;
    ::alarm(20);
    CHECK(become_service());
    CHECK_EQ(permitted_capabilities(), kNetAdmin);
    body();
    ::_exit(lezea::test::failures());
  }
  int status = 0;
  CHECK_EQ(::waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void confine() {
  std::string error;
  CHECK_EQ(confine_capabilities(&error), kNetAdmin);
  CHECK_EQ(error, "");
  CHECK_EQ(permitted_capabilities(), 0u);
}

std::string why_not() {
  if (::geteuid() != 0) return "only root can give capabilities away";
  return kThreadsAfterFork ? "" : "the thread sanitizer has no threads after a fork";
}

}  // namespace

TEST("every other thread is without them, also one that blocks all signals and one that waits") {
  if (!why_not().empty()) SKIP(why_not());
  CHECK_EQ(in_service([] {
             int gate[2];
             CHECK_EQ(::pipe(gate), 0);
             std::atomic<int> waiting{0};
             std::atomic<uint64_t> seen{0};
             std::atomic<bool> restarted{true};
             std::vector<std::thread> threads;
             for (const bool blocks : {true, false}) {
               threads.emplace_back([&, blocks] {
                 sigset_t all;
                 sigfillset(&all);
                 if (blocks) ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
                 ++waiting;
                 char byte = 0;
                 if (::read(gate[0], &byte, 1) != 1) restarted = false;
                 seen |= permitted_capabilities();
               });
             }
             while (waiting < 2) ::sched_yield();
             confine();
             CHECK_EQ(::write(gate[1], "ab", 2), 2);
             for (std::thread& thread : threads) thread.join();
             CHECK_EQ(seen.load(), 0u);
             CHECK(restarted.load());
           }),
           0);
}

TEST("threads that come into being meanwhile are without them too") {
  if (!why_not().empty()) SKIP(why_not());
  CHECK_EQ(in_service([] {
             std::atomic<bool> go_on{true};
             std::atomic<bool> confined{false};
             std::atomic<uint64_t> seen{0};
             std::atomic<int> made{0};
             std::vector<std::thread> makers;
             for (int i = 0; i < 3; i++) {
               makers.emplace_back([&] {
                 while (go_on) {
                   std::thread([&] {
                     if (confined) seen |= permitted_capabilities();
                   }).join();
                   ++made;
                 }
               });
             }
             while (made < 10) ::sched_yield();
             confine();
             confined = true;
             const int before = made;
             while (made < before + 10) ::sched_yield();
             go_on = false;
             for (std::thread& maker : makers) maker.join();
             CHECK_EQ(seen.load(), 0u);
           }),
           0);
}

TEST("work is done where the capabilities are, or, while they are busy, where it is asked for") {
  if (!why_not().empty()) SKIP(why_not());
  CHECK_EQ(in_service([] {
             confine();
             const auto seen = [] {
               uint64_t mask = 0;
               with_capabilities([&] { mask = permitted_capabilities(); });
               return mask;
             };
             CHECK_EQ(seen(), kNetAdmin);
             std::atomic<bool> go_on{true};
             std::atomic<uint64_t> of_body{0};
             CapableThread thread;
             thread.start([&] {
               of_body = permitted_capabilities();
               while (go_on) ::sched_yield();
             });
             while (of_body == 0) ::sched_yield();
             CHECK_EQ(of_body.load(), kNetAdmin);
             CHECK_EQ(seen(), 0u);
             // A second one has a thread, of the ordinary kind.
             CapableThread second;
             second.start([&] { of_body = permitted_capabilities(); });
             second.join();
             CHECK_EQ(of_body.load(), 0u);
             go_on = false;
             thread.join();
             thread.join();
             CHECK_EQ(seen(), kNetAdmin);
             bool thrown = false;
             try {
               with_capabilities([] { throw std::runtime_error("job"); });
             } catch (const std::runtime_error&) {
               thrown = true;
             }
             CHECK(thrown);
             CHECK_EQ(seen(), kNetAdmin);
           }),
           0);
}

TEST("a program that any thread starts is given none, nor can it take one") {
  if (!why_not().empty()) SKIP(why_not());
  CHECK_EQ(in_service([] {
             confine();
             // 1: nothing that it could use, pass on or be given.
             const auto grep = [] {
               const pid_t child = ::fork();
               if (child == 0) {
                 ::execl("/bin/grep", "grep", "-qE",
                         "^(Cap(Inh|Prm|Eff|Amb):\t.*[1-9a-f]|NoNewPrivs:\t0$)",
                         "/proc/self/status", nullptr);
                 ::_exit(99);
               }
               int status = 0;
               ::waitpid(child, &status, 0);
               return WEXITSTATUS(status);
             };
             CHECK_EQ(grep(), 1);
             int of_capable = -1;
             with_capabilities([&] { of_capable = grep(); });
             CHECK_EQ(of_capable, 1);
           }),
           0);
}

TEST("a process of root is left as it is, and works without a thread for it") {
  if (::geteuid() != 0) SKIP("needs root");
  const uint64_t own = permitted_capabilities();
  std::string error;
  CHECK_EQ(confine_capabilities(&error), 0u);
  CHECK_EQ(error, "");
  keep_if_confined(0);
  CHECK_EQ(permitted_capabilities(), own);
  const auto here = std::this_thread::get_id();
  with_capabilities([&] { CHECK(std::this_thread::get_id() == here); });
}
