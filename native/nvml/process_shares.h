// Which processes a device worked for, from the driver's ring of samples. Each is asked for once: what was seen
// last is handed back. What the ring held before the first question is never told: it may be long over.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "nvml/figures.h"
#include "nvml/library.h"

namespace lezea::nvml {

// One row of the driver's answer, whichever layout it came in.
struct ShareRow {
  uint64_t timestamp_us = 0;
  ProcessShare share;
};

// What is remembered of a device between two questions.
class ShareHistory {
 public:
  // Takes an answer that was read at `now_ns`: rows that are new and possible, also of processes that no list has (yet,
  // or any more): what they did is not another's. `seen` hears of each. Absent for the first answer, which only says
  // where the ring stands.
  std::optional<ProcessShares> take(const std::vector<ShareRow>& rows, uint64_t now_ns,
                                    const std::function<void(uint32_t)>& seen);
  // The answer was that there is nothing new.
  std::optional<ProcessShares> take_none(uint64_t now_ns, bool busy);

  uint64_t last_seen_us() const { return last_seen_us_; }
  uint64_t dropped_rows() const { return dropped_rows_; }

 private:
  bool begun_ = false;
  uint64_t last_seen_us_ = 0;
  uint64_t asked_ns_ = 0;  // last
  uint32_t silent_while_busy_ = 0;
  uint64_t dropped_rows_ = 0;
};

class ProcessShareReader {
 public:
  ProcessShareReader(Library& library, const Clock& clock);
  // Since the last call for this device, which should be less than 10 s ago: the ring holds no more. Absent when the
  // device does not tell. `busy`: it was not idle meanwhile.
  std::optional<ProcessShares> read(DeviceHandle device, ShareHistory& history, bool busy,
                                    const std::function<void(uint32_t)>& seen);

 private:
  Return read_rows(DeviceHandle device, uint64_t last_seen_us);
  Return read_new_layout(DeviceHandle device, uint64_t last_seen_us);
  Return read_old_layout(DeviceHandle device, uint64_t last_seen_us);

  Library& library_;
  const Clock& clock_;
  std::vector<ProcessUtilizationInfoV1> new_rows_;
  std::vector<ProcessUtilizationSample> old_rows_;
  std::vector<ShareRow> rows_;
};

}  // namespace lezea::nvml
