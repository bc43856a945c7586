// See gpu_collector.h.
#include "nvml/gpu_collector.h"

#include <algorithm>
#include <utility>

namespace lezea::nvml {
namespace {

constexpr uint64_t kFirstPauseNs = 1'000'000'000;
constexpr uint64_t kLongestPauseNs = 30'000'000'000;
// A driver that stayed this long begins its next absence with the first pause.
constexpr uint64_t kSteadyNs = 60'000'000'000;
// Instances of MIG come and go, and their handles with them; all else only when somebody works on the machine.
constexpr uint64_t kFindInstancesNs = 60'000'000'000;
constexpr uint64_t kFindDevicesNs = 600'000'000'000;
// What is read for a run's end is owed: ten seconds' share at most.
constexpr int64_t kMostDebtNs = 10'000'000;
// A millisecond a second for ticks and one for lists: NVML's calls take the driver's locks.
constexpr int64_t kPausePerCost = 1000;

bool is_cut(const OpenDevice& device) {
  return device.known.facts.mig_mode == true || device.known.facts.mig.has_value();
}

}  // namespace

GpuCollector::GpuCollector(CollectorOptions options, const Clock& clock)
    : options_(std::move(options)),
      clock_(clock),
      library_(options_.nvml, clock),
      reader_(library_, clock),
      snapshot_(std::make_shared<GpuSnapshot>()) {}

uint64_t GpuCollector::step() {
  const uint64_t now_ns = clock_.monotonic_ns();
  if (!library_.is_open() && (now_ns < retry_ns_ || !open(now_ns))) {
    publish(now_ns);
    return retry_ns_;
  }
  if (now_ns >= find_due_ns_) find_devices(now_ns);
  for (Polled& polled : polled_) {
    if (!library_.must_reopen()) read(polled, now_ns);
  }
  if (library_.must_reopen()) close(now_ns, GpuState::kNoDriver, "the driver went away");
  all_wanted_ = false;
  publish(now_ns);
  return library_.is_open() ? now_ns + options_.tick_ns : retry_ns_;
}

void GpuCollector::want_lists() {
  for (Polled& polled : polled_) polled.list_due_ns = 0;
}

void GpuCollector::want_all() {
  want_lists();
  all_wanted_ = true;
}

bool GpuCollector::open(uint64_t now_ns) {
  std::string reason;
  if (!library_.open(reason)) {
    close(now_ns, library_.found() ? GpuState::kNoDriver : GpuState::kNoLibrary, reason);
    return false;
  }
  state_ = GpuState::kRunning;
  reason_.clear();
  opened_ns_ = now_ns;
  find_due_ns_ = now_ns;
  driver_ = reader_.read_driver();
  return true;
}

// What was known of the devices belongs to the generation that ends: nothing of it is told from now on.
void GpuCollector::close(uint64_t now_ns, GpuState state, std::string reason) {
  if (library_.is_open() && now_ns - opened_ns_ >= kSteadyNs) pause_ns_ = 0;
  // Devices hold buffers of the library.
  polled_.clear();
  library_.close();
  driver_ = DriverFacts();
  state_ = state;
  reason_ = std::move(reason);
  pause_ns_ = std::clamp(2 * pause_ns_, kFirstPauseNs, kLongestPauseNs);
  retry_ns_ = now_ns + pause_ns_;
}

void GpuCollector::find_devices(uint64_t now_ns) {
  // Counters of another generation do not compare with these, nor does what a device counts after it was lost.
  std::vector<OpenDevice> found = reader_.find_devices(library_.generation() << 32);
  std::vector<Polled> kept = std::move(polled_);
  polled_.clear();
  bool any_cut = false;
  for (OpenDevice& device : found) {
    any_cut |= is_cut(device);
    const auto same = std::find_if(kept.begin(), kept.end(), [&](const Polled& polled) {
      return polled.device.handle == device.handle &&
             polled.device.known.facts.uuid == device.known.facts.uuid;
    });
    if (same == kept.end()) {
      polled_.push_back(
          {std::move(device), 0, TimeBudget(kPausePerCost), TimeBudget(kPausePerCost)});
      continue;
    }
    same->device.known.facts = std::move(device.known.facts);
    polled_.push_back(std::move(*same));
    kept.erase(same);
  }
  // A lost device does not even tell its name.
  for (Polled& polled : kept) {
    if (polled.device.known.lost) polled_.push_back(std::move(polled));
  }
  find_due_ns_ = now_ns + (any_cut ? kFindInstancesNs : kFindDevicesNs);
}

void GpuCollector::read(Polled& polled, uint64_t now_ns) {
  OpenDevice& device = polled.device;
  uint64_t spent_ns = device.spent_ns;
  const int64_t debt_ns = all_wanted_ ? kMostDebtNs : 0;
  if (now_ns >= polled.list_due_ns && polled.lists.allows(now_ns, debt_ns)) {
    reader_.read_processes(device);
    polled.list_due_ns = now_ns + options_.list_ns;
    polled.lists.spend(device.spent_ns - spent_ns);
  }
  spent_ns = device.spent_ns;
  if (!polled.ticks.allows(now_ns, debt_ns)) return;
  const bool unlisted = reader_.read_figures(device);
  polled.ticks.spend(device.spent_ns - spent_ns);
  if (unlisted) polled.list_due_ns = 0;
  if (device.replaced) find_due_ns_ = std::min(find_due_ns_, now_ns + kFirstPauseNs);
}

void GpuCollector::publish(uint64_t now_ns) {
  auto made = std::make_shared<GpuSnapshot>();
  made->state = state_;
  made->reason = reason_;
  made->t_ns = now_ns;
  made->generation = library_.generation();
  made->driver = driver_;
  for (const Polled& polled : polled_) made->devices.push_back(polled.device.known);
  made->calls = library_.stats();
  for (const CallStats& stats : made->calls) made->late_calls += stats.late;
  snapshot_ = std::move(made);
}

}  // namespace lezea::nvml
