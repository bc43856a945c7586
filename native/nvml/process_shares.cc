// See process_shares.h.
#include "nvml/process_shares.h"

#include <algorithm>

namespace lezea::nvml {
namespace {

// A question for the size would be answered with 0, 100 or 4096, whatever the load: it is not asked.
constexpr uint32_t kFirstRows = 4096;
constexpr uint32_t kMostRows = 65536;
constexpr int kMostTries = 3;
// The driver's clock may have been set back behind what was seen last; then nothing would ever be new.
constexpr uint32_t kSilencesThatAreAClock = 3;
constexpr uint32_t kGreatestPercent = 100;
constexpr uint32_t kGreatestPid = 1 << 22;    // the kernel's PID_MAX_LIMIT
constexpr uint64_t kRingNs = 10'000'000'000;  // that its samples span

bool possible(const ProcessShare& share) {
  return share.pid != 0 && share.pid <= kGreatestPid && share.sm_percent <= kGreatestPercent &&
         share.memory_percent <= kGreatestPercent && share.encoder_percent <= kGreatestPercent &&
         share.decoder_percent <= kGreatestPercent;
}

// Calls with room for `rows`, and with more while the library says that it is too little.
template <class Row, class Call>
Return with_room(std::vector<Row>& rows, uint32_t& count, Call call) {
  Return result = Return::kInsufficientSize;
  for (int i = 0; i < kMostTries && result == Return::kInsufficientSize; ++i) {
    const auto room = static_cast<uint32_t>(rows.size());
    count = room;
    result = call(rows.data(), count);
    if (result == Return::kInsufficientSize) {
      rows.resize(std::clamp(count, room, kMostRows));
    } else if (count > room) {
      count = 0;  // it cannot have written them
    }
  }
  return result;
}

}  // namespace

std::optional<ProcessShares> ShareHistory::take(const std::vector<ShareRow>& rows, uint64_t now_ns,
                                                const std::function<void(uint32_t)>& seen) {
  uint64_t newest_us = last_seen_us_;
  for (const ShareRow& row : rows) newest_us = std::max(newest_us, row.timestamp_us);
  if (newest_us == last_seen_us_ && begun_) return take_none(now_ns, false);
  ProcessShares made;
  // Nothing is made of the driver's clock, which may count from 1970 or from boot: what was asked for now is what
  // came after what was asked for last, as far back as the ring goes.
  made.from_ns = std::max(asked_ns_, now_ns - std::min(now_ns, kRingNs));
  made.to_ns = now_ns;
  for (const ShareRow& row : rows) {
    const bool fresh = row.timestamp_us > last_seen_us_;
    if (fresh && possible(row.share)) {
      seen(row.share.pid);
      made.shares.push_back(row.share);
    } else if (begun_) {
      ++dropped_rows_;
    }
  }
  const bool first = !begun_;
  begun_ = true;
  last_seen_us_ = newest_us;
  asked_ns_ = now_ns;
  silent_while_busy_ = 0;
  if (first) return std::nullopt;
  return made;
}

std::optional<ProcessShares> ShareHistory::take_none(uint64_t now_ns, bool busy) {
  silent_while_busy_ = busy ? silent_while_busy_ + 1 : 0;
  if (silent_while_busy_ >= kSilencesThatAreAClock && last_seen_us_ > 0) {
    const uint64_t dropped_rows = dropped_rows_;
    *this = ShareHistory{};
    dropped_rows_ = dropped_rows;
    return std::nullopt;
  }
  // An empty ring, too, is a beginning: all that comes is new.
  ProcessShares made;
  made.from_ns = begun_ ? asked_ns_ : now_ns;
  made.to_ns = now_ns;
  begun_ = true;
  asked_ns_ = now_ns;
  return made;
}

ProcessShareReader::ProcessShareReader(Library& library, const Clock& clock)
    : library_(library), clock_(clock) {}

std::optional<ProcessShares> ProcessShareReader::read(DeviceHandle device, ShareHistory& history,
                                                      bool busy,
                                                      const std::function<void(uint32_t)>& seen) {
  const Return result = read_rows(device, history.last_seen_us());
  const uint64_t now_ns = clock_.monotonic_ns();
  if (result == Return::kNotFound) return history.take_none(now_ns, busy);
  if (result != Return::kSuccess) return std::nullopt;
  return history.take(rows_, now_ns, seen);
}

Return ProcessShareReader::read_rows(DeviceHandle device, uint64_t last_seen_us) {
  const Return result = read_new_layout(device, last_seen_us);
  const bool unknown =
      result == Return::kFunctionNotFound || result == Return::kArgumentVersionMismatch;
  return unknown ? read_old_layout(device, last_seen_us) : result;
}

Return ProcessShareReader::read_new_layout(DeviceHandle device, uint64_t last_seen_us) {
  if (!library_.has(FunctionId::kProcessesUtilization)) return Return::kFunctionNotFound;
  if (new_rows_.empty()) new_rows_.resize(kFirstRows);
  uint32_t count = 0;
  const Return result =
      with_room(new_rows_, count, [&](ProcessUtilizationInfoV1* rows, uint32_t& room) {
        ProcessesUtilizationInfoV1 info{kProcessesUtilizationVersion, room, last_seen_us, rows};
        const Return answer = library_.call(function::kProcessesUtilization, device, &info);
        room = info.count;
        return answer;
      });
  rows_.clear();
  for (uint32_t i = 0; result == Return::kSuccess && i < count; ++i) {
    const ProcessUtilizationInfoV1& row = new_rows_[i];
    rows_.push_back({row.timestamp_us, {row.pid, row.sm, row.memory, row.encoder, row.decoder}});
  }
  return result;
}

Return ProcessShareReader::read_old_layout(DeviceHandle device, uint64_t last_seen_us) {
  if (!library_.has(FunctionId::kProcessUtilization)) return Return::kFunctionNotFound;
  if (old_rows_.empty()) old_rows_.resize(kFirstRows);
  uint32_t count = 0;
  const Return result =
      with_room(old_rows_, count, [&](ProcessUtilizationSample* rows, uint32_t& room) {
        return library_.call(function::kProcessUtilization, device, rows, &room, last_seen_us);
      });
  rows_.clear();
  for (uint32_t i = 0; result == Return::kSuccess && i < count; ++i) {
    const ProcessUtilizationSample& row = old_rows_[i];
    rows_.push_back({row.timestamp_us, {row.pid, row.sm, row.memory, row.encoder, row.decoder}});
  }
  return result;
}

}  // namespace lezea::nvml
