// The one thread that keeps the capabilities which the process was started with, and work that is done there: the
// sampling thread. Every other thread has none, so that neither a mistake in JavaScript nor a child can use them.
//
// Until confine_capabilities(), and in a process that has none to confine, work is done where it is asked for. A process of
// uid 0 is left as it is: it may read by its uid, in all of its threads.
#pragma once

#include <cstdint>
#include <functional>
#include <future>
#include <string>
#include <thread>

namespace lezea {

// Once in a process, before other work of it. What is kept, 0 for nothing. `error` says why a thread could keep some that
// must not; the process should end then.
uint64_t confine_capabilities(std::string* error);

// Of a thread that the capable one starts: it keeps `mask` of what that has. Does nothing in a process that is not confined.
void keep_if_confined(uint64_t mask);

// Runs `job` where the capabilities are, and waits for it; where it is while they are busy. Passes on what it throws.
void with_capabilities(const std::function<void()>& job);

// A thread for one body at a time: the capable one, or a new one where there is none or it is busy.
class CapableThread {
 public:
  CapableThread() = default;
  CapableThread(const CapableThread&) = delete;
  CapableThread& operator=(const CapableThread&) = delete;

  // Throws std::system_error where there is no thread left.
  void start(std::function<void()> body);
  void join();  // idempotent

 private:
  std::thread own_;
  std::future<void> lent_;
};

}  // namespace lezea
