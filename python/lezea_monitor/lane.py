"""One thread's place: the scopes it is in, and the lane it writes its records to.

Reads the thread's clocks and its storage counters; emits ring records. Owned by one thread; a
signal handler may interrupt it anywhere. Therefore a record's number is claimed first (one call
into C), then the record is written, then the head is stored.
"""

import itertools
import resource
import threading
from array import array
from time import monotonic_ns, process_time_ns, thread_time_ns
from typing import TYPE_CHECKING, Any, Callable, Dict, Optional, Tuple

from . import accel, layout
from .ring import Ring, RingPool
from .tree import Node

if TYPE_CHECKING:
    from .scope import Scope

IO_INTERVAL_NS = 10_000_000  # at most one pair of IO stamps per thread in this time
PROCESS_INTERVAL_NS = 100_000_000  # at most one stamp of the process's CPU clock in this time
CPU_WINDOW_NS = 5_000  # at most one reading of the CPU clock per thread in this time
CPU_WATCH_NS = 2_000_000  # and in this, of a thread that never left its CPU: the accelerator sees
BLOCK_BYTES = 512  # unit of ru_inblock and ru_oublock
NEVER = 1 << 63

_pack = layout.RECORD.pack_into


class ThreadState(accel.State):  # type: ignore[misc]
    """What one thread has announced. The hot path in scope.py reads what accel.State has."""

    top: "Scope"  # innermost Scope entered outside of asyncio steps; the outermost is a root
    in_task: bool  # inside a step of an asyncio event loop: contextvars say the scope
    claim: Callable[[], int]  # next record's number; the first call takes a lane
    view: Any  # the lane's records, bytes
    mask: int  # lane capacity - 1
    heads: Any  # the ring's lane table, 8-byte words
    slot: int  # this lane's head in `heads`
    tid: int  # native thread id
    io_due: int  # CLOCK_MONOTONIC ns after which storage counters are stamped again
    process_due: int  # CLOCK_MONOTONIC ns after which the process's CPU clock is stamped again
    cpu_due: int  # CLOCK_MONOTONIC ns from which on the thread's CPU clock is read again
    cpu_behind: int  # by how much that clock was behind CLOCK_MONOTONIC at its last reading, ns
    cpu_last: int  # the last CPU stamp, ns

    __slots__ = (
        "base",  # in a step: the Scope that the loop itself runs in
        "announced",  # in a step: the scope id that was announced last
        "adopted",  # the run began in the middle of this step, which nobody sees the end of
        "_pool",
        "_taken",  # {"lane": (ring, number)} once there is one
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
        self._taken: Dict[str, Tuple[Ring, int]] = {}
        self.tid = threading.get_native_id()
        self.view = bytearray(layout.RECORD_SIZE)
        self.heads = array("Q", [0])
        self.mask = 0
        self.slot = 0
        self.io_due = NEVER if pool is None else 0
        self.process_due = 0 if pool is not None and pool.primary_tid == self.tid else NEVER
        self.cpu_due = self.cpu_behind = self.cpu_last = 0  # a child's clock begins at 0
        self.claim = itertools.repeat(0).__next__ if pool is None else self._take_lane

    @property
    def lane(self) -> "Tuple[Optional[Ring], int]":
        """The ring and the number of the lane there; (None, -1) before the first record."""
        return self._taken.get("lane", (None, -1))

    def _take_lane(self) -> int:
        """Stands in for `claim` until the first record: takes a lane, then claims.

        A signal handler that records may come in anywhere here: whoever is first leaves its lane
        in `_taken`, and each goes on with that one. A handler may fork, too.
        """
        pool, taken = self._pool, self._taken
        if not taken:
            lane = pool.take() if pool is not None else None
            if lane is None:
                if self._pool is pool and not taken:
                    self.attach(None)
                return self.claim()
            if taken.setdefault("lane", lane) is not lane:
                lane[0].free.appendleft(lane[1])
        ring, number = taken["lane"]
        self.view = ring.records(number)
        self.mask = ring.capacity - 1
        self.heads = ring.heads
        self.slot = ring.head_index(number)
        self.claim = ring.claim(number)
        if pool is not None and self._pool is pool:
            pool.look_ahead(ring)
        if self._pool is not pool:  # this is a child by now
            self.attach(self._pool)
        return self.claim()

    def __del__(self) -> None:
        for ring, number in getattr(self, "_taken", {}).values():
            ring.free.appendleft(number)

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
        t, cpu = self.stamps(monotonic_ns(), left)
        self.write(t, cpu, node.id, flags)
        self.announced = node.id

    def stamps(self, t: int, left: int) -> Tuple[int, int]:
        """The time of an edge and the thread's CPU clock there, ns; IO stamps when they are due.

        The CPU clock costs a system call, so for CPU_WINDOW_NS after a reading the hot path takes
        the thread to have been running ever since: wrong by less than that, and right again at the
        next reading, which is made here. Stamps do not decrease, and grow no faster than time.
        """
        if t > self.io_due:
            self.stamp_io(t, left)
            t = monotonic_ns()
        cpu = thread_time_ns()
        self.cpu_behind = t - cpu  # first: a signal handler that comes in here reads the clock
        self.cpu_due = t + CPU_WINDOW_NS
        cpu = max(cpu, self.cpu_last)
        self.cpu_last = cpu
        return t, cpu

    def stamp_io(self, t: int, left: int) -> None:
        """The thread's storage counters; what they gained belongs to the scope being left.

        And the process's CPU clock, where it is due: threads that announce nothing are where the
        primary thread is, so that its edges divide what they use.
        """
        self.io_due = t + IO_INTERVAL_NS
        usage = resource.getrusage(resource.RUSAGE_THREAD)
        self.write(t, usage.ru_inblock * BLOCK_BYTES, left, layout.KIND_IO_READ)
        self.write(t, usage.ru_oublock * BLOCK_BYTES, left, layout.KIND_IO_WRITE)
        if t > self.process_due:
            self.process_due = t + PROCESS_INTERVAL_NS
            self.write(t, process_time_ns(), left, layout.KIND_PROCESS_CPU)
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
