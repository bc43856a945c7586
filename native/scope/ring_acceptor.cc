// Takes in offered rings: accepts on one thread, does everything that a stranger's descriptor could
// hang on a thread of its own per connection.
#include "scope/ring_acceptor.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "base/clock.h"
#include "scope/offer_threads.h"
#include "scope/ring_listener.h"
#include "scope/ring_offer.h"

namespace lezea {
namespace {

constexpr uint64_t kNsPerMs = 1'000'000;
// After the machine had no descriptor or thread left: how long until the next try, ms.
constexpr int kRetryMs = 100;

uint64_t now_ns() { return SystemClock().monotonic_ns(); }

void signal_event(const UniqueFd& event) {
  uint64_t one = 1;
  // Fails only when the counter is full, and then it is signalled already.
  (void)!::write(event.get(), &one, sizeof one);
}

void clear_event(const UniqueFd& event) {
  uint64_t count;
  (void)!::read(event.get(), &count, sizeof count);
}

int peer_pid(int socket_fd) {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (::getsockopt(socket_fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) return 0;
  return credentials.pid;
}

}  // namespace

struct RingAcceptor::State {
  State(RingAcceptorOptions o, FindSession f, Deliver d, Check c)
      : options(std::move(o)), find(std::move(f)), deliver(std::move(d)), check(std::move(c)) {}

  const RingAcceptorOptions options;
  const FindSession find;
  const Deliver deliver;
  const Check check;
  UniqueFd stopped{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};  // readable from stop() on
  UniqueFd ended{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};    // a connection's thread has ended
  OfferThreads threads{{kMaxConnections, kMaxRefusing, kMaxStuck}};

  std::mutex calling;    // held during a callback, taken before `mutex`
  bool running = false;  // guarded by `calling`

  std::mutex mutex;  // guards what follows
  uint64_t accepted = 0;
  std::map<std::string, uint64_t> refused;
  std::unordered_map<uint32_t, uint32_t> rings_of_session;

  const char* wait_for_message(int socket_fd) const;
  std::string take_offer(uint64_t id, int socket_fd);
  const char* find_owner(const std::string& token, RingOwner* owner);
  std::string hand_over(uint64_t id, uint32_t session, RingFile ring);
  void count(const std::string& refusal);
};

// Null once something can be received, else the word why nothing will be.
const char* RingAcceptor::State::wait_for_message(int socket_fd) const {
  uint64_t end = now_ns() + options.silence_ms * kNsPerMs;
  pollfd events[2] = {{socket_fd, POLLIN, 0}, {stopped.get(), POLLIN, 0}};
  for (;;) {
    uint64_t now = now_ns();
    if (now >= end) return "silent";
    uint64_t left_ms = (end - now + kNsPerMs - 1) / kNsPerMs;
    int ready = ::poll(events, 2, static_cast<int>(left_ms));
    if (ready < 0 && errno != EINTR) return "silent";
    if (ready > 0) return events[1].revents ? "stopping" : nullptr;
  }
}

// Empty if the ring was handed over, else the word why not.
std::string RingAcceptor::State::take_offer(uint64_t id, int socket_fd) {
  if (const char* why = wait_for_message(socket_fd)) return why;
  threads.set_deadline(id, now_ns() + options.check_ms * kNsPerMs);
  std::string token;
  if (const char* why = peek_token(socket_fd, &token)) return why;
  RingOwner owner;
  if (const char* why = find_owner(token, &owner)) return why;
  int pid = peer_pid(socket_fd);
  if (pid <= 0 || pid != owner.pid) return "not_session_process";
  UniqueFd fd;
  if (const char* why = receive_descriptor(socket_fd, &fd)) return why;
  std::string why;
  Result<RingFile> ring = check(std::move(fd), &why);
  if (!ring.ok()) return why;
  return hand_over(id, owner.session, std::move(ring.value));
}

const char* RingAcceptor::State::find_owner(const std::string& token, RingOwner* owner) {
  std::lock_guard<std::mutex> lock(calling);
  if (!running) return "stopping";
  std::optional<RingOwner> found = find(token);
  if (!found) return "unknown_session";
  *owner = *found;
  return nullptr;
}

std::string RingAcceptor::State::hand_over(uint64_t id, uint32_t session, RingFile ring) {
  std::lock_guard<std::mutex> lock(calling);
  if (!running) return "stopping";
  // Its client may have given up and offered again.
  if (threads.overdue(id, now_ns())) return "timed_out";
  {
    std::lock_guard<std::mutex> counting(mutex);
    auto rings = rings_of_session.find(session);
    bool full = rings != rings_of_session.end() && rings->second >= kMaxRingsPerSession;
    if (full) return "too_many_rings";
  }
  std::string why;
  if (!deliver(session, std::move(ring), &why)) return why.empty() ? "refused" : why;
  std::lock_guard<std::mutex> counting(mutex);
  rings_of_session[session]++;
  return "";
}

void RingAcceptor::State::count(const std::string& refusal) {
  std::lock_guard<std::mutex> lock(mutex);
  if (refusal.empty()) {
    accepted++;
  } else {
    refused[refusal]++;
  }
}

// The accepting thread's own: the listener, and a connection that found no thread yet. It never
// closes a connection and never reads one.
class RingAcceptor::Loop {
 public:
  Loop(std::shared_ptr<State> state, RingListener listener)
      : state_(std::move(state)), listener_(std::move(listener)) {}

  void run() {
    bool retry = false;
    while (wait(retry)) {
      retry = false;
      if ((events_[2].revents || waiting_) && state_->threads.has_room()) retry = !accept_one();
    }
    close();
  }

  // Removes the socket file. The backlog may hold descriptors that hang, so that even this close
  // is done elsewhere. Without a thread for it the descriptors stay open: better than hanging.
  void close() {
    int listening = listener_.close().release();
    int waiting = waiting_.release();
    start_thread([listening, waiting] {
      UniqueFd first(listening);
      UniqueFd second(waiting);
    });
  }

 private:
  // False when it is time to stop.
  bool wait(bool retry) {
    bool listening = !retry && state_->threads.has_room();
    events_[0] = {state_->stopped.get(), POLLIN, 0};
    events_[1] = {state_->ended.get(), POLLIN, 0};
    events_[2] = {listening ? listener_.fd() : -1, POLLIN, 0};
    ::poll(events_, 3, retry ? kRetryMs : -1);
    if (events_[1].revents) clear_event(state_->ended);
    return events_[0].revents == 0;
  }

  // False if the machine lacks what one more connection needs.
  bool accept_one() {
    if (!waiting_) {
      waiting_.reset(::accept4(listener_.fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (!waiting_) return errno == EAGAIN || errno == EINTR || errno == ECONNABORTED;
    }
    state_->threads.join_left();
    const RingAcceptorOptions& options = state_->options;
    uint64_t now = now_ns();
    uint64_t patience = (options.silence_ms + options.check_ms) * kNsPerMs;
    const char* refusal = nullptr;
    uint64_t id = state_->threads.add(now, now + patience, &refusal);
    int fd = waiting_.get();
    auto state = state_;
    pthread_t thread;
    if (!start_thread([state, id, fd, refusal] { serve(state, id, UniqueFd(fd), refusal); },
                      &thread)) {
      state_->threads.remove(id, now);
      return false;
    }
    waiting_.release();
    return true;
  }

  static void serve(const std::shared_ptr<State>& state, uint64_t id, UniqueFd connection,
                    const char* refusal) {
    std::string why = refusal ? refusal : state->take_offer(id, connection.get());
    state->count(why);
    answer_offer(connection.get(), why);
    connection.reset();
    state->threads.leave(id, now_ns());
    signal_event(state->ended);
  }

  std::shared_ptr<State> state_;
  RingListener listener_;
  UniqueFd waiting_;
  pollfd events_[3] = {};
};

RingAcceptor::RingAcceptor(RingAcceptorOptions options, FindSession find, Deliver deliver,
                           Check check)
    : state_(std::make_shared<State>(std::move(options), std::move(find), std::move(deliver),
                                     std::move(check))) {}

RingAcceptor::~RingAcceptor() { stop(); }

bool RingAcceptor::start(std::string* error) {
  if (started_) return true;
  if (!state_->stopped || !state_->ended) {
    *error = "no descriptor left for the ring acceptor's events";
    return false;
  }
  RingListener listener;
  if (!listener.open(state_->options.path, state_->options.mode, error)) return false;
  clear_event(state_->stopped);
  auto loop = std::make_shared<Loop>(state_, std::move(listener));
  {
    std::lock_guard<std::mutex> lock(state_->calling);
    state_->running = true;
  }
  started_ = start_thread([loop] { loop->run(); }, &thread_);
  if (!started_) {
    *error = "no thread left for the ring acceptor";
    loop->close();
  }
  return started_;
}

void RingAcceptor::stop() {
  if (!started_) return;
  started_ = false;
  {
    std::lock_guard<std::mutex> lock(state_->calling);
    state_->running = false;
  }
  signal_event(state_->stopped);
  pthread_join(thread_, nullptr);
}

void RingAcceptor::forget_session(uint32_t session) {
  std::lock_guard<std::mutex> lock(state_->mutex);
  state_->rings_of_session.erase(session);
}

RingAcceptorCounters RingAcceptor::counters() const {
  OfferThreads::Counts threads = state_->threads.counts(now_ns());
  std::lock_guard<std::mutex> lock(state_->mutex);
  return {state_->accepted, state_->refused, threads.abandoned, threads.stuck, threads.alive};
}

}  // namespace lezea
