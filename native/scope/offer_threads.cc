// Starts disposable threads and keeps their book.
#include "scope/offer_threads.h"

#include <signal.h>

#include <memory>
#include <utility>

namespace lezea {
namespace {

void* run_body(void* raw) {
  std::unique_ptr<std::function<void()>> body(static_cast<std::function<void()>*>(raw));
  (*body)();
  return nullptr;
}

}  // namespace

bool start_thread(std::function<void()> body, pthread_t* joinable, size_t stack_bytes) {
  auto owned = std::make_unique<std::function<void()>>(std::move(body));
  pthread_attr_t attributes;
  if (pthread_attr_init(&attributes) != 0) return false;
  pthread_attr_setstacksize(&attributes, stack_bytes);
  if (!joinable) pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  // Signals are the business of the program's own threads; the new one inherits this mask.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  int error = pthread_create(joinable ? joinable : &thread, &attributes, run_body, owned.get());
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_attr_destroy(&attributes);
  if (error != 0) return false;
  owned.release();
  return true;
}

bool OfferThreads::has_room() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return refusing_ < limits_.refusing;
}

uint64_t OfferThreads::add(uint64_t now_ns, uint64_t deadline_ns, const char** refusal) {
  std::lock_guard<std::mutex> lock(mutex_);
  *refusal = nullptr;
  if (threads_.size() - refusing_ >= limits_.serving) *refusal = "too_many_connections";
  if (count_stuck(now_ns) >= limits_.stuck) *refusal = "busy";
  if (*refusal) refusing_++;
  threads_[++last_id_] = Entry{deadline_ns, *refusal != nullptr, false};
  return last_id_;
}

void OfferThreads::set_deadline(uint64_t id, uint64_t deadline_ns) {
  std::lock_guard<std::mutex> lock(mutex_);
  threads_.at(id).deadline_ns = deadline_ns;
}

bool OfferThreads::overdue(uint64_t id, uint64_t now_ns) const {
  std::lock_guard<std::mutex> lock(mutex_);
  return threads_.at(id).deadline_ns < now_ns;
}

// The last of them may be the one that destroys this.
OfferThreads::~OfferThreads() {
  for (const pthread_t thread : left_) pthread_detach(thread);
}

void OfferThreads::remove(uint64_t id, uint64_t now_ns) {
  std::lock_guard<std::mutex> lock(mutex_);
  remove_locked(id, now_ns);
}

void OfferThreads::leave(uint64_t id, uint64_t now_ns) {
  std::lock_guard<std::mutex> lock(mutex_);
  remove_locked(id, now_ns);
  left_.push_back(pthread_self());
}

void OfferThreads::join_left() {
  std::vector<pthread_t> left;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    left.swap(left_);
  }
  for (const pthread_t thread : left) pthread_join(thread, nullptr);
}

void OfferThreads::remove_locked(uint64_t id, uint64_t now_ns) {
  count_stuck(now_ns);
  auto entry = threads_.find(id);
  if (entry->second.refusing) refusing_--;
  threads_.erase(entry);
}

OfferThreads::Counts OfferThreads::counts(uint64_t now_ns) {
  std::lock_guard<std::mutex> lock(mutex_);
  Counts counts;
  counts.alive = static_cast<uint32_t>(threads_.size());
  counts.stuck = count_stuck(now_ns);
  counts.abandoned = abandoned_;
  return counts;
}

uint32_t OfferThreads::count_stuck(uint64_t now_ns) {
  uint32_t stuck = 0;
  for (auto& [id, entry] : threads_) {
    if (entry.deadline_ns >= now_ns) continue;
    stuck++;
    if (!entry.abandoned) abandoned_++;
    entry.abandoned = true;
  }
  return stuck;
}

}  // namespace lezea
