// A client's scope ring, read by pread only: mapping a stranger's memfd can fault or be charged.
// Owns the checked descriptor and, per lane, how far it has been read. One thread at a time.
//
// A drain is two steps with at least 1 ms of the caller's clock in between: note_heads(), then
// take(). By then every store made before a noted head is visible on any CPU.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "scope/ring_layout.h"

namespace lezea {

struct TakenRecord {
  RingRecord record;
  uint32_t lane;
  uint64_t n;  // the record's number in its lane, from 0
};

// What a take dropped. Added to, so that one value may gather several drains of one ring.
struct RingLosses {
  uint64_t lost = 0;    // records overwritten before they were read, or never completed
  uint64_t forged = 0;  // time 0 or in the future, unknown kind, device out of range
  std::vector<uint32_t> overrun_lanes;  // lanes whose writer lapped the reader
};

class RingFile {
 public:
  // More new records than this at once, over all lanes of a ring: each lane keeps only an equal
  // share, the newest, and the rest counts as overrun. A default ring holds exactly this many.
  static constexpr uint64_t kMaxRecordsPerTake = 1u << 20;

  // Takes the descriptor whatever comes of it. Refusals say in `why` which check failed:
  // not_sealable, seal_shrink_missing, seal_grow_missing, seal_seal_missing, not_regular, hugetlb,
  // too_small, too_large, unreadable, bad_magic, bad_version, bad_record_size, bad_lanes,
  // bad_lane_capacity, bad_records_offset, wrong_size, bad_head.
  static Result<RingFile> adopt(UniqueFd fd, std::string* why);

  // A ring without lanes, of which every question has the answer 0.
  RingFile() = default;

  int fd() const { return fd_.get(); }
  uint64_t inode() const { return inode_; }
  uint32_t lanes() const { return static_cast<uint32_t>(lanes_.size()); }
  uint32_t lane_capacity() const { return lane_capacity_; }

  // Reads the lane table once and remembers the heads for take().
  void note_heads();

  // Appends to `out` what the lanes published up to the noted heads: lane by lane, each record once
  // and in order. Drops and counts what is lost or forged. `now_ns` is CLOCK_MONOTONIC read after
  // the records could have been written; `device_count` is how many devices the session named; `most`
  // is this ring's part of kMaxRecordsPerTake where a process has several.
  void take(std::vector<TakenRecord>& out, RingLosses& losses, uint32_t device_count,
            uint64_t now_ns, uint64_t most = kMaxRecordsPerTake);

  // True from a note that found something until it is taken.
  bool pending() const { return new_records_ > 0; }
  // Records found by the last note_heads(), overwritten ones included: over all lanes, and in the
  // lane with most (against lane_capacity(): how near the writer is to lapping the reader).
  uint64_t new_records_at_last_note() const { return new_records_at_last_note_; }
  uint64_t fullest_lane_at_last_note() const { return fullest_lane_at_last_note_; }

  // True once a head has moved further than any writer can: nothing of the ring is believed again.
  bool voided() const { return voided_; }

  // Per lane the number of the next record to take: what a checkpoint stores.
  std::vector<uint64_t> positions() const;
  // Goes on from a checkpoint. Missing lanes start at 0; a position above its lane's head means
  // that nothing is new until the head has passed it.
  void set_positions(const std::vector<uint64_t>& positions);

 private:
  struct Lane {
    uint64_t position = 0;  // the next record to take
    uint64_t head = 0;      // highest head ever read: one that runs backwards is ignored
    uint64_t noted = 0;     // head as of the last note_heads()
    bool overrun = false;   // within one take
  };

  bool read_heads(size_t first, size_t count, uint64_t max_jump);
  uint64_t lane_share(uint64_t most) const;
  void copy_lane(uint32_t index, uint64_t share, std::vector<TakenRecord>& out, RingLosses& losses);
  void keep_good(std::vector<TakenRecord>& out, size_t first, RingLosses& losses,
                 uint32_t device_count, uint64_t now_ns);

  UniqueFd fd_;
  uint64_t inode_ = 0;
  uint32_t lane_capacity_ = 0;
  bool voided_ = false;
  uint64_t new_records_ = 0;
  uint64_t new_records_at_last_note_ = 0;
  uint64_t fullest_lane_at_last_note_ = 0;
  std::vector<Lane> lanes_;
};

}  // namespace lezea
