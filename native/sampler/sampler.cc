// See sampler.h.

#include "sampler/sampler.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <system_error>

namespace lezea {
namespace {

constexpr uint64_t kSlowEveryNs = 1'000'000'000;
// Ticks are late by turns.
constexpr uint64_t kLatenessNs = 50'000'000;

void raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

uint64_t cpu_ns(clockid_t clock) {
  timespec used{};
  if (clock_gettime(clock, &used) != 0) return 0;
  return static_cast<uint64_t>(used.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(used.tv_nsec);
}

}  // namespace

Sampler::Sampler(SamplerSettings settings, Sources sources)
    : settings_(std::move(settings)),
      statuses_(sources.statuses),
      engine_(std::make_unique<Engine>(std::move(sources), settings_.restart_wait_ns)),
      node_reader_(settings_.proc_root, settings_.sys_root, !is_disabled("rapl")),
      timer_(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)),
      wakeup_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      // Where children are found by scanning, how often tells where they were forked: then it stays.
      governor_(settings_.interval_ns,
                engine_->sources().events == nullptr ? 0 : settings_.cpu_budget) {
  raise_descriptor_limit();
  engine_->before_rings([this] { adopt_rings(); });
  if (!settings_.ring_socket.empty()) make_acceptor();
}

bool Sampler::is_disabled(const char* source) const {
  const std::vector<std::string>& names = settings_.disabled_sources;
  return std::find(names.begin(), names.end(), source) != names.end();
}

void Sampler::make_acceptor() {
  RingAcceptorOptions options;
  options.path = settings_.ring_socket;
  options.mode = settings_.ring_socket_mode;
  acceptor_ = std::make_unique<RingAcceptor>(
      options,
      [this](const std::string& token) -> std::optional<RingOwner> {
        const std::lock_guard<std::mutex> lock(mutex_);
        const auto found = tokens_.find(token);
        if (found == tokens_.end()) return std::nullopt;
        return found->second;
      },
      [this](uint32_t session, RingFile&& ring, std::string* why) {
        return deliver_ring(session, std::move(ring), why);
      });
}

Sampler::~Sampler() { stop(); }

bool Sampler::start(std::string* error) {
  if (running_.exchange(true)) return true;
  if (acceptor_ && !acceptor_->start(error)) {
    running_ = false;
    return false;
  }
  with_capabilities([this] { engine_->adopt_kept(); });
  started_ = true;
  try {
    thread_.start([this] { run(); });
  } catch (const std::system_error&) {
    *error = "no thread left for the sampler";
    running_ = false;
    if (acceptor_) acceptor_->stop();
    return false;
  }
  return true;
}

void Sampler::rest() { resting_ = true; }

void Sampler::stop(uint64_t stored_ns) {
  if (!running_.exchange(false)) return;
  if (acceptor_) acceptor_->stop();
  wake();
  thread_.join();
  if (stored_ns != 0 && resting_) engine_->hand_over(stored_ns);
  engine_->flush_kept();
  const std::lock_guard<std::mutex> lock(mutex_);
  requests_.clear();  // their futures say broken_promise
  taken_requests_.clear();
  queue_.clear();
}

void Sampler::wake() {
  const uint64_t one = 1;
  // A full eventfd is awake already.
  if (write(wakeup_.get(), &one, sizeof one) < 0) return;
}

void Sampler::enqueue(Queued queued) {
  if (!started_) {
    // It may open files of processes, for good.
    with_capabilities([&] { queued.command(*engine_); });
    return;
  }
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!running_) return;
    queue_.push_back(std::move(queued));
  }
  wake();
}

void Sampler::post(Command command, bool needs_tick) {
  enqueue({std::move(command), needs_tick, nullptr});
}

void Sampler::post_bind(const BindCommand& command, const std::string& token) {
  if (command.session != 0) {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::string& known = token_of_session_[command.session];
    tokens_.erase(known);  // of a session that is opened again: the old one offers nothing more
    known = token;
    tokens_[token] = {command.session, command.pid};
  }
  enqueue({[command](Engine& engine) { engine.bind(command); }, false,
           [command](Engine& engine) { return engine.bind_needs_tick(command); }});
}

void Sampler::close_session(uint32_t session) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto token = token_of_session_.find(session);
    if (token != token_of_session_.end()) {
      tokens_.erase(token->second);
      token_of_session_.erase(token);
    }
  }
  if (acceptor_) acceptor_->forget_session(session);
  post([session](Engine& engine) { engine.close_session(session); }, true);
}

// On an acceptor's thread.
bool Sampler::deliver_ring(uint32_t session, RingFile&& ring, std::string* why) {
  if (!running_) {
    *why = "stopping";
    return false;
  }
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    offered_rings_.emplace_back(session, std::move(ring));
  }
  wake();  // its lanes fill already, and the next tick may be a second away
  return true;
}

// A session that is gone, or not bound yet when this is called within its own bind's tick, has its ring
// tried again for as long as its token lives.
void Sampler::adopt_rings() {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::vector<std::pair<uint32_t, RingFile>> waiting;
  for (auto& [session, ring] : offered_rings_) {
    const bool adopted = engine_->adopt_ring(session, ring);
    if (adopted && next_drain_ns_ == 0) next_drain_ns_ = clock_.monotonic_ns();
    if (!adopted && token_of_session_.count(session) != 0)
      waiting.emplace_back(session, std::move(ring));
  }
  offered_rings_.swap(waiting);
}

std::future<Snapshot> Sampler::pull(bool fresh) {
  Request request{std::promise<Snapshot>(), fresh};
  std::future<Snapshot> future = request.promise.get_future();
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (running_) requests_.push_back(std::move(request));
  }
  if (fresh) wake();
  return future;
}

uint64_t Sampler::heartbeat() {
  wake();
  return turns_;
}

std::vector<NodeFigure> Sampler::node_figures() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return node_figures_;
}

SelfUse Sampler::measure_self() const {
  SelfUse use = self_;
  use.cpu_ns = cpu_ns(CLOCK_PROCESS_CPUTIME_ID);
  use.interval_ns = governor_.interval_ns();
  Result<ProcessFiles> own = ProcessFiles::open(engine_->sources().proc_root.get(), getpid());
  if (own.ok()) {
    const Result<uint64_t> rss = own.value.rss_bytes();
    if (rss.ok()) use.rss_bytes = rss.value;
  }
  return use;
}

void Sampler::read_node() {
  std::vector<NodeFigure> figures = node_reader_.read();
  const std::lock_guard<std::mutex> lock(mutex_);
  node_figures_ = std::move(figures);
}

void Sampler::tick(bool slow) {
  const uint64_t start = clock_.monotonic_ns();
  engine_->tick(slow);
  const uint64_t took = clock_.monotonic_ns() - start;
  ++self_.ticks;
  self_.tick_sum_ns += took;
  for (size_t i = 0; i < kTickBucketsNs.size(); ++i) {
    if (took <= kTickBucketsNs[i]) ++self_.tick_buckets[i];
  }
  ++self_.tick_buckets[kTickBucketsNs.size()];
  schedule_drain();
}

void Sampler::schedule_drain() {
  const uint64_t pause_ns = engine_->drain_pause_ns();
  next_drain_ns_ = pause_ns == 0 ? 0 : clock_.monotonic_ns() + pause_ns;
}

// While it rests nothing is done but for a request, so that nothing is heard after the last one.
bool Sampler::has_work() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return !resting_ || !requests_.empty();
}

// Requests are taken together with the commands that were queued before them.
bool Sampler::run_commands() {
  std::vector<Queued> batch;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    batch.swap(queue_);
    for (Request& request : requests_) taken_requests_.push_back(std::move(request));
    requests_.clear();
  }
  bool ticked = false;
  for (Queued& queued : batch) {
    const bool needs_tick =
        queued.needs_tick || (queued.may_need_tick && queued.may_need_tick(*engine_));
    if (needs_tick && !ticked) {
      tick(true);
      ticked = true;
    }
    queued.command(*engine_);
  }
  return ticked;
}

void Sampler::answer_requests() {
  for (Request& request : taken_requests_) {
    Snapshot snapshot;
    snapshot.engine = engine_->snapshot();
    if (acceptor_) {
      const RingAcceptorCounters counters = acceptor_->counters();
      snapshot.accepted_rings = counters.accepted;
      for (const auto& [why, count] : counters.refused) snapshot.refused_rings += count;
    }
    snapshot.self = measure_self();
    request.promise.set_value(std::move(snapshot));
  }
  taken_requests_.clear();
}

void Sampler::wait(uint64_t until_ns) {
  itimerspec timer{};
  timer.it_value.tv_sec = static_cast<time_t>(until_ns / 1'000'000'000u);
  timer.it_value.tv_nsec = static_cast<long>(until_ns % 1'000'000'000u);
  timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &timer, nullptr);
  pollfd fds[] = {{timer_.get(), POLLIN, 0}, {wakeup_.get(), POLLIN, 0}};
  if (poll(fds, 2, -1) < 0) return;
  uint64_t count = 0;
  for (const pollfd& fd : fds) {
    if ((fd.revents & POLLIN) != 0 && read(fd.fd, &count, sizeof count) < 0) continue;
  }
}

// One that somebody wants at once takes the place of the next of the schedule. `slow`: a second is over, or
// it is such a one.
bool Sampler::tick_is_due(uint64_t now_ns, bool* slow) {
  const bool fresh = std::any_of(taken_requests_.begin(), taken_requests_.end(),
                                 [](const Request& request) { return request.fresh; });
  const uint64_t interval_ns = governor_.interval_ns();
  const bool due = now_ns >= next_tick_ns_;
  if (due) {
    if (next_tick_ns_ + interval_ns < now_ns) ++self_.overruns;
    next_tick_ns_ += interval_ns;
  }
  if (next_tick_ns_ < now_ns) next_tick_ns_ = now_ns + interval_ns;
  if (fresh) next_tick_ns_ = now_ns + governor_.interval_after_fresh_ns();
  *slow = fresh || now_ns + kLatenessNs >= next_slow_ns_;
  return (due && !resting_) || fresh;
}

void Sampler::run() {
  prctl(PR_SET_NAME, "lezea-sampler");
  next_tick_ns_ = clock_.monotonic_ns();
  next_node_ns_ = next_tick_ns_;
  while (running_) {
    ++turns_;
    bool ticked = has_work() && run_commands();
    adopt_rings();
    const uint64_t now = clock_.monotonic_ns();
    bool slow = false;
    if (tick_is_due(now, &slow)) {
      if (slow) {
        next_slow_ns_ = now + kSlowEveryNs;
        governor_.note(now, cpu_ns(CLOCK_PROCESS_CPUTIME_ID), cpu_ns(CLOCK_THREAD_CPUTIME_ID));
      }
      tick(slow);
      ticked = true;
    } else if (next_drain_ns_ != 0 && now >= next_drain_ns_ && !resting_) {
      engine_->drain();
      schedule_drain();
    }
    if (ticked) answer_requests();
    engine_->flush_kept();
    if (now >= next_node_ns_) {
      read_node();
      next_node_ns_ = now + settings_.node_interval_ns;
    }
    uint64_t until = next_tick_ns_;
    if (next_drain_ns_ != 0 && !resting_) until = std::min(until, next_drain_ns_);
    if (running_) wait(until);
  }
}

}  // namespace lezea
