// The disposable threads of the ring acceptor: counted and given a deadline, joined only once they have nothing left to
// do. One past its deadline hangs in a stranger's descriptor; how many may is bounded here.
#pragma once

#include <pthread.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <vector>

namespace lezea {

// A thread's own buffers are a few hundred bytes; what it reads goes to the heap.
constexpr size_t kSmallStackBytes = 256 * 1024;
// For a thread that calls into a library of others, which may take what a program's first thread has. It is only
// address space until it is used.
constexpr size_t kForeignStackBytes = 8 * 1024 * 1024;

// Starts a thread that takes no signals. Detached if `joinable` is null. False if the machine has
// no thread left; nothing of `body` has run then.
bool start_thread(std::function<void()> body, pthread_t* joinable = nullptr,
                  size_t stack_bytes = kSmallStackBytes);

struct OfferThreadLimits {
  uint32_t serving;   // threads with a connection that may become a ring
  uint32_t refusing;  // threads beyond those, that only say no
  uint32_t stuck;     // threads past their deadline before every offer is refused
};

// Thread-safe. Times are CLOCK_MONOTONIC ns.
class OfferThreads {
 public:
  explicit OfferThreads(OfferThreadLimits limits) : limits_(limits) {}
  ~OfferThreads();

  // False while not even a refusal may begin.
  bool has_room() const;
  // Counts one more thread. `refusal` becomes null, or why it may only refuse.
  uint64_t add(uint64_t now_ns, uint64_t deadline_ns, const char** refusal);
  void set_deadline(uint64_t id, uint64_t deadline_ns);
  bool overdue(uint64_t id, uint64_t now_ns) const;
  void remove(uint64_t id, uint64_t now_ns);
  // The last act of a joinable thread that was added.
  void leave(uint64_t id, uint64_t now_ns);
  // Waits until those that left are gone: a thread takes a while to end, and many at once would be more than are counted.
  void join_left();

  struct Counts {
    uint32_t alive = 0;
    uint32_t stuck = 0;
    uint64_t abandoned = 0;  // ever past their deadline, cumulative
  };
  Counts counts(uint64_t now_ns);

 private:
  struct Entry {
    uint64_t deadline_ns = 0;
    bool refusing = false;
    bool abandoned = false;
  };
  uint32_t count_stuck(uint64_t now_ns);             // with the mutex held
  void remove_locked(uint64_t id, uint64_t now_ns);  // with the mutex held

  const OfferThreadLimits limits_;
  mutable std::mutex mutex_;
  std::map<uint64_t, Entry> threads_;
  std::vector<pthread_t> left_;
  uint64_t last_id_ = 0;
  uint32_t refusing_ = 0;
  uint64_t abandoned_ = 0;
};

}  // namespace lezea
