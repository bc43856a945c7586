// Counts the driver's XID errors by device and code, on a thread of its own with a library of its own: waiting for
// events takes a second at a time. What happened before it watched is lost; nobody tells it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "nvml/library.h"

namespace lezea::nvml {

struct XidCount {
  std::string uuid;
  uint64_t code = 0;  // 999: the driver does not know
  uint64_t count = 0;
  uint64_t last_wall_ms = 0;
};

class XidWatcher {
 public:
  XidWatcher(LibraryOptions options, std::shared_ptr<const Clock> clock);
  // Never waits for the thread, which ends at its next event or second.
  ~XidWatcher();
  XidWatcher(const XidWatcher&) = delete;
  XidWatcher& operator=(const XidWatcher&) = delete;

  // Another thread found the driver gone: the library is let go of, and opened anew.
  void reopen();
  std::vector<XidCount> counts() const;
  // Some device tells its errors; those that do not are not ill.
  bool watching() const;

 private:
  struct Core;
  std::shared_ptr<Core> core_;
};

}  // namespace lezea::nvml
