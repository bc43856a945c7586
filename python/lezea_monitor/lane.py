"""One thread's place: the scopes it is in, and the lane it writes its records to.

Reads the thread's clocks and its storage counters; emits ring records. Owned by one thread; a
signal handler may interrupt it anywhere. Therefore a record's number is claimed first (one call
into C), then the record is written, then the head is stored.
"""

import itertools
import resource
import threading
from array import array
from time import monotonic_ns, thread_time_ns
from typing import TYPE_CHECKING, Any, Optional

from . import layout
from .ring import Ring, RingPool
from .tree import Node

if TYPE_CHECKING:
    from .scope import Scope

IO_INTERVAL_NS = 10_000_000  # at most one pair of IO stamps per thread in this time
BLOCK_BYTES = 512  # unit of ru_inblock and ru_oublock
NEVER = 1 << 63

_pack = layout.RECORD.pack_into


class ThreadState:
    """What one thread has announced. The fields below are read by the hot path in scope.py."""

    __slots__ = (
        "top",  # innermost Scope entered outside of asyncio steps; the outermost is a root
        "in_task",  # inside a step of an asyncio event loop: contextvars say the scope
        "base",  # in a step: the Scope that the loop itself runs in
        "announced",  # in a step: the scope id that was announced last
        "adopted",  # the run began in the middle of this step, which nobody sees the end of
        "claim",  # next record's number; the first call takes a lane
        "view",  # the lane's records, bytes
        "mask",  # lane capacity - 1
        "heads",  # the ring's lane table, 8-byte words
        "slot",  # this lane's head in `heads`
        "tid",  # native thread id
        "io_due",  # CLOCK_MONOTONIC ns after which storage counters are stamped again
        "_pool",
        "_ring",
        "_lane",
    )

    def __init__(self, root: "Scope", pool: Optional[RingPool]) -> None:
        self.top = root
        self.base = root
        self.in_task = False
        self.announced = 0
        self.adopted = False
        self.attach(pool)

    def attach(self, pool: Optional[RingPool]) -> None:
        """Forgets any lane; the next record takes one from `pool` (None: records go nowhere).

        Used for new threads, and in a forked child, whose inherited lane belongs to the parent.
        """
        self._pool = pool
        self._ring: Optional[Ring] = None
        self._lane = -1
        self.tid = threading.get_native_id()
        self.view: Any = bytearray(layout.RECORD_SIZE)
        self.heads: Any = array("Q", [0])
        self.mask = 0
        self.slot = 0
        self.io_due = NEVER if pool is None else 0
        self.claim = itertools.repeat(0).__next__ if pool is None else self._take_lane

    def _take_lane(self) -> int:
        """Stands in for `claim` until the first record: takes a lane, then claims."""
        pool = self._pool
        lane = pool.take() if pool is not None else None
        if self._pool is not pool or self._ring is not None:
            # A signal handler has forked (this is the child) or recorded something meanwhile.
            if lane is not None:
                lane[0].free.appendleft(lane[1])
            return self.claim()
        if lane is None or pool is None:
            self.attach(None)
            return self.claim()
        self._ring, self._lane = lane
        ring = self._ring
        slot = ring.head_index(self._lane)
        # A lane that another thread gave back goes on with its count.
        claim = itertools.count(ring.heads[slot]).__next__
        self.view = ring.records(self._lane)
        self.mask = ring.capacity - 1
        self.heads = ring.heads
        self.slot = slot
        self.claim = claim
        pool.look_ahead(ring)
        return self.claim()  # in a child that a signal handler has forked, another one

    def __del__(self) -> None:
        ring = getattr(self, "_ring", None)
        if ring is not None:
            ring.free.appendleft(self._lane)

    def write(self, t: int, value: int, scope_id: int, kind_flags: int) -> None:
        """One record, for everything but the hot path (which has these lines inline)."""
        n = self.claim()
        _pack(
            self.view,
            (n & self.mask) << layout.RECORD_SHIFT,
            t,
            value & layout.U64,
            scope_id,
            self.tid,
            kind_flags,
            (n + 1) & layout.U32,
        )
        self.heads[self.slot] = n + 1

    def announce(self, node: Node, left: int, flags: int = 0) -> None:
        """The thread is in `node` from now on; `left` is the id of the scope that it leaves."""
        t = monotonic_ns()
        if t > self.io_due:
            self.stamp_io(t, left)
            t = monotonic_ns()
        self.write(t, thread_time_ns(), node.id, flags)
        self.announced = node.id

    def stamp_io(self, t: int, left: int) -> None:
        """The thread's storage counters; what they gained belongs to the scope being left."""
        self.io_due = t + IO_INTERVAL_NS
        usage = resource.getrusage(resource.RUSAGE_THREAD)
        self.write(t, usage.ru_inblock * BLOCK_BYTES, left, layout.KIND_IO_READ)
        self.write(t, usage.ru_oublock * BLOCK_BYTES, left, layout.KIND_IO_WRITE)
        self._prune()

    def _prune(self) -> None:
        """Takes out scopes that another thread or task has ended (see `bury` in scope.py)."""
        while self.top.buried and self.top.outer is not None:
            self.top = self.top.outer
        inner = self.top
        while inner.outer is not None:
            if inner.outer.buried and inner.outer.outer is not None:
                inner.outer = inner.outer.outer
            else:
                inner = inner.outer
