// Checks a stranger's descriptor until it can be nothing but a scope ring, then drains it by pread.
// Reads the memory map of ring_layout.h; emits records and counts of what was dropped.
#include "scope/ring_file.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace lezea {
namespace {

// What a lane may have published before this agent sees it: nine years at a million records a
// second. Keeps sums over the lanes within 64 bits.
constexpr uint64_t kMaxFirstHead = uint64_t{1} << 48;
// Records later than the reader's clock by more than this are forged. CLOCK_MONOTONIC is one clock
// for the whole machine, so an honest record is never later at all.
constexpr uint64_t kMaxFutureNs = 1'000'000;
// Records copied by one pread: 256 KiB.
constexpr size_t kChunkRecords = 8192;

bool read_exactly(int fd, void* to, size_t bytes, uint64_t offset) {
  ssize_t got;
  do {
    got = ::pread(fd, to, bytes, static_cast<off_t>(offset));
  } while (got < 0 && errno == EINTR);
  return got == static_cast<ssize_t>(bytes);
}

// Unsealed, the size could change after it was checked. F_SEAL_SEAL settles what the seals are.
const char* refuse_seals(int fd) {
  int seals = ::fcntl(fd, F_GET_SEALS);
  if (seals < 0) return "not_sealable";
  if (!(seals & F_SEAL_SHRINK)) return "seal_shrink_missing";
  if (!(seals & F_SEAL_GROW)) return "seal_grow_missing";
  if (!(seals & F_SEAL_SEAL)) return "seal_seal_missing";
  return nullptr;
}

// Only called for what can be sealed, so that no file system of a stranger's is asked anything.
const char* refuse_file(int fd, struct stat* file) {
  if (::fstat(fd, file) != 0 || !S_ISREG(file->st_mode)) return "not_regular";
  struct statfs file_system;
  if (::fstatfs(fd, &file_system) != 0) return "not_regular";
  // Sealable too, but its pages are a scarce pool that other programs depend on.
  if (file_system.f_type == HUGETLBFS_MAGIC) return "hugetlb";
  uint64_t smallest = lezea_ring_file_bytes(LEZEA_RING_MIN_LANES, LEZEA_RING_MIN_LANE_CAPACITY);
  uint64_t largest = lezea_ring_file_bytes(LEZEA_RING_MAX_LANES, LEZEA_RING_MAX_LANE_CAPACITY);
  uint64_t size = static_cast<uint64_t>(file->st_size);
  if (size < smallest) return "too_small";
  if (size > largest) return "too_large";
  return nullptr;
}

const char* refuse_header(const RingHeader& header, uint64_t file_bytes) {
  if (std::memcmp(header.magic, LEZEA_RING_MAGIC, sizeof header.magic) != 0) return "bad_magic";
  if (header.version != LEZEA_RING_VERSION) return "bad_version";
  if (header.record_size != LEZEA_RING_RECORD_BYTES) return "bad_record_size";
  if (header.lanes < LEZEA_RING_MIN_LANES || header.lanes > LEZEA_RING_MAX_LANES) {
    return "bad_lanes";
  }
  uint32_t capacity = header.lane_capacity;
  if (capacity < LEZEA_RING_MIN_LANE_CAPACITY || capacity > LEZEA_RING_MAX_LANE_CAPACITY ||
      (capacity & (capacity - 1)) != 0) {
    return "bad_lane_capacity";
  }
  if (header.records_offset != lezea_ring_records_offset(header.lanes)) {
    return "bad_records_offset";
  }
  if (file_bytes != lezea_ring_file_bytes(header.lanes, capacity)) return "wrong_size";
  return nullptr;
}

// The scratch of the calling thread: rings are many, the threads that read them few.
char* scratch(size_t bytes) {
  thread_local std::vector<char> buffer;
  if (buffer.size() < bytes) buffer.resize(bytes);
  return buffer.data();
}

bool is_forged(const RingRecord& record, uint32_t device_count, uint64_t latest_ns) {
  if (record.t_mono_ns == 0 || record.t_mono_ns > latest_ns) return true;
  if (record.kind >= LEZEA_RING_KINDS) return true;
  return record.kind == LEZEA_RING_KIND_GPU && record.device >= device_count;
}

}  // namespace

Result<RingFile> RingFile::adopt(UniqueFd fd, std::string* why) {
  auto refuse = [why](const char* reason) {
    *why = reason;
    return Result<RingFile>::fail(ReadStatus::kMalformed);
  };
  struct stat file{};
  RingHeader header{};
  if (const char* reason = refuse_seals(fd.get())) return refuse(reason);
  if (const char* reason = refuse_file(fd.get(), &file)) return refuse(reason);
  if (!read_exactly(fd.get(), &header, sizeof header, 0)) return refuse("unreadable");
  uint64_t file_bytes = static_cast<uint64_t>(file.st_size);
  if (const char* reason = refuse_header(header, file_bytes)) return refuse(reason);

  RingFile ring;
  ring.fd_ = std::move(fd);
  ring.inode_ = file.st_ino;
  ring.lane_capacity_ = header.lane_capacity;
  ring.lanes_.resize(header.lanes);
  // The heads from which later ones are measured: a ring may have lived long before this agent.
  if (!ring.read_heads(0, header.lanes, kMaxFirstHead)) return refuse("unreadable");
  if (ring.voided_) return refuse("bad_head");
  return Result<RingFile>::of(std::move(ring));
}

// Takes over the heads of some lanes. One lower than before is ignored: either a signal handler
// published in between, or somebody cheats.
bool RingFile::read_heads(size_t first, size_t count, uint64_t max_jump) {
  char* table = scratch(count * LEZEA_RING_LANE_BYTES);
  uint64_t offset = lezea_ring_head_offset(static_cast<uint32_t>(first));
  if (!read_exactly(fd_.get(), table, count * LEZEA_RING_LANE_BYTES, offset)) return false;
  for (size_t i = 0; i < count; i++) {
    uint64_t head;
    std::memcpy(&head, table + i * LEZEA_RING_LANE_BYTES, sizeof head);
    Lane& lane = lanes_[first + i];
    if (head <= lane.head) continue;
    if (head - lane.head > max_jump) voided_ = true;
    lane.head = head;
  }
  return true;
}

void RingFile::note_heads() {
  new_records_ = 0;
  new_records_at_last_note_ = 0;
  fullest_lane_at_last_note_ = 0;
  if (voided_ || lanes_.empty()) return;
  if (!read_heads(0, lanes_.size(), LEZEA_RING_MAX_HEAD_JUMP) || voided_) return;
  for (Lane& lane : lanes_) {
    lane.noted = lane.head;
    if (lane.noted <= lane.position) continue;
    uint64_t fresh = lane.noted - lane.position;
    new_records_ += fresh;
    fullest_lane_at_last_note_ = std::max(fullest_lane_at_last_note_, fresh);
  }
  new_records_at_last_note_ = new_records_;
}

// How many of its newest records each lane may deliver in one take. A lane's oldest slot may be in
// the middle of being overwritten, so one less than its capacity.
uint64_t RingFile::lane_share(uint64_t most) const {
  uint64_t capacity = lane_capacity_ - 1;
  uint64_t wanted = 0;
  uint64_t active = 0;
  for (const Lane& lane : lanes_) {
    if (lane.noted <= lane.position) continue;
    wanted += std::min(lane.noted - lane.position, capacity);
    active++;
  }
  return wanted <= most ? capacity : most / active;
}

// Copies a lane's records as they are; whether they may be believed shows only after the heads
// were read again.
void RingFile::copy_lane(uint32_t index, uint64_t share, std::vector<TakenRecord>& out,
                         RingLosses& losses) {
  Lane& lane = lanes_[index];
  uint64_t n = lane.position;
  if (lane.noted - n > share) {
    losses.lost += lane.noted - n - share;
    lane.overrun = true;
    n = lane.noted - share;
  }
  lane.position = lane.noted;
  while (n < lane.noted) {
    uint64_t to_wrap = lane_capacity_ - n % lane_capacity_;
    size_t count = std::min({lane.noted - n, to_wrap, uint64_t{kChunkRecords}});
    size_t bytes = count * LEZEA_RING_RECORD_BYTES;
    char* records = scratch(bytes);
    uint64_t offset = lezea_ring_record_offset(lanes(), lane_capacity_, index, n);
    if (!read_exactly(fd_.get(), records, bytes, offset)) {
      losses.lost += count;
      n += count;
      continue;
    }
    for (size_t i = 0; i < count; i++, n++) {
      TakenRecord taken;
      std::memcpy(&taken.record, records + i * LEZEA_RING_RECORD_BYTES, LEZEA_RING_RECORD_BYTES);
      taken.lane = index;
      taken.n = n;
      out.push_back(taken);
    }
  }
}

// Closes the gaps that dropped records leave in out[first..].
void RingFile::keep_good(std::vector<TakenRecord>& out, size_t first, RingLosses& losses,
                         uint32_t device_count, uint64_t now_ns) {
  size_t kept = first;
  for (size_t i = first; i < out.size(); i++) {
    const TakenRecord& taken = out[i];
    Lane& lane = lanes_[taken.lane];
    if (taken.n + lane_capacity_ <= lane.head) {
      losses.lost++;
      lane.overrun = true;
    } else if (taken.record.seq != static_cast<uint32_t>(taken.n + 1)) {
      losses.lost++;
    } else if (is_forged(taken.record, device_count, now_ns + kMaxFutureNs)) {
      losses.forged++;
    } else {
      if (kept != i) out[kept] = taken;
      kept++;
    }
  }
  out.resize(kept);
}

void RingFile::take(std::vector<TakenRecord>& out, RingLosses& losses, uint32_t device_count,
                    uint64_t now_ns, uint64_t most) {
  if (!pending()) return;
  new_records_ = 0;
  size_t before = out.size();
  size_t first_lane = lanes_.size();
  size_t last_lane = 0;
  uint64_t share = lane_share(most);
  for (size_t i = 0; i < lanes_.size(); i++) {
    if (lanes_[i].noted <= lanes_[i].position) continue;
    first_lane = std::min(first_lane, i);
    last_lane = i;
    copy_lane(static_cast<uint32_t>(i), share, out, losses);
  }
  // The second reading of the heads must come after that of the records on this CPU too. (GCC
  // refuses std::atomic_thread_fence under its thread sanitizer.)
  __sync_synchronize();
  size_t lanes_read = last_lane - first_lane + 1;
  if (!read_heads(first_lane, lanes_read, LEZEA_RING_MAX_HEAD_JUMP) || voided_) {
    losses.lost += out.size() - before;
    out.resize(before);
    return;
  }
  keep_good(out, before, losses, device_count, now_ns);
  for (size_t i = first_lane; i <= last_lane; i++) {
    if (lanes_[i].overrun) losses.overrun_lanes.push_back(static_cast<uint32_t>(i));
    lanes_[i].overrun = false;
  }
}

std::vector<uint64_t> RingFile::positions() const {
  std::vector<uint64_t> positions;
  positions.reserve(lanes_.size());
  for (const Lane& lane : lanes_) positions.push_back(lane.position);
  return positions;
}

void RingFile::set_positions(const std::vector<uint64_t>& positions) {
  for (size_t i = 0; i < lanes_.size(); i++) {
    lanes_[i].position = i < positions.size() ? positions[i] : 0;
  }
  new_records_ = 0;
}

}  // namespace lezea
