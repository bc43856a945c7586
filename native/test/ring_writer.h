// A client's side of a scope ring, for tests: a real memfd, mapped and sealed, without the checks
// that an honest client would make. Owns the descriptor and the mapping.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>

#include "base/unique_fd.h"
#include "scope/ring_layout.h"

namespace lezea {

constexpr unsigned kRingSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

class RingWriter {
 public:
  explicit RingWriter(uint32_t lanes = 4, uint32_t lane_capacity = 256, unsigned seals = kRingSeals,
                      int64_t extra_bytes = 0)
      : lanes_(lanes), capacity_(lane_capacity) {
    bytes_ = static_cast<size_t>(static_cast<int64_t>(lezea_ring_file_bytes(lanes, lane_capacity)) +
                                 extra_bytes);
    fd_.reset(::memfd_create("lezea-ring-test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (::ftruncate(fd_.get(), static_cast<off_t>(bytes_)) != 0) ::abort();
    void* map = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
    if (map == MAP_FAILED) ::abort();
    base_ = static_cast<char*>(map);
    RingHeader fields = good_header();
    std::memcpy(base_, &fields, sizeof fields);
    if (seals && ::fcntl(fd_.get(), F_ADD_SEALS, seals) != 0) ::abort();
  }
  ~RingWriter() { ::munmap(base_, bytes_); }
  RingWriter(const RingWriter&) = delete;
  RingWriter& operator=(const RingWriter&) = delete;

  RingHeader good_header() const {
    RingHeader fields{};
    std::memcpy(fields.magic, LEZEA_RING_MAGIC, sizeof fields.magic);
    fields.version = LEZEA_RING_VERSION;
    fields.record_size = LEZEA_RING_RECORD_BYTES;
    fields.lanes = lanes_;
    fields.lane_capacity = capacity_;
    fields.records_offset = lezea_ring_records_offset(lanes_);
    return fields;
  }

  int fd() const { return fd_.get(); }
  UniqueFd duplicate() const { return UniqueFd(::fcntl(fd_.get(), F_DUPFD_CLOEXEC, 0)); }

  RingHeader* header() { return reinterpret_cast<RingHeader*>(base_); }
  RingRecord* record(uint32_t lane, uint64_t n) {
    return reinterpret_cast<RingRecord*>(base_ +
                                         lezea_ring_record_offset(lanes_, capacity_, lane, n));
  }
  uint64_t head(uint32_t lane) { return __atomic_load_n(head_of(lane), __ATOMIC_RELAXED); }
  void set_head(uint32_t lane, uint64_t head) {
    __atomic_store_n(head_of(lane), head, __ATOMIC_RELEASE);
  }

  // Writes record n = head with its seq, and publishes it.
  void put(uint32_t lane, RingRecord fields) {
    uint64_t n = head(lane);
    fields.seq = static_cast<uint32_t>(n + 1);
    *record(lane, n) = fields;
    set_head(lane, n + 1);
  }
  // A switch record of time 1 whose value is its own number.
  void put_numbered(uint32_t lane, uint64_t count = 1) {
    for (uint64_t i = 0; i < count; i++) {
      RingRecord fields{};
      fields.t_mono_ns = 1;
      fields.value = head(lane);
      fields.scope = lane + 1;
      put(lane, fields);
    }
  }

 private:
  uint64_t* head_of(uint32_t lane) {
    return reinterpret_cast<uint64_t*>(base_ + lezea_ring_head_offset(lane));
  }

  uint32_t lanes_;
  uint32_t capacity_;
  size_t bytes_ = 0;
  UniqueFd fd_;
  char* base_ = nullptr;
};

}  // namespace lezea
