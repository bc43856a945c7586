// The one sampling thread: a timerfd for ticks and drains, an eventfd for commands. It owns the engine;
// everybody else queues commands and waits for snapshots. It never calls JavaScript.

#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <vector>

#include "base/unique_fd.h"
#include "node/node_figures.h"
#include "sampler/engine.h"
#include "sampler/rate_governor.h"
#include "scope/ring_acceptor.h"
#include "service/capable_thread.h"

namespace lezea {

struct SamplerSettings {
  std::string proc_root;
  std::string sys_root;
  uint64_t interval_ns = 100'000'000;
  double cpu_budget = 0;  // share of one core above which it samples less often; 0: none
  uint64_t node_interval_ns = 1'000'000'000;
  uint64_t restart_wait_ns = 3'000'000'000;
  std::string ring_socket;  // empty: none
  uint32_t ring_socket_mode = 0600;
  std::vector<std::string> disabled_sources;
};

// Upper bounds of the tick duration histogram, ns; one more bucket takes the rest.
inline constexpr std::array<uint64_t, 10> kTickBucketsNs = {
    500'000,    1'000'000,  2'000'000,  3'000'000,   5'000'000,
    10'000'000, 20'000'000, 50'000'000, 100'000'000, 1'000'000'000};

struct SelfUse {
  uint64_t cpu_ns = 0;
  uint64_t rss_bytes = 0;
  uint64_t ticks = 0;
  uint64_t overruns = 0;     // ticks that were due before the one before had ended
  uint64_t interval_ns = 0;  // from tick to tick, at present
  std::array<uint64_t, kTickBucketsNs.size() + 1> tick_buckets{};  // cumulative
  uint64_t tick_sum_ns = 0;
};

struct Snapshot {
  EngineSnapshot engine;
  uint64_t accepted_rings = 0;
  uint64_t refused_rings = 0;
  SelfUse self;
};

class Sampler {
 public:
  // `sources` is moved to the sampling thread. Bind commands must come with tokens through
  // open_session, so that rings find their session.
  Sampler(SamplerSettings settings, Sources sources);
  ~Sampler();
  Sampler(const Sampler&) = delete;
  Sampler& operator=(const Sampler&) = delete;

  // False with a sentence in `error` when the ring socket cannot be had.
  bool start(std::string* error);
  // From now on it samples only when asked to: what is asked for last is the last that it has heard.
  void rest();
  // Idempotent; joins the thread. `stored_ns`: the time of a snapshot after rest() that is stored; the next agent is to
  // hear what comes after it. 0: nothing is.
  void stop(uint64_t stored_ns = 0);

  // Before start() they run at once, where the capabilities are; after it in order on the sampling
  // thread. What is posted after stop(), or waits then, is dropped: nothing is read any more.
  using Command = std::function<void(Engine&)>;
  void post(Command command, bool needs_tick = false);
  void post_bind(const BindCommand& command, const std::string& token);
  void close_session(uint32_t session);

  // Resolves after a tick: the next scheduled one, or one taken at once.
  std::future<Snapshot> pull(bool fresh);
  // Turns that the thread has made, of which it makes one more for this question: who asks again later and finds
  // no more of them knows that it hangs.
  uint64_t heartbeat();
  uint64_t turns() const { return turns_; }
  std::vector<NodeFigure> node_figures() const;
  std::vector<SourceStatus> source_statuses() const { return statuses_; }

 private:
  struct Queued {
    Command command;
    bool needs_tick;
    std::function<bool(Engine&)> may_need_tick;
  };
  struct Request {
    std::promise<Snapshot> promise;
    bool fresh;
  };

  bool is_disabled(const char* source) const;
  void make_acceptor();
  void run();
  void wait(uint64_t until_ns);
  bool has_work();
  bool run_commands();
  bool tick_is_due(uint64_t now_ns, bool* slow);
  void tick(bool slow);
  void schedule_drain();
  void answer_requests();
  void read_node();
  void wake();
  void enqueue(Queued queued);
  SelfUse measure_self() const;
  void adopt_rings();
  bool deliver_ring(uint32_t session, RingFile&& ring, std::string* why);

  SamplerSettings settings_;
  std::vector<SourceStatus> statuses_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<RingAcceptor> acceptor_;  // nullptr: no ring socket
  NodeReader node_reader_;
  UniqueFd timer_;
  UniqueFd wakeup_;
  CapableThread thread_;
  std::atomic<bool> running_{false};
  std::atomic<bool> resting_{false};
  std::atomic<bool> started_{false};  // ever: from then on the engine is the sampling thread's
  std::atomic<uint64_t> turns_{0};
  SystemClock clock_;

  mutable std::mutex mutex_;  // guards what follows; held for moments only
  std::vector<Queued> queue_;
  std::vector<Request> requests_;
  std::vector<std::pair<uint32_t, RingFile>> offered_rings_;
  std::unordered_map<std::string, RingOwner> tokens_;
  std::unordered_map<uint32_t, std::string> token_of_session_;
  std::vector<NodeFigure> node_figures_;

  // The sampling thread's own.
  std::vector<Request> taken_requests_;
  SelfUse self_;
  RateGovernor governor_;
  uint64_t next_tick_ns_ = 0;
  uint64_t next_node_ns_ = 0;
  uint64_t next_drain_ns_ = 0;  // 0: there are no rings
  uint64_t next_slow_ns_ = 0;
};

}  // namespace lezea
