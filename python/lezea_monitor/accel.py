"""The optional C accelerator of the hot path: whether it is there, and what stands in for it.

Reads LEZEA_MONITOR_PURE: set to anything, it keeps the accelerator out. Emits the base classes of
the objects that the hot path touches. Without the shared object, or with one that does not fit,
these are Python, and recording does the same more slowly; nothing here ever raises.
"""

import itertools
import os
import sys
from typing import Any, Callable, Optional

PURE_VARIABLE = "LEZEA_MONITOR_PURE"
REVISION = 3  # of what _accel.c and these modules know of each other; it has the same number


def _load() -> Optional[Any]:
    # Free-threaded builds have no stable ABI, and there is no interpreter lock to rely upon.
    if os.environ.get(PURE_VARIABLE) or "t" in getattr(sys, "abiflags", ""):
        return None
    try:
        from . import _accel  # type: ignore[attr-defined]

        return _accel if _accel.REVISION == REVISION else None  # or built for another version
    except Exception:  # not built, for another machine, or damaged
        return None


class _Node:
    """The fields of tree.py's Node that the hot path reads."""

    __slots__ = ("id", "kids")


class _State:
    """The fields of lane.py's ThreadState that the hot path uses; explained there."""

    __slots__ = (
        "top", "in_task", "claim", "view", "mask", "heads", "slot", "tid", "io_due",
        "process_due", "cpu_due", "cpu_behind", "cpu_last",
    )  # fmt: skip


def _numbers(start: int) -> Callable[[], int]:
    return itertools.count(start).__next__


native = _load()  # the module, or None
Node: Any = native.Node if native else _Node
State: Any = native.State if native else _State
# Claims record numbers from `start` on: one call into C, which no signal handler can divide.
numbers: Callable[[int], Callable[[], int]] = native.Numbers if native else _numbers
