// See xid_watcher.h.
#include "nvml/xid_watcher.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <utility>

#include "scope/offer_threads.h"

namespace lezea::nvml {
namespace {

constexpr uint32_t kWaitMs = 1000;
constexpr std::chrono::seconds kFirstPause{1};
constexpr std::chrono::seconds kLongestPause{30};
constexpr uint32_t kMostDevices = 256;
// Codes are below 200; whatever a driver tells beyond this is counted as unknown.
constexpr size_t kMostCounts = 4096;
constexpr uint64_t kUnknownXid = 999;

}  // namespace

struct XidWatcher::Core {
  std::shared_ptr<const Clock> clock;
  mutable std::mutex mutex;
  std::condition_variable changed;
  std::map<std::pair<std::string, uint64_t>, XidCount> counts;
  bool watching = false;
  bool stopping = false;
  bool reopen = false;

  void work(const LibraryOptions& options);
  bool watch(Library& library);
  std::map<DeviceHandle, std::string> register_devices(Library& library, EventSetHandle set);
  void wait_for_events(Library& library, EventSetHandle set,
                       const std::map<DeviceHandle, std::string>& devices);
  void count(const std::string& uuid, uint64_t code);
  bool must_end() const {
    const std::lock_guard<std::mutex> lock(mutex);
    return stopping || reopen;
  }
};

XidWatcher::XidWatcher(LibraryOptions options, std::shared_ptr<const Clock> clock)
    : core_(std::make_shared<Core>()) {
  core_->clock = std::move(clock);
  // Without a thread nothing is watched, which watching() says.
  start_thread([core = core_, options = std::move(options)] { core->work(options); }, nullptr,
               kForeignStackBytes);
}

XidWatcher::~XidWatcher() {
  const std::lock_guard<std::mutex> lock(core_->mutex);
  core_->stopping = true;
  core_->changed.notify_all();
}

void XidWatcher::reopen() {
  const std::lock_guard<std::mutex> lock(core_->mutex);
  core_->reopen = true;
}

std::vector<XidCount> XidWatcher::counts() const {
  const std::lock_guard<std::mutex> lock(core_->mutex);
  std::vector<XidCount> made;
  for (const auto& [key, count] : core_->counts) made.push_back(count);
  return made;
}

bool XidWatcher::watching() const {
  const std::lock_guard<std::mutex> lock(core_->mutex);
  return core_->watching;
}

void XidWatcher::Core::work(const LibraryOptions& options) {
  std::chrono::seconds pause = kFirstPause;
  for (;;) {
    {
      Library library(options, *clock);
      std::string reason;
      if (library.open(reason) && watch(library)) pause = kFirstPause;
    }
    std::unique_lock<std::mutex> lock(mutex);
    watching = reopen = false;
    // The library stays closed for this long, so that one of another version can be loaded.
    if (changed.wait_for(lock, pause, [this] { return stopping; })) return;
    pause = std::min(2 * pause, kLongestPause);
  }
}

// Until it must end or the driver fails. False when nothing can be watched.
bool XidWatcher::Core::watch(Library& library) {
  EventSetHandle set = nullptr;
  if (library.call(function::kEventSetCreate, &set) != Return::kSuccess) return false;
  const std::map<DeviceHandle, std::string> devices = register_devices(library, set);
  if (!devices.empty()) {
    {
      const std::lock_guard<std::mutex> lock(mutex);
      watching = true;
    }
    wait_for_events(library, set, devices);
  }
  library.call(function::kEventSetFree, set);
  return !devices.empty();
}

std::map<DeviceHandle, std::string> XidWatcher::Core::register_devices(Library& library,
                                                                       EventSetHandle set) {
  std::map<DeviceHandle, std::string> devices;
  uint32_t count = 0;
  if (library.call(function::kDeviceCount, &count) != Return::kSuccess) return devices;
  for (uint32_t i = 0; i < std::min(count, kMostDevices); ++i) {
    DeviceHandle device = nullptr;
    if (library.call(function::kDeviceByIndex, i, &device) != Return::kSuccess) continue;
    char uuid[kUuidBytes] = {};
    if (library.call(function::kUuid, device, uuid, kUuidBytes) != Return::kSuccess) continue;
    uint64_t supported = 0;
    if (library.call(function::kSupportedEvents, device, &supported) != Return::kSuccess ||
        (supported & kEventXid) == 0) {
      continue;
    }
    if (library.call(function::kRegisterEvents, device, kEventXid, set) != Return::kSuccess) {
      continue;
    }
    uuid[kUuidBytes - 1] = '\0';
    devices[device] = uuid;
  }
  return devices;
}

void XidWatcher::Core::wait_for_events(Library& library, EventSetHandle set,
                                       const std::map<DeviceHandle, std::string>& devices) {
  while (!must_end()) {
    EventData event{};
    const Return result = library.call(function::kEventSetWait, set, &event, kWaitMs);
    if (result == Return::kTimeout) continue;
    if (result != Return::kSuccess) return;
    const auto device = devices.find(event.device);
    if ((event.type & kEventXid) != 0 && device != devices.end()) count(device->second, event.data);
  }
}

void XidWatcher::Core::count(const std::string& uuid, uint64_t code) {
  const std::lock_guard<std::mutex> lock(mutex);
  const bool is_new = counts.find({uuid, code}) == counts.end();
  if (is_new && counts.size() >= kMostCounts) code = kUnknownXid;
  XidCount& counted = counts[{uuid, code}];
  counted.uuid = uuid;
  counted.code = code;
  ++counted.count;
  counted.last_wall_ms = clock->wall_ms();
}

}  // namespace lezea::nvml
