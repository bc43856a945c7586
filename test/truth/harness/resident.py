"""A process's resident memory over time, read from outside 200 times a second."""

import os
import threading
import time
from typing import Any, List, Tuple

PERIOD_SECONDS = 0.005


class ResidentSampler:
    """Samples /proc/PID/statm until it is left or the process ends."""

    def __init__(self, pid: int) -> None:
        self._statm = open("/proc/%d/statm" % pid, "rb", buffering=0)
        self._samples: List[Tuple[float, int]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> "ResidentSampler":
        self._thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stop.set()
        self._thread.join()
        self._statm.close()

    def _work(self) -> None:
        page = os.sysconf("SC_PAGESIZE")
        while not self._stop.wait(PERIOD_SECONDS):
            self._statm.seek(0)
            before = time.monotonic()
            try:
                pages = int(self._statm.read().split()[1])
            except ProcessLookupError:
                return  # it has ended and was reaped
            self._samples.append(((before + time.monotonic()) / 2, pages * page))

    def byte_seconds(self, begin: float, end: float) -> float:
        """The integral between two times of CLOCK_MONOTONIC, by trapezoids."""
        total = 0.0
        for (t0, bytes0), (t1, bytes1) in zip(self._samples, self._samples[1:]):
            width = min(t1, end) - max(t0, begin)
            if width > 0:
                total += width * (bytes0 + bytes1) / 2
        return total
