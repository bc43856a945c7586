"""The scope ring's memory map: the numbers that the agent's reader relies on.

Emits constants only. Everything is little-endian; docs/protocol.md describes the same file from
the reader's side. A lane has one writer, so no writer ever waits for or hides another's record.
"""

import struct

MAGIC = b"LZSCOPE1"
VERSION = 1
HEADER_SIZE = 4096  # bytes; the lane table starts here
LANE_ENTRY_SIZE = 64  # bytes; one cache line a lane, its first word is the head
RECORD_SIZE = 32  # bytes
RECORD_SHIFT = 5  # RECORD_SIZE as a shift
DEFAULT_LANES = 64  # 1..1024
DEFAULT_CAPACITY = 16384  # records a lane, a power of two in 256..65536

# magic, version, record_size, lanes, lane_capacity, records_offset
HEADER = struct.Struct("<8sIIIII")

# t_mono_ns, value, scope, tid, kind | device << 8 | flags << 16, seq. Native mode: the fields
# are naturally aligned, so CPython stores each with one move and no reader sees half a word.
RECORD = struct.Struct("@QQIIII")

KIND_SWITCH = 0  # value: the thread's CPU clock, ns; 0 = not stamped
KIND_GPU = 1  # value: GPU time of the scope on the device, ns; says nothing of where the thread is
KIND_IO_READ = 2  # value: cumulative bytes read from storage by the thread
KIND_IO_WRITE = 3  # value: cumulative bytes written to storage by the thread
KIND_PROCESS_CPU = 4  # value: the process's CPU clock, ns; of the edge that the next switch tells
DEVICE_SHIFT = 8  # of `device` in the fifth field
ACTIVATION = 1 << 16  # flags bit 0, already at its place in the fifth field

U32 = 0xFFFFFFFF
U64 = 0xFFFFFFFFFFFFFFFF


def records_offset(lanes: int) -> int:
    """Byte offset of the first record: header and lane table, rounded up to a page."""
    return (HEADER_SIZE + LANE_ENTRY_SIZE * lanes + 4095) & ~4095


def file_size(lanes: int, capacity: int) -> int:
    """Exact size of the ring file in bytes."""
    return records_offset(lanes) + lanes * capacity * RECORD_SIZE
