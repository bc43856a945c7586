// The whole memory map of a scope ring: what a client writes and the agent reads. Owns nothing.
// Plain C: the Python accelerator includes this same file. All fields are little-endian.
//
//   0                 header          LEZEA_RING_HEADER_BYTES
//   4096              lane table      lane i at 4096 + 64 i: u64 head, then zeros
//   records_offset    records         lane 0's slots, then lane 1's, ...
//
// A lane has one writer at a time. Record n (from 0) of a lane goes to slot n mod lane_capacity;
// `head` is the number of records the lane has ever published, stored after the record itself.
#ifndef LEZEA_SCOPE_RING_LAYOUT_H_
#define LEZEA_SCOPE_RING_LAYOUT_H_

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define LEZEA_RING_MAGIC "LZSCOPE1"
#define LEZEA_RING_VERSION 1u

#define LEZEA_RING_HEADER_BYTES 4096u
#define LEZEA_RING_LANE_TABLE_OFFSET 4096u
#define LEZEA_RING_LANE_BYTES 64u
#define LEZEA_RING_RECORD_BYTES 32u
// records_offset is a multiple of this.
#define LEZEA_RING_ALIGNMENT 4096u

#define LEZEA_RING_MIN_LANES 1u
#define LEZEA_RING_MAX_LANES 1024u
#define LEZEA_RING_DEFAULT_LANES 64u

// Records a lane holds: a power of two.
#define LEZEA_RING_MIN_LANE_CAPACITY 256u
#define LEZEA_RING_MAX_LANE_CAPACITY 65536u
#define LEZEA_RING_DEFAULT_LANE_CAPACITY 16384u

// A head that moves further than this between two readings voids the ring.
#define LEZEA_RING_MAX_HEAD_JUMP (UINT64_C(1) << 32)

// RingRecord.kind.
#define LEZEA_RING_KIND_SWITCH 0u      // the thread is in `scope` from now on; value: its CPU, ns
#define LEZEA_RING_KIND_GPU 1u         // value: GPU time of `scope` on `device`, ns
#define LEZEA_RING_KIND_IO_READ 2u     // value: bytes the thread has read from storage, cumulative
#define LEZEA_RING_KIND_IO_WRITTEN 3u  // value: bytes the thread has written to storage, cumulative
#define LEZEA_RING_KIND_PROCESS_CPU 4u  // value: the process's own CPU clock, ns
#define LEZEA_RING_KINDS 5u

// RingRecord.flags.
#define LEZEA_RING_FLAG_ACTIVATION 1u  // this record begins an activation

#ifdef __cplusplus
namespace lezea {
#endif

struct RingHeader {
  char magic[8];            // LEZEA_RING_MAGIC without its terminator
  uint32_t version;         // LEZEA_RING_VERSION
  uint32_t record_size;     // LEZEA_RING_RECORD_BYTES
  uint32_t lanes;           // LEZEA_RING_MIN_LANES .. LEZEA_RING_MAX_LANES
  uint32_t lane_capacity;   // records a lane; a power of two within the limits above
  uint32_t records_offset;  // lezea_ring_records_offset(lanes)
};

struct RingRecord {
  uint64_t t_mono_ns;  // CLOCK_MONOTONIC, ns; 0 is never valid
  uint64_t value;      // by kind; kind 0: the thread's own CPU clock in ns, 0 = not stamped
  uint32_t scope;      // the scope this thread is in from now on; 0 = follow the general rules
  uint32_t tid;        // as the client sees it
  uint8_t kind;        // LEZEA_RING_KIND_*
  uint8_t device;      // index into the session's devices (kind 1)
  uint16_t flags;      // LEZEA_RING_FLAG_*
  uint32_t seq;        // low 32 bits of n + 1
};

static_assert(sizeof(struct RingHeader) == 28, "the header's fields leave no gap");
static_assert(sizeof(struct RingRecord) == LEZEA_RING_RECORD_BYTES, "records are 32 bytes");
static_assert(offsetof(struct RingRecord, value) == 8, "layout");
static_assert(offsetof(struct RingRecord, scope) == 16, "layout");
static_assert(offsetof(struct RingRecord, tid) == 20, "layout");
static_assert(offsetof(struct RingRecord, kind) == 24, "layout");
static_assert(offsetof(struct RingRecord, device) == 25, "layout");
static_assert(offsetof(struct RingRecord, flags) == 26, "layout");
static_assert(offsetof(struct RingRecord, seq) == 28, "layout");
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "words are little-endian");

// Offset of the first record: the lane table's end, rounded up to the alignment. Bytes.
static inline uint32_t lezea_ring_records_offset(uint32_t lanes) {
  uint32_t end = LEZEA_RING_LANE_TABLE_OFFSET + lanes * LEZEA_RING_LANE_BYTES;
  return (end + LEZEA_RING_ALIGNMENT - 1u) / LEZEA_RING_ALIGNMENT * LEZEA_RING_ALIGNMENT;
}

// Exact size of the whole file. Bytes.
static inline uint64_t lezea_ring_file_bytes(uint32_t lanes, uint32_t lane_capacity) {
  return lezea_ring_records_offset(lanes) +
         (uint64_t)lanes * lane_capacity * LEZEA_RING_RECORD_BYTES;
}

// Offset of the u64 head of a lane. Bytes.
static inline uint64_t lezea_ring_head_offset(uint32_t lane) {
  return LEZEA_RING_LANE_TABLE_OFFSET + (uint64_t)lane * LEZEA_RING_LANE_BYTES;
}

// Offset of record n of a lane. Bytes.
static inline uint64_t lezea_ring_record_offset(uint32_t lanes, uint32_t lane_capacity,
                                                uint32_t lane, uint64_t n) {
  uint64_t slot = (uint64_t)lane * lane_capacity + n % lane_capacity;
  return lezea_ring_records_offset(lanes) + slot * LEZEA_RING_RECORD_BYTES;
}

#ifdef __cplusplus
}  // namespace lezea
#endif

#endif  // LEZEA_SCOPE_RING_LAYOUT_H_
