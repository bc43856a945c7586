"""Scope rings: sealed memfds with one lane per announcing thread.

Owns the memfds, their mappings and the lists of free lanes. Emits lanes to threads (lane.py) and
descriptors to the connection (link.py), which offers them to the agent. Nothing here blocks on
the agent: what is written stays in the ring until the agent reads it, also across its restarts.
"""

import collections
import fcntl
import mmap
import os
import sys
import threading
from typing import Any, Callable, Deque, Dict, List, Optional, Tuple

from . import accel, layout
from .owned import Owned

# Missing from the fcntl module of some CPython builds; values from linux/fcntl.h.
F_ADD_SEALS = getattr(fcntl, "F_ADD_SEALS", 1033)
F_SEAL_SEAL = getattr(fcntl, "F_SEAL_SEAL", 1)
F_SEAL_SHRINK = getattr(fcntl, "F_SEAL_SHRINK", 2)
F_SEAL_GROW = getattr(fcntl, "F_SEAL_GROW", 4)

# Before 3.13 a mapping keeps a descriptor of its own, and closes that number when it goes.
_MAP_OPTIONS: Dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}
_kept: List[memoryview] = []  # mappings whose own descriptor is somebody else's by now

# What the agent takes of one session: 1024 announcing threads at once. Later ones stay unannounced
# and are counted.
MAX_RINGS = 16


class Ring:
    """One memfd of fixed size, mapped for writing and sealed against resizing."""

    def __init__(
        self, lanes: int = layout.DEFAULT_LANES, capacity: int = layout.DEFAULT_CAPACITY
    ) -> None:
        self.lanes = lanes
        self.capacity = capacity
        self.first_record = layout.records_offset(lanes)
        size = layout.file_size(lanes, capacity)
        fd = os.memfd_create("lezea-scope", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self._owned = Owned(fd)
        try:
            os.ftruncate(fd, size)
            self._map = memoryview(mmap.mmap(fd, size, **_MAP_OPTIONS))
            layout.HEADER.pack_into(
                self._map,
                0,
                layout.MAGIC,
                layout.VERSION,
                layout.RECORD_SIZE,
                lanes,
                capacity,
                self.first_record,
            )
            fcntl.fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
        except BaseException:
            self._owned.close()
            raise
        self.heads = self._map[: self.first_record].cast("Q")
        # A deque: its single operations are atomic, so a dying thread needs no lock to give its
        # lane back (a lock could be held by a thread that a fork left behind).
        self.free: Deque[int] = collections.deque(range(lanes))
        self._claims: Dict[int, Callable[[], int]] = {}

    @property
    def fd(self) -> int:
        """The memfd; -1 when it is closed."""
        return self._owned.fd

    def head_index(self, lane: int) -> int:
        """Index of the lane's head in `heads`, in 8-byte words."""
        return (layout.HEADER_SIZE + layout.LANE_ENTRY_SIZE * lane) // 8

    def claim(self, lane: int) -> Callable[[], int]:
        """Numbers the lane's records; the same for everybody who ever has the lane."""
        start: int = self.heads[self.head_index(lane)]
        return self._claims.setdefault(lane, accel.numbers(start))

    def records(self, lane: int) -> memoryview:
        """The lane's records, as bytes."""
        size = self.capacity * layout.RECORD_SIZE
        start = self.first_record + lane * size
        return self._map[start : start + size]

    def close(self) -> None:
        """Closes the descriptor; the mapping goes with the last thread that holds a view."""
        if not self._owned.close() and not _MAP_OPTIONS:
            _kept.append(self._map)


class RingPool:
    """The rings of one process: the next one is made when half of the newest one's lanes are taken.

    So it is with the agent before its first record: an interval that the agent closes without a
    ring knows nothing of the threads in it.
    """

    def __init__(
        self,
        on_ring: Callable[[], None],
        lanes: int = layout.DEFAULT_LANES,
        capacity: int = layout.DEFAULT_CAPACITY,
    ) -> None:
        self.rings: List[Ring] = []
        self.primary_tid = threading.get_native_id()  # whoever makes it opens the session
        self.refused_threads = 0
        self._on_ring = on_ring
        self._lanes = lanes
        self._capacity = capacity
        self._told = 0  # how many of `rings` went through `on_ring`
        # Re-entrant: a signal handler that enters a scope may interrupt its own thread in here.
        self._lock = threading.RLock()

    def prepare(self) -> None:
        """Makes the first ring ahead of the first record, so that it is offered at the start."""
        with self._lock:
            self._grow()
            self._told = len(self.rings)

    def take(self) -> Optional[Tuple[Ring, int]]:
        """A free lane, or None when the process has too many announcing threads.

        Whoever takes one calls `look_ahead` before it writes there.
        """
        lane = self._take_free()
        if lane is None:
            with self._lock:
                lane = self._take_free()
                while lane is None and self._grow():
                    lane = self._take_free()
        if lane is None:
            self.refused_threads += 1
        return lane

    def look_ahead(self, ring: Ring) -> None:
        """A lane of `ring` was taken: makes the next ring if it is time, and tells of new ones.

        Waits for nothing: who else has the lock is making a ring.
        """
        if self._is_time(ring) and self._lock.acquire(blocking=False):
            try:
                if self._is_time(ring):
                    self._grow()
            finally:
                self._lock.release()
        rings = len(self.rings)
        if self._told < rings:
            self._on_ring()
            self._told = rings

    def _is_time(self, ring: Ring) -> bool:
        newest = self.rings[-1:] == [ring] and len(self.rings) < MAX_RINGS
        return newest and len(ring.free) <= ring.lanes // 2

    def _take_free(self) -> Optional[Tuple[Ring, int]]:
        for ring in self.rings:
            if ring.free:
                try:
                    return ring, ring.free.popleft()
                except IndexError:
                    continue  # another thread was faster
        return None

    def _grow(self) -> bool:
        if len(self.rings) >= MAX_RINGS:
            return False
        try:
            ring = Ring(self._lanes, self._capacity)
        except (OSError, ValueError):  # out of memory or descriptors: this thread stays quiet
            return False
        self.rings.append(ring)
        return True

    def close(self) -> None:
        """Lets go of every ring. Safe in a forked child: it takes no lock and writes nothing."""
        rings, self.rings = self.rings, []
        for ring in rings:
            ring.close()
