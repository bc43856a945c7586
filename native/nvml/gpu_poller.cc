// See gpu_poller.h.
#include "nvml/gpu_poller.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <utility>

#include "scope/offer_threads.h"

namespace lezea::nvml {

struct GpuPoller::Core {
  Core(CollectorOptions options, std::shared_ptr<const Clock> clock)
      : library_options(options.nvml),
        clock(std::move(clock)),
        in_flight(std::make_shared<InFlight>()),
        published(std::make_shared<GpuSnapshot>()) {}

  const LibraryOptions library_options;
  const std::shared_ptr<const Clock> clock;
  mutable std::mutex mutex;  // of what follows; never held during a call
  std::condition_variable changed;
  std::shared_ptr<const InFlight> in_flight;
  std::shared_ptr<const GpuSnapshot> published;
  std::unique_ptr<XidWatcher> xids;
  bool lists_wanted = false;
  uint64_t begun_steps = 0;
  uint64_t ended_steps = 0;
  uint64_t wanted_step = 0;  // up to this one nobody rests in between
  uint64_t stuck_step = 0;   // the last in which a call was seen past its deadline
  std::string stuck_reason;
  bool stopping = false;

  void work(const CollectorOptions& options);
  void look_for_stuck();
  bool begin_step(GpuCollector& collector);
  void end_step(const GpuCollector& collector, uint64_t next_ns);
};

GpuPoller::GpuPoller(CollectorOptions options, std::shared_ptr<const Clock> clock)
    : core_(std::make_shared<Core>(options, std::move(clock))) {
  // Without a thread it stays at kStarting.
  start_thread([core = core_, options = std::move(options)] { core->work(options); }, nullptr,
               kForeignStackBytes);
}

GpuPoller::~GpuPoller() { stop(); }

void GpuPoller::stop() {
  std::unique_ptr<XidWatcher> xids;
  const std::lock_guard<std::mutex> lock(core_->mutex);
  core_->stopping = true;
  xids = std::move(core_->xids);
  core_->changed.notify_all();
}

void GpuPoller::want_lists() {
  const std::lock_guard<std::mutex> lock(core_->mutex);
  core_->lists_wanted = true;
}

std::shared_ptr<const GpuSnapshot> GpuPoller::newest() const {
  const std::lock_guard<std::mutex> lock(core_->mutex);
  return core_->published;
}

// A step that is under way may have read before: the one after it counts.
bool GpuPoller::refresh(std::chrono::milliseconds timeout) {
  std::unique_lock<std::mutex> lock(core_->mutex);
  const uint64_t wanted = core_->begun_steps + 1;
  core_->wanted_step = std::max(core_->wanted_step, wanted);
  core_->changed.notify_all();
  const auto is_done = [&] { return core_->stopping || core_->ended_steps >= wanted; };
  return core_->changed.wait_for(lock, timeout, is_done) && core_->ended_steps >= wanted;
}

namespace {

// The symbol of a call that is past its deadline, and for how long it has lasted; null when there is none.
const char* find_stuck(const InFlight& in_flight, const LibraryOptions& options, uint64_t now_ns,
                       uint64_t& lasts_ns) {
  const uint64_t since_ns = in_flight.since_ns.load();
  const FunctionId id = in_flight.function.load();
  // Another call may have begun in between; then none is stuck.
  if (since_ns == 0 || since_ns != in_flight.since_ns.load() || now_ns < since_ns) return nullptr;
  lasts_ns = now_ns - since_ns;
  return lasts_ns > options.deadline_ns(id) ? symbols_of(id).front() : nullptr;
}

}  // namespace

std::shared_ptr<const GpuSnapshot> GpuPoller::take() const {
  std::unique_lock<std::mutex> lock(core_->mutex);
  const std::shared_ptr<const GpuSnapshot> published = core_->published;
  const auto xids = core_->xids ? core_->xids->counts() : std::vector<XidCount>();
  const bool watched = core_->xids && core_->xids->watching();
  core_->look_for_stuck();
  const bool stuck = core_->stuck_step > core_->ended_steps;
  const std::string reason = stuck ? core_->stuck_reason : std::string();
  lock.unlock();
  auto made = std::make_shared<GpuSnapshot>(stuck ? GpuSnapshot() : *published);
  made->xids = xids;
  made->xids_watched = watched;
  if (!stuck) return made;
  made->state = GpuState::kStuck;
  made->reason = reason;
  made->t_ns = published->t_ns;
  made->generation = published->generation;
  made->calls = published->calls;
  made->late_calls = published->late_calls + 1;
  return made;
}

// A call that returns at last leaves the rest of its step to do: until then what is published is of before it hung.
void GpuPoller::Core::look_for_stuck() {
  uint64_t lasts_ns = 0;
  const char* const stuck =
      find_stuck(*in_flight, library_options, clock->monotonic_ns(), lasts_ns);
  if (stuck == nullptr) return;
  stuck_step = begun_steps;
  stuck_reason =
      std::string(stuck) + " has not returned for " + std::to_string(lasts_ns / 1'000'000) + " ms";
}

void GpuPoller::Core::work(const CollectorOptions& options) {
  GpuCollector collector(options, *clock);
  {
    const std::lock_guard<std::mutex> lock(mutex);
    in_flight = collector.nvml().in_flight();
  }
  while (begin_step(collector)) end_step(collector, collector.step());
}

bool GpuPoller::Core::begin_step(GpuCollector& collector) {
  const std::lock_guard<std::mutex> lock(mutex);
  if (lists_wanted) collector.want_lists();
  if (wanted_step > begun_steps) collector.want_all();
  lists_wanted = false;
  ++begun_steps;
  return !stopping;
}

void GpuPoller::Core::end_step(const GpuCollector& collector, uint64_t next_ns) {
  std::unique_lock<std::mutex> lock(mutex);
  const uint64_t last_generation = published->generation;
  const bool ran = published->state == GpuState::kRunning;
  published = collector.snapshot();
  ended_steps = begun_steps;
  changed.notify_all();
  if (stopping) return;
  if (!xids && published->generation > 0) {
    xids = std::make_unique<XidWatcher>(library_options, clock);
  } else if (xids && ran &&
             (published->state != GpuState::kRunning || published->generation != last_generation)) {
    xids->reopen();
  }
  const uint64_t now_ns = clock->monotonic_ns();
  const uint64_t rest_ns = next_ns > now_ns ? next_ns - now_ns : 0;
  changed.wait_for(lock, std::chrono::nanoseconds(rest_ns),
                   [this] { return stopping || wanted_step > ended_steps; });
}

}  // namespace lezea::nvml
