// See capable_thread.h.

#include "service/capable_thread.h"

#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <utility>

#include "scope/offer_threads.h"
#include "service/capabilities.h"

namespace lezea {
namespace {

struct Job {
  std::function<void()> body;
  std::promise<void> done;
};

class Holder {
 public:
  // In its own thread, for ever.
  void serve() {
    for (;;) {
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait(lock, [this] { return waiting_; });
      waiting_ = false;
      Job job = std::move(job_);
      lock.unlock();
      std::exception_ptr fault;
      try {
        job.body();
      } catch (...) {
        fault = std::current_exception();
      }
      job.body = nullptr;
      lock.lock();
      busy_ = false;  // before anybody knows of the end, and has more to do
      lock.unlock();
      if (fault) {
        job.done.set_exception(fault);
      } else {
        job.done.set_value();
      }
    }
  }

  // Not valid while another job is not done.
  std::future<void> take(const std::function<void()>& body) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (busy_) return {};
    job_ = Job{body, {}};
    busy_ = waiting_ = true;
    changed_.notify_all();
    return job_.done.get_future();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  Job job_;
  bool busy_ = false;
  bool waiting_ = false;
};

// Never deleted: its thread lasts as long as the process.
std::atomic<Holder*> holder{nullptr};

std::future<void> lend(const std::function<void()>& body) {
  Holder* const there = holder;
  return there == nullptr ? std::future<void>() : there->take(body);
}

}  // namespace

uint64_t confine_capabilities(std::string* error) {
  const uint64_t mask = permitted_capabilities();
  if (holder != nullptr || geteuid() == 0 || mask == 0) return 0;
  auto* const made = new Holder();
  auto begun = std::make_shared<std::promise<pid_t>>();
  const bool started = start_thread(
      [made, begun, mask] {
        prctl(PR_SET_NAME, "lezea-sampler");
        begun->set_value(keep_capabilities(mask) ? static_cast<pid_t>(syscall(SYS_gettid)) : 0);
        made->serve();
      },
      nullptr, kForeignStackBytes);
  if (!started) {
    *error = "no thread left for the sampler";
    delete made;
    return 0;
  }
  const pid_t kept = begun->get_future().get();
  if (kept == 0) {
    *error = "capset: the kernel refuses it";
    return 0;
  }
  if (!drop_capabilities_of_others(kept, error)) return 0;
  holder = made;
  return mask;
}

void keep_if_confined(uint64_t mask) {
  if (holder != nullptr) keep_capabilities(mask);
}

void with_capabilities(const std::function<void()>& job) {
  std::future<void> lent = lend(job);
  if (lent.valid()) {
    lent.get();
  } else {
    job();
  }
}

void CapableThread::start(std::function<void()> body) {
  // What a thread throws ends the process, whichever thread it is.
  lent_ = lend([body]() noexcept { body(); });
  if (!lent_.valid()) own_ = std::thread(std::move(body));
}

void CapableThread::join() {
  if (lent_.valid()) lent_.get();
  if (own_.joinable()) own_.join();
}

}  // namespace lezea
